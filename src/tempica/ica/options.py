"""Options of the training of networks: one object, which every estimator takes as `training`."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from tempica.errors import DataError

PRECISIONS = ("float32", "float64", "bfloat16")
LEAST = {"batch_size": 2, "width": 1, "n_layers": 1}


class Training(BaseEstimator):
    """Size of a network, and how it is trained. None leaves the estimator's own value, which its docstring gives.

    Parameters:
        batch_size: items of one step, frames or pairs of frames; at least 2.
        learning_rate: step size of the optimiser; above 0.
        width: units of each hidden layer.
        n_layers: number of hidden layers.
        precision: float32, float64, or bfloat16 (products of the network's matrices alone).

    An estimator refuses, at `fit`, an option that it has no use for. A dict of options is taken as well. Options are
    reached as scikit-learn's nested parameters are: `set_params(training__learning_rate=4e-3)`.

    Example:
        >>> from tempica.ica import PCL, Training
        >>> PCL(training=Training(learning_rate=4e-3)).set_params(training__batch_size=256).training
        Training(batch_size=256, learning_rate=0.004)
    """

    def __init__(
        self,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        width: int | None = None,
        n_layers: int | None = None,
        precision: str = "float32",
    ) -> None:
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.width = width
        self.n_layers = n_layers
        self.precision = precision

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Training) and self.get_params() == other.get_params()

    __hash__ = None  # type: ignore[assignment]  # options change


FIELDS = tuple(Training().get_params())


def as_training(given: Any) -> Training:
    """The options themselves, those of a dict, or none where None is given. Raises DataError for anything else."""
    if isinstance(given, Training):
        return given
    if given is None:
        return Training()
    if not isinstance(given, Mapping):
        raise DataError(f"training = {given!r} must be a Training, or a dict of {', '.join(FIELDS)}.")
    unknown = [name for name in given if name not in FIELDS]
    if unknown:
        raise DataError(f"training has no option {unknown[0]!r}; it has {', '.join(FIELDS)}.")
    return Training(**given)


def completed(given: Any, own: Mapping[str, Any], estimator: str, least: Mapping[str, int] = LEAST) -> Training:
    """The options given, and an estimator's `own` values of those that are not; its keys are the options it uses.

    Raises DataError for an option that it has no use for, and for numbers out of range.
    """
    asked: dict[str, Any] = as_training(given).get_params()
    for name, value in asked.items():
        if name not in own and value != Training().get_params()[name]:
            raise DataError(
                f"{estimator} has no use for training.{name} = {value!r}; it takes {', '.join(own)}. Leave {name} out."
            )
        if name in least and value is not None:
            check_whole(name, value, least[name])
    if asked["precision"] not in PRECISIONS:
        raise DataError(f"precision = {asked['precision']!r} must be {', '.join(PRECISIONS)}.")
    rate = asked["learning_rate"]
    if not (rate is None or (isinstance(rate, Real) and rate is not True and 0 < float(rate) < np.inf)):
        raise DataError(f"learning_rate = {rate!r} must be a number above 0.")
    return Training(**(asked | {name: own.get(name) for name, value in asked.items() if value is None}))


def check_whole(name: str, value: Any, least: int) -> None:
    """Raises DataError for what is no whole number, or less than the least."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise DataError(f"{name} = {value!r} must be a whole number.")
    if value < least:
        raise DataError(f"{name} = {value} must be at least {least}.")

"""What estimators that train networks share: their options, their checkpoint, the frames that their networks see."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tempica.ica.base import TemporalEstimator, linear_map
from tempica.ica.options import FIELDS, LEAST, Training, as_training, check_whole, completed
from tempica.ica.training.networks import PRECISIONS
from tempica.ica.training.progress import Checkpoint, Progress, fingerprint


class NetworkEstimator(TemporalEstimator):
    """Base of estimators that train networks.

    A class names in `own_training` the options of `Training` that it uses, with its own values, and in `least` the
    bounds of other parameters that are whole numbers. A fit takes `checkpoint`, `log` and `callback` (`Progress`).
    """

    own_training: ClassVar[Mapping[str, Any]] = {}
    least_training: ClassVar[Mapping[str, int]] = LEAST
    least: ClassVar[Mapping[str, int]] = {"n_restarts": 1, "max_steps": 1}
    training: Any
    _mean: np.ndarray
    _white: np.ndarray

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters; if deep, the options of `training` as training__batch_size and so on, whether or not given."""
        params = super().get_params(deep)
        if deep and (self.training is None or isinstance(self.training, Mapping)):
            options = Training().get_params() | dict(self.training or {})
            params |= {f"training__{name}": value for name, value in options.items()}
        return params

    def set_params(self, **params: Any) -> Any:
        """Change parameters; training__learning_rate and the like change one option alone."""
        if any(name.startswith("training__") for name in params):
            # a copy: None and a dict have no set_params, and a Training may be another estimator's as well
            self.training = Training(**as_training(params.pop("training", self.training)).get_params())
        return super().set_params(**params)

    def _options(self) -> Any:
        """The `Training` with the estimator's own values where none are given.

        Raises DataError for numbers out of range.
        """
        parameters = inspect.signature(type(self).__init__).parameters
        for name, bound in self.least.items():
            if getattr(self, name) is not None or parameters[name].default is not None:
                check_whole(name, getattr(self, name), bound)
        return completed(self.training, self.own_training, type(self).__name__, self.least_training)

    def _progress(
        self, checkpoint: Any, log: Any, callback: Callable[[int, int, float], None] | None, *data: Any
    ) -> Progress:
        """What is told of a fit's trainings; `data` are arrays and seeds by which a checkpoint knows its fit."""
        params = self.get_params(deep=False) | {"training": self._options().get_params()}
        return Progress(Checkpoint(checkpoint, fingerprint(type(self).__name__, params, *data)), log, callback)

    def _whitened(self, frames: np.ndarray, dtype: torch.dtype | None = None) -> Tensor:
        """Whitened frames (frame, K) in the precision of the network, if no other is asked for."""
        white = linear_map(frames, self._mean, self._white)
        return torch.as_tensor(white, dtype=dtype or PRECISIONS[self._options().precision])

    @classmethod
    def _from_format_1(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Attributes of a model that was saved before its options moved into `training`, as they are now."""
        given = {name: state.pop(name) for name in FIELDS if name in state}
        changed = {name: value for name, value in given.items() if value != cls.own_training.get(name)}
        state["training"] = Training(**changed) if changed else None
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters} | state

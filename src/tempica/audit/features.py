"""The map from frames to features whose axes are still free: linear, or a network that a contrast has taught."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tempica.audit.given import Given
from tempica.errors import IdentifiabilityWarning
from tempica.evaluate.stability import stability
from tempica.ica.base import linear_map, whitening

RESTARTS, STEPS = 2, 1500  # of the networks of an audit, whose frames are thinned: more gain little there
HALF_STEPS = 800
DEPTH = 3  # hidden layers


@dataclass(frozen=True)
class Features:
    """White features h (frame, n), and those of independent fits to two halves of the data, all at every frame.

    `affine` is the mean canonical correlation of the two, what is left after the best affine map: 1 for linear maps.
    """

    method: str  # linear, pcl or tcl
    h: np.ndarray
    parameters: dict[str, Any]
    halves: tuple[np.ndarray, np.ndarray] | None = None
    affine: float = 1.0


def linear(data: Given, directions: np.ndarray) -> Features:
    """White features along directions (n, feature) of the whitened frames."""
    h = white(data.X) @ directions.T
    return Features("linear", h, {"n_components": len(directions)}, (h, h))


def networks(data: Given, n: int, *, seed: int) -> Iterator[Features]:
    """Features of networks of n components that hold more of a held-out contrast than a linear map does.

    Of pairs of frames, with the score of an autoregression, then with a free one; or of labels.
    """
    given: dict[str, Any] = {"n_components": n, "n_restarts": RESTARTS, "max_steps": STEPS, "random_state": seed}
    if not data.timed:
        model = _fitted("tcl", given, data)
        if model.model_ == "network":
            yield Features("tcl", white(model.transform(data.X, stage="features")), given)
        return
    given |= {"lag": data.lag, "second_stage": "none", "training": {"n_layers": DEPTH}}
    for score in ("reference", "free"):
        parameters = given | {"score_function": score}
        model = _fitted("pcl", parameters, data)
        if model.model_ == "network":
            yield Features("pcl", white(model.transform(data.X, stage="features")), parameters)


def with_halves(features: Features, data: Given, *, seed: int) -> Features:
    """The same, beside features that two halves of the data give, each fitted from other random starts."""
    if features.method == "linear":
        return features
    halves = []
    for k, mask in enumerate(data.parts(2)):
        few = features.parameters | {"n_restarts": 1, "max_steps": HALF_STEPS, "random_state": seed + 1 + k}
        half = _fitted(features.method, few, data.part(mask))
        halves.append(white(half.transform(data.X, stage="features")))
    one, other = halves
    return replace(features, halves=(one, other), affine=stability([one, other]).affine)


def _fitted(method: str, parameters: dict[str, Any], data: Given) -> Any:
    from tempica.ica import PCL, TCL

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)  # the audit judges that itself
        if method == "pcl":
            return PCL(**parameters).fit(data.X, replicas=data.replicas)
        return TCL(**parameters).fit(data.X, data.labels)


def white(h: np.ndarray) -> np.ndarray:
    mean, matrix = whitening(h)
    return linear_map(h, mean, matrix)

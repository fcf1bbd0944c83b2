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
from tempica.series import standard_error

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


def networks(data: Given, n: int, of_pairs: bool, *, seed: int) -> Iterator[Features]:
    """Features of networks of n components that hold more of a held-out contrast than a linear map does.

    Of pairs of frames, with the score of an autoregression, then with a free one; if not `of_pairs`, of labels.
    """
    if not of_pairs:
        parameters = _parameters(n, seed)
        model = _fitted("tcl", parameters, data)
        if model.model_ == "network":
            yield Features("tcl", white(model.transform(data.X, stage="features")), parameters)
        return
    for score in ("reference", "free"):
        parameters = _parameters(n, seed) | _of_pairs(data, score)
        model = _fitted("pcl", parameters, data)
        if model.model_ == "network":
            yield Features("pcl", white(model.transform(data.X, stage="features")), parameters)


def number_by_contrast(data: Given, most: int, *, seed: int) -> Features | None:
    """Features of the fewest components of which one more holds no more of the held-out contrast; None without any.

    One more is needed if it gains two standard errors, of the same held-out pairs.
    """
    kept: tuple[Features, np.ndarray] | None = None
    for n in range(1, most + 1):
        parameters = _parameters(n, seed) | _of_pairs(data, "reference")
        model = _fitted("pcl", parameters, data)
        information = model._information
        if kept is not None:
            gain = information - kept[1]
            if gain.mean() < 2 * standard_error(gain):
                break
        if model.model_ != "network":
            continue
        kept = Features("pcl", white(model.transform(data.X, stage="features")), parameters), information
    return None if kept is None else kept[0]


def _parameters(n: int, seed: int) -> dict[str, Any]:
    return {"n_components": n, "n_restarts": RESTARTS, "max_steps": STEPS, "random_state": seed}


def _of_pairs(data: Given, score: str) -> dict[str, Any]:
    return {"lag": data.lag, "second_stage": "none", "score_function": score, "training": {"n_layers": DEPTH}}


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

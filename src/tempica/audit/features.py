"""The map from frames to features whose axes are still free: linear, or a network that a contrast has taught."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from tempica.audit.given import Given
from tempica.errors import IdentifiabilityWarning
from tempica.ica.base import linear_map, whitening

RESTARTS, STEPS = 2, 1500  # of the networks of an audit, whose frames are thinned: more gain little there
HALF_STEPS = 800


@dataclass(frozen=True)
class Features:
    """White features h (frame, n), and those of independent fits to two halves of the data, all at every frame.

    `affine` is the mean canonical correlation of the two, what is left after the best affine map: 1 for linear maps.
    """

    method: str  # linear, pcl or tcl
    h: np.ndarray
    parameters: dict[str, Any]
    gain: float  # nats of held-out contrast that the network has over a linear map
    halves: tuple[np.ndarray, np.ndarray]
    affine: float = 1.0


def learn(data: Given, directions: np.ndarray, *, seed: int, network: bool = True) -> Features:
    """Features of n components: linear unless a network holds more on held-out frames, by more than its error.

    `directions` (n, feature) of the whitened frames are those of the linear ones.
    """
    n = len(directions)
    h = _white(data.X) @ directions.T
    linear = Features("linear", h, {"n_components": n}, 0.0, (h, h))
    if not network or n < 2:
        return linear
    method = "pcl" if data.timed else "tcl" if data.labels is not None else None
    if method is None:
        return linear
    parameters: dict[str, Any] = {"n_components": n, "n_restarts": RESTARTS, "max_steps": STEPS, "random_state": seed}
    if method == "pcl":
        parameters |= {"lag": data.lag, "second_stage": "none"}
    model = _fitted(method, parameters, data)
    gain = model.candidates_["linear"] - model.candidates_["network"]
    if model.model_ != "network":
        return Features("linear", h, linear.parameters, float(gain), (h, h))
    h = _white(model.transform(data.X, stage="features"))
    if method == "pcl":
        parameters["score_function"] = model.score_function_
    halves = []
    for k, mask in enumerate(data.parts(2)):
        few = parameters | {"n_restarts": 1, "max_steps": HALF_STEPS, "random_state": seed + 1 + k}
        half = _fitted(method, few, data.part(mask))
        halves.append(_white(half.transform(data.X, stage="features")))
    one, other = halves
    return Features(method, h, parameters, float(gain), (one, other), affine_agreement(one, other))


def affine_agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Mean canonical correlation of two sets of white columns (frame, n): 1 if one is an affine map of the other."""
    return float(np.minimum(1, np.linalg.svd(a.T @ b / len(a), compute_uv=False)).mean())


def raw_agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute correlation of the columns (frame, n) of two sets, matched."""
    from tempica.evaluate.metrics import assign, correlation_matrix

    matrix = np.abs(correlation_matrix(a, b, kind="pearson"))
    order = assign(matrix)
    return float(matrix[order, np.arange(len(order))].mean())


def _fitted(method: str, parameters: dict[str, Any], data: Given) -> Any:
    from tempica.ica import PCL, TCL

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)  # the audit judges that itself
        if method == "pcl":
            return PCL(**parameters).fit(data.X, replicas=data.replicas)
        return TCL(**parameters).fit(data.X, data.labels)


def _white(h: np.ndarray) -> np.ndarray:
    mean, white = whitening(h)
    return linear_map(h, mean, white)

"""Slow motions beyond the declared ones: sources that nobody declared, but that a temporal method would find.

TICA on the superposed coordinates of the clean trajectory, after what the collective variables explain has been
taken out (terms up to second order). Slow undriven modes are part of the truth: when one outlives a declared source
at the chosen frame interval, methods that order by slowness return it first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

if TYPE_CHECKING:
    import xarray

N_MODES = 3
N_COMPONENTS = 20  # principal components of the rest that are searched
MOST_BEADS = 300  # evenly chosen of larger molecules: slow motions are collective
LAG = 1


@dataclass(frozen=True)
class SlowModes:
    """The slowest independent motions beyond the collective variables, slowest first."""

    series: np.ndarray  # (replica, time, slow_mode), unit variance
    timescale: np.ndarray  # (slow_mode,) frames, −1 / ln of the autocorrelation; 0 where there is none
    variable_timescale: np.ndarray  # (cv,) frames, of the collective variables alike


def find_slow_modes(trajectory: xarray.Dataset) -> SlowModes:
    """Slow modes of a trajectory store's data.

    With y the N_COMPONENTS principal components of the positions' part that [1, c, c c'] does not explain, and C_τ
    their covariance at lag τ within molecules: C_1 w = λ C_0 w, timescale −1 / ln λ in frames.
    """
    variable = trajectory["collective_variable"].values.astype(np.float64)
    n_replicas, n_frames, n_variables = variable.shape
    n_atoms = trajectory.sizes["atom"]
    atoms = np.unique(np.linspace(0, n_atoms - 1, min(n_atoms, MOST_BEADS)).astype(int))
    molecule = trajectory["molecule"].values
    flat = variable.reshape(-1, n_variables)
    terms = _terms((flat - flat.mean(0)) / np.maximum(flat.std(0), 1e-12)).reshape(n_replicas, n_frames, -1)

    def positions(replica: int) -> np.ndarray:
        chosen = trajectory["position"].isel(replica=replica, atom=atoms)
        return chosen.values.reshape(n_frames, -1).astype(np.float64)

    # one replica in memory at a time: moments first, then the components' series
    width = 3 * len(atoms)
    joint = np.zeros((terms.shape[-1] + width,) * 2)
    for r in range(n_replicas):
        both = np.concatenate([terms[r], positions(r)], axis=1)
        joint += both.T @ both
    k = terms.shape[-1]
    weight = linalg.lstsq(joint[:k, :k], joint[:k, k:])[0]
    rest = joint[k:, k:] - joint[k:, :k] @ weight
    n_components = min(N_COMPONENTS, width)
    _, direction = linalg.eigh(rest, subset_by_index=(width - n_components, width - 1))
    y = np.stack([(positions(r) - terms[r] @ weight) @ direction for r in range(n_replicas)])

    together = molecule[:, LAG:] == molecule[:, :-LAG]
    series, value = _tica(y, together)
    return SlowModes(
        series[..., :N_MODES],
        _timescale(value[:N_MODES]),
        _timescale(np.array([_autocorrelation(variable[..., i], together) for i in range(n_variables)])),
    )


def _tica(y: np.ndarray, together: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Independent components of (replica, time, component) and their autocorrelations, slowest first."""
    flat = y.reshape(-1, y.shape[-1])
    covariance = flat.T @ flat / len(flat)
    if not together.any():
        return y / np.maximum(flat.std(0), 1e-12), np.zeros(y.shape[-1])
    here, there = y[:, :-LAG][together], y[:, LAG:][together]
    lagged = (here.T @ there + there.T @ here) / (2 * len(here))
    value, vector = linalg.eigh(lagged, covariance + 1e-9 * np.trace(covariance) * np.eye(len(covariance)))
    return y @ vector[:, ::-1], value[::-1]


def _autocorrelation(x: np.ndarray, together: np.ndarray) -> float:
    x = x - x.mean()
    if not together.any() or x.var() == 0:
        return 0.0
    return float((x[:, :-LAG] * x[:, LAG:])[together].mean() / x.var())


def _timescale(autocorrelation: np.ndarray) -> np.ndarray:
    inside = np.clip(autocorrelation, 1e-300, 1 - 1e-9)
    return np.where(autocorrelation > 0, -LAG / np.log(inside), 0.0)


def _terms(z: np.ndarray) -> np.ndarray:
    """Constant, linear and quadratic terms (frame, term)."""
    i, j = np.triu_indices(z.shape[1])
    return np.concatenate([np.ones((len(z), 1)), z, z[:, i] * z[:, j]], axis=1)

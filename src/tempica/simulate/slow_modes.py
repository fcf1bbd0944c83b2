"""Slow motions beyond the collective variables: undeclared sources that a temporal method would find.

TICA on the superposed coordinates of the noise-free trajectory, after removing what the collective variables explain
(terms up to second order). Such modes are part of the truth: when one decays more slowly than a declared source,
methods that order sources by slowness return it first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from tempica.series import quadratic
from tempica.stores import files, store

if TYPE_CHECKING:
    import xarray

    from tempica.runs.work import Work

N_MODES = 3
N_COMPONENTS = 20  # principal components of the residual that are searched
MOST_BEADS = 300  # evenly chosen from larger molecules, since slow motions are collective
LAG = 1
BLOCK = 500  # frames read at a time


@dataclass(frozen=True)
class SlowModes:
    """The slowest independent motions beyond the collective variables, slowest first."""

    series: np.ndarray  # (replica, time, slow_mode), unit variance
    # (slow_mode,) frames, −1 / ln of the autocorrelation; 0 where there is none, n_frames at most
    timescale: np.ndarray
    variable_timescale: np.ndarray  # (cv,) frames, of the collective variables alike


def add(work: Work, path: Path, step: float, *, remedy: str) -> None:
    """Add the slow modes of a trajectory store that is otherwise full, and warn of undeclared ones that are slow.

    `step` is the frame interval (ps), `remedy` the recipe's field that lengthens it.
    """
    out = work.folder / "slow_modes.npz"
    work.run_chains("slow modes", [[("slow-modes", partial(save_slow_modes, path, out))]])
    modes = files.load_arrays(out)
    store.write(
        path,
        {
            "slow_mode": modes["series"],
            "slow_mode_timescale": step * modes["timescale"],
            "cv_timescale": step * modes["variable_timescale"],
        },
    )
    names = store.open_unsealed(path)["cv"].values.tolist()
    timescales = dict(zip(names, modes["variable_timescale"], strict=True))
    warning = outliving(timescales, modes, remedy, work.recipe.simulate.n_frames)
    if warning:
        work.remark(warning)


def save_slow_modes(path: Path, out: Path) -> None:
    """Find the slow modes of a filled trajectory store."""
    files.save_arrays(out, **vars(find_slow_modes(store.open_unsealed(path))))


def outliving(
    variables: dict[str, float],
    modes: dict[str, np.ndarray],
    remedy: str = "simulate.steps_per_frame",
    n_frames: int | None = None,
) -> str:
    """A warning when an undeclared mode is slower than a collective variable; empty if none is.

    `remedy` is the recipe's field that lengthens the frame interval; a timescale beyond `n_frames`, those of a
    replica, is reported as no more than that.
    """
    slowest = float(modes["timescale"][0])
    passed = [f"{name} ({value:.2g})" for name, value in variables.items() if value < slowest]
    if not passed:
        return ""
    beyond = n_frames is not None and slowest > n_frames
    told = f"more than the {n_frames} frames of a replica" if beyond else f"{slowest:.2g} frames"
    return (
        f"warning: an undeclared motion with a timescale of {told} outlives {', '.join(passed)}; methods"
        f" that order sources by slowness will return it. Use a longer frame interval ({remedy}), or"
        " expect one more source (train.n_components)."
    )


def find_slow_modes(trajectory: xarray.Dataset) -> SlowModes:
    """Slow modes of a trajectory store's data.

    With y the N_COMPONENTS principal components of the positions' part that [1, c, c c'] does not explain, and C_τ
    their covariance at lag τ within molecules: C_1 w = λ C_0 w, timescale −1 / ln λ in frames.
    """
    variable = store.read_array(trajectory, "collective_variable").astype(np.float64)
    n_replicas, n_frames, n_variables = variable.shape
    n_atoms = trajectory.sizes["atom"]
    atoms = np.unique(np.linspace(0, n_atoms - 1, min(n_atoms, MOST_BEADS)).astype(int))
    molecule = store.read_array(trajectory, "molecule")
    together = molecule[:, LAG:] == molecule[:, :-LAG]
    centre, spread = variable.mean((0, 1)), np.maximum(variable.std((0, 1)), 1e-12)

    def blocks() -> Iterator[tuple[int, slice, np.ndarray, np.ndarray]]:
        """Replica, frames, and of the frames [1, c, c c'] and positions; a block begins with the last of the one
        before, so that every pair of neighbours is in one."""
        for replica in range(n_replicas):
            for first in range(0, n_frames, BLOCK):
                span = slice(max(0, first - LAG), min(n_frames, first + BLOCK))
                position = trajectory["position"].isel(replica=replica, time=span, atom=atoms).values
                terms = quadratic((variable[replica, span] - centre) / spread)
                yield replica, span, terms, position.reshape(len(terms), -1).astype(np.float64)

    # three passes, with one block in memory at a time: regression, covariances of the residual, slowest series
    joint = np.zeros(())
    for _, span, terms, position in blocks():
        new = np.concatenate([terms, position], axis=1)[LAG if span.start else 0 :]
        joint = joint + new.T @ new
    k = terms.shape[1]
    weight = linalg.lstsq(joint[:k, :k], joint[:k, k:])[0]
    rest = joint[k:, k:] - joint[k:, :k] @ weight
    width = len(rest)
    _, direction = linalg.eigh(rest, subset_by_index=(max(0, width - N_COMPONENTS), width - 1))
    now, lagged = np.zeros((2, direction.shape[1], direction.shape[1]))
    for replica, span, terms, position in blocks():
        y = (position - terms @ weight) @ direction
        now += y[LAG if span.start else 0 :].T @ y[LAG if span.start else 0 :]
        pairs = together[replica, span.start : span.stop - LAG]
        lagged += y[:-LAG][pairs].T @ y[LAG:][pairs]
    now /= n_replicas * n_frames
    lagged = (lagged + lagged.T) / (2 * max(1, together.sum()))
    value, vector = linalg.eigh(lagged, now + 1e-9 * np.trace(now) * np.eye(len(now)))
    value, vector = value[::-1][:N_MODES], vector[:, ::-1][:, :N_MODES]
    series = np.empty((n_replicas, n_frames, N_MODES))
    for replica, span, terms, position in blocks():
        series[replica, span] = (position - terms @ weight) @ direction @ vector
    return SlowModes(
        series,
        _timescale(value, n_frames),
        _timescale(np.array([_autocorrelation(variable[..., i], together) for i in range(n_variables)]), n_frames),
    )


def _autocorrelation(x: np.ndarray, together: np.ndarray) -> float:
    x = x - x.mean()
    if not together.any() or x.var() == 0:
        return 0.0
    return float((x[:, :-LAG] * x[:, LAG:])[together].mean() / x.var())


def _timescale(autocorrelation: np.ndarray, n_frames: int) -> np.ndarray:
    """In frames; at most the length of a replica, beyond which the data say nothing."""
    inside = np.clip(autocorrelation, 1e-300, np.exp(-LAG / n_frames))
    return np.where(autocorrelation > 0, -LAG / np.log(inside), 0.0)

"""Displacement modes: the directions in which an ensemble of structures varies most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica.errors import DataError


@dataclass(frozen=True)
class Modes:
    """x = mean + Σ_k a_k shape_k, amplitudes a of unit variance over the ensemble."""

    mean: np.ndarray  # (atom, space) nm
    shape: np.ndarray  # (mode, atom, space) nm


def principal_modes(position: np.ndarray, n_modes: int) -> Modes:
    """The `n_modes` principal components of superposed structures (time, atom, space), scaled to unit variance.

    The sign of each mode makes its largest displacement positive, so that it does not depend on the solver.
    Raises DataError when the ensemble has too few frames or beads for that many modes, or is not finite.
    """
    if len(position) <= n_modes:
        raise DataError(
            f"{n_modes} modes need an ensemble of more than {n_modes} frames; it has {len(position)}."
            " Raise simulate.ensemble_frames or lower embed.n_modes."
        )
    flat = position.reshape(len(position), -1).astype(np.float64)
    if n_modes > flat.shape[1]:
        raise DataError(
            f"{n_modes} modes need as many coordinates; {position.shape[1]} beads have {flat.shape[1]}."
            " Lower embed.n_modes."
        )
    if not np.isfinite(flat).all():
        raise DataError(
            "The ensemble holds positions that are not finite. Make it again: delete it and run `simulate`."
        )
    mean = flat.mean(0)
    _, strength, direction = np.linalg.svd(flat - mean, full_matrices=False)
    shape = strength[:n_modes, None] / np.sqrt(len(flat) - 1) * direction[:n_modes]
    shape *= np.sign(shape[np.arange(n_modes), np.abs(shape).argmax(1)])[:, None]
    return Modes(mean.reshape(position.shape[1:]), shape.reshape(n_modes, *position.shape[1:]))

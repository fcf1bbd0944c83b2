"""A camera is a forward model with a likelihood and a Jacobian: what stages need of frames, whatever took them.

Frames of any camera are held by an object with their noise model inside, a `Likelihood`. It expands −2 ln p around
structures and poses,

    −2 ln p(y | θ + δ) ≈ misfit − 2 δᵀ evidence + δᵀ information δ,

in K amplitudes of displacements and five columns of the pose. What else an image depends on and nobody asks for (a
height's offset, a pulse's fluence, a background) is eliminated inside. A column that a camera cannot see, as the shift
of a diffraction pattern, has no information.

Shape legend: F frame, N bead, K displacement, P parameter (K amplitudes, then 3 rotations and 2 shifts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from tempica.imaging.poses import POSE


@dataclass(frozen=True)
class Expansion:
    """Quadratic log-likelihoods around a point, in P parameters."""

    information: np.ndarray  # (F, P, P) minus the second derivatives of ln p, or what is expected of them (Fisher)
    evidence: np.ndarray  # (F, P) first derivatives of ln p
    misfit: np.ndarray  # (F,) −2 ln p up to a constant of the frame; about `n_values` for a model that is right


class Likelihood(Protocol):
    """Frames of a camera, and what is known of their noise."""

    @property
    def n_values(self) -> int:
        """Numbers that are read in a frame."""
        ...

    def __len__(self) -> int:
        """Number of frames."""
        ...

    def __getitem__(self, frames: np.ndarray | slice) -> Self:
        """Some of the frames."""
        ...

    def expand(
        self, position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray, shape: np.ndarray, *, pose: bool
    ) -> Expansion:
        """Expansion of every frame at its structure (F, N, 3) in nm, rotation (F, 3, 3) and shift (F, 2).

        Parameters:
            shape: displacements (K, N, 3) or (F, K, N, 3) in nm for one unit of each amplitude.
            pose: whether columns of the pose follow those of the amplitudes: rotation about x, y, z of the view,
                R ← exp(w) R, in rad, then shift along x, y in Å.

        Raises DataError for positions and poses that are not numbers.
        """
        ...

    def within(self, resolution_A: float) -> Self:
        """The same frames without detail finer than a resolution; themselves where that is of no use."""
        ...

    def rough(self) -> Self:
        """The same frames with as little detail as first steps need; themselves where that is of no use."""
        ...

    def widened(self, variance: np.ndarray) -> Self:
        """Frames of beads whose places have a further variance (N,) in nm² along an axis.

        The expansion is then that of what is expected over these places; themselves where a camera does not blur.
        """
        ...


def without_pose(expansion: Expansion, prior: np.ndarray) -> Expansion:
    """The same with the last five parameters eliminated (Schur complement), given their prior precision (5, 5).

    Evidence and information are those of ∫ p(y | a, pose) p(pose) d pose, in the normal approximation.
    """
    aa = expansion.information[:, :-POSE, :-POSE]
    ap = expansion.information[:, :-POSE, -POSE:]
    pp = expansion.information[:, -POSE:, -POSE:] + prior
    gain = np.linalg.solve(pp, ap.swapaxes(1, 2)).swapaxes(1, 2)
    return Expansion(
        aa - gain @ ap.swapaxes(1, 2),
        expansion.evidence[:, :-POSE] - (gain @ expansion.evidence[:, -POSE:, None])[..., 0],
        expansion.misfit,
    )


def without(expansion: Expansion, which: slice) -> Expansion:
    """The expansion of ∫ p(y | θ, b) p(b) db, in the normal approximation, where b ~ N(0, 1) are now 0."""
    kept = np.delete(np.arange(expansion.evidence.shape[1]), which)
    information, evidence = expansion.information, expansion.evidence
    inner = information[:, which, which] + np.eye(information[0, which, which].shape[0])
    outer = information[:, kept, which]
    gain = np.linalg.solve(inner, outer.swapaxes(1, 2)).swapaxes(1, 2)
    return Expansion(
        information[:, kept[:, None], kept] - gain @ outer.swapaxes(1, 2),
        evidence[:, kept] - (gain @ evidence[:, which, None])[..., 0],
        expansion.misfit,
    )

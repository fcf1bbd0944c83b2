"""Poses of single frames, given the structure in each: what is known of them beforehand, and their maximum.

Shape legend: F frame, N bead, K mode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from tempica.embed.poses.rotations import turned
from tempica.imaging.likelihood import Expansion, Likelihood
from tempica.imaging.poses import POSE

FLAT = 1.0  # per rad², of a rotation that nothing is known of: an image may not tell it at all
ENOUGH = 0.02  # a step that gains less log-posterior is the last


@dataclass(frozen=True)
class PosePrior:
    """Rotation exp(w) of the stated one, w ~ N(0, 1/precision) about each axis of the view; shifts likewise."""

    rotation: np.ndarray | None  # (F, 3, 3); none: any rotation is as likely
    shift_A: np.ndarray  # (F, 2)
    precision: np.ndarray  # (5,) 1/rad², 1/Å²

    def __getitem__(self, frames: np.ndarray | slice) -> PosePrior:
        rotation = None if self.rotation is None else self.rotation[frames]
        return PosePrior(rotation, self.shift_A[frames], self.precision)

    def offset(self, rotation: np.ndarray, shift_A: np.ndarray) -> np.ndarray:
        """From a pose to the stated one (F, 5)."""
        turn = np.zeros((len(shift_A), 3))
        if self.rotation is not None:
            turn = Rotation.from_matrix(self.rotation @ rotation.swapaxes(1, 2)).as_rotvec()
        return np.concatenate([turn, self.shift_A - shift_A], 1)

    def added_to(self, expansion: Expansion, rotation: np.ndarray, shift_A: np.ndarray) -> Expansion:
        """An expansion whose last five parameters are the pose, with the prior in it."""
        offset = self.offset(rotation, shift_A)
        information, evidence = expansion.information.copy(), expansion.evidence.copy()
        information[:, -POSE:, -POSE:] += np.diag(self.precision)
        evidence[:, -POSE:] += self.precision * offset
        return replace(
            expansion,
            information=information,
            evidence=evidence,
            misfit=expansion.misfit + (self.precision * offset**2).sum(1),
        )

    def height(self, rotation: np.ndarray, shift_A: np.ndarray) -> np.ndarray:
        """Twice what the prior costs at a pose (F,)."""
        return np.asarray((self.precision * self.offset(rotation, shift_A) ** 2).sum(1))


def hidden(n_frames: int, shift_deviation_A: float) -> PosePrior:
    """Nothing is known but how far particles lie from the centre of their boxes."""
    precision = np.array([FLAT] * 3 + [max(shift_deviation_A, 1e-3) ** -2.0] * 2)
    return PosePrior(None, np.zeros((n_frames, 2)), precision)


def settle(
    likelihood: Likelihood,
    position: np.ndarray,
    rotation: np.ndarray,
    shift_A: np.ndarray,
    prior: PosePrior,
    n_steps: int = 3,
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and shifts at the maximum of their posterior, for structures (F, N, 3) in nm that stay as they are."""
    none = np.zeros((0, position.shape[1], 3))

    def look(at: np.ndarray, turn: np.ndarray, shift: np.ndarray) -> Expansion:
        seen = likelihood[at].expand(position[at], turn, shift, none, pose=True)
        return prior[at].added_to(seen, turn, shift)

    active = np.arange(len(likelihood))
    rotation, shift_A = rotation.copy(), shift_A.copy()
    now, damping = look(active, rotation, shift_A), np.zeros(len(likelihood))
    for _ in range(n_steps):
        diagonal = np.einsum("fii->fi", now.information[active])
        left = now.information[active] + (damping[active, None] * diagonal)[..., None] * np.eye(POSE)
        step = np.linalg.solve(left, now.evidence[active][..., None])[..., 0]
        going = 0.5 * (step * now.evidence[active]).sum(1) > ENOUGH
        active, step = active[going], step[going]
        if len(active) == 0:
            break
        turn, shift = turned(rotation[active], step[:, :3]), shift_A[active] + step[:, 3:]
        tried = look(active, turn, shift)
        better = tried.misfit <= now.misfit[active]
        kept = active[better]
        rotation[kept], shift_A[kept] = turn[better], shift[better]
        for name in ("information", "evidence", "misfit"):
            getattr(now, name)[kept] = getattr(tried, name)[better]
        damping[active] = np.where(better, damping[active] / 8, np.maximum(0.1, 4 * damping[active]))
    return rotation, shift_A

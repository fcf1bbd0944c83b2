"""Chains without images: poses and amplitudes that move, and what a linear camera would say of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from tempica.embed.poses.motion import Place
from tempica.embed.poses.rotations import logarithm, turned
from tempica.imaging.likelihood import Expansion


@dataclass(frozen=True)
class Chains:
    """Truth of several molecules, and measurements y = J (a, log R R̂ᵀ, s) + ε about the pose R̂ of each frame."""

    truth: Place
    molecule: np.ndarray  # (F,)
    root: np.ndarray  # (F, M, P) J
    noise: np.ndarray  # (F, M)

    def expand(self, which: np.ndarray, place: Place) -> Expansion:
        root = self.root[which]
        offset = np.concatenate(
            [
                self.truth.amplitude[which] - place.amplitude,
                logarithm(self.truth.rotation[which] @ place.rotation.swapaxes(1, 2)),
                self.truth.shift_A[which] - place.shift_A,
            ],
            1,
        )
        residual = np.einsum("fmp,fp->fm", root, offset) + self.noise[which]
        return Expansion(root.swapaxes(1, 2) @ root, np.einsum("fmp,fm->fp", root, residual), (residual**2).sum(1))


def simulate(
    n_molecules: int,
    n_frames: int,
    turn_deg: float | None,
    shift_step_A: float | None,
    *,
    drift_A: float = 0.0,
    jitter_A: float = 0.0,
    n_modes: int = 2,
    rho: float = 0.0,
    pose_sd: tuple[float, float] = (0.03, 0.3),
    seed: int = 0,
) -> Chains:
    """`None` for poses or shifts that are new in each frame; `pose_sd` (rad, Å) of one frame's pose alone, about."""
    rng = np.random.default_rng(seed)
    rotation, shift, amplitude = [], [], []
    for _ in range(n_molecules):
        turns = Rotation.random(n_frames, random_state=rng)
        if turn_deg is not None:
            here, path = turns[0], []
            for step in np.deg2rad(turn_deg) * rng.standard_normal((n_frames, 3)):
                path.append(here.as_matrix())
                here = Rotation.from_rotvec(step) * here
            rotation.append(np.stack(path))
        else:
            rotation.append(turns.as_matrix())
        shifts = 3.0 * rng.standard_normal((n_frames, 2))
        if shift_step_A is not None:
            angle = rng.uniform(0, 2 * np.pi)
            step = shift_step_A * rng.standard_normal((n_frames, 2)) + drift_A * np.array(
                [np.cos(angle), np.sin(angle)]
            )
            shifts = shifts[0] + np.cumsum(step, 0)
            if jitter_A:
                shifts += jitter_A * rng.standard_normal((n_frames, 2))
        shift.append(shifts)
        a = rng.standard_normal((n_frames, n_modes))
        for t in range(1, n_frames):
            a[t] = rho * a[t - 1] + np.sqrt(1 - rho**2) * a[t]
        amplitude.append(a)
    truth = Place(*(np.concatenate(part) for part in (rotation, shift, amplitude)))
    total, n = n_molecules * n_frames, n_modes + 5
    scale = np.array([0.5] * n_modes + [pose_sd[0]] * 3 + [pose_sd[1]] * 2)
    root = rng.standard_normal((total, 3 * n, n)) / np.sqrt(3 * n) / scale
    return Chains(truth, np.repeat(np.arange(n_molecules), n_frames), root, rng.standard_normal((total, 3 * n)))


def displaced(place: Place, turn: float, shift: float, seed: int = 1) -> Place:
    """A start near the truth, without amplitudes."""
    rng = np.random.default_rng(seed)
    n = len(place.shift_A)
    return Place(
        turned(place.rotation, turn * rng.standard_normal((n, 3))),
        place.shift_A + shift * rng.standard_normal((n, 2)),
        np.zeros_like(place.amplitude),
    )

"""Movies of a scanning probe that never was: molecules, a lattice or nothing, with what an instrument adds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

PIXEL_NM, INTERVAL_S = 1.0, 0.5


@dataclass(frozen=True)
class MadeUp:
    """A movie `height` (frame, y, x) in nm, and its truth.

    `angle` (molecule, frame) is the one degree of freedom, in radians; `place` (molecule, frame, 2) y x in pixels.
    """

    height: np.ndarray
    angle: np.ndarray
    place: np.ndarray
    blank: np.ndarray


def molecules(
    seed: int,
    *,
    n_frames: int = 60,
    size: int = 96,
    n_molecules: int = 3,
    swing: float = 0.5,
    memory: float = 0.8,
    noise: float = 0.3,
    drift: float = 0.1,
    turn: float = 0.03,
    blanks: tuple[int, ...] = (),
) -> MadeUp:
    """Molecules of two lobes and an arm between them that swings by `swing` rad, an autoregression with `memory`."""
    rng = np.random.default_rng(seed)
    shape = n_molecules, n_frames
    steps = rng.normal(size=(n_molecules, n_frames + 100)) * np.sqrt(1 - memory**2)
    angle = swing * lfilter([1], [1, -memory], steps, axis=1)[:, 100:]
    stage = np.arange(n_frames)[:, None] * drift * np.array([1.0, 0.7])
    start = size * np.stack([_spread(n_molecules), np.linspace(0.25, 0.7, n_molecules)], 1)
    place = start[:, None] + stage + np.cumsum(0.1 * rng.normal(size=(*shape, 2)), 1)
    heading = rng.uniform(0, 2 * np.pi, (n_molecules, 1)) + np.cumsum(turn * rng.normal(size=shape), 1)
    y, x = np.mgrid[:size, :size].astype(float)
    height = np.zeros((n_frames, size, size))
    for m, t in np.ndindex(shape):
        _lobes(height[t], y, x, place[m, t], heading[m, t], angle[m, t])
    return MadeUp(recorded(height, rng, noise, blanks), angle, place, np.array(blanks, int))


def lattice(
    seed: int, *, n_frames: int = 60, size: int = 96, noise: float = 0.3, drift: float = 0.1, period: float = 12.0
) -> np.ndarray:
    """A crystal on the stage, in which nothing moves but the stage: heights (frame, y, x)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size].astype(float)
    height = []
    for t in range(n_frames):
        u, v = (2 * np.pi * (axis - share * drift * t) / period for axis, share in ((y, 1.0), (x, 0.7)))
        height.append(1.5 + np.cos(u) * np.cos(v))
    return recorded(np.array(height), rng, noise, ())


def nothing(seed: int, *, n_frames: int = 60, size: int = 96, noise: float = 0.3) -> np.ndarray:
    """Noise alone (frame, y, x)."""
    return recorded(np.zeros((n_frames, size, size)), np.random.default_rng(seed), noise, ())


def recorded(height: np.ndarray, rng: np.random.Generator, noise: float, blanks: tuple[int, ...]) -> np.ndarray:
    """What an instrument makes of heights: tilt, bow, offsets of lines, noise with a grain, streaks, blanks."""
    n, D, _ = height.shape
    y, x = np.mgrid[-1 : 1 : 1j * D, -1 : 1 : 1j * D]
    tilt = rng.normal(size=(n, 2)) * 2 + [8, -5]
    grain = gaussian_filter(rng.normal(size=height.shape), (0, 0, 1.0))
    seen = height + tilt[:, :1, None] * x + tilt[:, 1:, None] * y + 1.5 * x**2
    seen += 0.5 * rng.normal(size=(n, D, 1)) + noise * grain / grain.std()
    for _ in range(3 * n):
        t, row, column = rng.integers(n), rng.integers(D), rng.integers(D - 8)
        seen[t, row, column : column + 8] += 4 * noise
    seen[list(blanks)] = 3.0
    return seen.astype(np.float32)


def _spread(n: int) -> np.ndarray:
    return 0.22 + 0.56 * (np.arange(n) * 0.618 % 1.0) if n > 1 else np.array([0.5])


def _lobes(height: np.ndarray, y: np.ndarray, x: np.ndarray, place: np.ndarray, heading: float, angle: float) -> None:
    """Raise the heights to those of a molecule: the highest of its lobes, as a tip feels them."""
    for radius, along, tall, wide in (
        (0.0, heading, 3.0, 4.0),
        (7.0, heading, 2.5, 3.0),
        (7.0, heading + 2.2 + angle, 2.5, 3.0),
    ):
        cy, cx = place[0] + radius * np.sin(along), place[1] + radius * np.cos(along)
        np.maximum(height, tall * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * wide**2)), out=height)

"""Stretches of a movie where the smoother settled on a wrong path: found by how little they explain, and bridged.

Shape legend: F frame.
"""

from __future__ import annotations

import numpy as np

from tempica.embed.poses.motion import Frames, Place
from tempica.embed.poses.rotations import exponential, logarithm

HALF_WINDOW = 2  # frames on either side over which what frames explain is averaged
FAR = 2.0  # robust standard deviations below the median of such averages, where a stretch may be astray
MARGIN = 3  # frames on either side that are bridged with a stretch


def astray_frames(gain: np.ndarray, frames: Frames) -> np.ndarray:
    """Frames (F,) of stretches whose images the molecule may explain less well than it could.

    `gain` (F,) is −2 ln p of an empty image less that of the molecule.
    """
    mean = _windowed(gain, frames, HALF_WINDOW) / _windowed(np.ones(len(gain)), frames, HALF_WINDOW)
    spread = 1.4826 * float(np.median(np.abs(mean - np.median(mean))))
    return _windowed((mean < np.median(mean) - FAR * spread).astype(float), frames, MARGIN) > 0


def bridge(place: Place, astray: np.ndarray, frames: Frames) -> Place:
    """Frames astray on the shortest way between the frames of their molecule before and after them.

    At the end of a molecule the pose stays, and a molecule of which nothing else is left remains as it is.
    """
    every = np.arange(len(astray))
    before = np.maximum.accumulate(np.where(~astray, every, -1))
    after = np.minimum.accumulate(np.where(~astray, every, len(every))[::-1])[::-1]
    has_before = (before >= 0) & (frames.number[np.maximum(before, 0)] == frames.number)
    has_after = (after < len(every)) & (frames.number[np.minimum(after, len(every) - 1)] == frames.number)
    before, after = np.where(has_before, before, after), np.where(has_after, after, before)
    which = np.flatnonzero(astray & (has_before | has_after))
    a, b = before[which], after[which]
    part = np.where(a < b, (which - a) / np.maximum(b - a, 1), 0.0)[:, None]
    rotation, shift, amplitude = place.rotation.copy(), place.shift_A.copy(), place.amplitude.copy()
    turn = logarithm(place.rotation[b] @ place.rotation[a].swapaxes(1, 2))
    rotation[which] = exponential(part * turn) @ place.rotation[a]
    shift[which] = (1 - part) * place.shift_A[a] + part * place.shift_A[b]
    amplitude[which] = 0.0
    return Place(rotation, shift, amplitude)


def total_near(values: np.ndarray, astray: np.ndarray, frames: Frames) -> np.ndarray:
    """(F,) sum of the values of all frames that are nearest to the same stretch; 0 in molecules without one."""
    every = np.arange(len(values))
    starts = astray & ~np.append(False, astray[:-1] & frames.follows[1:])
    stretch = np.cumsum(starts) - 1
    anywhere = np.flatnonzero(astray)
    right = np.minimum(np.searchsorted(anywhere, every), len(anywhere) - 1)
    choices = np.stack([anywhere[np.maximum(right - 1, 0)], anywhere[right]], 1)
    foreign = frames.number[choices] != frames.number[:, None]
    distance = np.where(foreign, len(values), np.abs(choices - every[:, None]))
    nearest = choices[every, distance.argmin(1)]
    total = np.bincount(stretch[nearest], np.where(foreign.all(1), 0.0, values), minlength=int(stretch[-1]) + 1)
    return np.where(foreign.all(1), 0.0, total[stretch[nearest]])


def _windowed(values: np.ndarray, frames: Frames, half: int) -> np.ndarray:
    """Sum over the frames of the same molecule no more than `half` away."""
    total = values.copy()
    for lag in range(1, half + 1):
        together = frames.number[lag:] == frames.number[:-lag]
        total[lag:] += np.where(together, values[:-lag], 0.0)
        total[:-lag] += np.where(together, values[lag:], 0.0)
    return total

"""Crops of a molecule turned and shifted onto each other: the in-plane pose of each frame.

A crop is compared with a running mean of those before it, then with the mean of all: the angle at which their polar
images correlate most, and the shift at which the turned crop does. One interpolation makes the aligned crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

N_ANGLES = 180
MEMORY = 0.9  # of the running mean, a frame
TURN = 30.0  # degrees that a molecule may turn from a frame to the next, and from one pass to the next
REACH = 3  # pixels by which the centre of a mask may miss that of the molecule
PASSES = 2  # onto the mean of all
CUT = 4  # pixels beyond the box that a crop is cut with, so that turned and shifted ones are whole


@dataclass(frozen=True)
class Cut:
    """One frame of a molecule before alignment.

    Attributes:
        image: (y, x) heights around the molecule, others set to the support, nm.
        centre: (2,) y x of the mask's centroid in `image`, pixels.
        follows: whether it comes directly after the one before it.
    """

    image: np.ndarray
    centre: np.ndarray
    follows: bool


@dataclass(frozen=True)
class Pose:
    """Turn (degrees, counter-clockwise as displayed with y down reversed) and shift (2,) y x that aligned a cut."""

    turn: float
    shift: np.ndarray


def as_it_was(cut: Cut) -> Pose:
    """The pose at which a cut is not turned, and its pixels stay whole."""
    return Pose(0.0, np.floor(cut.centre) + 0.5 - cut.centre)


def aligned(cut: Cut, pose: Pose, size: int, pitch: float, order: int = 3) -> np.ndarray:
    """A cut (size, size) at its pose, on pixels of `pitch` pixels of the movie."""
    grid = (np.arange(size) - (size - 1) / 2) * pitch
    y, x = np.meshgrid(grid, grid, indexing="ij")
    c, s = np.cos(np.radians(pose.turn)), np.sin(np.radians(pose.turn))
    centre = cut.centre + pose.shift
    where = [centre[0] + c * y + s * x, centre[1] - s * y + c * x]
    return ndimage.map_coordinates(cut.image, where, order=order, mode="constant").astype(np.float32)


def align(cuts: list[Cut], size: int, pitch: float, *, turns: bool) -> tuple[list[Pose], np.ndarray]:
    """Poses of a molecule's frames, and the mean (size, size) of its aligned crops.

    `turns` says whether it may turn; what does not is a window, which goes where the stage drifts.
    """
    poses = _first_pass(cuts, size, pitch, turns)
    if not turns:
        poses = _smooth(poses)
        return poses, _mean(cuts, poses, size, pitch)
    mean = _mean(cuts, poses, size, pitch)
    for _ in range(PASSES):
        poses = [_fit(cut, mean, pose, TURN, pitch) for cut, pose in zip(cuts, poses, strict=True)]
        mean = _mean(cuts, poses, size, pitch)
    return poses, mean


def turned_onto(mean: np.ndarray, reference: np.ndarray) -> float:
    """Turn (degrees) of a molecule's mean that brings it nearest to another's, whatever it is."""
    middle = np.full(2, (len(mean) - 1) / 2)
    return _turn(Cut(mean, middle, False), np.zeros(2), reference, 0.0, 180.0, 1.0)


def _first_pass(cuts: list[Cut], size: int, pitch: float, turns: bool) -> list[Pose]:
    poses = [Pose(0.0, np.zeros(2))]
    running = aligned(cuts[0], poses[0], size, pitch, order=1)
    for cut in cuts[1:]:
        reach = 0.0 if not turns else TURN if cut.follows else 180.0
        # a mask's centre says where a molecule is; a window goes on from where the one before was
        pose = _fit(cut, running, Pose(poses[-1].turn, np.zeros(2) if turns else poses[-1].shift), reach, pitch)
        poses.append(pose)
        running = MEMORY * running + (1 - MEMORY) * aligned(cut, pose, size, pitch, order=1)
    return poses


def _smooth(poses: list[Pose]) -> list[Pose]:
    """Shifts of a window as a stage drifts: a cubic in time. Frames fitted one by one to a running mean of noise would
    inherit its memory."""
    time = np.linspace(-1, 1, len(poses))
    shift = np.stack([pose.shift for pose in poses])
    smooth = np.polynomial.polynomial.polyval(time, np.polynomial.polynomial.polyfit(time, shift, 3)).T
    return [Pose(pose.turn, each) for pose, each in zip(poses, smooth, strict=True)]


def _mean(cuts: list[Cut], poses: list[Pose], size: int, pitch: float) -> np.ndarray:
    total = np.zeros((size, size))
    for cut, pose in zip(cuts, poses, strict=True):
        total += aligned(cut, pose, size, pitch, order=1)
    return (total / len(cuts)).astype(np.float32)


def _fit(cut: Cut, reference: np.ndarray, start: Pose, reach: float, pitch: float) -> Pose:
    turn = _turn(cut, start.shift, reference, start.turn, reach, pitch)
    shift = _shift(aligned(cut, Pose(turn, start.shift), len(reference), pitch, order=1), reference)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return Pose(turn, start.shift + pitch * np.array([c * shift[0] + s * shift[1], -s * shift[0] + c * shift[1]]))


def _turn(cut: Cut, shift: np.ndarray, reference: np.ndarray, start: float, reach: float, pitch: float) -> float:
    """The turn within `reach` of `start` at which polar images correlate most, degrees."""
    if reach == 0:
        return start
    middle = np.full(2, (len(reference) - 1) / 2)
    one = _polar(cut.image, cut.centre + shift, len(reference), pitch)
    other = _polar(reference, middle, len(reference), 1.0)
    spectra = np.fft.rfft(one, axis=0).conj() * np.fft.rfft(other, axis=0)
    score = np.fft.irfft(spectra.sum(1), n=N_ANGLES)
    step = 360.0 / N_ANGLES
    turn = np.arange(N_ANGLES) * step
    away = (turn - start + 180) % 360 - 180
    score = np.where(np.abs(away) <= reach + 1e-9, score, -np.inf)
    best = int(score.argmax())
    around = score[[best - 1, best, (best + 1) % N_ANGLES]]
    found: float = start + away[best] + step * _vertex(around)
    return found


def _polar(image: np.ndarray, centre: np.ndarray, size: int, pitch: float) -> np.ndarray:
    """Polar image (angle, radius), each ring weighted by its length and without its mean."""
    angle = 2 * np.pi * np.arange(N_ANGLES)[:, None] / N_ANGLES
    radius = (np.arange(size // 2) + 0.5) * pitch
    where = [centre[0] - radius * np.sin(angle), centre[1] + radius * np.cos(angle)]
    rings = ndimage.map_coordinates(image, where, order=1, mode="constant")
    weighted: np.ndarray = (rings - rings.mean(0)) * np.sqrt(np.arange(size // 2) + 0.5)
    return weighted


def _shift(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Shift (2,) y x of an image from a reference, within three pixels, to a fraction of one."""
    n = len(image)
    both = np.fft.irfft2(np.fft.rfft2(image) * np.fft.rfft2(reference).conj(), s=image.shape)
    near = np.arange(-REACH - 1, REACH + 2)
    window = both[np.ix_(near % n, near % n)]
    inner = window[1:-1, 1:-1]
    y, x = (int(i) + 1 for i in np.unravel_index(inner.argmax(), inner.shape))
    return np.array([near[y] + _vertex(window[y - 1 : y + 2, x]), near[x] + _vertex(window[y, x - 1 : x + 2])])


def _vertex(three: np.ndarray) -> float:
    """Where the parabola through three values at −1, 0 and 1 has its vertex; 0 where the middle is no peak."""
    bend = three[0] - 2 * three[1] + three[2]
    if not np.isfinite(bend) or bend >= 0:
        return 0.0
    return float(np.clip(0.5 * (three[0] - three[2]) / bend, -0.5, 0.5))

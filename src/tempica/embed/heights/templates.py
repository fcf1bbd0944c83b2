"""Images of a molecule in many poses and a few forms, and which of them a frame looks like.

How well a frame y shows a template T, shifted by s, is told by their correlation, at all s at once by Fourier
transforms of pixels that are averaged in blocks: what a blunter tip adds to all heights is of little matter. Forms are
the mean and the first mode to either side: a hinge that is bent looks less like the mean than the mean upside down.

Shape legend: F frame, G face, A angle, T form × angle, C candidate, K mode, D pixels, d blocks of pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import fft
from scipy.spatial.transform import Rotation

from tempica.imaging.heights import Heights
from tempica.imaging.modes import Modes

N_ANGLES = 24
BENT = 1.5  # deviations of the first mode in the forms beside the mean
APART = math.radians(60.0)  # turns in the plane that are looked at on one face differ by more
BLOCK = 64  # frames that are looked at together


@dataclass(frozen=True)
class Candidates:
    """Poses (F, C) that may be those of frames, two of each face that was asked for."""

    score: np.ndarray  # (F, C) correlation
    rotation: np.ndarray  # (F, C, 3, 3)
    shift_A: np.ndarray  # (F, C, 2)
    amplitude: np.ndarray  # (F, C, K)

    def on(self, column: np.ndarray) -> Candidates:
        """Those on some of the faces that were asked for, by their numbers (F, …) in that order."""
        pairs = (2 * column[..., None] + [0, 1]).reshape(len(column), -1)
        return Candidates(*(part[np.arange(len(column))[:, None], pairs] for part in vars(self).values()))


@dataclass
class Templates:
    """Images of forms of a molecule on faces (G, 3, 3) at all angles, made when they are asked for."""

    heights: Heights
    modes: Modes
    faces: np.ndarray
    made: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Pixels along the edge of a block: no structure is finer than the tip and a bead together."""
        probe = self.heights.probe
        return 2 if probe.pixel_nm <= 0.6 * (probe.radius_nm + float(np.median(self.heights.radius))) else 1

    @property
    def forms(self) -> np.ndarray:
        """Amplitudes (form, K)."""
        n_modes = len(self.modes.shape)
        bent = np.zeros((3 if n_modes else 1, n_modes))
        if n_modes:
            bent[1, 0], bent[2, 0] = BENT, -BENT
        return bent

    def views(self, face: int) -> np.ndarray:
        """Rotations (A, 3, 3) of a face that is turned in the plane."""
        angle = 2 * np.pi * np.arange(N_ANGLES) / N_ANGLES
        return np.asarray(Rotation.from_rotvec(angle[:, None] * [0.0, 0.0, 1.0]).as_matrix() @ self.faces[face])

    def candidates(self, images: np.ndarray, faces: np.ndarray) -> Candidates:
        """The best turn and place of images (F, D, D) on each face (F, C / 2), and the best of other turns."""
        tails = (), (3, 3), (2,), (len(self.modes.shape),)
        found = Candidates(*(np.empty((len(images), 2 * faces.shape[1], *tail)) for tail in tails))
        level = levelled(images, self.heights.probe.fast_axis)
        for column in range(faces.shape[1]):
            for face in np.unique(faces[:, column]):
                frames = np.flatnonzero(faces[:, column] == face)
                for at in np.array_split(frames, -(-len(frames) // BLOCK)):
                    self._looked(level[at], int(face), found, at, 2 * column)
        return found

    def _looked(self, level: np.ndarray, face: int, found: Candidates, at: np.ndarray, column: int) -> None:
        """Fill the two columns of a face for frames `at`, of levelled images (F, D, D)."""
        blocks = self._blocks(level)
        score, place = self._correlated(blocks, face)
        angle, every = np.arange(score.shape[1]) % N_ANGLES, np.arange(len(at))
        first = score.argmax(1)
        between = np.abs((angle - angle[first, None] + N_ANGLES // 2) % N_ANGLES - N_ANGLES // 2) * 2 * np.pi / N_ANGLES
        second = np.where(between > APART, score, -np.inf).argmax(1)
        views, side = self.views(face), fft.next_fast_len(blocks.shape[1], real=True)
        for k, which in enumerate((first, second)):
            y, x = np.divmod(place[every, which], side)
            shift = np.stack([x, y], 1)
            shift = np.where(shift > side // 2, shift - side, shift)  # transforms are periodic
            found.score[at, column + k] = score[every, which]
            found.rotation[at, column + k] = views[angle[which]]
            found.amplitude[at, column + k] = self.forms[which // N_ANGLES]
            found.shift_A[at, column + k] = 10 * self.step * self.heights.probe.pixel_nm * shift

    def _correlated(self, blocks: np.ndarray, face: int) -> tuple[np.ndarray, np.ndarray]:
        """Correlation (F, T) of blocks (F, d, d) with every form at every angle in its best place, and that place."""
        n = fft.next_fast_len(blocks.shape[1], real=True)
        if face not in self.made:
            form = self.modes.mean + np.tensordot(self.forms, self.modes.shape, 1)
            many, view = np.repeat(form, N_ANGLES, 0), np.tile(self.views(face), (len(form), 1, 1))
            image = self._blocks(self.heights[:0].model(many, view, np.zeros((len(view), 2))))
            image /= np.sqrt((image.astype(float) ** 2).sum((1, 2), keepdims=True))
            self.made[face] = np.conj(fft.rfft2(image, s=(n, n))).astype(np.complex64)
        wave = fft.rfft2(blocks / np.maximum(np.sqrt((blocks**2).sum((1, 2), keepdims=True)), 1e-12), s=(n, n))
        found = fft.irfft2(wave.astype(np.complex64)[:, None] * self.made[face], s=(n, n))
        flat = found.reshape(*found.shape[:2], -1)
        place = flat.argmax(2)
        return np.take_along_axis(flat, place[..., None], 2)[..., 0], place

    def _blocks(self, image: np.ndarray) -> np.ndarray:
        """Means of blocks of pixels (F, d, d), of mean 0."""
        step, n = self.step, image.shape[1] // self.step
        blocks = image[:, : n * step, : n * step].reshape(-1, n, step, n, step).mean((2, 4), dtype=np.float32)
        return np.asarray(blocks - blocks.mean((1, 2), keepdims=True))


def levelled(image: np.ndarray, fast_axis: str) -> np.ndarray:
    """Heights (F, D, D) over the support: the median of the lower quarter of a line's pixels is 0."""
    line = 2 if fast_axis == "x" else 1
    low = np.sort(image, line).take(range(max(1, image.shape[line] // 4)), line)
    return np.asarray(image - np.median(low, line, keepdims=True))

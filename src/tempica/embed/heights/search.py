"""Poses of molecules that lie on a support: faces × turns in the plane × places.

A template T is the image of one structure on one face at one angle. How well a frame y shows it, shifted by s, is told
by their correlation, at all s at once by Fourier transforms: what a blunter tip adds to all heights is of little
matter. The frames of a molecule choose their face together: among those of the best correlations, the one whose
refined poses and amplitudes explain a few of them best.

Shape legend: F frame, G face, A angle, D pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import fft
from scipy.spatial.transform import Rotation

from tempica.embed.poses.settling import PosePrior
from tempica.embed.posterior import posterior
from tempica.imaging.heights import Heights
from tempica.imaging.modes import Modes
from tempica.series import spans

N_ANGLES = 48
FACE_FRAMES = 10  # of a molecule, by which its face is chosen
N_REFINED = 4  # faces whose poses are refined before the choice
N_STEPS = 6
BLOCK = 64  # frames that are looked at together
TILT = math.radians(8.0)  # deviation of a body's tilt from its face, about x and y
AROUND = 1.0  # rad, of its turn from where a search has found it
PLACES = 6.0  # the deviation of places is the frame's edge over this


def search(heights: Heights, modes: Modes, faces: np.ndarray, molecule: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest rotation (F, 3, 3) and shift in Å (F, 2) of each frame, to a template's angle and a pixel.

    Parameters:
        heights: F frames.
        modes: of which templates show the mean.
        faces: (G, 3, 3) rotations in which it may lie, up to turns in the plane.
        molecule: (F,) labels of frames of one molecule in sequence, which lies on one face.
    """
    look = _Templates(heights, modes.mean, faces)
    chosen = np.zeros(len(heights), dtype=int)
    if len(faces) > 1:
        for first, length in zip(*spans(molecule), strict=True):
            some = first + np.unique(np.linspace(0, length - 1, min(length, FACE_FRAMES)).round().astype(int))
            chosen[first : first + length] = _face(heights[some], modes, look)
    rotation, shift_A = np.empty((len(heights), 3, 3)), np.empty((len(heights), 2))
    for face in np.unique(chosen):
        frames = np.flatnonzero(chosen == face)
        for at in np.array_split(frames, -(-len(frames) // BLOCK)):
            _, rotation[at], shift_A[at] = look.best(heights.image[at], face)
    return rotation, shift_A


def lying_prior(heights: Heights, rotation: np.ndarray) -> PosePrior:
    """What is known of poses once a search has told faces and angles, as upright rotations (F, 3, 3)."""
    spread_A = 10 * heights.probe.n_pixels * heights.probe.pixel_nm / PLACES
    precision = np.array([TILT**-2.0] * 2 + [AROUND**-2.0] + [spread_A**-2.0] * 2)
    return PosePrior(rotation, np.zeros((len(rotation), 2)), precision)


def levelled(image: np.ndarray, fast_axis: str) -> np.ndarray:
    """Heights (F, D, D) over the support: the median of the lower quarter of a line's pixels is 0."""
    line = 2 if fast_axis == "x" else 1
    low = np.sort(image, line).take(range(max(1, image.shape[line] // 4)), line)
    return np.asarray(image - np.median(low, line, keepdims=True))


def _face(some: Heights, modes: Modes, look: _Templates) -> int:
    """The number of the face that frames of one molecule lie on."""
    found = [look.best(some.image, face) for face in range(len(look.faces))]
    likely = np.argsort([-score.sum() for score, _, _ in found])[:N_REFINED].tolist()
    cost = []
    for face in likely:
        _, rotation, shift_A = found[face]
        prior = lying_prior(some, rotation)
        seen = posterior(some, modes, rotation, shift_A, N_STEPS, prior)
        place = prior.height(seen.rotation, seen.shift_A)
        cost.append(float((seen.residual_variance * some.n_values + place + (seen.mean**2).sum(1)).sum()))
    return int(likely[int(np.argmin(cost))])


@dataclass
class _Templates:
    """Images of a structure (N, 3) on faces (G, 3, 3) at all angles, made when they are asked for."""

    heights: Heights
    position: np.ndarray
    faces: np.ndarray
    made: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def views(self, face: int) -> np.ndarray:
        angle = 2 * np.pi * np.arange(N_ANGLES) / N_ANGLES
        spin = Rotation.from_rotvec(angle[:, None] * [0.0, 0.0, 1.0]).as_matrix()
        return np.asarray(spin @ self.faces[face])

    def best(self, images: np.ndarray, face: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of images (F, D, D): correlation (F,) with the best template and place, its rotation, the shift in Å."""
        if face not in self.made:
            view = self.views(face)
            many = np.broadcast_to(self.position, (len(view), *self.position.shape))
            image = self.heights[:0].model(many, view, np.zeros((len(view), 2)))
            image -= image.mean((1, 2), keepdims=True)
            self.made[face] = np.conj(fft.rfft2(image)), np.sqrt((image.astype(float) ** 2).sum((1, 2)))
        wave, size = self.made[face]
        n = images.shape[1]
        level = levelled(images, self.heights.probe.fast_axis)
        level = level - level.mean((1, 2), keepdims=True)
        found = fft.irfft2(fft.rfft2(level)[:, None] * wave, s=(n, n)).reshape(len(images), len(wave), -1)
        score = (found / size[:, None]).reshape(len(images), -1)
        flat = score.argmax(1)
        which, place = np.divmod(flat, n * n)
        shift = np.stack([place % n, place // n], 1)
        shift = np.where(shift > n // 2, shift - n, shift)  # transforms are periodic
        power = np.sqrt((level.astype(float) ** 2).sum((1, 2)))
        best = score[np.arange(len(images)), flat] / np.maximum(power, 1e-12)
        return best, self.views(face)[which], 10 * self.heights.probe.pixel_nm * shift

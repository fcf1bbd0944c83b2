"""Poses of molecules that lie on a support: faces × turns in the plane × places, by correlation.

A template T is the image of one structure on one face at one angle. A frame y is as likely to show it, shifted by s, as
Σ_p y(p) T(p − s) − ½ Σ T² is large; all s at once by Fourier transforms. The frames of a molecule choose their face
together.

Shape legend: F frame, G face, A angle, D pixels.
"""

from __future__ import annotations

import numpy as np
from scipy import fft
from scipy.spatial.transform import Rotation

from tempica.imaging.heights import Heights
from tempica.series import spans

N_ANGLES = 72
FACE_FRAMES = 12  # of a molecule, by which its face is chosen
BLOCK = 64  # frames that are looked at together


def search(
    heights: Heights, position: np.ndarray, faces: np.ndarray, molecule: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest rotation (F, 3, 3) and shift in Å (F, 2) of each frame, to a template's angle and a pixel.

    Parameters:
        heights: F frames.
        position: (N, 3) nm, the structure that templates are made of.
        faces: (G, 3, 3) rotations in which it may lie, up to turns in the plane.
        molecule: (F,) labels of frames of one molecule in sequence, which lies on one face.
    """
    images = levelled(heights.image, heights.probe.fast_axis)
    views = _views(faces)  # (G, A, 3, 3)
    chosen = np.zeros(len(images), dtype=int)
    templates = {}
    if len(faces) > 1:
        for first, length in zip(*spans(molecule), strict=True):
            some = first + np.unique(np.linspace(0, length - 1, min(length, FACE_FRAMES)).round().astype(int))
            total = [_best(images[some], _templates(heights, position, view, templates), heights)[0] for view in views]
            chosen[first : first + length] = int(np.sum(total, 1).argmax())
    rotation, shift_A = np.empty((len(images), 3, 3)), np.empty((len(images), 2))
    for face in np.unique(chosen):
        frames = np.flatnonzero(chosen == face)
        made = _templates(heights, position, views[face], templates)
        for at in np.array_split(frames, max(1, len(frames) // BLOCK)):
            _, which, shift_A[at] = _best(images[at], made, heights)
            rotation[at] = views[face][which]
    return rotation, shift_A


def levelled(image: np.ndarray, fast_axis: str) -> np.ndarray:
    """Heights (F, D, D) over the support, which is where the lower half of a line's pixels are: their median is 0."""
    line = 2 if fast_axis == "x" else 1
    low = np.sort(image, line).take(range(image.shape[line] // 4), line)
    return np.asarray(image - np.median(low, line, keepdims=True))


def _views(faces: np.ndarray) -> np.ndarray:
    angle = 2 * np.pi * np.arange(N_ANGLES) / N_ANGLES
    spin = Rotation.from_rotvec(angle[:, None] * [0.0, 0.0, 1.0]).as_matrix()
    return np.asarray(spin @ faces[:, None])


def _templates(
    heights: Heights, position: np.ndarray, view: np.ndarray, made: dict[bytes, tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Conjugate transforms (A, D, D // 2 + 1) and half the squares (A,) of the images of one face."""
    key = view.tobytes()
    if key not in made:
        still = heights[:0]
        many = np.broadcast_to(position, (len(view), *position.shape))
        image = still.model(many, view, np.zeros((len(view), 2)))
        made[key] = np.conj(fft.rfft2(image)), 0.5 * (image.astype(float) ** 2).sum((1, 2))
    return made[key]


def _best(
    images: np.ndarray, templates: tuple[np.ndarray, np.ndarray], heights: Heights
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score (F,) of the best template and place, its angle's number (F,) and its shift in Å (F, 2)."""
    wave, half = templates
    n = images.shape[1]
    found = fft.irfft2(fft.rfft2(images)[:, None] * wave, s=(n, n))
    score = found.reshape(*found.shape[:2], -1) - half[:, None]
    flat = score.reshape(len(images), -1).argmax(1)
    which, place = np.divmod(flat, n * n)
    shift = np.stack([place % n, place // n], 1)
    shift = np.where(shift > n // 2, shift - n, shift)  # transforms are periodic
    best = score.reshape(len(images), -1)[np.arange(len(images)), flat]
    return best, which, 10 * heights.probe.pixel_nm * shift

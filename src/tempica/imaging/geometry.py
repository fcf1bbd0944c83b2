"""Poses: from the molecule to pixels of the view.

Conventions are those of RELION: pixel i of D lies at (i − D//2)·pixel size, images are [y, x], the projection runs
along z of the view, r_view = A r + shift.

Shape legend: F frame, N atom.
"""

from __future__ import annotations

import numpy as np


def rotation_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrices (…, 3, 3) of unit quaternions (…, 4) in the order x, y, z, w (scipy's)."""
    x, y, z, w = np.moveaxis(np.asarray(quaternion, dtype=np.float64), -1, 0)
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], -1),
            np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], -1),
            np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )


def quaternion_product(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Quaternion (…, 4), order x y z w, of the rotation `first` followed by `then`: R = R_then R_first."""
    a, av = then[..., 3:], then[..., :3]
    b, bv = first[..., 3:], first[..., :3]
    w = a * b - (av * bv).sum(-1, keepdims=True)
    return np.concatenate([a * bv + b * av + np.cross(av, bv), w], -1)


def quaternion_of(rotation_vector: np.ndarray) -> np.ndarray:
    """Unit quaternions (…, 4), order x y z w, of rotation vectors (…, 3) in radians."""
    half = 0.5 * np.linalg.norm(rotation_vector, axis=-1, keepdims=True)
    return np.concatenate([0.5 * np.sinc(half / np.pi) * rotation_vector, np.cos(half)], -1)


def quaternion_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Quaternion (4,) of the shortest rotation that takes the unit vector `first` (3,) to `second` (3,)."""
    w = 1 + first @ second
    if w < 1e-12:  # opposite: half a turn about anything at right angles
        aside = np.eye(3)[np.abs(first).argmin()]
        aside = aside - (aside @ first) * first
        return np.append(aside / np.linalg.norm(aside), 0.0)
    quaternion = np.append(np.cross(first, second), w)
    return quaternion / np.linalg.norm(quaternion)


def to_pixels(
    position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray, n_pixels: int, pixel_A: float
) -> np.ndarray:
    """Pixel coordinates (F, N, 2), order x, y, of positions (F, N, 3) in nm, pose (F, 3, 3) and (F, 2)."""
    view_A = 10.0 * np.einsum("fij,fnj->fni", rotation[:, :2], position, dtype=np.float64)
    return (view_A + shift_A[:, None, :]) / pixel_A + n_pixels // 2

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


def to_pixels(
    position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray, n_pixels: int, pixel_A: float
) -> np.ndarray:
    """Pixel coordinates (F, N, 2), order x, y, of positions (F, N, 3) in nm, pose (F, 3, 3) and (F, 2)."""
    view_A = 10.0 * np.einsum("fij,fnj->fni", rotation[:, :2], position, dtype=np.float64)
    return (view_A + shift_A[:, None, :]) / pixel_A + n_pixels // 2

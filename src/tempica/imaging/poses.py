"""How the image of a structure moves with its pose, and how two placed structures are superposed.

Shape legend: F frame, N atom.
"""

from __future__ import annotations

import numpy as np

POSE = 5  # parameters of a pose: rotation about x, y, z of the view (rad), then shift along x, y (Å)


def pose_velocities(view_A: np.ndarray, pixel_A: float) -> np.ndarray:
    """Pixels (F, 5, N, 2) by which atoms at R x (F, N, 3), in Å, move per radian of w and per Å of the shift.

    R ← exp(w) R with w in the view's frame: ∂(R x)/∂w_j = e_j × R x.
    """
    x, y, z = np.moveaxis(view_A / pixel_A, -1, 0)
    nil, one = np.zeros_like(x), np.full_like(x, 1.0 / pixel_A)
    turns = [(nil, -z), (z, nil), (-y, x), (one, nil), (nil, one)]
    return np.stack([np.stack(turn, -1) for turn in turns], 1)


def superposition(moving: np.ndarray, fixed: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Rotations (F, 3, 3) that turn structures (F, N, 3) about their centres onto others with the least squares.

    Q maximises Σ_n w_n (f_n − f̄)ᵀ Q (m_n − m̄) over proper rotations, with weights (N,) and centres weighted alike.
    Source: Kabsch, Acta Cryst. A 32, 922 (1976).
    """
    share = weight / weight.sum()
    arms = [each - np.einsum("n,fni->fi", share, each)[:, None] for each in (fixed, moving)]
    u, _, vt = np.linalg.svd(np.einsum("fni,n,fnj->fij", arms[0], share, arms[1], optimize=True))
    u[..., -1] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Rotation vectors (…, 3) in rad of rotation matrices (…, 3, 3), of length at most π."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_rotvec().reshape(*rotation.shape[:-2], 3)

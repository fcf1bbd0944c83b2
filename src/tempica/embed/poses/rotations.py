"""Rotations near one another: exponential and logarithm of SO(3), and how the logarithm of a step changes.

Rotations act from the left, R ← exp(w) R with the vector w (rad) in the view's frame.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.special import i0e, i1e


def exponential(vector: np.ndarray) -> np.ndarray:
    """Rotation matrices (F, 3, 3) of rotation vectors (F, 3) in rad."""
    return Rotation.from_rotvec(vector).as_matrix().reshape(-1, 3, 3)


def logarithm(rotation: np.ndarray) -> np.ndarray:
    """Rotation vectors (F, 3) in rad, of length π at the most, of rotation matrices (F, 3, 3)."""
    return Rotation.from_matrix(rotation).as_rotvec().reshape(-1, 3)


def turned(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """exp(w) R of rotations (F, 3, 3) and vectors (F, 3), orthogonal to rounding however often it is applied."""
    return (Rotation.from_rotvec(vector) * Rotation.from_matrix(rotation)).as_matrix().reshape(-1, 3, 3)


def steps(rotation: np.ndarray) -> np.ndarray:
    """φ_t = log(R_{t+1} R_tᵀ), (F − 1, 3) in rad, between rotations (F, 3, 3) that follow one another."""
    return logarithm(rotation[1:] @ rotation[:-1].swapaxes(1, 2))


def cross_matrix(vector: np.ndarray) -> np.ndarray:
    """[v]× (…, 3, 3), with [v]× u = v × u."""
    x, y, z = np.moveaxis(vector, -1, 0)
    nil = np.zeros_like(x)
    return np.stack([np.stack([nil, -z, y], -1), np.stack([z, nil, -x], -1), np.stack([-y, x, nil], -1)], -2)


def inverse_left_jacobian(vector: np.ndarray) -> np.ndarray:
    """J_l⁻¹(φ) (F, 3, 3), with which log(exp(w) exp(φ)) = φ + J_l⁻¹(φ) w to first order in w.

    J_l⁻¹(φ) = 1 − ½ [φ]× + (1 − (θ/2) cot(θ/2)) / θ² [φ]×², θ = |φ|. Its transpose is J_r⁻¹(φ), that of
    log(exp(φ) exp(w)). Source: Solà, Deray and Atchuthan 2018, arXiv:1812.01537, equation 146.
    """
    angle = np.linalg.norm(vector, axis=-1)
    near = angle < 1e-2
    half = np.where(near, 0.5, 0.5 * angle)
    factor = np.where(near, 1 / 12 + angle**2 / 720, (1 - half / np.tan(half)) / (2 * half) ** 2)
    cross = cross_matrix(vector)
    return np.eye(3) - 0.5 * cross + factor[..., None, None] * (cross @ cross)


def height_at_rest(variance: float) -> float:
    """c with which c exp((cos ω − 1) / v) is a density of a step's angle ω, relative to the uniform one on SO(3).

    The isotropic matrix Fisher distribution: near normal with the variance v (rad²) about each axis where v is
    small, and uniform where it is infinite. With κ = 1/v, 1/c = e^{−κ} (I₀(κ) − I₁(κ)).
    Source: Mardia and Jupp, Directional Statistics, section 13.2.3.
    """
    kappa = 1.0 / variance
    if kappa > 1e4:  # the difference of two large Bessel functions has lost its digits
        return float(np.sqrt(8 * np.pi * kappa**3) / (1 + 3 / (8 * kappa)))
    return float(1.0 / (i0e(kappa) - i1e(kappa)))

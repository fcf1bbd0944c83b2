"""Whether posteriors mean what they say, and whether errors of latents know the pose.

Example:
    >>> rng = np.random.default_rng(0)
    >>> error = 0.5 * rng.normal(size=(4000, 3))
    >>> said = calibrate(error, np.broadcast_to(0.25 * np.eye(3), (4000, 3, 3)))
    >>> bool(said.interval[0] < 1 < said.interval[1])
    True
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica.series import quadratic, standard_error

N_QUANTILES = 101


@dataclass(frozen=True)
class Calibration:
    squared_error: float  # mean of eᵀ C⁻¹ e / P: 1 where the posterior means what it says
    interval: tuple[float, float]  # 95 %, from the means of blocks of neighbouring frames
    within_95: float  # share of frames within the ellipsoid that is to hold 95 % of them
    level: np.ndarray  # (N_QUANTILES,) quantiles over frames of the level of the ellipsoid on which each lies


def calibrate(error: np.ndarray, covariance: np.ndarray) -> Calibration | None:
    """Errors (frame, P) against posterior covariances (frame, P, P); None for less than two frames.

    The level of a frame is the χ²_P distribution of eᵀ C⁻¹ e, uniform on [0, 1] for a normal posterior.
    """
    from scipy.special import gammainc

    n_parameters = error.shape[1]
    if len(error) < 2:
        return None
    square = np.einsum("fp,fp->f", error, np.linalg.solve(covariance, error[..., None])[..., 0])
    level = gammainc(n_parameters / 2, square / 2)
    each = square / n_parameters
    mean, deviation = float(each.mean()), 1.96 * standard_error(each)
    quantiles = np.quantile(level, np.linspace(0, 1, N_QUANTILES))
    return Calibration(mean, (mean - deviation, mean + deviation), float((level <= 0.95).mean()), quantiles)


def spread_of_angle(covariance: np.ndarray, rng: np.random.Generator, n_draws: int = 32) -> np.ndarray:
    """Angles (frame · draw,) in rad of rotation vectors drawn from N(0, covariance) (frame, 3, 3)."""
    value = np.linalg.eigvalsh(covariance)
    draw = rng.standard_normal((n_draws, *value.shape)) * np.sqrt(np.maximum(value, 0.0))
    return np.linalg.norm(draw, axis=-1).ravel()  # lengths do not depend on the axes


def leak(error: np.ndarray, rotation: np.ndarray, shuffles: list[np.ndarray]) -> tuple[float, float, float]:
    """Share R² of the variance of errors (frame, K) that poses (frame, 3, 3) explain, and its chance: mean, 95 %.

    Regressors are the nine entries of R and the products of those of its third row, the direction of view. In the
    null, errors meet the poses of other frames, as each of `shuffles` (frame,) says.
    """
    nine = rotation.reshape(len(rotation), 9)
    regressor = np.concatenate([nine, quadratic(nine[:, 6:])[:, 4:]], 1)
    regressor = regressor - regressor.mean(0)
    value, direction = np.linalg.eigh(regressor.T @ regressor)
    kept = value > 1e-9 * value.max()
    basis = regressor @ (direction[:, kept] / np.sqrt(value[kept]))
    centred = error - error.mean(0)
    total = (centred**2).sum()
    if total == 0:
        return 0.0, 0.0, 0.0
    null = np.array([((basis[frames].T @ centred) ** 2).sum() for frames in shuffles]) / total
    return float(((basis.T @ centred) ** 2).sum() / total), float(null.mean()), float(np.percentile(null, 95))

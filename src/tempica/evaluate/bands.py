"""Bands of ±2 posterior standard deviations around recovered variables: how often they hold the truth, and should.

A component s with posterior variance v stands for a variable t by the line t = a s + b, of least squares on training
replicas. The posterior speaks of s alone. What the line does not tell of t (its curvature, what else moves, error of
the model of embed) is not in it, nor is the error of a and b. Therefore bands are widened by one factor a variable,

    k = ½ quantile of |t − a s − b| / (|a| √v) at 95.45 %,

over the training and validation replicas, each with the line that the other training replicas give. This uses the
truth, of replicas that are not scored: it calibrates what is displayed and scored, and is no part of the recovery.

Example:
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.standard_normal((6, 500))
    >>> source = -3 * (truth + 0.2 * rng.standard_normal(truth.shape)) + 1
    >>> split = np.array(["train"] * 3 + ["validation"] + ["held_out"] * 2)
    >>> told = band(source, np.full(truth.shape, (3 * 0.1) ** 2), truth, split)  # half of what it should be
    >>> 1.8 < told["factor"] < 2.2, told["coverage_posterior"] < 0.72, 0.93 < told["coverage"] < 0.98
    (True, True, True)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tempica.series import standard_error

WITHIN_2 = 0.9545  # share of a normal distribution within two standard deviations


def band(source: np.ndarray, variance: np.ndarray, truth: np.ndarray, split: np.ndarray) -> dict[str, Any] | None:
    """Factor and coverage of one variable; None where no variance is known, or no replica is held out.

    Parameters:
        source, variance: (replica, time) of the component; NaN where unknown.
        truth: (replica, time) of the variable.
        split: (replica,) "train", "validation" or "held_out".
    """
    train, held = split == "train", split == "held_out"
    spread = np.sqrt(np.where(variance > 0, variance, np.nan))
    errors = np.full(source.shape, np.nan)
    for replica in np.flatnonzero(train | (split == "validation")).tolist():
        others = train & (np.arange(len(split)) != replica)
        errors[replica] = _standard(source, spread, truth, others if others.any() else train, replica)
    known = np.abs(errors[np.isfinite(errors)])
    away = np.array([_standard(source, spread, truth, train, replica) for replica in np.flatnonzero(held).tolist()])
    away = np.abs(away[np.isfinite(away)])
    if not len(known) or not len(away):
        return None
    factor = float(np.quantile(known, WITHIN_2) / 2)
    inside = (away <= 2 * factor).astype(float)
    half = 1.96 * standard_error(inside) if len(inside) > 1 else 0.0
    return {
        "factor": factor,
        "coverage": float(inside.mean()),
        "coverage_interval": [max(0.0, float(inside.mean()) - half), min(1.0, float(inside.mean()) + half)],
        "coverage_posterior": float((away <= 2).mean()),
        "n_frames": len(away),
    }


def _standard(
    source: np.ndarray, spread: np.ndarray, truth: np.ndarray, fitted: np.ndarray, replica: int
) -> np.ndarray:
    """Errors (time,) of a replica in posterior standard deviations, by the line of the fitted replicas."""
    x, y = source[fitted].ravel(), truth[fitted].ravel()
    if np.ptp(x) == 0 or not np.isfinite(x).all():
        return np.full(source.shape[1], np.nan)
    slope, offset = np.polyfit(x, y, 1)
    if slope == 0:
        return np.full(source.shape[1], np.nan)
    return np.asarray((truth[replica] - slope * source[replica] - offset) / (abs(slope) * spread[replica]))

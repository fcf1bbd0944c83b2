"""Intervals of correlations between series that are slow.

The score s is linear in the frames to first order: s − E s ≈ mean_t u_t, with the influence u_t of a frame. Of standard
scores x and y with Pearson correlation r it is u = xy − ½ r (x² + y²); of ranks, F and G the distributions of x and y
from 0 to 1, it is u = 12 (F G + E[G; x' > x] + E[F; y' > y]), less its mean. The variance of s is the long-run variance
of u over the number N of frames, by an autoregression: Ω/N. The interval is symmetric on Fisher's scale,
tanh(artanh s ± t √(Ω/N) / (1 − s²)), with t the 97.5 % point of Student's distribution of ν degrees of freedom,

    ν = N (1 − φ) / (6 (1 + φ)), at least 2, φ = Σ_k φ_k:

by the delta method var ln Ω = 2/ν for φ estimated as in a linear autoregression would have 2 in the place of 6; steps
of a product of two normal series are larger where the product is, which makes the variance of φ three times that.

Example:
    >>> rng = np.random.default_rng(0)
    >>> y = rng.standard_normal((1000, 1))
    >>> x = 0.6 * y + 0.8 * rng.standard_normal((1000, 1))
    >>> low, high = interval(0.6, influence(x, y, "pearson")[:, 0], np.array([0]), np.array([1000]), rng)
    >>> bool(0.5 < low < 0.6 < high < 0.7)
    True
"""

from __future__ import annotations

import numpy as np

from tempica.evaluate.metrics import autoregressions
from tempica.evaluate.metrics.arrays import Kind, ranks, standardised

LEAST_DEGREES = 2.0
NEAR_ONE = 1 - 1e-12


def interval(
    score: float, u: np.ndarray, start: np.ndarray, length: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % interval, within [0, 1], of a score whose frames have the influence u (frame,)."""
    from scipy.special import stdtrit

    model, n = autoregressions.fit(u, start, length, rng), len(u)
    s = min(score, NEAR_ONE)
    half = float(stdtrit(_degrees(model, n), 0.975)) * np.sqrt(model.long_run / n) / (1 - s**2)
    return max(0.0, float(np.tanh(np.arctanh(s) - half))), float(np.tanh(np.arctanh(s) + half))


def difference_interval(
    difference: float, u: np.ndarray, start: np.ndarray, length: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % interval of a difference of two scores on the same frames, u (frame,) the difference of their influences."""
    from scipy.special import stdtrit

    if np.ptp(u) == 0:  # the same sources
        return difference, difference
    model, n = autoregressions.fit(u, start, length, rng), len(u)
    half = float(stdtrit(_degrees(model, n), 0.975)) * float(np.sqrt(model.long_run / n))
    return difference - half, difference + half


def influence(x: np.ndarray, y: np.ndarray, kind: Kind) -> np.ndarray:
    """Influence (frame, pair) of every frame on the correlation of each x with its y, both (frame, pair)."""
    if kind == "pearson":
        a, b = standardised(x), standardised(y)
        return np.asarray(a * b - 0.5 * (a * b).mean(0) * (a**2 + b**2))
    u = np.zeros(x.shape)
    for j in range(x.shape[1]):
        if not (np.ptp(x[:, j]) and np.ptp(y[:, j])):
            continue
        F, G = ((ranks(z[:, j]) + 0.5) / len(z) for z in (x, y))
        each = F * G + _above(F, G) + _above(G, F)
        u[:, j] = (each - each.mean()) / (F.std() * G.std())  # 12 where there are no ties
    return u


def _degrees(model: autoregressions.Autoregression, n: int) -> float:
    """ν of the long-run variance of n frames."""
    persistence = float(model.phi.sum())
    return max(LEAST_DEGREES, n * (1 - persistence) / (6 * max(1 + persistence, 0.5)))  # none is fast beyond use


def _above(F: np.ndarray, G: np.ndarray) -> np.ndarray:
    """E[G; F' > F] (frame,), ties counted by half."""
    value, place = np.unique(F, return_inverse=True)
    total = np.bincount(place, weights=G, minlength=len(value)) / len(F)
    return np.asarray((total[::-1].cumsum()[::-1] - 0.5 * total)[place])

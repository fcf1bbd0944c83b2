"""Kalman filter and Rauch–Tung–Striebel smoother of independent autoregressions seen through normal evidence, compiled.

s_t = ρ ∘ s_{t−1} + e_t with e_t,i of variance process_t,i, which at the first frame of a replica is that of s itself;
each frame carries exp(η_tᵀs − ½ sᵀΛ_t s). Shapes: eta and process (frame, n), lam (frame, n, n), labels
(frame,), rho (n,).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from tempica import kernel_cache  # noqa: F401  # first: it must be there before any kernel is declared

_compiled: Any = numba.njit(cache=True)


def process(labels: np.ndarray, rho: np.ndarray, variance: np.ndarray | float = 1.0) -> np.ndarray:
    """Variance (frame, n) of what is new in each frame of stationary series of that `variance`, (n,) or one of all.

    v (1 − ρ²), and v itself at the first frame of every series of `labels` (frame,).
    """
    starts = np.r_[True, labels[1:] != labels[:-1]]
    return variance * np.where(starts[:, None], 1.0, 1 - rho**2)


# Written out for small matrices: numba's own linear algebra takes longer to compile than a run takes to smooth.


@_compiled
def _times(a, b):
    out = np.zeros((a.shape[0], b.shape[1]))
    for i in range(a.shape[0]):
        for k in range(a.shape[1]):
            for j in range(b.shape[1]):
                out[i, j] += a[i, k] * b[k, j]
    return out


@_compiled
def _apply(a, x):
    out = np.zeros(len(a))
    for i in range(len(a)):
        for j in range(len(x)):
            out[i] += a[i, j] * x[j]
    return out


@_compiled
def _invert(a):
    """Inverse of a square matrix and ln |det|, by elimination with the largest pivot of each column."""
    n = len(a)
    left, right, logdet = a.copy(), np.zeros((n, n)), 0.0
    for i in range(n):
        right[i, i] = 1.0
    for c in range(n):
        pivot = c
        for i in range(c + 1, n):
            if abs(left[i, c]) > abs(left[pivot, c]):
                pivot = i
        for j in range(n):
            left[c, j], left[pivot, j] = left[pivot, j], left[c, j]
            right[c, j], right[pivot, j] = right[pivot, j], right[c, j]
        size = left[c, c]
        logdet += np.log(abs(size))
        for j in range(n):
            left[c, j] /= size
            right[c, j] /= size
        for i in range(n):
            factor = left[i, c]
            if i != c and factor != 0.0:
                for j in range(n):
                    left[i, j] -= factor * left[c, j]
                    right[i, j] -= factor * right[c, j]
    return right, logdet


@_compiled
def _predict(starts, rho, process, m, P):
    """Mean and covariance of the next frame; those of the prior where a replica starts."""
    n = len(rho)
    mean, spread = np.zeros(n), np.zeros((n, n))
    for i in range(n):
        spread[i, i] = process[i]
        if not starts:
            mean[i] = rho[i] * m[i]
            for j in range(n):
                spread[i, j] += rho[i] * rho[j] * P[i, j]
    return mean, spread


@_compiled
def _update(m, P, eta, lam):
    """Posterior of a frame predicted as N(m, P), and ln |1 + P Λ|."""
    informed = _times(P, lam)
    for i in range(len(m)):
        informed[i, i] += 1.0
    shrink, logdet = _invert(informed)
    updated = _times(shrink, P)
    for i in range(len(m)):
        for j in range(i):
            updated[i, j] = updated[j, i] = 0.5 * (updated[i, j] + updated[j, i])
    return _apply(shrink, m + _apply(P, eta)), updated, logdet


@_compiled
def _dot(x, y):
    total = 0.0
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


@_compiled
def log_likelihood(eta, lam, labels, rho, process):
    """ln ∫ Π_t exp(η_tᵀ s_t − ½ s_tᵀ Λ_t s_t) p(s) ds."""
    total = 0.0
    m, P = np.zeros(len(rho)), np.zeros((len(rho), len(rho)))
    for t in range(len(eta)):
        m, P = _predict(t == 0 or labels[t] != labels[t - 1], rho, process[t], m, P)
        seen = _apply(lam[t], m)
        residual = eta[t] - seen
        new_m, new_P, logdet = _update(m, P, eta[t], lam[t])
        # log ∫ exp(ηᵀs − ½ sᵀΛs) N(s; m, P) ds
        total += _dot(m, eta[t]) - 0.5 * _dot(m, seen) + 0.5 * _dot(residual, _apply(new_P, residual)) - 0.5 * logdet
        m, P = new_m, new_P
    return total


@_compiled
def _store(mean, spread, t, m, P):
    for i in range(len(m)):
        mean[t, i] = m[i]
        for j in range(len(m)):
            spread[t, i, j] = P[i, j]


@_compiled
def smooth(eta, lam, labels, rho, process):
    """Posterior means (frame, n), covariances (frame, n, n), and those with the frame before (frame, n, n).

    The latter are cov(s_t, s_{t−1}), 0 where a replica starts.
    """
    n_frames, n = eta.shape
    cross = np.zeros((n_frames, n, n))
    mean, spread = np.empty((n_frames, n)), np.empty((n_frames, n, n))
    ahead_mean, ahead_spread = np.empty((n_frames, n)), np.empty((n_frames, n, n))
    m, P = np.zeros(n), np.zeros((n, n))
    for t in range(n_frames):
        m, P = _predict(t == 0 or labels[t] != labels[t - 1], rho, process[t], m, P)
        _store(ahead_mean, ahead_spread, t, m, P)
        m, P, _ = _update(m, P, eta[t], lam[t])
        _store(mean, spread, t, m, P)
    for t in range(n_frames - 2, -1, -1):
        if labels[t] == labels[t + 1]:
            inverse, _ = _invert(ahead_spread[t + 1])
            gain, back, news = np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
            step = np.empty(n)
            for i in range(n):
                step[i] = mean[t + 1, i] - ahead_mean[t + 1, i]
                for j in range(n):
                    gain[i, j] = spread[t, i, j] * rho[j]
                    news[i, j] = spread[t + 1, i, j] - ahead_spread[t + 1, i, j]
            gain = _times(gain, inverse)
            for i in range(n):
                for j in range(n):
                    back[j, i] = gain[i, j]
            with_last = _times(spread[t + 1], back)
            for i in range(n):
                for j in range(n):
                    cross[t + 1, i, j] = with_last[i, j]
            step, news = _apply(gain, step), _times(_times(gain, news), back)
            for i in range(n):
                mean[t, i] += step[i]
                for j in range(n):
                    spread[t, i, j] += news[i, j]
    return mean, spread, cross

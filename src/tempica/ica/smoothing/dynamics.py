"""Dynamics of independent autoregressions, fitted to the evidence of frames and used to smooth it."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from tempica import kalman
from tempica.series import check_replicas


def fit_dynamics(
    eta: np.ndarray,
    lam: np.ndarray,
    labels: np.ndarray,
    mean: np.ndarray,
    n_factors: int = 0,
    known: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ρ, v and noise factor, (n,) each, of independent autoregressions that maximise the likelihood.

    Starts from the moments of `mean`: autocovariances v ρᵏ at the two shortest lags, which white noise leaves alone.
    Expects sources of deviations between 0.01 and 100.

    Parameters
        eta, lam: evidence of the frames, (frame, n) and (frame, n, n).
        labels: (frame,) numbers of the series.
        mean: (frame, n) what the frames give for the sources.
        n_factors: 0 leaves the noise as it is, 1 scales all of it, n scales each source's.
        known: mask (frame, n) of the sources that a frame tells of; all when None.
    """
    n = eta.shape[1]
    known = np.ones(mean.shape, dtype=bool) if known is None else known
    rho, variance, rest = np.array([_moments(mean[:, i], known[:, i], labels) for i in range(n)]).T
    share = known.mean(0)
    noise = np.diagonal(np.linalg.pinv(lam.mean(0))) * share
    ratio = np.clip(rest / np.maximum(noise, 1e-12), 1e-6, 1e6)
    ratio = {0: ratio[:0], 1: np.exp(np.log(ratio).mean(keepdims=True))}.get(n_factors, ratio)

    def unpack(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        r, v, c = np.split(parameters, [n, 2 * n])
        scale = np.ones(n) if n_factors == 0 else np.exp(np.clip(c, -20, 20)) * np.ones(n)
        return np.clip(np.tanh(r), 0.0, 0.9999), np.exp(np.clip(v, -30, 30)), scale

    # ½ (yᵀ R⁻¹ y + ln |R|) with R = √c R₀ √c, the part of the likelihood that the sources' dynamics do not touch
    observed = _observed(eta, lam) if n_factors else eta

    def loss(parameters: np.ndarray) -> float:
        r, v, c = unpack(parameters)
        scaled_eta, scaled_lam = rescale(eta, lam, c, observed)
        value = -log_likelihood(scaled_eta, scaled_lam, r, v, labels) / len(eta)
        if n_factors:
            value += 0.5 * float((observed * scaled_eta).sum(1).mean() + (share * np.log(c)).sum())
        return value

    start = np.concatenate([np.arctanh(rho), np.log(variance), np.log(ratio)])
    found = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 200})
    return unpack(found.x)


def _moments(x: np.ndarray, known: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """ρ, v and the variance of the noise of one source, from its autocovariances at the two shortest lags."""
    x, found = x - x[known].mean(), []
    for lag in range(1, int(np.bincount(labels).max())):
        both = (labels[lag:] == labels[:-lag]) & known[lag:] & known[:-lag]
        if both.any():
            found.append((lag, float((x[lag:] * x[:-lag])[both].mean())))
        if len(found) == 2:
            break
    while len(found) < 2:
        found.append((found[-1][0] + 1 if found else 1, 0.0))
    (first, one), (second, two) = found
    total = x[known].var()
    rho = np.clip(max(two / one, 0.0) ** (1 / (second - first)) if one > 0 else 0.1, 0.05, 0.99)
    variance = np.clip(one / rho**first, 0.05 * total, total) + 1e-12
    return rho, variance, max(total - variance, 0.05 * total) + 1e-12


def rescale(
    eta: np.ndarray, lam: np.ndarray, scale: np.ndarray, observed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Evidence with the noise of each source scaled in variance; `observed` (frame, n) is Λ⁻¹ η, if it is at hand."""
    if (scale == 1).all():
        return eta, lam
    if observed is None:
        observed = _observed(eta, lam)
    lam = lam / np.sqrt(np.outer(scale, scale))
    return (lam @ observed[..., None])[..., 0], lam


def _observed(eta: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """Λ⁻¹ η (frame, n); 0 for sources of which a frame says nothing."""
    silent = np.diagonal(lam, axis1=1, axis2=2) == 0
    if silent.any():
        lam = lam + silent[:, :, None] * np.eye(lam.shape[1])
    return np.linalg.solve(lam, eta[..., None])[..., 0]


def rts(
    eta: np.ndarray, lam: np.ndarray, rho: np.ndarray, variance: np.ndarray, replicas: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means (frame, n) and covariances (frame, n, n) of every frame given all of its replica."""
    labels = check_replicas(replicas, len(eta))
    return kalman.smooth(*_contiguous(eta, lam), labels, rho, kalman.process(labels, rho, variance))[:2]


def log_likelihood(
    eta: np.ndarray, lam: np.ndarray, rho: np.ndarray, variance: np.ndarray, replicas: np.ndarray | None = None
) -> float:
    """ln ∫ Π_t exp(η_tᵀ s_t − ½ s_tᵀ Λ_t s_t) p(s) ds: the evidence's likelihood up to terms free of ρ and v."""
    labels = check_replicas(replicas, len(eta))
    return float(kalman.log_likelihood(*_contiguous(eta, lam), labels, rho, kalman.process(labels, rho, variance)))


def _contiguous(*arrays: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(array) for array in arrays]

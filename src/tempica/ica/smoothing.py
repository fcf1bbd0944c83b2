"""Smoothing of unmixed sources in time, each with its own dynamics.

Model: n independent stationary first-order autoregressions s_t = ρ ∘ s_{t−1} + √(1 − ρ²) ∘ √v ∘ e_t, seen through
frames that each carry normal evidence exp(ηᵀs − ½ sᵀΛs). A Kalman filter and a Rauch–Tung–Striebel pass give the
posterior of every s_t from all frames of its replica (Rauch, Tung & Striebel 1965; information form as in
Särkkä, Bayesian Filtering and Smoothing, 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from scipy.optimize import minimize

from tempica.errors import DataError
from tempica.ica.base import check_replicas


@dataclass(frozen=True)
class Smoothed:
    """Posterior of sources given all frames of their replica, and the dynamics that were fitted."""

    mean: np.ndarray  # (frame, n)
    covariance: np.ndarray  # (frame, n, n)
    autocorrelation: np.ndarray  # (n,) ρ from one frame to the next
    variance: np.ndarray  # (n,) v, of the sources without the frames' noise


def evidence(mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evidence (η, Λ) that turned a common normal prior into posteriors N(mean, covariance), frame by frame.

    The prior is N(m, P) with m = ⟨mean⟩ and, by the law of total variance, P = ⟨covariance⟩ + cov(mean); then
    Λ = covariance⁻¹ − P⁻¹ and η = covariance⁻¹ (mean − m), for the source's deviation from m. Directions in which
    a frame knows less than the prior carry no evidence. Shapes: (frame, n) and (frame, n, n).
    """
    prior = covariance.mean(0) + np.cov(mean, rowvar=False, bias=True).reshape(covariance.shape[1:])
    precision = np.linalg.inv(covariance)
    root = np.linalg.cholesky(prior)
    # in units of the prior, Λ ≥ 0 means precision ≥ 1
    value, vector = np.linalg.eigh(root.T @ precision @ root)
    gain = np.clip(value - 1, 0, None)
    back = np.linalg.inv(root)
    lam = back.T @ (vector * gain[:, None, :]) @ vector.transpose(0, 2, 1) @ back
    centred = (mean - mean.mean(0))[..., None]
    weight = np.where(value > 1, value, 0.0)
    eta = back.T @ (vector * weight[:, None, :]) @ vector.transpose(0, 2, 1) @ back @ centred
    return eta[..., 0], 0.5 * (lam + lam.transpose(0, 2, 1))


def smooth(
    mean: np.ndarray,
    covariance: np.ndarray,
    replicas: np.ndarray | None = None,
    train: np.ndarray | None = None,
) -> Smoothed:
    """Smooth sources known frame by frame as N(mean, covariance), (frame, n) and (frame, n, n).

    ρ and v of each source maximise the likelihood of the frames in `train` (a mask; all frames when None); all
    replicas are then smoothed, each for itself. Raises DataError for shapes that do not fit or values not finite.
    """
    mean, covariance = np.asarray(mean, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    if mean.ndim != 2 or covariance.shape != (*mean.shape, mean.shape[-1]):
        raise DataError(f"mean {mean.shape} must be (frame, n) and covariance {covariance.shape} (frame, n, n).")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise DataError("Sources and covariances to be smoothed must be finite; some are not.")
    labels = check_replicas(replicas, len(mean))
    chosen = np.ones(len(mean), dtype=bool) if train is None else np.asarray(train, dtype=bool)
    eta, lam = evidence(mean, covariance)
    rho, variance = fit_dynamics(eta[chosen], lam[chosen], labels[chosen], mean[chosen])
    smoothed, spread = rts(eta, lam, labels, rho, variance)
    return Smoothed(smoothed + mean.mean(0), spread, rho, variance)


def fit_dynamics(
    eta: np.ndarray, lam: np.ndarray, labels: np.ndarray, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """ρ and v (n,) of independent autoregressions that maximise the likelihood of the evidence.

    Every source is fitted with the others' dynamics held, from its own moments on, until nothing moves.
    """
    n = eta.shape[1]
    rho, variance = np.empty(n), np.empty(n)
    same = [labels[k:] == labels[:-k] for k in (1, 2)]
    for i in range(n):
        x = mean[:, i] - mean[:, i].mean()
        one, two = (float((x[k:] * x[:-k])[s].mean()) if s.any() else 0.0 for k, s in zip((1, 2), same, strict=True))
        rho[i] = np.clip(two / one if one > 0 else 0.1, 0.05, 0.99)
        variance[i] = max(x.var(), 1e-12)

    def loss(parameters: np.ndarray) -> float:
        r, v = _unpack(parameters, n)
        return -_log_likelihood(eta, lam, labels, r, v) / len(eta)

    start = np.concatenate([np.arctanh(rho), np.log(variance)])
    found = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 200})
    return _unpack(found.x, n)


def rts(
    eta: np.ndarray, lam: np.ndarray, labels: np.ndarray, rho: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means (frame, n) and covariances (frame, n, n) of every frame given all of its replica."""
    return _smooth(eta, lam, labels, rho, variance)


def _unpack(parameters: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.clip(np.tanh(parameters[:n]), 0.0, 0.9999), np.exp(np.clip(parameters[n:], -30, 30))


@numba.njit(cache=True)
def _predict(labels, t, rho, variance, m, P):
    if t == 0 or labels[t] != labels[t - 1]:
        return np.zeros(len(rho)), np.diag(variance)
    return rho * m, P * np.outer(rho, rho) + np.diag(variance * (1 - rho**2))


@numba.njit(cache=True)
def _update(m, P, eta, lam):
    identity = np.eye(len(m))
    shrink = np.linalg.inv(identity + P @ lam)
    updated = shrink @ P
    return shrink @ (m + P @ eta), 0.5 * (updated + updated.T)


@numba.njit(cache=True)
def _log_likelihood(eta, lam, labels, rho, variance):
    total = 0.0
    m, P = np.zeros(len(rho)), np.diag(variance)
    for t in range(len(eta)):
        m, P = _predict(labels, t, rho, variance, m, P)
        residual = eta[t] - lam[t] @ m
        _, logdet = np.linalg.slogdet(np.eye(len(m)) + P @ lam[t])
        new_m, new_P = _update(m, P, eta[t], lam[t])
        # log ∫ exp(ηᵀs − ½ sᵀΛs) N(s; m, P) ds
        total += m @ eta[t] - 0.5 * m @ (lam[t] @ m) + 0.5 * residual @ (new_P @ residual) - 0.5 * logdet
        m, P = new_m, new_P
    return total


@numba.njit(cache=True)
def _smooth(eta, lam, labels, rho, variance):
    n_frames, n = eta.shape
    mean, spread = np.empty((n_frames, n)), np.empty((n_frames, n, n))
    ahead_mean, ahead_spread = np.empty((n_frames, n)), np.empty((n_frames, n, n))
    m, P = np.zeros(n), np.diag(variance)
    for t in range(n_frames):
        m, P = _predict(labels, t, rho, variance, m, P)
        ahead_mean[t], ahead_spread[t] = m, P
        m, P = _update(m, P, eta[t], lam[t])
        mean[t], spread[t] = m, P
    for t in range(n_frames - 2, -1, -1):
        if labels[t] == labels[t + 1]:
            gain = (spread[t] * rho) @ np.linalg.inv(ahead_spread[t + 1])
            mean[t] += gain @ (mean[t + 1] - ahead_mean[t + 1])
            spread[t] += gain @ (spread[t + 1] - ahead_spread[t + 1]) @ gain.T
    return mean, spread

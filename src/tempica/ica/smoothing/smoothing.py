"""Smoothing of unmixed sources in time, each with its own dynamics.

Model: n independent stationary first-order autoregressions s_t = ρ ∘ s_{t−1} + √(1 − ρ²) ∘ √v ∘ e_t, seen through
frames that each carry normal evidence exp(ηᵀs − ½ sᵀΛs). A Kalman filter and a Rauch–Tung–Striebel pass give the
posterior of every s_t from all frames of its replica (Rauch, Tung & Striebel 1965; information form as in
Särkkä, Bayesian Filtering and Smoothing, 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from tempica.errors import DataError
from tempica.ica.smoothing import kalman
from tempica.series import check_replicas, runs


@dataclass(frozen=True)
class Smoothed:
    """Posterior of sources given all frames of their replica, and the dynamics that were fitted."""

    mean: np.ndarray  # (frame, n)
    covariance: np.ndarray  # (frame, n, n)
    autocorrelation: np.ndarray  # (n,) ρ from one frame to the next
    variance: np.ndarray  # (n,) v, of the sources without the frames' noise
    noise_scale: np.ndarray  # (n,) factor on the noise variance; ones where the frames' covariances are posterior


def evidence(
    mean: np.ndarray, covariance: np.ndarray, train: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Evidence (η, Λ) that turned a common normal prior into posteriors N(mean, covariance), frame by frame.

    The prior is N(m, P) with m = ⟨mean⟩ and, by the law of total variance, P = ⟨covariance⟩ + cov(mean), over the
    frames in `train`; then Λ = covariance⁻¹ − P⁻¹ and η = covariance⁻¹ (mean − m), for the source's deviation
    from m. Directions in which a frame knows less than the prior carry no evidence. Shapes: (frame, n) and
    (frame, n, n). Raises DataError when a combination of sources does not vary.
    """
    chosen = np.ones(len(mean), dtype=bool) if train is None else train
    prior = covariance[chosen].mean(0) + np.cov(mean[chosen], rowvar=False, bias=True).reshape(covariance.shape[1:])
    return without_prior(mean - mean[chosen].mean(0), covariance, prior)


def without_prior(deviation: np.ndarray, covariance: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evidence (η, Λ), as `evidence` gives it, of posteriors N(deviation, covariance) under the prior N(0, prior)."""
    try:
        root = np.linalg.cholesky(prior)
    except np.linalg.LinAlgError:
        raise DataError("A combination of the sources is constant; drop repeated or constant sources.") from None
    back = np.linalg.inv(root)
    # in units of the prior, Λ ≥ 0 means a variance of at most 1; no frame knows better than 1e-9 of the prior
    value, vector = np.linalg.eigh(back @ covariance @ back.T)
    precision = 1 / np.clip(value, 1e-9, None)
    known = precision > 1
    turned = vector.transpose(0, 2, 1) @ back
    lam = turned.transpose(0, 2, 1) @ (np.where(known, precision - 1, 0.0)[..., None] * turned)
    centred = (turned @ deviation[..., None])[..., 0]
    eta = (turned.transpose(0, 2, 1) @ (np.where(known, precision, 0.0) * centred)[..., None])[..., 0]
    return eta, 0.5 * (lam + lam.transpose(0, 2, 1))


def smooth(
    mean: np.ndarray,
    covariance: np.ndarray | None = None,
    replicas: np.ndarray | None = None,
    train: np.ndarray | None = None,
    *,
    posterior: bool = True,
) -> Smoothed:
    """Smooth sources known frame by frame, (frame, n), whose uncertainty is `covariance` (frame, n, n).

    With `posterior`, each frame is N(mean, covariance) under a prior common to all, which `evidence` divides out.
    Without, a frame is the source plus noise of that covariance, up to one factor that is fitted too; when
    `covariance` is None the noise is white, with a variance for each source.

    ρ, v and the factor maximise the likelihood of the frames in `train` (a mask; all frames when None); all
    replicas are then smoothed, each for itself. Raises DataError for shapes that do not fit, values not finite,
    covariances that are singular or an empty `train`.
    """
    mean = np.asarray(mean, dtype=np.float64)
    if mean.ndim != 2 or mean.shape[1] == 0:
        raise DataError(f"Sources have shape {mean.shape}; they must be (frame, n).")
    n_frames, n = mean.shape
    one_factor = covariance is not None
    posterior = posterior and one_factor
    if covariance is None:
        covariance = np.broadcast_to(np.diag(mean.var(0)), (n_frames, n, n))
    covariance = np.asarray(covariance, dtype=np.float64)
    if covariance.shape != (n_frames, n, n):
        raise DataError(f"covariance has shape {covariance.shape}; sources {mean.shape} need {(n_frames, n, n)}.")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise DataError("Sources and covariances to be smoothed must be finite; some are not.")
    labels = check_replicas(replicas, n_frames)
    chosen = np.ones(n_frames, dtype=bool) if train is None else np.asarray(train, dtype=bool)
    if chosen.shape != (n_frames,) or not chosen.any():
        raise DataError(f"train {chosen.shape} with {chosen.sum()} frames must mark some of the {n_frames} frames.")
    centre = mean[chosen].mean(0)
    try:
        np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise DataError("A covariance to be smoothed is singular; a source known exactly needs no smoothing.") from None
    if posterior:
        eta, lam = evidence(mean, covariance, chosen)
    else:
        lam = np.linalg.inv(covariance)
        eta = (lam @ (mean - centre)[..., None])[..., 0]
    n_factors = 0 if posterior else 1 if one_factor else n
    rho, variance, scale = fit_dynamics(eta[chosen], lam[chosen], runs(labels, chosen), mean[chosen], n_factors)
    smoothed, spread = rts(*_rescale(eta, lam, scale), rho, variance, labels)
    return Smoothed(smoothed + centre, spread, rho, variance, scale)


def fit_dynamics(
    eta: np.ndarray, lam: np.ndarray, labels: np.ndarray, mean: np.ndarray, n_factors: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ρ, v and noise factor, (n,) each, of independent autoregressions that maximise the likelihood.

    Starts from the moments of `mean`: autocovariances v ρᵏ at lags 1 and 2, which white noise leaves alone.
    `n_factors`: 0 leaves the noise as it is, 1 scales all of it, n scales each source's.
    """
    n = eta.shape[1]
    rho, variance, rest = np.empty(n), np.empty(n), np.empty(n)
    same = [labels[k:] == labels[:-k] for k in (1, 2)]
    for i in range(n):
        x = mean[:, i] - mean[:, i].mean()
        one, two = (float((x[k:] * x[:-k])[s].mean()) if s.any() else 0.0 for k, s in zip((1, 2), same, strict=True))
        rho[i] = np.clip(two / one if one > 0 else 0.1, 0.05, 0.99)
        variance[i] = np.clip(one / rho[i], 0.05 * x.var(), x.var()) + 1e-12
        rest[i] = max(x.var() - variance[i], 0.05 * x.var()) + 1e-12
    noise = np.diagonal(np.linalg.pinv(lam.mean(0)))
    ratio = np.clip(rest / np.maximum(noise, 1e-12), 1e-6, 1e6)
    ratio = {0: ratio[:0], 1: np.exp(np.log(ratio).mean(keepdims=True))}.get(n_factors, ratio)

    def unpack(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        r, v, c = np.split(parameters, [n, 2 * n])
        scale = np.ones(n) if n_factors == 0 else np.exp(np.clip(c, -20, 20)) * np.ones(n)
        return np.clip(np.tanh(r), 0.0, 0.9999), np.exp(np.clip(v, -30, 30)), scale

    # ½ (yᵀ R⁻¹ y + ln |R|) with R = √c R₀ √c, the part of the likelihood that the sources' dynamics do not touch
    observed = np.linalg.solve(lam, eta[..., None])[..., 0] if n_factors else eta

    def loss(parameters: np.ndarray) -> float:
        r, v, c = unpack(parameters)
        scaled_eta, scaled_lam = _rescale(eta, lam, c, observed)
        value = -log_likelihood(scaled_eta, scaled_lam, r, v, labels) / len(eta)
        if n_factors:
            value += 0.5 * float((observed * scaled_eta).sum(1).mean() + np.log(c).sum())
        return value

    start = np.concatenate([np.arctanh(rho), np.log(variance), np.log(ratio)])
    found = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 200})
    return unpack(found.x)


def _rescale(
    eta: np.ndarray, lam: np.ndarray, scale: np.ndarray, observed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Evidence with the noise of each source scaled in variance."""
    if (scale == 1).all():
        return eta, lam
    if observed is None:
        observed = np.linalg.solve(lam, eta[..., None])[..., 0]
    lam = lam / np.sqrt(np.outer(scale, scale))
    return (lam @ observed[..., None])[..., 0], lam


def rts(
    eta: np.ndarray, lam: np.ndarray, rho: np.ndarray, variance: np.ndarray, replicas: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means (frame, n) and covariances (frame, n, n) of every frame given all of its replica."""
    labels = check_replicas(replicas, len(eta))
    return kalman.smooth(*_contiguous(eta, lam), labels, rho, _process(labels, rho, variance))[:2]


def log_likelihood(
    eta: np.ndarray, lam: np.ndarray, rho: np.ndarray, variance: np.ndarray, replicas: np.ndarray | None = None
) -> float:
    """ln ∫ Π_t exp(η_tᵀ s_t − ½ s_tᵀ Λ_t s_t) p(s) ds: the evidence's likelihood up to terms free of ρ and v."""
    labels = check_replicas(replicas, len(eta))
    return float(kalman.log_likelihood(*_contiguous(eta, lam), labels, rho, _process(labels, rho, variance)))


def _contiguous(*arrays: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(array) for array in arrays]


def _process(labels: np.ndarray, rho: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Variance (frame, n) of what is new in each frame of a stationary series."""
    starts = np.r_[True, labels[1:] != labels[:-1]]
    return variance * np.where(starts[:, None], 1.0, 1 - rho**2)

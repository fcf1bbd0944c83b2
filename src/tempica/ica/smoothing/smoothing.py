"""Smoothing of unmixed sources in time, each with its own dynamics.

Model: n independent stationary first-order autoregressions s_t = ρ ∘ s_{t−1} + √(1 − ρ²) ∘ √v ∘ e_t, seen through
frames that each carry normal evidence exp(ηᵀs − ½ sᵀΛs). A Kalman filter and a Rauch–Tung–Striebel pass give the
posterior of every s_t from all frames of its replica (Rauch, Tung & Striebel 1965; information form as in
Särkkä, Bayesian Filtering and Smoothing, 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.ica.smoothing.dynamics import fit_dynamics, rescale, rts
from tempica.ica.smoothing.evidence import evidence
from tempica.series import array_of, brief, check_replicas, runs

STEP = 10  # binary digits by which units differ that are told apart


@dataclass(frozen=True)
class Smoothed:
    """Posterior of sources given all frames of their replica, and the dynamics that were fitted."""

    mean: np.ndarray  # (frame, n)
    covariance: np.ndarray  # (frame, n, n)
    autocorrelation: np.ndarray  # (n,) ρ from one frame to the next
    variance: np.ndarray  # (n,) v, of the sources without the frames' noise
    noise_scale: np.ndarray  # (n,) factor on the noise variance; ones where the covariances are taken as they are

    __repr__ = brief


def smooth(
    mean: Any,
    covariance: Any = None,
    replicas: Any = None,
    train: Any = None,
    *,
    posterior: bool = True,
) -> Smoothed:
    """Smooth sources that are known frame by frame, with an uncertainty.

    ρ, v and the noise factor maximise the likelihood of the frames in `train`; all replicas are then smoothed, each
    by itself. The unit of each source does not matter. A source may be missing in some frames: its mean is NaN there,
    or its variance infinite. It is then known from the other frames of the replica alone, so that a frame that was
    not recorded is a row of NaN.

    Parameters
        mean: (frame, n) sources; NaN where missing.
        covariance: (frame, n, n) uncertainty of each frame, or (n, n) of every frame; when None, the noise is white,
            with a variance for each source that is fitted.
        replicas: (frame,) labels of the series; one series when None.
        train: mask (frame,) of the frames that the dynamics are fitted to; all when None.
        posterior: whether each frame is N(mean, covariance) under a prior common to all, which is divided out
            (`evidence`). If not, a frame is the source plus noise of that covariance, up to one factor that is
            fitted too, or as it is where no replica of `train` has three frames.

    Raises DataError for shapes that do not fit, infinite sources, covariances that are singular, an empty `train`, and,
    without a covariance, for replicas of fewer than three frames, which do not tell noise from sources.
    """
    mean, covariance, known = _checked(mean, covariance)
    n_frames, n = mean.shape
    labels = check_replicas(replicas, n_frames)
    chosen = np.ones(n_frames, dtype=bool) if train is None else array_of(train).astype(bool)
    if chosen.shape != (n_frames,) or not chosen.any():
        raise DataError(f"train {chosen.shape} with {chosen.sum()} frames must mark some of the {n_frames} frames.")
    absent = np.flatnonzero(~known[chosen].any(0))
    if len(absent):
        raise DataError(f"Source {absent[0]} is finite in no frame of train. Drop it, or choose other frames.")
    series = runs(labels, chosen)
    posterior = posterior and covariance is not None
    n_factors = 0 if posterior else _n_factors(series, known[chosen], covariance is None)

    unit = _units(mean[chosen], covariance[chosen] if posterior else None, known[chosen])
    mean, factor = mean / unit, np.ones(())
    if covariance is None:
        covariance = np.broadcast_to(np.diag(mean.var(0, where=known)), (n_frames, n, n))
    else:
        covariance = covariance / np.outer(unit, unit)
        if n_factors:
            ratio = np.diagonal(covariance, axis1=1, axis2=2).mean(0, where=known) / mean.var(0, where=known)
            factor = _rounded(np.exp(np.log(np.maximum(ratio, 1e-300)).mean()), 2 * STEP)
            covariance = covariance / factor
    eta, lam = _evidence(mean, covariance, known, chosen, posterior)
    rho, variance, scale = fit_dynamics(eta[chosen], lam[chosen], series, mean[chosen], n_factors, known[chosen])
    smoothed, spread = rts(*rescale(eta, lam, scale), rho, variance, labels)
    centre = mean[chosen].mean(0, where=known[chosen])
    return Smoothed((smoothed + centre) * unit, spread * np.outer(unit, unit), rho, variance * unit**2, scale / factor)


def _checked(mean: Any, covariance: Any) -> tuple[np.ndarray, Any, np.ndarray]:
    """Sources, 0 where missing, covariances, those of the identity where missing, or None; what is not missing."""
    mean = array_of(mean).astype(np.float64)
    if mean.ndim != 2 or 0 in mean.shape:
        raise DataError(f"Sources have shape {mean.shape}; they must be (frame, n).")
    n_frames, n = mean.shape
    known = ~np.isnan(mean)
    if covariance is not None:
        covariance = array_of(covariance).astype(np.float64)
        if covariance.shape == (n, n):
            covariance = np.broadcast_to(covariance, (n_frames, n, n))
        if covariance.shape != (n_frames, n, n):
            raise DataError(
                f"covariance has shape {covariance.shape}; sources {mean.shape} need {(n_frames, n, n)}, or {(n, n)}"
                " for one covariance of all frames."
            )
        known = known & ~np.isposinf(np.diagonal(covariance, axis1=1, axis2=2))
        both = known[:, :, None] & known[:, None, :]
        if not both.all():
            covariance = np.where(both, covariance, np.eye(n))
    if not known.all():
        mean = np.where(known, mean, 0.0)
    if not (np.isfinite(mean).all() and (covariance is None or np.isfinite(covariance).all())):
        raise DataError(
            "Sources and covariances to be smoothed must be finite; some are not. Mark what is missing by NaN in the"
            " sources, or by an infinite variance."
        )
    try:
        if covariance is not None:
            np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise DataError("A covariance to be smoothed is singular; a source known exactly needs no smoothing.") from None
    return mean, covariance, known


def _n_factors(series: np.ndarray, known: np.ndarray, without: bool) -> int:
    """Factors on the noise that frames (frame, n) can tell: n without a covariance, else 1, or 0 if too few follow."""
    # noise and ρ are known from covariances at two lags, so from three frames of a series
    enough = all(np.bincount(series[column]).max() >= 3 for column in known.T)
    if without and not enough:
        raise DataError(
            "No replica of train has three frames; without a covariance, noise is told from sources by how they go on"
            " from frame to frame. Give longer replicas, or a covariance."
        )
    return known.shape[1] if without else int(enough)


def _units(mean: np.ndarray, covariance: np.ndarray | None, known: np.ndarray) -> np.ndarray:
    """Powers of two (n,) in which the deviations of sources lie between 1/32 and 32.

    In such steps, so that sources in usual units are not touched at all, and no division rounds.
    """
    deviation = np.where(known, mean - mean.mean(0, where=known), 0.0)
    largest = np.abs(deviation).max(0)
    largest = np.where(largest > 0, largest, 1.0)
    square = ((deviation / largest) ** 2).mean(0, where=known) * largest**2
    if covariance is not None:
        square = square + np.diagonal(covariance, axis1=1, axis2=2).mean(0, where=known)
    elif (square == 0).any():
        raise DataError(f"Source {np.flatnonzero(square == 0)[0]} is constant; drop it.")
    return _rounded(np.sqrt(square), STEP)


def _rounded(x: np.ndarray, step: int) -> np.ndarray:
    """The power of two nearest to x > 0 among those whose exponents are multiples of `step`."""
    return np.exp2(step * np.round(np.log2(x) / step))


def _evidence(
    mean: np.ndarray, covariance: np.ndarray, known: np.ndarray, chosen: np.ndarray, posterior: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Evidence (η, Λ) of every frame for the sources' deviations from their mean over the chosen frames."""
    if posterior:
        return evidence(mean, covariance, chosen, known)
    lam = np.linalg.inv(covariance)
    deviation = mean - mean[chosen].mean(0, where=known[chosen])
    if not known.all():
        lam = lam * (known[:, :, None] & known[:, None, :])
        deviation = deviation * known
    return (lam @ deviation[..., None])[..., 0], lam

"""What single frames say about their sources, apart from the prior under which they were read."""

from __future__ import annotations

import numpy as np

from tempica.errors import DataError


def evidence(
    mean: np.ndarray, covariance: np.ndarray, train: np.ndarray | None = None, known: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Evidence (η, Λ) that turned a common normal prior into posteriors N(mean, covariance), frame by frame.

    The prior is N(m, P) with m = ⟨mean⟩ and, by the law of total variance, P = ⟨covariance⟩ + cov(mean); then
    Λ = covariance⁻¹ − P⁻¹ and η = covariance⁻¹ (mean − m), for the source's deviation from m. Directions in which a
    frame knows less than the prior carry no evidence.

    Parameters
        mean: (frame, n).
        covariance: (frame, n, n).
        train: mask (frame,) of the frames that m and P are taken from; all when None.
        known: mask (frame, n) of the sources that a frame tells of; all when None. Those it does not tell of get no
            evidence, and their values are not used.

    Returns η (frame, n) and Λ (frame, n, n). Raises DataError when a combination of sources does not vary.
    """
    chosen = np.ones(len(mean), dtype=bool) if train is None else train
    if known is None or known.all():
        prior = covariance[chosen].mean(0) + np.cov(mean[chosen], rowvar=False, bias=True).reshape(covariance.shape[1:])
        return without_prior(mean - mean[chosen].mean(0), covariance, prior)
    both = known[:, :, None] & known[:, None, :]
    deviation = np.where(known, mean - mean[chosen].mean(0, where=known[chosen]), 0.0)
    moment = np.where(both, covariance, 0.0) + deviation[:, :, None] * deviation[:, None, :]
    used = both[chosen].sum(0)
    prior = moment[chosen].sum(0) / np.maximum(used, 1)  # 0 between sources that no frame tells of together
    one = np.eye(mean.shape[1])
    # as much as the prior says about what a frame does not tell of: variance 1 under a prior of variance 1
    eta, lam = without_prior(deviation, np.where(both, covariance, one), np.where(both, prior, one))
    return eta * known, lam * both


def without_prior(deviation: np.ndarray, covariance: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evidence (η, Λ), as `evidence` gives it, of posteriors N(deviation, covariance) under the prior N(0, prior).

    `prior` is (n, n), or (frame, n, n) for one of each frame. Raises DataError for a prior that is singular.
    """
    try:
        root = np.linalg.cholesky(prior)
    except np.linalg.LinAlgError:
        raise DataError("A combination of the sources is constant; drop repeated or constant sources.") from None
    back = np.linalg.inv(root)
    # in units of the prior, Λ ≥ 0 means a variance of at most 1; no frame knows better than 1e-9 of the prior
    value, vector = np.linalg.eigh(back @ covariance @ np.swapaxes(back, -1, -2))
    precision = 1 / np.clip(value, 1e-9, None)
    informative = precision > 1
    turned = vector.transpose(0, 2, 1) @ back
    lam = turned.transpose(0, 2, 1) @ (np.where(informative, precision - 1, 0.0)[..., None] * turned)
    centred = (turned @ deviation[..., None])[..., 0]
    eta = (turned.transpose(0, 2, 1) @ (np.where(informative, precision, 0.0) * centred)[..., None])[..., 0]
    return eta, 0.5 * (lam + lam.transpose(0, 2, 1))

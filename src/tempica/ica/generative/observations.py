"""What a state-space model is given: frames and the covariance of their noise, and where its training begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tempica.errors import DataError
from tempica.ica.linear.fastica import fastica_directions
from tempica.ica.linear.linear import SOBI
from tempica.ica.smoothing.evidence import without_prior
from tempica.series import pairs

UNKNOWN = 1e-3  # least precision of a frame's evidence, in units of the common prior: what it does not tell

Prior = tuple[np.ndarray, np.ndarray | None]  # mean (K,) and covariance (K, K), None where frames are no posteriors


def whitened_covariance(X: np.ndarray, covariance: Any, white: np.ndarray) -> np.ndarray:
    """Covariances (frame, K, K) of whitened frames. Raises DataError for those that do not fit."""
    covariance = np.asarray(covariance, dtype=np.float64)
    if covariance.shape != (*X.shape, X.shape[1]) or not np.isfinite(covariance).all():
        raise DataError(
            f"covariance has shape {covariance.shape}; frames {X.shape} need {(*X.shape, X.shape[1])}, all finite."
        )
    return white @ covariance @ white.T


def common_prior(Z: np.ndarray, spread: np.ndarray | None) -> Prior:
    """The prior that posteriors N(Z, spread) were made with, by the law of total variance."""
    if spread is None:
        return Z.mean(0), None
    return Z.mean(0), spread.mean(0) + np.cov(Z, rowvar=False, bias=True).reshape(spread.shape[1:])


def observations(Z: np.ndarray, spread: np.ndarray | None, prior: Prior) -> tuple[np.ndarray, np.ndarray | None]:
    """What was seen (frame, K) and the covariance of its noise (frame, K, K), any prior divided out."""
    mean, common = prior
    if spread is None or common is None:
        return Z, spread
    eta, lam = without_prior(Z - mean, spread, common)
    spread = np.linalg.inv(lam + UNKNOWN * np.linalg.inv(common))
    return mean + (spread @ eta[..., None])[..., 0], spread


def linear_starts(Z: np.ndarray, labels: np.ndarray, n: int, n_restarts: int, generator: torch.Generator) -> np.ndarray:
    """Linear maps (R, N, K): SOBI's, FastICA's on the changes of those sources, then random rotations of it."""
    sobi = SOBI(n).fit(Z, replicas=labels).components_
    first = pairs(labels, 1)
    change = Z[first + 1] @ sobi.T - Z[first] @ sobi.T
    turns = [np.eye(n), fastica_directions(change, n)]
    for _ in range(n_restarts - 2):
        turns.append(torch.linalg.qr(torch.randn(n, n, generator=generator)).Q.double().numpy())
    found = np.stack([turn @ sobi for turn in turns[:n_restarts]])
    return found / (Z @ found.transpose(0, 2, 1)).std(1)[..., None]


def rates(S: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Coefficient (n,) of autoregressions under white noise: correlation at lag 2 over that at lag 1."""
    one, two = (
        (S[first] * S[first + lag]).mean(0) if np.any(labels[lag:] == labels[:-lag]) else np.ones(S.shape[1])
        for lag in (1, 2)
        for first in [np.flatnonzero(labels[lag:] == labels[:-lag])]
    )
    return np.clip(np.where(one > 0, two / np.maximum(one, 1e-12), 0.1), 0.1, 0.98)

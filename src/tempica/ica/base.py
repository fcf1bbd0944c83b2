"""What all estimators share: checks of their input, and pairs of frames that never cross a replica."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import validate_data

from tempica.errors import DataError


class TemporalEstimator(TransformerMixin, BaseEstimator):
    """Base of estimators that read sources off series of frames."""

    def _frames(self, X: Any, *, fitting: bool) -> np.ndarray:
        return validate_data(
            self,
            X,
            reset=fitting,
            dtype=np.float64,
            ensure_min_samples=2 if fitting else 1,
            ensure_min_features=1,
        )


def check_replicas(replicas: Any, n_frames: int) -> np.ndarray:
    """Replica labels (frame,) as consecutive integers from 0; all frames are one replica when none are given.

    Raises DataError when there is not one label a frame, or when a replica's frames are not contiguous.
    """
    if replicas is None:
        return np.zeros(n_frames, dtype=np.int64)
    labels = np.asarray(replicas)
    if labels.shape != (n_frames,):
        raise DataError(f"replicas has shape {labels.shape}; it must hold one label for each of the {n_frames} frames.")
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    if len(np.unique(labels[starts])) < len(starts):
        raise DataError(
            f"The frames of replica {labels[starts][0]!r} or another are not contiguous: {len(starts)} blocks of"
            f" {len(np.unique(labels))} replicas. Sort the frames by replica, in order of time."
        )
    return np.cumsum(np.r_[0, labels[1:] != labels[:-1]])


def pairs(replicas: np.ndarray, lag: int) -> np.ndarray:
    """First frames t (pair,) of all pairs (t, t + lag) within a replica. Raises DataError when there are none."""
    if lag < 1:
        raise DataError(f"lag = {lag} must be at least 1 frame.")
    first = np.flatnonzero(replicas[lag:] == replicas[:-lag]) if lag < len(replicas) else np.empty(0, dtype=int)
    if len(first) == 0:
        longest = np.bincount(replicas).max()
        raise DataError(
            f"There is no pair of frames {lag} apart: the longest replica has {longest} frames."
            " Take a shorter lag or longer replicas."
        )
    return first


def whitening(X: np.ndarray, relative_cutoff: float = 1e-10) -> tuple[np.ndarray, np.ndarray]:
    """Mean (feature,) and matrix (component, feature) to uncorrelated unit variance, without null directions.

    Raises DataError when no feature varies.
    """
    mean = X.mean(0)
    covariance = np.cov(X, rowvar=False, bias=True).reshape(X.shape[1], X.shape[1])
    value, vector = np.linalg.eigh(covariance)
    value, vector = value[::-1], vector[:, ::-1]
    keep = value > relative_cutoff * max(value[0], 0.0)
    if not (value[0] > 1e-12 * max(1.0, float((mean**2).max()))):
        raise DataError(f"All {X.shape[1]} features are constant over {len(X)} frames; there is nothing to unmix.")
    return mean, (vector[:, keep] / np.sqrt(value[keep])).T

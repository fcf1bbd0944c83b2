"""What all estimators share: checks of their input, and pairs of frames that never cross a replica."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import validate_data

from tempica.errors import DataError


class TemporalEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
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
    names, n_blocks = np.unique(labels[starts], return_counts=True)
    if n_blocks.max() > 1:
        raise DataError(
            f"replica {names[n_blocks.argmax()]} lies in {n_blocks.max()} places, but must be contiguous."
            " Sort the frames by replica, in order of time."
        )
    return np.cumsum(np.r_[0, labels[1:] != labels[:-1]])


def runs(replicas: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Replica labels (frame,) of the frames that a mask has chosen; a gap within a replica starts a new label."""
    frame = np.flatnonzero(chosen)
    return np.cumsum(np.r_[0, (np.diff(frame) > 1) | (np.diff(replicas[frame]) != 0)])[: len(frame)]


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
    mean, deviation = X.mean(0), X.std(0)
    # rounding alone gives a constant feature a deviation of about 1e-16 of its mean
    varies = deviation > 1e-12 * np.abs(X).max(0)
    if not varies.any():
        raise DataError(
            f"All {X.shape[1]} features are constant over {len(X)} frames; there is nothing to unmix."
            " Give features that vary."
        )
    # in units of each feature's own deviation, so that the cutoff does not depend on the features' units
    scale = np.where(varies, deviation, 1.0)
    standard = (X - mean) / scale * varies
    value, vector = np.linalg.eigh(standard.T @ standard / len(X))
    value, vector = value[::-1], vector[:, ::-1]
    keep = value > relative_cutoff * value[0]
    return mean, (vector[:, keep] / np.sqrt(value[keep])).T * (varies / scale)

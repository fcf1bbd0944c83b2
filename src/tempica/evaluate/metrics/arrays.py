"""What every metric does with its arrays first: checks, standard scores, ranks, and who is fitted and who is scored."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

import numpy as np

from tempica.errors import DataError
from tempica.series import array_of

Kind = Literal["spearman", "pearson"]

COLLAPSED = 1e-12  # a column whose range is below this fraction of its largest value carries no signal
LEAST_FRAMES = 3


def checked(S: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    """Sources (frame, n_components) and truth (frame, n_truth) as float64, of the same frames.

    A column of S may be all NaN, which is an absent component. Raises DataError for anything else that is not finite,
    for shapes that do not fit, and for less than three frames.
    """
    S, truth = (columns(name, value) for name, value in (("S", S), ("truth", truth)))
    if len(S) != len(truth):
        raise DataError(f"S has {len(S)} frames and truth {len(truth)}; give the same frames in both.")
    if len(S) < LEAST_FRAMES:
        raise DataError(f"S and truth have {len(S)} frames; a correlation needs at least 3. Give more.")
    if not np.isfinite(truth).all():
        row, column = np.argwhere(~np.isfinite(truth))[0]
        raise DataError(f"truth[{row}, {column}] is {truth[row, column]}; truth must be finite. Drop such frames.")
    absent = np.isnan(S).all(axis=0)
    bad = np.argwhere(~np.isfinite(S) & ~absent)
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"S[{row}, {column}] is {S[row, column]}; a component must be finite in all frames, or NaN in all"
            " if it is absent. Drop such frames from both."
        )
    return S, truth


def columns(name: str, value: Any) -> np.ndarray:
    """An array (frame, column) of float64. Raises DataError for what cannot be one."""
    try:
        array = array_of(value)
        if np.iscomplexobj(array):
            raise TypeError("it is complex")
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be an array of real numbers; {error}.") from None
    if array.ndim != 2 or array.shape[1] == 0:
        raise DataError(
            f"{name} has shape {array.shape}; it must be (frame, column) with at least one column. "
            "Give a single series as series[:, None], and movies of several replicas one after another."
        )
    return array


def check_counts(**counts: Any) -> None:
    """Raise DataError for a number that is not whole, or below 1; None passes."""
    for name, value in counts.items():
        if value is not None and not (isinstance(value, Integral) and int(value) >= 1):
            raise DataError(f"{name} = {value!r} must be a whole number, at least 1.")


def split(train: Any, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (frame,) of the frames that are fitted on and of those that are scored; all are both if `train` is None.

    Raises DataError for anything but one True or False a frame, and for fewer than three frames on either side.
    """
    if train is None:
        return np.ones(n_frames, dtype=bool), np.ones(n_frames, dtype=bool)
    mask = array_of(train)
    if mask.shape != (n_frames,) or mask.dtype != bool:
        raise DataError(
            f"train has shape {mask.shape} and dtype {mask.dtype}; it must hold True or False for each of the"
            f" {n_frames} frames."
        )
    n_fitted = int(mask.sum())
    if min(n_fitted, n_frames - n_fitted) < LEAST_FRAMES:
        raise DataError(
            f"train has {n_fitted} frames True and {n_frames - n_fitted} False; at least 3 of each are needed."
            " Fit on some replicas, and score others."
        )
    return mask, ~mask


def standardised(values: np.ndarray, kind: Kind = "pearson") -> np.ndarray:
    """Columns (or their ranks) with mean 0 and variance 1; zeros where a column is collapsed or absent."""
    z = np.zeros(values.shape)
    for j, column in enumerate(values.T):
        scale = np.abs(column).max()
        if not np.isfinite(scale) or np.ptp(column / (scale or 1.0)) <= COLLAPSED:
            continue
        value = ranks(column) if kind == "spearman" else column / scale
        value = value - value.mean()
        z[:, j] = value / np.sqrt(np.mean(value**2))
    return z


def ranks(column: np.ndarray) -> np.ndarray:
    """Ranks, ties at their mean; scipy.stats has them too, but takes half a second to import."""
    order = column.argsort()
    value = column[order]
    place = np.arange(len(column), dtype=np.float64)
    if (value[1:] == value[:-1]).any():
        first = np.flatnonzero(np.r_[True, value[1:] != value[:-1]])
        length = np.diff(np.r_[first, len(value)])
        place = np.repeat(first + 0.5 * (length - 1), length)
    rank = np.empty(len(column))
    rank[order] = place
    return rank


def correlation(z_S: np.ndarray, z_truth: np.ndarray) -> np.ndarray:
    """Correlations (n_components, n_truth) of standardised columns."""
    return np.clip(z_S.T @ z_truth / len(z_S), -1.0, 1.0)

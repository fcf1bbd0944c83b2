"""What an audit is given: frames that were checked, and thinned out where they are many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.series import array_of, check_replicas, pairs, spans

MOST_FRAMES = 20_000  # more make an audit longer, and its tests have power to spare
STRETCHES = 20  # into which longer series are thinned
LEAST_PER_FEATURE = 20  # frames: fewer do not determine a covariance
LEAST = 200  # frames: parts of which are compared
LEAST_PAIRS = 100  # of frames one lag apart: as many as replicas of two frames have at least


@dataclass(frozen=True)
class Given:
    """Frames X (frame, feature), their replicas and labels (frame,), covariance, and which rows of the input they are.

    `timed` says whether the order of frames means something: not where labels are given without replicas.
    """

    X: np.ndarray
    replicas: np.ndarray
    labels: np.ndarray | None
    covariance: np.ndarray | None
    timed: bool
    lag: int
    rows: np.ndarray
    note: str

    def part(self, chosen: np.ndarray) -> Given:
        """The frames that a mask (frame,) has chosen; what is cut apart are replicas of their own."""
        rows = np.flatnonzero(chosen)
        return Given(
            self.X[rows],
            _numbered(self.replicas, rows),
            None if self.labels is None else self.labels[rows],
            self.covariance if self.covariance is None or self.covariance.ndim == 2 else self.covariance[rows],
            self.timed,
            self.lag,
            self.rows[rows],
            self.note,
        )

    def parts(self, n: int) -> list[np.ndarray]:
        """Masks (frame,) of n disjoint parts of about equal size.

        Whole replicas where there are n or more, else stretches of time; labelled snapshots are cut within each label.
        """
        number = np.empty(len(self.X), dtype=int)
        if not self.timed and self.labels is not None:
            order = np.argsort(self.labels, kind="stable")
            start, length = spans(self.labels[order])
            within = np.arange(len(order)) - np.repeat(start, length)
            number[order] = within * n // np.repeat(length, length)
        else:
            start, length = spans(self.replicas)
            if len(start) >= n:
                middle = np.cumsum(length) - length / 2
                number = (middle * n / length.sum()).astype(int)[self.replicas]
            else:
                number = np.arange(len(self.X)) * n // len(self.X)
        return [number == k for k in range(n)]


def given(X: Any, replicas: Any, labels: Any, covariance: Any, lag: int) -> Given:
    """Checked input of an audit, thinned to 20,000 frames.

    Of more frames, time keeps 20 stretches spread evenly; labelled snapshots are taken at even steps.

    Raises DataError for what cannot be audited, in one sentence that says what to do.
    """
    try:
        frames = np.asarray(array_of(X), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"Latents must be an array of numbers (frame, feature); {error}.") from None
    if frames.ndim != 2 or frames.shape[1] == 0:
        raise DataError(f"Latents have shape {frames.shape}; an audit needs (frame, feature).")
    n, k = frames.shape
    if not np.isfinite(frames).all():
        row, column = np.argwhere(~np.isfinite(frames))[0]
        raise DataError(f"X[{row}, {column}] is {frames[row, column]}; latents must be finite. Drop such frames.")
    scale = np.maximum(np.abs(frames).max(0), 1e-300)
    constant = np.flatnonzero(np.ptp(frames / scale, axis=0) <= 1e-12)
    if len(constant):
        raise DataError(f"Feature {constant[0]} is constant over all {n} frames. Leave constant features out.")
    least = max(LEAST, LEAST_PER_FEATURE * k)
    if n < least:
        raise DataError(f"{n} frames of {k} features are too few to audit; at least {least} are needed. Give more.")
    numbers = check_replicas(replicas, n)
    names = _labels(labels, n)
    noise = _covariance(covariance, n, k)
    timed = labels is None or replicas is not None
    if timed and (n_pairs := len(pairs(numbers, lag))) < LEAST_PAIRS:
        raise DataError(
            f"Only {n_pairs} pairs of frames are {lag} apart; at least {LEAST_PAIRS} are needed. Use a shorter lag or"
            " longer replicas."
        )
    rows, note = _thinned(numbers, names, timed)
    whole = Given(frames, numbers, names, noise, timed, lag, np.arange(n), note)
    return whole if len(rows) == n else whole.part(np.isin(np.arange(n), rows))


def refuse(method: str, data: Given) -> None:
    """Raise DataError for a method that has nothing to learn from in such data."""
    if method in ("sobi", "pcl") and not data.timed:
        raise DataError(f"method = {method!r} needs frames in order of time: give replicas beside labels.")
    if method == "tcl" and data.labels is None:
        raise DataError("method = 'tcl' needs labels: give the segment, condition or delay of each frame.")


def columns(nuisances: Mapping[str, Any] | None, X: Any) -> dict[str, np.ndarray]:
    """Nuisances by name, one value for each frame. Raises DataError for another number of values."""
    found = {name: array_of(values) for name, values in (nuisances or {}).items()}
    for name, values in found.items():
        if values.shape[:1] != (len(X),):
            raise DataError(f"The nuisance {name} has shape {values.shape}; it must hold one value for each frame.")
    return found


def _labels(labels: Any, n: int) -> np.ndarray | None:
    if labels is None:
        return None
    values = array_of(labels)
    if values.shape != (n,):
        raise DataError(f"labels has shape {values.shape}; it must hold one label for each of the {n} frames.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"labels[{row}] is {values[row]}; labels must be finite. Drop such frames.")
    try:
        names, number, count = np.unique(values, return_inverse=True, return_counts=True)
    except TypeError as error:
        raise DataError(f"labels must be numbers throughout, or text throughout; {error}.") from None
    if len(names) < 2:
        raise DataError(f"All {n} frames have the label {names[0]}; labels tell something only where they differ.")
    if count.min() < 8:
        raise DataError(
            f"Label {names[count.argmin()]} has {count.min()} frames; at least 8 are needed to tell its distribution."
            " Join labels, or give more frames."
        )
    return number


def _covariance(covariance: Any, n: int, k: int) -> np.ndarray | None:
    if covariance is None:
        return None
    values = np.asarray(array_of(covariance), dtype=np.float64)
    if values.shape not in ((k, k), (n, k, k)):
        raise DataError(f"covariance has shape {values.shape}; it must be ({n}, {k}, {k}), or ({k}, {k}) for all.")
    if not np.isfinite(values).all():
        raise DataError("covariance must be finite; some of it is not. Drop such frames.")
    return values


def _thinned(replicas: np.ndarray, labels: np.ndarray | None, timed: bool) -> tuple[np.ndarray, str]:
    n = len(replicas)
    if n <= MOST_FRAMES:
        return np.arange(n), ""
    if not timed and labels is not None:
        order = np.argsort(labels, kind="stable")
        rows = np.sort(order[np.linspace(0, n - 1, MOST_FRAMES).astype(int)])
        return rows, f"Of {n:,} frames, {MOST_FRAMES:,} were used, spread evenly over the labels."
    length = MOST_FRAMES // STRETCHES
    start = np.linspace(0, n - length, STRETCHES).astype(int)
    rows = (start[:, None] + np.arange(length)).ravel()
    return rows, f"Of {n:,} frames, {MOST_FRAMES:,} were used: {STRETCHES} stretches of {length}, spread evenly."


def _numbered(replicas: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Replica labels (row,) of chosen rows; a gap starts a new one."""
    if len(rows) == 0:
        return np.empty(0, dtype=int)
    return np.cumsum(np.r_[0, (np.diff(rows) > 1) | (np.diff(replicas[rows]) != 0)])

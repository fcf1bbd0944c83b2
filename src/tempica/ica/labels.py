"""Labels of frames: segments, numbered and cut."""

from __future__ import annotations

from typing import Any

import numpy as np

from tempica.errors import DataError


def either(y: Any, labels: Any) -> Any:
    """Labels given under one of their two names. Raises DataError when both are given."""
    if y is not None and labels is not None:
        raise DataError("Labels are given twice, as y and as labels; give them once.")
    return labels if y is None else y


def check_labels(labels: Any, n_frames: int) -> np.ndarray:
    """Labels (frame,) as they are. Raises DataError when there is not one a frame, or when they have no order."""
    labels = np.asarray(labels)
    if labels.shape != (n_frames,):
        raise DataError(f"labels has shape {labels.shape}; it must hold one label for each of the {n_frames} frames.")
    if labels.dtype.kind == "O":
        kinds = sorted({type(each).__name__ for each in labels})
        if len(kinds) > 1:
            raise DataError(f"labels are of types {', '.join(kinds)}; they must be all numbers or all text.")
    return labels


def numbered(labels: Any, names: np.ndarray, n_frames: int) -> np.ndarray:
    """Number (frame,) of each label among the sorted names of a fit. Raises DataError for labels of no such name."""
    given = check_labels(labels, n_frames)
    if not np.isin(given, names).all():
        raise DataError("Some frames are of segments that were not fitted. Give labels of the fit.")
    return np.searchsorted(names, given)


def cut_into_segments(replicas: np.ndarray, n_segments: int) -> np.ndarray:
    """Numbers (frame,) of about `n_segments` segments of equal length, none of which crosses a replica.

    Raises DataError when `n_segments` is not between 1 and the number of frames.
    """
    if not 1 <= n_segments <= len(replicas):
        raise DataError(f"n_segments = {n_segments} must be from 1 to {len(replicas)}, the number of frames.")
    length = np.bincount(replicas)
    parts = np.maximum(1, np.round(length * n_segments / len(replicas))).astype(int)
    within = np.arange(len(replicas)) - np.repeat(np.cumsum(length) - length, length)
    first = np.cumsum(parts) - parts
    return first[replicas] + within * parts[replicas] // length[replicas]


def last_of_each(numbers: np.ndarray, part: int = 5) -> np.ndarray:
    """Marks (frame,) the last fifth (or other part) of the frames of each label, one at least of two or more."""
    order, counts = np.argsort(numbers, kind="stable"), np.bincount(numbers)
    place = np.empty(len(numbers), dtype=int)
    place[order] = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts)
    count = counts[numbers]
    return (place >= count - np.maximum(1, count // part)) & (count > 1)

"""Labels of frames: segments, numbered and cut."""

from __future__ import annotations

from typing import Any

import numpy as np

from tempica.errors import DataError


def either(y: Any, segments: Any) -> Any:
    """Labels given under one of their two names. Raises DataError when both are given."""
    if y is not None and segments is not None:
        raise DataError("Labels are given twice, as y and as segments; give them once.")
    return segments if y is None else y


def check_segments(segments: Any, n_frames: int) -> np.ndarray:
    """Labels (frame,) as they are. Raises DataError when there is not one a frame, or when they have no order."""
    labels = np.asarray(segments)
    if labels.shape != (n_frames,):
        raise DataError(f"segments has shape {labels.shape}; it must hold one label for each of the {n_frames} frames.")
    if labels.dtype.kind == "O":
        kinds = sorted({type(each).__name__ for each in labels})
        if len(kinds) > 1:
            raise DataError(f"segments are of types {', '.join(kinds)}; labels must be all numbers or all text.")
    return labels


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


def number_segments(y: Any, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Names and numbers (frame,) of segments. Raises DataError if there are fewer than two, or not one a frame."""
    if y is None:
        raise DataError("TCL needs the segment of each frame: fit(X, segments).")
    labels = np.asarray(y)
    if labels.shape != (n_frames,):
        raise DataError(f"segments have shape {labels.shape}; there must be one for each of the {n_frames} frames.")
    names, numbers, counts = np.unique(check_segments(labels, n_frames), return_inverse=True, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        raise DataError(
            f"There are {len(names)} segments, the shortest of {counts.min()} frames; TCL tells segments apart, and"
            " needs two of two frames at least. Cut the series into more segments, or take PCL."
        )
    return names, numbers


def last_fifth(segments: np.ndarray) -> np.ndarray:
    """Marks (frame,) the last fifth of each segment, one frame at least."""
    order = np.argsort(segments, kind="stable")
    counts = np.bincount(segments)
    place = np.arange(len(segments)) - np.repeat(np.cumsum(counts) - counts, counts)
    mask = np.empty(len(segments), dtype=bool)
    mask[order] = place >= np.repeat(counts - np.maximum(1, counts // 5), counts)
    return mask

"""Labels of frames: segments, numbered and cut."""

from __future__ import annotations

from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.series import spans

SHARE, LEAST, MOST = 1 / 5, 1 / 10, 1 / 3  # of the frames are held out: the share aimed at, and its bounds


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


def last_share(replicas: np.ndarray, lag: int) -> np.ndarray:
    """Marks (frame,) about a fifth of the frames that have a partner `lag` frames away, all at the end.

    Whole replicas, if some number of the last ones holds between a tenth and a third of those frames, or if all are
    short; otherwise the cut goes through a replica. `replicas` (frame,) are consecutive numbers, as from
    `check_replicas`.
    """
    _, length = spans(replicas)
    paired = np.where(length > lag, length, 0)
    total, n_pairs = int(paired.sum()), np.maximum(length - lag, 0)
    share = np.cumsum(paired[::-1])[::-1] / max(1, total)  # from each replica to the end
    ahead, behind = np.cumsum(n_pairs) - n_pairs, np.cumsum(n_pairs[::-1])[::-1]
    far = np.where((ahead >= 2) & (behind >= 2), np.abs(share - SHARE), np.inf)
    first = int(far.argmin())
    if np.isfinite(far[first]) and (LEAST <= share[first] <= MOST or length.max() <= 2 * (lag + 2)):
        return replicas >= first
    # frames of replicas without a pair do not count, wherever they lie
    count = np.cumsum((paired > 0)[replicas][::-1])[::-1]
    return count <= max(lag + 2, total // 5)

"""What several rooms need of time series: replicas, pairs, chunks, the standard error of a mean, quadratic terms."""

from __future__ import annotations

import dataclasses
from numbers import Integral
from typing import Any

import numpy as np

from tempica.errors import DataError


def array_of(values: Any) -> np.ndarray:
    """An array, list, DataFrame or tensor as an array; a tensor may carry gradients and lie on any device."""
    if hasattr(values, "detach"):  # a tensor, without importing torch
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def number_molecules(molecule: np.ndarray) -> np.ndarray:
    """Numbers (replica, time) of molecules that differ between replicas too, and are not reused."""
    begins = np.ones(molecule.shape, dtype=bool)
    begins[:, 1:] = molecule[:, 1:] != molecule[:, :-1]
    return np.cumsum(begins).reshape(molecule.shape)


def check_replicas(replicas: Any, n_frames: int) -> np.ndarray:
    """Replica labels (frame,) as consecutive integers from 0; all frames are one replica when none are given.

    Labels may be numbers or text. Raises DataError when there is not one label a frame, when labels cannot be compared,
    or when a replica's frames are not contiguous.
    """
    if replicas is None:
        return np.zeros(n_frames, dtype=np.int64)
    labels = array_of(replicas)
    if labels.shape != (n_frames,):
        raise DataError(f"replicas has shape {labels.shape}; it must hold one label for each of the {n_frames} frames.")
    starts, _ = spans(labels)
    try:
        names, n_blocks = np.unique(labels[starts], return_counts=True)
    except TypeError as error:
        raise DataError(f"replicas must be numbers throughout, or text throughout; {error}.") from None
    if n_blocks.max() > 1:
        raise DataError(
            f"replica {names[n_blocks.argmax()]} lies in {n_blocks.max()} places, but must be contiguous."
            " Sort the frames by replica, in order of time."
        )
    return np.cumsum(np.r_[0, labels[1:] != labels[:-1]])


def spans(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First frame (span,) and number of frames (span,) of each stretch of equal labels (frame,)."""
    start = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    return start, np.diff(np.r_[start, len(labels)])


def runs(replicas: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Replica labels (frame,) of the frames that a mask has chosen; a gap within a replica starts a new label."""
    frame = np.flatnonzero(chosen)
    return np.cumsum(np.r_[0, (np.diff(frame) > 1) | (np.diff(replicas[frame]) != 0)])[: len(frame)]


def pairs(replicas: np.ndarray, lag: int) -> np.ndarray:
    """First frames t (pair,) of all pairs (t, t + lag) within a replica. Raises DataError when there are none."""
    if not isinstance(lag, Integral):
        raise DataError(f"lag = {lag!r} must be a whole number of frames.")
    if lag < 1:
        raise DataError(f"lag = {lag} must be at least 1 frame.")
    first = np.flatnonzero(replicas[lag:] == replicas[:-lag]) if lag < len(replicas) else np.empty(0, dtype=int)
    if len(first) == 0:
        longest = np.bincount(replicas).max()
        raise DataError(
            f"There is no pair of frames {lag} apart: the longest replica has {longest} frames."
            " Use a shorter lag or longer replicas."
        )
    return first


def standard_error(gain: np.ndarray, n_blocks: int = 16) -> float:
    """Standard error of the mean of a series whose neighbours are correlated, from the means of blocks."""
    blocks = [block.mean() for block in np.array_split(gain, min(n_blocks, len(gain)))]
    return float(np.std(blocks, ddof=1) / np.sqrt(len(blocks)))


def chunks(labels: np.ndarray, longest: int, least: int = 2) -> tuple[np.ndarray, int]:
    """First frames (chunk,) of consecutive chunks of equal length within each series, and that length.

    It is the largest, up to `longest`, that leaves out at most a tenth of the frames in series of two or more. Raises
    DataError when there are fewer than `least` chunks.
    """
    start, length = spans(labels)
    enough = 0.9 * length[length >= 2].sum()
    for size in range(longest, 1, -1):
        number = length // size
        if (number * size).sum() >= enough and number.sum() >= least:
            return np.concatenate([s + size * np.arange(k) for s, k in zip(start, number, strict=True)]), size
    raise DataError(
        f"There are {len(labels)} frames in {len(start)} series, too few for {least} stretches of two frames or more."
        " Give longer series."
    )


def quadratic(z: np.ndarray) -> np.ndarray:
    """Constant, linear and quadratic terms (frame, term) of variables (frame, variable): 1, z_i, z_i z_j for i ≤ j."""
    i, j = np.triu_indices(z.shape[1])
    return np.concatenate([np.ones((len(z), 1)), z, z[:, i] * z[:, j]], axis=1)


def brief(found: Any) -> str:
    """A short repr of a dataclass: arrays by their shape, long texts and lists by their beginning or length."""
    fields = {one.name: getattr(found, one.name) for one in dataclasses.fields(found)}
    told = [f"{name}={_briefly(value)}" for name, value in fields.items() if not _says_nothing(value)]
    return f"{type(found).__name__}({', '.join(told)})"


def _says_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, (dict, list, tuple)) and not value)


def _briefly(value: Any) -> str:
    match value:
        case np.ndarray():
            return f"array {value.shape}"
        case float() | np.floating():
            return f"{value:.4g}"
        case tuple() if len(value) <= 4 and all(isinstance(each, float) for each in value):
            return f"({', '.join(map(_briefly, value))})"
        case list() | tuple() | dict() if len(repr(value)) > 40:
            return f"<{len(value)} entries>"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"

"""Chance: how slow series are, shifts that keep that, and blocks that are drawn again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft

from tempica.evaluate.metrics.arrays import standardised

GAP_TIMES = 2.0  # least shift of the null, and block of the bootstrap, in integrated autocorrelation times:
BLOCK_TIMES = 2.0  # two are four decay times of an exponential, where e⁻⁴ of a correlation is left


def correlation_time(series: np.ndarray, start: np.ndarray, length: np.ndarray) -> float:
    """Largest integrated autocorrelation time, in frames, of series (frame, column); at least 1.

    τ = 1 + 2 Σ_k ρ_k over the lags k before ρ first falls to 0; ρ is pooled over all replicas.
    """
    centred = standardised(series)
    longest = int(length.max())
    covariance = np.zeros((longest, series.shape[1]))
    for first, n in zip(start, length, strict=True):
        padded = fft.next_fast_len(2 * int(n), real=True)
        spectrum = fft.rfft(centred[first : first + n], padded, axis=0)
        covariance[:n] += fft.irfft(np.abs(spectrum) ** 2, padded, axis=0)[:n]
    positive = np.cumprod(covariance > 1e-9, axis=0)[1:]
    rho = covariance[1:] / np.maximum(covariance[0], 1e-9)
    return float(1 + 2 * (rho * positive).sum(0).max(initial=0.0))


@dataclass(frozen=True, eq=False)
class Meeting:
    """Which frames of the truth the frames of S meet in one draw: replicas (replica,), moved by offsets (replica,)."""

    donor: np.ndarray
    offset: np.ndarray

    def pieces(self, start: np.ndarray, length: np.ndarray) -> Iterator[tuple[slice, slice]]:
        """Stretches of S, and those of the truth that they meet."""
        for first, n, other, by in zip(start, length, start[self.donor], self.offset % length, strict=True):
            yield slice(first, first + n - by), slice(other + by, other + n)
            if by:
                yield slice(first + n - by, first + n), slice(other, other + by)

    def frames(self, start: np.ndarray, length: np.ndarray) -> np.ndarray:
        """For every frame of S the frame of the truth that it meets (frame,)."""
        replica = np.repeat(np.arange(len(length)), length)
        within = np.arange(length.sum()) - start[replica]
        return start[self.donor[replica]] + (within + self.offset[replica]) % length[replica]


def meetings(
    start: np.ndarray, length: np.ndarray, time: float, n_draws: int, rng: np.random.Generator
) -> Iterator[Meeting]:
    """Draws of the null: each replica meets another of its length, moved in time on a circle."""
    gap = np.minimum(math.ceil(GAP_TIMES * time), length // 3)
    equal = [np.flatnonzero(length == n) for n in np.unique(length)]
    for _ in range(n_draws):
        donor = np.empty(len(length), dtype=np.int64)
        for group in equal:
            order = rng.permutation(group)
            donor[order] = np.roll(order, 1)  # one cycle: no replica meets its own truth, unless it is alone
        # length // 2 keeps replicas of two frames moving, whose third is zero
        least = np.maximum(gap, np.minimum(1, length // 2))
        yield Meeting(donor, rng.integers(least, length - least, endpoint=True))


def null_frames(
    start: np.ndarray, length: np.ndarray, time: float, n_draws: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield, n_draws times, for every frame of S the frame of the truth that it meets (frame,)."""
    for meeting in meetings(start, length, time, n_draws, rng):
        yield meeting.frames(start, length)


def bootstrap(
    x: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
    size: int,
    n_draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Correlations (n_draws, pair) of x and y (frame, pair) over as many frames, drawn in blocks."""
    moments = np.concatenate([x, y, x * x, y * y, x * y], axis=1)
    block_sum = np.empty_like(moments)  # of the block that starts at each frame, round its replica
    for first, n in zip(start, length, strict=True):
        before = np.concatenate([np.zeros((1, moments.shape[1])), moments[first : first + n].cumsum(0)])
        end = np.arange(n) + size
        block_sum[first : first + n] = end[:, None] // n * before[n] + before[end % n] - before[:n]
    n_blocks = math.ceil(len(x) / size)
    mean = np.empty((n_draws, moments.shape[1]))
    few = max(1, 4_000_000 // len(x))  # draws at a time: the numbers of times that each block is drawn take memory
    for first in range(0, n_draws, few):
        drawn = [np.bincount(rng.integers(len(x), size=n_blocks), minlength=len(x)) for _ in mean[first : first + few]]
        mean[first : first + few] = np.array(drawn, dtype=np.float64) @ block_sum / (n_blocks * size)
    mx, my, mxx, myy, mxy = np.split(mean, 5, axis=1)
    variance = np.maximum(mxx - mx**2, 0) * np.maximum(myy - my**2, 0)
    return np.where(variance > 1e-18, (mxy - mx * my) / np.sqrt(np.maximum(variance, 1e-18)), 0.0)

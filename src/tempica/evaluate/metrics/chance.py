"""Chance: how slow series are, and unrelated ones that are as slow: shifted, or simulated where shifts are too few."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft

from tempica.evaluate.metrics import autoregressions
from tempica.evaluate.metrics.arrays import standardised

GAP_TIMES = 2.0  # least shift of the null, in integrated autocorrelation times: two are four decay times of an
# exponential, where e⁻⁴ of a correlation is left
MANY_TIMES = 50.0  # integrated autocorrelation times in all replicas, above which shifts are draws enough
FINE = 40.0  # steps of simulated series in an integrated autocorrelation time, at the least
SIMULATED = 4_000_000  # numbers simulated at a time


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


def coarse(
    z_S: np.ndarray, z_truth: np.ndarray, start: np.ndarray, length: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sums of S and means of the truth over blocks of at most `size` frames, and where replicas lie among the blocks.

    A series that hardly moves within a block has with S the products that it has with the sums of S.
    """
    number = -(-length // size)
    first = np.r_[0, number.cumsum()[:-1]]
    within = np.arange(int(number.sum())) - np.repeat(first, number)
    edge = np.repeat(start, number) + size * within
    frames = np.minimum(size, np.repeat(length, number) - size * within)
    means = np.add.reduceat(z_truth, edge, axis=0) / frames[:, None]
    return np.add.reduceat(z_S, edge, axis=0), means, first, number


def surrogates(
    z: np.ndarray, start: np.ndarray, length: np.ndarray, n_draws: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield, n_draws times, normal series (frame, column) that are as slow as z (frame, column), and standardised.

    Each column is an autoregression fitted to that of z; columns share innovations as much as those of z do.
    """
    models = [autoregressions.fit(column, start, length, rng) for column in z.T]
    fresh = [autoregressions.innovations(m, x, start, length) for m, x in zip(models, z.T, strict=True)]
    root = _shared(np.stack(fresh, 1))
    at_once = max(1, SIMULATED // z.size)
    for first in range(0, n_draws, at_once):
        drawn = np.empty((min(at_once, n_draws - first), *z.shape))
        for n in np.unique(length):
            replicas = np.flatnonzero(length == n)
            frames = start[replicas][:, None] + np.arange(n)
            shape = len(drawn), len(replicas)
            innovation = rng.standard_normal((*shape, n, z.shape[1])) @ root
            before = rng.standard_normal((*shape, autoregressions.MOST_LAGS, z.shape[1])) @ root
            for j, model in enumerate(models):
                past = before[..., : len(model.phi), j].reshape(shape[0] * shape[1], len(model.phi))
                drawn[:, frames, j] = model.simulate(innovation[..., j].reshape(-1, n), past).reshape(*shape, n)
        drawn -= drawn.mean(1, keepdims=True)
        deviation = drawn.std(1, keepdims=True)
        yield from drawn / np.where(deviation > 0, deviation, 1.0)


def _shared(e: np.ndarray) -> np.ndarray:
    """Root (column, column) of the correlation matrix of innovations (frame, column)."""
    z = standardised(e)
    value, direction = np.linalg.eigh(z.T @ z / len(z))
    return np.asarray(direction * np.sqrt(np.maximum(value, 0.0))).T

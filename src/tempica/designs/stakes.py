"""What a frame, a pair of frames or a label tells of the axes: information that a rotation of the sources would lose.

Of two sources y₁, y₂ with noise, whitened, let I(θ) be the sum of the information that each of the two axes turned by
θ has about its own future a lag on (what a separable contrast of pairs can reach), or about the label; or minus the sum
of their entropies. What is at stake is I(0) − I(45°), in nats a frame: nothing for normal sources of equal
autocorrelation, which no method can turn. The gain is seen above chance, a few nats, from about 10/stake frames on
(`ENOUGH`). What the autocorrelations alone hold of it is the same difference of −½ ln(1 − ρ²).

Shape legend: F frame, n source, B bin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from scipy import special

from tempica.series import pairs

ENOUGH = 10.0  # nats
N_BINS = 16  # of equal share
N_BLOCKS = 8  # for standard errors
SURE = 4.0  # standard errors from which a stake counts

# of one axis (F,): what there is beyond correlation, and the correlation, in all blocks and in all but each
OfAxis = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Stake:
    """Of the two sources that are hardest to tell apart; nats a frame."""

    second_order: float  # in autocorrelations (0 for others than pairs)
    beyond: float  # in all else
    errors: tuple[float, float]  # their standard errors
    pair: tuple[int, int]

    @property
    def value(self) -> float:
        """What there is, parts below their error left out."""
        return self.sure_second_order + (self.beyond if self.beyond > SURE * self.errors[1] else 0.0)

    @property
    def sure_second_order(self) -> float:
        """What autocorrelations hold of it, above their error."""
        return self.second_order if self.second_order > SURE * self.errors[0] else 0.0

    @property
    def frames(self) -> float:
        """Frames from which on the axes can be seen; inf if nothing is at stake."""
        return ENOUGH / self.value if self.value else np.inf


def of_pairs(y: np.ndarray, molecule: np.ndarray, lag: int) -> Stake:
    """Of white sources y (F, n), by pairs of frames of a molecule a lag apart."""
    first = pairs(molecule, lag)
    block = _blocks(len(first))

    def of_axis(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        number, x = _ranked(z), z - z.mean()
        here, there = x[first], x[first + lag]
        sums = [np.bincount(block, each, N_BLOCKS) for each in (here * there, here**2, there**2)]
        product, before, after = map(_without_each, sums)
        rho = product / np.sqrt(before * after)
        return _information(number[first], number[first + lag], N_BINS, block) - _normal(rho), rho

    return _hardest(y, of_axis)


def of_labels(y: np.ndarray, labels: np.ndarray) -> Stake:
    """Of white sources y (F, n), by labels (F,)."""
    names, number = np.unique(labels, return_inverse=True)
    block = np.random.default_rng(0).permutation(_blocks(len(y)))

    def of_axis(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _information(_ranked(z), number, len(names), block), np.zeros(N_BLOCKS + 1)

    return _hardest(y, of_axis)


def of_frames(y: np.ndarray) -> Stake:
    """Of white sources y (F, n), by frames in any order."""
    block = _blocks(len(y))

    def of_axis(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [z, *(z[block != each] for each in range(N_BLOCKS))]
        return -np.array([_entropy(part) for part in parts]), np.zeros(N_BLOCKS + 1)

    return _hardest(y, of_axis)


def whitened(estimate: np.ndarray) -> np.ndarray:
    """Estimates (F, n) of sources, made white by the least change (a symmetric map)."""
    centred = estimate - estimate.mean(0)
    value, vector = np.linalg.eigh(centred.T @ centred / len(centred))
    return centred @ (vector / np.sqrt(np.maximum(value, 1e-12))) @ vector.T


def _hardest(y: np.ndarray, of_axis: OfAxis) -> Stake:
    """The least stake of any two sources, its bias and errors by the jackknife over blocks of frames."""
    found, sign = [], np.array([1, 1, -1, -1])
    for i, j in combinations(range(y.shape[1]), 2):
        axes = [y[:, i], y[:, j], (y[:, i] + y[:, j]) / np.sqrt(2), (y[:, i] - y[:, j]) / np.sqrt(2)]
        beyond, rho = (np.stack(each, 1) for each in zip(*map(of_axis, axes), strict=True))
        parts = np.stack([-0.5 * np.log(1 - rho**2) @ sign, beyond @ sign], 1)
        without = parts[1:]
        value = N_BLOCKS * parts[0] - (N_BLOCKS - 1) * without.mean(0)
        errors = np.sqrt((N_BLOCKS - 1) * without.var(0))
        found.append(Stake(float(value[0]), float(value[1]), (float(errors[0]), float(errors[1])), (i, j)))
    return min(found, key=lambda stake: stake.second_order + stake.beyond)


def _blocks(n: int) -> np.ndarray:
    """Number (n,) of the block of each frame."""
    return np.arange(n) * N_BLOCKS // n


def _without_each(parts: np.ndarray) -> np.ndarray:
    """Sums (1 + N_BLOCKS, …) over all blocks (N_BLOCKS, …), and over all but each."""
    return np.concatenate([parts.sum(0, keepdims=True), parts.sum(0) - parts])


def _ranked(z: np.ndarray) -> np.ndarray:
    """Bins (F,) of equal share."""
    edges = np.quantile(z, np.arange(1, N_BINS) / N_BINS)
    return np.searchsorted(edges, z)


def _information(one: np.ndarray, other: np.ndarray, n_other: int, block: np.ndarray) -> np.ndarray:
    """Mutual information (1 + N_BLOCKS,) of two numbered variables (F,) in all blocks, and in all but each.

    Less what as many counts show by chance (Miller & Madow 1955).
    """
    cell = (block * N_BINS + one) * n_other + other
    counts = np.bincount(cell, minlength=N_BLOCKS * N_BINS * n_other).reshape(N_BLOCKS, N_BINS, n_other)
    found = []
    for count in _without_each(counts):
        total = count.sum()
        rows, columns = count.sum(1, keepdims=True), count.sum(0, keepdims=True)
        plain = special.xlogy(count, count * (total / np.maximum(rows * columns, 1))).sum() / total
        cells = (count > 0).sum() - (rows > 0).sum() - (columns > 0).sum() + 1
        found.append(plain - cells / (2 * total))
    return np.array(found)


def _normal(rho: np.ndarray) -> np.ndarray:
    """Information (…,) of normal pairs of correlation (…,) in those bins, which is less than −½ ln(1 − ρ²)."""
    table, grid = _normal_table()
    return np.interp(np.abs(rho), grid, table)


@lru_cache
def _normal_table() -> tuple[np.ndarray, np.ndarray]:
    grid = np.sin(np.linspace(0, np.pi / 2, 65)[:-1])
    inside = special.ndtri((np.arange(N_BINS * 32) + 0.5) / (N_BINS * 32))
    edges = special.ndtri(np.arange(1, N_BINS) / N_BINS)
    found = []
    for rho in grid:
        below = special.ndtr((edges - rho * inside[:, None]) / np.sqrt(1 - rho**2))
        share = np.diff(below, axis=1, prepend=0.0, append=1.0).reshape(N_BINS, 32, N_BINS).mean(1) / N_BINS
        found.append(float(special.xlogy(share, share * N_BINS**2).sum()))
    return np.array(found), grid


def _entropy(z: np.ndarray) -> float:
    """Differential entropy in nats, from spacings of m = √F ordered values (Vasicek 1976)."""
    m = max(1, int(np.sqrt(len(z))))
    ordered = np.sort(z)
    return float(np.log(np.maximum(ordered[m:] - ordered[:-m], 1e-12) * (len(z) + 1) / m).mean())

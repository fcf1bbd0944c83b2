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

Of = Callable[[np.ndarray, np.ndarray], float]  # a figure of one axis (F,), by the frames (or first frames) given


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

    def in_all(z: np.ndarray, at: np.ndarray) -> float:
        return _mutual(_ranked(z[at]), _ranked(z[at + lag]), N_BINS)

    def correlation(z: np.ndarray, at: np.ndarray) -> float:
        return float(np.corrcoef(z[at], z[at + lag])[0, 1])

    return _hardest(y, pairs(molecule, lag), in_all, correlation)


def of_labels(y: np.ndarray, labels: np.ndarray) -> Stake:
    """Of white sources y (F, n), by labels (F,)."""
    _, number = np.unique(labels, return_inverse=True)

    def information(z: np.ndarray, at: np.ndarray) -> float:
        return _mutual(_ranked(z[at]), number[at], int(number.max()) + 1)

    return _hardest(y, np.random.default_rng(0).permutation(len(y)), information, _nothing)


def of_frames(y: np.ndarray) -> Stake:
    """Of white sources y (F, n), by frames in any order."""
    return _hardest(y, np.arange(len(y)), lambda z, at: -_entropy(z[at]), _nothing)


def whitened(estimate: np.ndarray) -> np.ndarray:
    """Estimates (F, n) of sources, made white by the least change (a symmetric map)."""
    centred = estimate - estimate.mean(0)
    value, vector = np.linalg.eigh(centred.T @ centred / len(centred))
    return centred @ (vector / np.sqrt(np.maximum(value, 1e-12))) @ vector.T


def _nothing(z: np.ndarray, at: np.ndarray) -> float:
    return 0.0


def _hardest(y: np.ndarray, frames: np.ndarray, in_all: Of, correlation: Of) -> Stake:
    """The least stake of any two sources, its bias and errors by the jackknife over blocks of frames."""
    blocks = np.array_split(frames, N_BLOCKS)
    some = [frames, *(np.concatenate([*blocks[:b], *blocks[b + 1 :]]) for b in range(N_BLOCKS))]
    found, sign = [], np.array([1, 1, -1, -1])
    for i, j in combinations(range(y.shape[1]), 2):
        axes = [y[:, i], y[:, j], (y[:, i] + y[:, j]) / np.sqrt(2), (y[:, i] - y[:, j]) / np.sqrt(2)]
        rho = np.array([[correlation(z, at) for z in axes] for at in some])
        whole = np.array([[in_all(z, at) for z in axes] for at in some])
        parts = np.stack([-0.5 * np.log(1 - rho**2) @ sign, (whole - _normal(rho)) @ sign], 1)
        without = parts[1:]
        value = N_BLOCKS * parts[0] - (N_BLOCKS - 1) * without.mean(0)
        errors = np.sqrt((N_BLOCKS - 1) * without.var(0))
        found.append(Stake(float(value[0]), float(value[1]), (float(errors[0]), float(errors[1])), (i, j)))
    return min(found, key=lambda stake: stake.second_order + stake.beyond)


def _ranked(z: np.ndarray) -> np.ndarray:
    """Bins (F,) of equal share."""
    edges = np.quantile(z, np.arange(1, N_BINS) / N_BINS)
    return np.searchsorted(edges, z)


def _mutual(one: np.ndarray, other: np.ndarray, n_other: int) -> float:
    """Mutual information of two numbered variables, less what as many counts show by chance (Miller & Madow 1955)."""
    count = np.bincount(one * n_other + other, minlength=N_BINS * n_other).reshape(N_BINS, n_other)
    share = count / count.sum()
    outer = share.sum(1, keepdims=True) * share.sum(0)
    there = share > 0
    plain = float((share[there] * np.log(share[there] / outer[there])).sum())
    cells = there.sum() - (outer.sum(1) > 0).sum() - (outer.sum(0) > 0).sum() + 1
    return plain - cells / (2 * count.sum())


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

"""A last turn of linear sources by statistics that Gaussian noise of known covariance cannot bias.

Noise that is correlated between sources draws every contrast towards axes along which it is not: what is made
independent is source plus noise. Fourth cumulants know nothing of Gaussian noise, covariances at a lag nothing of noise
that forgets at once, and the covariance of the sources alone is that of the frames less that of their noise.
Shape legend: S sources (frame, n), N noise (n, n).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import norm

from tempica.ica.base import covariance_about, transformed, whitening
from tempica.ica.linear.joint import rotate
from tempica.series import pairs

N_BLOCKS = 16  # of successive frames, one left out at a time
LAGS = (1, 2, 3, 5, 8)  # times the lag of a fit
SURE = 0.01  # probability that sources without any mixing are turned
PRECISE = 0.1  # standard error of a share of mixing, 6° of a turn, beyond which some pair is not told apart
LEAST = 0.05  # share of a direction's variance that must be signal


def noise_of_means(X: np.ndarray, covariance: Any) -> np.ndarray:
    """Covariance (feature, feature) of the noise that posterior means X (frame, feature) carry.

    Means m = K (s + e), K = 1 − ⟨Σ⟩ P⁻¹ with the prior P = C₀ + ⟨Σ⟩ (law of total variance), have signal K s of
    covariance C₀ Kᵀ, and noise K e of K ⟨Σ⟩. `covariance` is Σ (frame, feature, feature), or one for all.
    """
    mean, white = whitening(X)
    spread = transformed(white, covariance).reshape(-1, len(white), len(white)).mean(0)
    noise = np.linalg.solve(np.eye(len(white)) + spread, spread)  # K ⟨Σ⟩ where the means are white: all commute
    back = covariance_about(X, mean) @ white.T
    return back @ noise @ back.T


def turn(S: np.ndarray, N: np.ndarray, labels: np.ndarray, lag: int = 1) -> np.ndarray | None:
    """Matrix (n, n) with unit diagonal that undoes what noise of covariance N has mixed into sources S.

    S less their noise are whitened, and one rotation V makes diagonal together (Cardoso & Souloumiac 1993, JADE) the
    fourth cumulants of S and of their innovations s_{t+τ} − ρ s_t, with one ρ for all, and the covariances of S at
    several lags, each kind in units of its own sampling error. Errors come from leaving out blocks of frames in turn.
    None where the sources are not told apart (an error above 0.1); one where the matrix differs from it by no more than
    errors explain (99 % of sources that are not mixed), so that a contrast without noise, which is the more efficient,
    keeps its axes.
    """
    n = S.shape[1]
    if n < 2 or len(S) < 4 * N_BLOCKS * (lag + 1):
        return None
    statistics = _Statistics(S - S.mean(0), N, labels, lag)
    whole = statistics.unmixing(None)
    if whole is None:
        return None
    others = [statistics.unmixing(block) for block in range(N_BLOCKS)]
    if any(other is None for other in others):
        return None
    error = np.sqrt((N_BLOCKS - 1) * np.var(np.array(others), axis=0))
    if error.max() > PRECISE:
        return None
    off = ~np.eye(n, dtype=bool)
    beyond = np.abs(whole[off]) > norm.ppf(1 - 0.5 * SURE / off.sum()) * error[off]
    return whole if beyond.any() else np.eye(n)


class _Statistics:
    """Moments of blocks of sources and innovations, from which those of all blocks but one are had by subtraction."""

    def __init__(self, S: np.ndarray, N: np.ndarray, labels: np.ndarray, lag: int) -> None:
        self.N, self.n = N, S.shape[1]
        longest = np.bincount(labels).max()
        self.covariance = _sums(S, S)
        lagged = [pairs(labels, lag * k) for k in LAGS if lag * k < longest / 2]
        self.lagged = [_sums(S[first], S[first + lag * k]) for k, first in zip(LAGS, lagged, strict=False)]
        signal = _of(self.covariance, None) - N
        self.rho = 0.0
        series = [S]
        if lagged:
            self.rho = float(np.clip(np.trace(np.linalg.pinv(signal) @ _of(self.lagged[0], None)) / self.n, 0, 1))
            series.append(S[lagged[0] + lag] - self.rho * S[lagged[0]])
        self.second = [_sums(y, y) for y in series]
        self.fourth = [_sums(_products(y), _products(y)) for y in series]
        start = self._whitening(None)
        self.weight = None if start is None else self._weights(start)

    def unmixing(self, without: int | None) -> np.ndarray | None:
        """The matrix that makes all statistics diagonal, of all blocks but one; None where there is no signal."""
        white = self._whitening(without)
        if white is None or self.weight is None:
            return None
        kinds = self._kinds(white, without)
        matrices = np.concatenate([weight * kind for weight, kind in zip(self.weight, kinds, strict=True)])
        V = np.eye(self.n)
        rotate(np.ascontiguousarray(matrices), V, 1e-9, 1000)
        found = V @ white
        return found / np.diagonal(found)[:, None]

    def _whitening(self, without: int | None) -> np.ndarray | None:
        """Symmetric matrix (n, n) that makes sources without their noise white: as they are, if they were."""
        total = _of(self.covariance, without)
        scale = np.sqrt(np.diagonal(total))
        value, vector = np.linalg.eigh((total - self.N) / np.outer(scale, scale))
        if value[0] < LEAST:
            return None
        return (vector / np.sqrt(value)) @ vector.T / scale

    def _kinds(self, white: np.ndarray, without: int | None) -> list[np.ndarray]:
        """Matrices (…, n, n) of whitened sources that are diagonal if they are independent, of each kind."""
        kinds = [
            _cumulants(_of(m4, without), _of(m2, without), white)
            for m2, m4 in zip(self.second, self.fourth, strict=True)
        ]
        if self.lagged:
            lagged = np.array([white @ _of(sums, without) @ white.T for sums in self.lagged])
            kinds.append(0.5 * (lagged + lagged.transpose(0, 2, 1)))
        return kinds

    def _weights(self, white: np.ndarray) -> list[float]:
        """One over the sampling error of a kind's elements off the diagonals."""
        off = ~np.eye(self.n, dtype=bool)
        others = [self._kinds(white, block) for block in range(N_BLOCKS)]
        spread = [np.var([other[kind][..., off] for other in others], axis=0).mean() for kind in range(len(others[0]))]
        return [1 / np.sqrt(max((N_BLOCKS - 1) * each, 1e-300)) for each in spread]


def _sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ x yᵀ (block, …) over blocks of frames, and their numbers of frames."""
    edges = np.linspace(0, len(x), N_BLOCKS + 1).astype(int)
    sums = np.array([x[a:b].T @ y[a:b] for a, b in pairwise(edges)])
    return sums, np.diff(edges)


def _of(sums: tuple[np.ndarray, np.ndarray], without: int | None) -> np.ndarray:
    """Mean over all blocks but one."""
    total, number = sums[0].sum(0), sums[1].sum()
    return total / number if without is None else (total - sums[0][without]) / (number - sums[1][without])


def _products(y: np.ndarray) -> np.ndarray:
    """y_i y_j (frame, n²)."""
    return (y[:, :, None] * y[:, None, :]).reshape(len(y), -1)


def _cumulants(fourth: np.ndarray, second: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Fourth cumulants (n², n, n) of whitened series from moments of the series themselves."""
    n = len(white)
    moment = fourth.reshape(n, n, n, n)
    for axis in range(4):
        moment = np.moveaxis(np.tensordot(white, moment, (1, axis)), 0, axis)
    C = white @ second @ white.T
    gaussian = np.einsum("ij,kl->ijkl", C, C) + np.einsum("ik,jl->ijkl", C, C) + np.einsum("il,jk->ijkl", C, C)
    return (moment - gaussian).reshape(n * n, n, n)

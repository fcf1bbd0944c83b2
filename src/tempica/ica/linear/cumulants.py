"""A last turn of linear sources by statistics that Gaussian noise of known covariance cannot bias.

Noise that is correlated between sources draws every contrast towards axes along which it is not: what is made
independent is source plus noise. Gaussian noise adds its covariance to the curvature of the generating function of
cumulants, log ⟨exp iτᵀs⟩, wherever that is taken, and nothing to covariances at a lag if it forgets at once; the
covariance of the sources alone is that of the frames less that of their noise.
Shape legend: S sources (frame, n), N noise (n, n), τ direction (n,).
"""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
from scipy.stats import norm

from tempica.ica.base import covariance_about, transformed, whitening
from tempica.ica.linear.joint import rotate
from tempica.series import pairs

N_BLOCKS = 16  # of successive frames, one left out at a time
LAGS = (1, 2, 3, 5, 8)  # times the lag of a fit
AHEAD = (0.0, 0.7, 1.0)  # shares of the sources' autocorrelation that are taken off; in between, noise grows less
RADII = (1.0, 1.6)  # of τ, in deviations of a series: nearer to 0 are fourth cumulants, farther off few frames count
N_DIRECTIONS = 64  # at most
Tilted = tuple[np.ndarray, np.ndarray, np.ndarray]  # sums of w, w y, w y yᵀ of each block, w = exp iτᵀy
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


def noise_between(S: np.ndarray, labels: np.ndarray, lag: int = 1) -> np.ndarray | None:
    """Covariance (n, n) of the noise in sources S that forgets at once: what covariances at two lags leave of all.

    Of sources that forget exponentially, mixed in any way, C(τ) C(2τ)⁻¹ C(τ) is the covariance without noise. Of other
    independent ones it is diagonal along their own axes all the same, which is all that their axes need. Directions of
    negative noise have none. None where no series has a pair 2τ apart, or some direction is forgotten by then.
    """
    if np.bincount(labels).max() <= 2 * lag:
        return None
    S = S - S.mean(0)
    total, once, twice = (_symmetric_covariance(S, labels, k * lag) for k in range(3))
    scale = np.sqrt(np.diagonal(total))
    if np.linalg.eigvalsh(twice / np.outer(scale, scale))[0] < LEAST:
        return None
    value, vector = np.linalg.eigh((total - once @ np.linalg.solve(twice, once)) / np.outer(scale, scale))
    return (vector * np.maximum(value, 0)) @ vector.T * np.outer(scale, scale)


def turn(S: np.ndarray, N: np.ndarray, labels: np.ndarray, lag: int = 1) -> np.ndarray | None:
    """Matrix (n, n) with unit diagonal that undoes what noise of covariance N has mixed into sources S.

    S less their noise are whitened, and one rotation V makes diagonal together (Cardoso & Souloumiac 1996) the Hessians
    of log ⟨exp iτᵀy⟩ at many τ (Yeredor 2000), of S and of innovations y_t = s_{t+lag} − ρ s_t with one ρ for all, and
    the covariances of S at several lags, each in units of its own sampling error. Errors come from leaving out blocks
    of frames in turn.
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


def _symmetric_covariance(S: np.ndarray, labels: np.ndarray, lag: int) -> np.ndarray:
    first = pairs(labels, lag) if lag else np.arange(len(S))
    lagged = S[first].T @ S[first + lag] / len(first)
    return 0.5 * (lagged + lagged.T)


class _Statistics:
    """Sums over blocks of frames, from which statistics of all blocks but one are had by subtraction."""

    def __init__(self, S: np.ndarray, N: np.ndarray, labels: np.ndarray, lag: int) -> None:
        self.n, longest = S.shape[1], np.bincount(labels).max()
        lags = [lag * k for k in LAGS if lag * k < longest / 2]
        first = [pairs(labels, lag) for lag in lags]
        self.lagged = [_sums(S[start], S[start + lag]) for lag, start in zip(lags, first, strict=True)]
        rho, own = 0.0, _sums(S, S)
        if lags:
            signal = _of(own, None) - N
            rho = float(np.clip(np.trace(np.linalg.pinv(signal) @ _of(self.lagged[0], None)) / self.n, 0, 1))
        ahead = [rho * share for share in AHEAD if rho or not share]
        series = [S[first[0] + lag] - ahead_of * S[first[0]] if ahead_of else S for ahead_of in ahead]
        self.second = [own, *(_sums(y, y) for y in series[1:])]
        self.noise = [N * (1 + ahead_of**2) for ahead_of in ahead]
        self.by = min(range(len(series)), key=self._error_of_whitening)
        white, self.weight = self._whitening(self.by, None), None
        if white is not None:
            self.tilted = [_tilted(y, white, c) for y, c in zip(series, self.second, strict=True)]
            self.weight = self._weights(white)

    def unmixing(self, without: int | None) -> np.ndarray | None:
        """The matrix that makes all statistics diagonal, of all blocks but one; None where there is no signal."""
        white = self._whitening(self.by, without)
        if white is None or self.weight is None:
            return None
        V = np.eye(self.n)
        rotate(np.ascontiguousarray(self.weight[:, None, None] * self._matrices(white, without)), V, 1e-9, 1000)
        found = V @ white
        return found / np.diagonal(found)[:, None]

    def _whitening(self, by: int, without: int | None) -> np.ndarray | None:
        """Symmetric matrix (n, n) that makes a series without its noise white: diagonal, if it was uncorrelated."""
        total = _of(self.second[by], without)
        scale = np.sqrt(np.diagonal(total))
        value, vector = np.linalg.eigh((total - self.noise[by]) / np.outer(scale, scale))
        if value[0] < LEAST:
            return None
        return (vector / np.sqrt(value)) @ vector.T / scale

    def _error_of_whitening(self, by: int) -> float:
        """Sampling variance of correlations between the sources of a series; infinite where there is no signal."""
        white = self._whitening(by, None)
        if white is None:
            return np.inf
        others = [white @ (_of(self.second[by], block) - self.noise[by]) @ white.T for block in range(N_BLOCKS)]
        return float(np.var(others, axis=0)[~np.eye(self.n, dtype=bool)].mean())

    def _matrices(self, white: np.ndarray, without: int | None) -> np.ndarray:
        """Matrices (matrix, n, n) of whitened sources that are diagonal if these are independent."""
        found = []
        for second, tilted in zip(self.second, self.tilted, strict=True):
            found += [_of(second, without) - _curvature(sums, without) for sums in tilted]
        found += [0.5 * (lagged + lagged.T) for lagged in (_of(sums, without) for sums in self.lagged)]
        return white @ np.array(found) @ white.T

    def _weights(self, white: np.ndarray) -> np.ndarray:
        """One over the sampling error (matrix,) of elements off the diagonal."""
        off = ~np.eye(self.n, dtype=bool)
        others = np.array([self._matrices(white, block) for block in range(N_BLOCKS)])
        return 1 / np.sqrt(np.maximum((N_BLOCKS - 1) * np.var(others[..., off], axis=0).mean(-1), 1e-300))


def _tilted(y: np.ndarray, white: np.ndarray, second: tuple[np.ndarray, np.ndarray]) -> list[Tilted]:
    """Sums for τ along whitened axes and between pairs of them."""
    n = y.shape[1]
    deviation = np.sqrt(np.trace(white @ _of(second, None) @ white.T) / n)
    axes = np.eye(n)
    between = [(axes[i] + sign * axes[j]) / np.sqrt(2) for i, j in combinations(range(n), 2) for sign in (1, -1)]
    most = max(0, N_DIRECTIONS - n)
    between = [between[k] for k in np.unique(np.linspace(0, len(between) - 1, min(len(between), most)).astype(int))]
    found = []
    for direction in [*axes, *between]:
        phase = y @ (white.T @ direction) / deviation
        for radius in RADII:
            w = np.exp(1j * radius * phase)[:, None]
            found.append((_sums(np.ones_like(phase)[:, None], w)[0], _sums(w, y)[0][:, 0], _sums(w * y, y)[0]))
    return found


def _curvature(sums: Tilted, without: int | None) -> np.ndarray:
    """Minus the Hessian (n, n) of log ⟨exp iτᵀy⟩, from sums (block, …); its real part."""
    mass, first, second = (x.sum(0) - (0 if without is None else x[without]) for x in sums)
    return (second / mass - np.outer(first, first) / mass**2).real


def _sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ x yᵀ (block, …) over blocks of frames, and their numbers of frames."""
    edges = np.linspace(0, len(x), N_BLOCKS + 1).astype(int)
    sums = np.array([x[a:b].T @ y[a:b] for a, b in pairwise(edges)])
    return sums, np.diff(edges)


def _of(sums: tuple[np.ndarray, np.ndarray], without: int | None) -> np.ndarray:
    """Mean over all blocks but one."""
    total, number = sums[0].sum(0), sums[1].sum()
    return total / number if without is None else (total - sums[0][without]) / (number - sums[1][without])

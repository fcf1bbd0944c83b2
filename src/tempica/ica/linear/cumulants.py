"""A last turn of linear sources by statistics that noise without memory cannot bias.

Noise that is correlated between sources draws every contrast towards axes along which it is not: what is made
independent is source plus noise. Noise that forgets at once adds nothing to covariances at a lag, nor to the
covariances of s_t and s_{t+lag} under the weight exp iτᵀs_t, whatever its law. Where it is Gaussian and its covariance
known, it adds this to the curvature of log ⟨exp iτᵀs⟩, wherever that is taken; the covariance of the sources alone is
that of the frames less that of their noise.
Shape legend: S sources (frame, n), N noise (n, n), τ direction (n,).
"""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
from scipy.stats import t

from tempica.ica.base import covariance_about, transformed, whitening
from tempica.ica.linear.joint import rotate
from tempica.series import pairs

N_BLOCKS = 16  # of successive frames, one left out at a time
LAGS = (1, 2, 3, 5, 8)  # times the lag of a fit
AHEAD = (0.0, 0.7, 1.0)  # shares of the sources' autocorrelation that are taken off; in between, noise grows less
RADII = (1.0, 1.6)  # of τ, in deviations of a series: nearer to 0 are fourth cumulants, farther off few frames count
N_DIRECTIONS = 64  # at most
# sums of w, w a, w b, w a bᵀ of each block, w = exp iτᵀa
Tilted = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
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


def turn(S: np.ndarray, N: np.ndarray | None, labels: np.ndarray, lag: int = 1) -> np.ndarray | None:
    """Matrix (n, n) with unit diagonal that undoes what noise has mixed into sources S.

    S less their noise are whitened, and one rotation V makes diagonal together (Cardoso & Souloumiac 1996) covariances
    of S at several lags, and Hessians of generating functions of cumulants at many τ (Yeredor 2000), each in units of
    its own sampling error. With Gaussian noise of covariance N these are of log ⟨exp iτᵀy⟩, of S and of innovations
    y_t = s_{t+lag} − ρ s_t with one ρ for all. Where nothing is known of the noise but that it forgets at once (None),
    they are the blocks between two frames of log ⟨exp i(τᵀs_t + σᵀs_{t+k})⟩ at σ = 0, for two lags k, and
    C(lag) C(2 lag)⁻¹ C(lag) is in the place of the covariance of S less their noise: it is that of sources that forget
    exponentially, and of other independent ones diagonal along their own axes all the same.
    Errors come from leaving out blocks of frames in turn.
    None where the sources are not told apart (an error above 0.1); one where the matrix differs from it by no more than
    errors explain (99 % of sources that are not mixed), so that a contrast without noise, which is the more efficient,
    keeps its axes.
    """
    n = S.shape[1]
    if n < 2 or len(S) < 4 * N_BLOCKS * (lag + 1):
        return None
    statistics = _Statistics(S - S.mean(0), N, labels, lag)
    found, V = statistics.unmixing(None, np.eye(n))
    if found is None:
        return None
    others = [statistics.unmixing(block, V)[0] for block in range(N_BLOCKS)]
    if any(other is None for other in others):
        return None
    left = np.array([other @ np.linalg.inv(found) for other in others])
    error = np.sqrt((N_BLOCKS - 1) * np.var(left / np.diagonal(left, axis1=1, axis2=2)[..., None], axis=0))
    if error.max() > PRECISE:
        return None
    off = ~np.eye(n, dtype=bool)
    mixed = np.abs(found / np.diagonal(found))[off]  # of sources without noise of unit variance, as the errors are
    beyond = mixed > t.ppf(1 - 0.5 * SURE / off.sum(), N_BLOCKS - 1) * error[off]
    return found / np.diagonal(found)[:, None] if beyond.any() else np.eye(n)


class _Statistics:
    """Sums over blocks of frames, from which statistics of all blocks but one are had by subtraction."""

    def __init__(self, S: np.ndarray, N: np.ndarray | None, labels: np.ndarray, lag: int) -> None:
        self.n, longest = S.shape[1], np.bincount(labels).max()
        # without a covariance two lags must do, however short a series is
        lags = [lag * k for k in LAGS if lag * k < longest / 2 or (N is None and k <= 2 and lag * k < longest)]
        first = [pairs(labels, lag) for lag in lags]
        self.lagged = [_sums(S[start], S[start + lag]) for lag, start in zip(lags, first, strict=True)]
        self.noise: list[np.ndarray] | None = None
        self.second, self.by = [_sums(S, S)], 0
        if N is None:
            series = [(S[start], S[start + lag]) for lag, start in zip(lags[:2], first[:2], strict=True)]
            self.second *= len(series)
        else:
            innovations = [S[first[0] + lag] - ahead * S[first[0]] for ahead in self._set_off(N) if ahead]
            series = [(y, y) for y in (S, *innovations)]
            self.second += [_sums(y, y) for y in innovations]
            self.by = min(range(len(series)), key=self._error_of_whitening)
        white, self.weight = self._whitening(self.by, None), None
        if white is not None:
            self.tilted = [_tilted(*y, white, second) for y, second in zip(series, self.second, strict=True)]
            self.weight = self._weights(white)

    def unmixing(self, without: int | None, start: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """The matrix that makes all statistics diagonal, of all blocks but one, and its rotation, sought from `start`.

        The matrix is None where there is no signal.
        """
        V, white = start.copy(), self._whitening(self.by, without)
        if white is None or self.weight is None:
            return None, V
        rotate(self.weight[:, None, None] * self._matrices(V @ white, without), V, 1e-9, 1000)
        return V @ white, V

    def _set_off(self, N: np.ndarray) -> list[float]:
        """Set the noise of S and of its innovations, and tell what share of a frame each takes off the next."""
        rho = 0.0
        if self.lagged:
            signal = _of(self.second[0], None) - N
            rho = float(np.clip(np.trace(np.linalg.pinv(signal) @ _of(self.lagged[0], None)) / self.n, 0, 1))
        ahead = [rho * share for share in AHEAD if rho or not share]
        self.noise = [N * (1 + ahead_of**2) for ahead_of in ahead]
        return ahead

    def _signal(self, by: int, without: int | None) -> np.ndarray | None:
        """Covariance (n, n) of a series without its noise; None where a direction is forgotten too soon to tell."""
        if self.noise is not None:
            return _of(self.second[by], without) - self.noise[by]
        if len(self.lagged) < 2:
            return None
        once, twice = (0.5 * (c + c.T) for c in (_of(sums, without) for sums in self.lagged[:2]))
        scale = np.sqrt(np.diagonal(_of(self.second[by], without)))
        if np.linalg.eigvalsh(twice / np.outer(scale, scale))[0] < LEAST:
            return None
        return np.asarray(once @ np.linalg.solve(twice, once))

    def _whitening(self, by: int, without: int | None) -> np.ndarray | None:
        """Symmetric matrix (n, n) that makes a series without its noise white: diagonal, if it was uncorrelated."""
        signal = self._signal(by, without)
        if signal is None:
            return None
        scale = np.sqrt(np.diagonal(_of(self.second[by], without)))
        value, vector = np.linalg.eigh(signal / np.outer(scale, scale))
        if value[0] < LEAST:
            return None
        return (vector / np.sqrt(value)) @ vector.T / scale

    def _error_of_whitening(self, by: int) -> float:
        """Sampling variance of correlations between the sources of a series; infinite where there is no signal."""
        white = self._whitening(by, None)
        if white is None:
            return np.inf
        others = [white @ self._signal(by, block) @ white.T for block in range(N_BLOCKS)]
        return float(np.var(others, axis=0)[~np.eye(self.n, dtype=bool)].mean())

    def _matrices(self, white: np.ndarray, without: int | None) -> np.ndarray:
        """Matrices (matrix, n, n) of whitened sources that are diagonal if these are independent."""
        found = [_of(sums, without) for sums in self.lagged]
        for second, tilted in zip(self.second, self.tilted, strict=True):
            own = 0.0 if self.noise is None else _of(second, without)  # less the curvature: no noise is left
            found += [own - _curvature(sums, without) for sums in tilted]
        M = white @ np.array(found) @ white.T
        return 0.5 * (M + M.swapaxes(1, 2))

    def _weights(self, white: np.ndarray) -> np.ndarray:
        """One over the sampling error (matrix,) of elements off the diagonal."""
        off = ~np.eye(self.n, dtype=bool)
        others = np.array([self._matrices(white, block) for block in range(N_BLOCKS)])
        return 1 / np.sqrt(np.maximum((N_BLOCKS - 1) * np.var(others[..., off], axis=0).mean(-1), 1e-300))


def _tilted(a: np.ndarray, b: np.ndarray, white: np.ndarray, second: tuple[np.ndarray, np.ndarray]) -> list[Tilted]:
    """Sums for τ along whitened axes and between pairs of them."""
    n = a.shape[1]
    deviation = np.sqrt(np.trace(white @ _of(second, None) @ white.T) / n)
    axes = np.eye(n)
    between = [(axes[i] + sign * axes[j]) / np.sqrt(2) for i, j in combinations(range(n), 2) for sign in (1, -1)]
    most = max(0, N_DIRECTIONS - n)
    between = [between[k] for k in np.unique(np.linspace(0, len(between) - 1, min(len(between), most)).astype(int))]
    found, one = [], np.ones((len(a), 1))
    for direction in [*axes, *between]:
        phase = a @ (white.T @ direction) / deviation
        for radius in RADII:
            w = np.exp(1j * radius * phase)[:, None]
            found.append((_sums(one, w)[0], _sums(w, a)[0][:, 0], _sums(w, b)[0][:, 0], _sums(w * a, b)[0]))
    return found


def _curvature(sums: Tilted, without: int | None) -> np.ndarray:
    """Covariance (n, n) of a and b under the weight exp iτᵀa, from sums (block, …); its real part."""
    mass, first, other, second = (x.sum(0) - (0 if without is None else x[without]) for x in sums)
    return np.asarray((second / mass - np.outer(first, other) / mass**2).real)


def _sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ x yᵀ (block, …) over blocks of frames, and their numbers of frames."""
    edges = np.linspace(0, len(x), N_BLOCKS + 1).astype(int)
    sums = np.array([x[a:b].T @ y[a:b] for a, b in pairwise(edges)])
    return sums, np.diff(edges)


def _of(sums: tuple[np.ndarray, np.ndarray], without: int | None) -> np.ndarray:
    """Mean over all blocks but one."""
    total, number = sums[0].sum(0), sums[1].sum()
    return total / number if without is None else (total - sums[0][without]) / (number - sums[1][without])

"""Autoregressions of low order, fitted to short and slow series without the bias that makes them look faster.

x_t = Σ_k φ_k x_{t−k} + e_t, k = 1 … p, about a mean that all replicas share. Least squares, p by the Bayesian
information criterion. In series of few correlation times least squares finds too little persistence, for one lag by
about (1 + 3φ)/N (Kendall 1954); the correction here is the same for any order: what the fit loses on series simulated
from itself is added (Kilian 1998).

Example:
    >>> rng = np.random.default_rng(0)
    >>> x = np.zeros(4000)
    >>> for t in range(1, 4000):
    ...     x[t] = 0.9 * x[t - 1] + rng.standard_normal()
    >>> found = fit(x, np.array([0]), np.array([4000]), rng)
    >>> found.phi.round(1), round(found.variance, 1)
    (array([0.9]), 1.0)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

MOST_LAGS = 6
N_CORRECTIONS = 40  # simulated series, of which the bias is the mean


@dataclass(frozen=True, eq=False)
class Autoregression:
    """φ (p,) and the variance of the innovations."""

    phi: np.ndarray
    variance: float

    @cached_property
    def state(self) -> np.ndarray:
        """Square root (p, p) of the covariance of p values in a row, latest first."""
        if not len(self.phi):
            return np.empty((0, 0))
        companion = _companion(self.phi)
        noise = np.zeros_like(companion)
        noise[0, 0] = self.variance
        value, direction = np.linalg.eigh(linalg.solve_discrete_lyapunov(companion, noise))
        return np.asarray(direction * np.sqrt(np.maximum(value, 0.0)))

    @property
    def long_run(self) -> float:
        """Long-run variance Σ_k cov(x_t, x_{t+k}): N times the variance of the mean of N frames."""
        return float(self.variance / (1 - self.phi.sum()) ** 2)

    @property
    def deviation(self) -> float:
        """Standard deviation of x."""
        return float(np.linalg.norm(self.state[0])) if len(self.phi) else float(np.sqrt(self.variance))

    def simulate(self, innovation: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Stationary series (draw, frame) from standard normal innovations (draw, frame) and before (draw, p)."""
        e = np.sqrt(self.variance) * innovation
        if not len(self.phi):
            return e
        past, p = before @ self.state.T, len(self.phi)
        # the state of the transposed direct form: what earlier values add to the next ones
        zi = np.stack([past[:, : p - k] @ self.phi[k:] for k in range(p)], 1)
        from scipy import signal  # takes half a second to import

        return np.asarray(signal.lfilter([1.0], np.r_[1.0, -self.phi], e, axis=1, zi=zi)[0])


def fit(series: np.ndarray, start: np.ndarray, length: np.ndarray, rng: np.random.Generator) -> Autoregression:
    """Of a series (frame,) in replicas."""
    x = series - series.mean()
    n, variance = len(x), float(x.var())
    most = min(MOST_LAGS, max(0, int(length.max()) - 2))
    p = _order(x, start, length, most) if variance > 0 else 0
    if p == 0:
        return Autoregression(np.empty(0), variance)
    phi, noise = _solved(_moments(x, start, length, p), p)
    first = Autoregression(_stationary(phi, n), noise)
    total = np.zeros(p)
    for _ in range(N_CORRECTIONS):
        drawn = _drawn(first, start, length, rng)
        total += _solved(_moments(drawn - drawn.mean(), start, length, p), p)[0]
    # the persistence is corrected, the size of a step is as seen
    return Autoregression(_stationary(2 * first.phi - total / N_CORRECTIONS, n), noise)


def innovations(model: Autoregression, x: np.ndarray, start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """What each frame of x (frame,) brings that earlier ones do not tell; nothing where there are too few of these."""
    e, p = np.zeros(len(x)), len(model.phi)
    frame = _with_past(start, length, p)
    e[frame] = x[frame] - sum((phi * x[frame - k - 1] for k, phi in enumerate(model.phi)), np.zeros(len(frame)))
    return e


def _drawn(model: Autoregression, start: np.ndarray, length: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A series (frame,) of the model in replicas."""
    x = np.empty(int(length.sum()))
    for n in np.unique(length):
        first = start[length == n]
        shape = len(first), n
        x[first[:, None] + np.arange(n)] = model.simulate(
            rng.standard_normal(shape), rng.standard_normal((len(first), len(model.phi)))
        )
    return x


def _with_past(start: np.ndarray, length: np.ndarray, p: int) -> np.ndarray:
    """Frames that have p others before them in their replica."""
    return np.flatnonzero(np.arange(int(length.sum())) - np.repeat(start, length) >= p)


def _moments(x: np.ndarray, start: np.ndarray, length: np.ndarray, p: int) -> np.ndarray:
    """Mean of x_{t−i} x_{t−j} (p + 1, p + 1) over all frames that have p before them in their replica."""
    frame = _with_past(start, length, p)
    lagged = np.stack([x[frame - i] for i in range(p + 1)])
    return np.asarray(lagged @ lagged.T / len(frame))


def _solved(moments: np.ndarray, p: int) -> tuple[np.ndarray, float]:
    """φ (p,) and the variance of the innovations by least squares."""
    phi = np.linalg.lstsq(moments[1 : p + 1, 1 : p + 1], moments[1 : p + 1, 0], rcond=1e-12)[0]
    return phi, max(float(moments[0, 0] - phi @ moments[1 : p + 1, 0]), 1e-300)


def _order(x: np.ndarray, start: np.ndarray, length: np.ndarray, most: int) -> int:
    """The number of lags that the criterion chooses, on the frames that have `most` before them."""
    n = len(_with_past(start, length, most))
    if n < 4 * (most + 1):
        return min(1, most)
    moments = _moments(x, start, length, most)
    return int(np.argmin([n * np.log(_solved(moments, p)[1]) + p * np.log(n) for p in range(most + 1)]))


def _companion(phi: np.ndarray) -> np.ndarray:
    return np.vstack([phi, np.eye(len(phi) - 1, len(phi))])


def _stationary(phi: np.ndarray, n_frames: int) -> np.ndarray:
    """φ with roots drawn in, so that nothing is remembered for longer than all frames last."""
    radius, most = np.abs(np.linalg.eigvals(_companion(phi))).max(), np.exp(-1 / n_frames)
    return phi if radius <= most else phi * (most / radius) ** np.arange(1, len(phi) + 1)

"""Problems with a known answer: the mixings and sources on which the literature measures nonlinear ICA.

Shapes: S sources (frame, n), X = f(S) observed frames (frame, n), labels (frame,).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from scipy.signal import lfilter

from tempica.errors import DataError
from tempica.series import brief

SLOPE = 0.2  # of the leaky ReLU for negative arguments
N_DRAWS = 10_000  # matrices among which the best conditioned quarter counts as good


@dataclass(frozen=True)
class Problem:
    """Frames X (frame, n) of sources S (frame, n), the mixing between them, and labels (frame,) where there are."""

    X: np.ndarray
    S: np.ndarray
    mixing: Mixing
    labels: np.ndarray | None = None  # number of the segment

    __repr__ = brief


@dataclass(frozen=True)
class Mixing:
    """f(s) = A_L σ(A_{L−1} σ(… A_1 s)), σ the leaky ReLU of slope 0.2: invertible, without offsets.

    `matrices` (layer, n, n). Example:
        >>> f = random_mixing(3, 2, seed=0)
        >>> s = np.random.default_rng(0).normal(size=(5, 3))
        >>> bool(np.allclose(f.inverse(f(s)), s))
        True
    """

    matrices: np.ndarray

    __repr__ = brief

    def __call__(self, S: np.ndarray) -> np.ndarray:
        for layer, matrix in enumerate(self.matrices):
            if layer > 0:
                S = np.where(S > 0, S, SLOPE * S)
            S = S @ matrix.T
        return S

    def inverse(self, X: np.ndarray) -> np.ndarray:
        """The sources of frames X (frame, n)."""
        for layer, matrix in reversed(list(enumerate(self.matrices))):
            X = np.linalg.solve(matrix, X.T).T
            if layer > 0:
                X = np.where(X > 0, X, X / SLOPE)
        return X


def random_mixing(
    n: int, n_layers: int, *, seed: Any = 0, kind: Literal["conditioned", "orthogonal"] = "conditioned"
) -> Mixing:
    """A mixing of `n_layers` square layers, hence `n_layers` − 1 nonlinearities.

    conditioned: A ~ U(−1, 1) with columns of length 1, redrawn until its condition number is within the best
    quarter of 10,000 draws (Hyvärinen & Morioka 2016, 2017). orthogonal: uniformly random orthogonal A
    (Khemakhem et al. 2020, ICE-BeeM); figures of the two are not comparable. Raises DataError for an unknown kind,
    or n or n_layers below 1.
    """
    if min(n, n_layers) < 1 or kind not in ("conditioned", "orthogonal"):
        raise DataError(
            f"n = {n} and n_layers = {n_layers} must be at least 1, kind = {kind!r} conditioned or orthogonal."
        )
    rng = np.random.default_rng(seed)
    if kind == "orthogonal":
        q, r = np.linalg.qr(rng.normal(size=(n_layers, n, n)))
        return Mixing(q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None])
    matrices: list[np.ndarray] = []
    while len(matrices) < n_layers:
        matrix = _normalised(rng.uniform(-1, 1, size=(n, n)))
        if np.linalg.cond(matrix) <= _good_condition(n):
            matrices.append(matrix)
    return Mixing(np.stack(matrices))


def autoregressive(
    n: int,
    n_frames: int = 2**17,
    *,
    rho: Any = 0.7,
    innovation: Literal["laplace", "normal"] = "laplace",
    n_layers: int = 3,
    seed: int = 0,
    kind: Literal["conditioned", "orthogonal"] = "conditioned",
) -> Problem:
    """Stationary s_t = ρ s_{t−1} + √(1 − ρ²) e_t of unit variance, mixed: the problem of PCL.

    `rho` is one coefficient or one a source; 0 makes frames independent in time. With Laplace innovations
    e, PCL identifies every source (Hyvärinen & Morioka 2017, section 5); with normal ones it leaves a linear mixture.
    """
    mixing_seed, source_seed = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(source_seed)
    rho = np.broadcast_to(np.asarray(rho, dtype=float), n)
    warm = 200  # frames until the start is forgotten
    shape = (n_frames + warm, n)
    noise = rng.normal(size=shape) if innovation == "normal" else rng.laplace(size=shape) / np.sqrt(2)
    series = [lfilter([1], [1, -r], np.sqrt(1 - r**2) * e) for r, e in zip(rho, noise.T, strict=True)]
    S = np.stack(series, axis=1)[warm:]
    mixing = random_mixing(n, n_layers, seed=mixing_seed, kind=kind)
    return Problem(mixing(S), S, mixing)


def modulated(
    n: int,
    n_segments: int = 256,
    n_points: int = 512,
    *,
    n_layers: int = 3,
    seed: int = 0,
    kind: Literal["conditioned", "orthogonal"] = "conditioned",
) -> Problem:
    """Laplace sources, independent in time, whose deviations are drawn from U(0, 1) per segment: the problem of TCL.

    `n_segments` × `n_points` frames (Hyvärinen & Morioka 2016, section 6).
    """
    mixing_seed, source_seed = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(source_seed)
    scale = rng.uniform(0, 1, size=(n_segments, 1, n))
    S = (scale * rng.laplace(size=(n_segments, n_points, n)) / np.sqrt(2)).reshape(-1, n)
    mixing = random_mixing(n, n_layers, seed=mixing_seed, kind=kind)
    return Problem(mixing(S), S, mixing, np.repeat(np.arange(n_segments), n_points))


def _normalised(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.linalg.norm(matrix, axis=-2, keepdims=True)


@lru_cache
def _good_condition(n: int) -> float:
    draws = np.random.default_rng(0).uniform(-1, 1, size=(N_DRAWS, n, n))
    return float(np.quantile(np.linalg.cond(_normalised(draws)), 0.25))

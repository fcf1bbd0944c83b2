"""Normal distributions of chains of vectors, each tied to the next: a block-tridiagonal precision, compiled.

Shape legend: F frame, P parameter of a frame, C column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from tempica.errors import DataError

_compiled: Any = numba.njit(cache=True)


@dataclass(frozen=True)
class Chain:
    """H⁻¹ b and the blocks of H⁻¹ that matter."""

    solution: np.ndarray  # (F, P, C)
    covariance: np.ndarray  # (F, P, P) of each frame
    cross: np.ndarray  # (F, P, P) of each frame with the next, 0 where none follows
    logdet: np.ndarray  # (F,) whose sum over the frames of a chain is ln det H


def solve(diagonal: np.ndarray, upper: np.ndarray, joined: np.ndarray, right: np.ndarray) -> Chain:
    """Solve H x = b for chains that lie one after the other, with the marginal blocks of H⁻¹.

    Block elimination: S_t = D_t − U_{t−1}ᵀ S_{t−1}⁻¹ U_{t−1}, then back from the last frame of each chain. Its cost is
    linear in frames and cubic in P.

    Parameters:
        diagonal: D (F, P, P), symmetric.
        upper: U (F, P, P), rows of frame t and columns of frame t + 1; unused where not joined.
        joined: (F,) whether the next frame belongs to the same chain.
        right: b (F, P, C).
    Raises DataError where H is not positive definite.
    """
    joined = np.append(np.asarray(joined[:-1], dtype=np.bool_), False)
    chain = Chain(*_solve(*(np.ascontiguousarray(a, dtype=np.float64) for a in (diagonal, upper)), joined, right))
    if not np.isfinite(chain.logdet).all():
        frame = int(np.flatnonzero(~np.isfinite(chain.logdet))[0])
        raise DataError(
            f"The precision of frame {frame} of a chain is not positive definite. Each parameter needs a prior or data:"
            " look for images that are not finite."
        )
    return chain


@_compiled
def _multiply(a, b, out):
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            out[i, j] = 0.0
        for k in range(a.shape[1]):
            if a[i, k] != 0.0:
                for j in range(b.shape[1]):
                    out[i, j] += a[i, k] * b[k, j]


@_compiled
def _inverse(a, lower, out):
    """Inverse of a positive definite matrix through its Cholesky factor, and ln det; NaN where it is not."""
    n, logdet = len(a), 0.0
    for j in range(n):
        for i in range(j, n):
            total = a[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i == j:
                if not total > 0.0:
                    return np.nan
                lower[j, j] = np.sqrt(total)
                logdet += np.log(total)
            else:
                lower[i, j] = total / lower[j, j]
    for j in range(n):  # L⁻¹ in place of L, column by column
        lower[j, j] = 1.0 / lower[j, j]
        for i in range(j + 1, n):
            total = 0.0
            for k in range(j, i):
                total -= lower[i, k] * lower[k, j]
            lower[i, j] = total / lower[i, i]
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, n):
                total += lower[k, i] * lower[k, j]
            out[i, j] = out[j, i] = total
    return logdet


@_compiled
def _solve(diagonal, upper, joined, right):
    n_frames, n = diagonal.shape[:2]
    solution, rest = np.empty(right.shape), np.empty(right.shape[1:])
    covariance, cross = np.empty((n_frames, n, n)), np.zeros((n_frames, n, n))
    gain, logdet = np.zeros((n_frames, n, n)), np.empty(n_frames)
    left, lower, work = np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    for t in range(n_frames):
        left[:], rest[:] = diagonal[t], right[t]
        if t > 0 and joined[t - 1]:
            _multiply(upper[t - 1].T, gain[t - 1], work)
            left -= work
            for i in range(n):
                for k in range(n):
                    if gain[t - 1, k, i] != 0.0:
                        for j in range(rest.shape[1]):  # Uᵀ S⁻¹ y, with y kept where the solution will be
                            rest[i, j] -= gain[t - 1, k, i] * solution[t - 1, k, j]
        logdet[t] = _inverse(left, lower, covariance[t])
        solution[t] = rest
        if joined[t]:
            _multiply(covariance[t], upper[t], gain[t])
    for t in range(n_frames - 1, -1, -1):
        _multiply(covariance[t], solution[t].copy(), solution[t])
        if joined[t]:
            for i in range(n):
                for k in range(n):
                    if gain[t, i, k] != 0.0:
                        for j in range(rest.shape[1]):
                            solution[t, i, j] -= gain[t, i, k] * solution[t + 1, k, j]
            _multiply(gain[t], covariance[t + 1], cross[t])
            _multiply(cross[t], gain[t].T, work)
            covariance[t] += work
            cross[t] *= -1.0
    return solution, covariance, cross, logdet

"""Loops over all pairs of a batch, compiled.

Shape legend: A first frames, B second frames, N component. Features come component first, so that the inner loop is
contiguous.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, fastmath=True)
def rounded_miss(a_NA, b_NB, k_N, rho_N, shift_N, rounding_N):
    """−Σ_i k_i √((b_i + c_i − ρ_i a_i)² + ε_i²) of all pairs, (A, B)."""
    score = np.zeros((a_NA.shape[1], b_NB.shape[1]), dtype=a_NA.dtype)
    for p in range(score.shape[0]):
        row = score[p]
        for i in range(len(k_N)):
            centre, k = rho_N[i] * a_NA[i, p] - shift_N[i], k_N[i]
            square, b = rounding_N[i] * rounding_N[i], b_NB[i]
            for q in range(len(row)):
                miss = b[q] - centre
                row[q] -= k * np.sqrt(miss * miss + square)
    return score


@numba.njit(cache=True, fastmath=True)
def rounded_miss_gradient(grad_AB, a_NA, b_NB, k_N, rho_N, shift_N, rounding_N):
    """Gradients of Σ grad · score with respect to every argument of `rounded_miss`, in its order."""
    n, n_a = a_NA.shape
    to_a, to_b = np.zeros_like(a_NA), np.zeros_like(b_NB)
    to_k, to_rho, to_shift, to_rounding = np.zeros_like(k_N), np.zeros_like(k_N), np.zeros_like(k_N), np.zeros_like(k_N)
    for p in range(n_a):
        row = grad_AB[p]
        for i in range(n):
            centre, k = rho_N[i] * a_NA[i, p] - shift_N[i], k_N[i]
            square, b, slope = rounding_N[i] * rounding_N[i], b_NB[i], to_b[i]
            total, length, inverse = np.float32(0), np.float32(0), np.float32(0)
            for q in range(len(row)):
                miss = b[q] - centre
                distance = np.sqrt(miss * miss + square)
                weight = row[q] / distance
                pull = weight * miss
                slope[q] -= k * pull
                total += pull
                length += row[q] * distance
                inverse += weight
            to_a[i, p] = k * rho_N[i] * total
            to_k[i] -= length
            to_rho[i] += k * a_NA[i, p] * total
            to_shift[i] -= k * total
            to_rounding[i] -= k * rounding_N[i] * inverse
    return to_a, to_b, to_k, to_rho, to_shift, to_rounding

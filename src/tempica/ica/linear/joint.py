"""Joint diagonalisation of several symmetric matrices, compiled.

Shape legend: K matrix, N component.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def rotate(C_KNN, V_NN, tolerance, max_sweeps):
    """Turn V (rows are directions) so that V C_k Vᵀ come as near to diagonal as a rotation can make them.

    Jacobi: each pair of rows is turned by the angle that minimises the sum of squares off the diagonals, in closed
    form (Cardoso & Souloumiac, SIAM J. Matrix Anal. Appl. 17, 161, 1996), until no angle exceeds `tolerance`.
    `C_KNN` holds V C_k Vᵀ and is overwritten together with `V_NN`. Returns the sweeps made, −1 if `max_sweeps` did
    not suffice.
    """
    n_matrices, n = C_KNN.shape[0], V_NN.shape[0]
    for sweep in range(max_sweeps):
        largest = 0.0
        for p in range(n):
            for q in range(p + 1, n):
                on, off = 0.0, 0.0
                for k in range(n_matrices):
                    difference = C_KNN[k, p, p] - C_KNN[k, q, q]
                    twice = 2.0 * C_KNN[k, p, q]
                    on += difference * difference - twice * twice
                    off += 2.0 * difference * twice
                angle = 0.25 * np.arctan2(off, on)
                largest = max(largest, abs(angle))
                if abs(angle) <= tolerance:
                    continue
                c, s = np.cos(angle), np.sin(angle)
                for k in range(n_matrices):
                    _mix_rows(C_KNN[k], p, q, c, s)
                    _mix_rows(C_KNN[k].T, p, q, c, s)
                _mix_rows(V_NN, p, q, c, s)
        if largest <= tolerance:
            return sweep + 1
    return -1


@numba.njit(cache=True)
def _mix_rows(M, p, q, c, s):
    for j in range(M.shape[1]):
        a, b = M[p, j], M[q, j]
        M[p, j] = c * a + s * b
        M[q, j] = c * b - s * a


@numba.njit(cache=True)
def unmix(C_KNN, weight_K, V_NN, tolerance, max_sweeps):
    """Change V so that the positive definite V C_k Vᵀ come near to diagonal in the sense of likelihood.

    Lowers Σ_k w_k (ln det diag(V C_k Vᵀ) − ln det V C_k Vᵀ), which is zero where all are diagonal, by one Newton-like
    step for each pair of rows (Pham, SIAM J. Matrix Anal. Appl. 22, 1136, 2001): V need not be a rotation. Weights
    sum to 1. Overwrites `C_KNN` and `V_NN`; returns the sweeps made, −1 if `max_sweeps` did not suffice.
    """
    n_matrices, n = C_KNN.shape[0], V_NN.shape[0]
    for sweep in range(max_sweeps):
        decrease = 0.0
        for p in range(n):
            for q in range(p + 1, n):
                g_pq, g_qp, ratio_qp, ratio_pq = 0.0, 0.0, 0.0, 0.0
                for k in range(n_matrices):
                    pp, qq, pq = C_KNN[k, p, p], C_KNN[k, q, q], C_KNN[k, p, q]
                    g_pq += weight_K[k] * pq / pp
                    g_qp += weight_K[k] * pq / qq
                    ratio_qp += weight_K[k] * qq / pp
                    ratio_pq += weight_K[k] * pp / qq
                # [ratio_qp 1; 1 ratio_pq] h = g, singular where the two variances keep one ratio
                determinant = max(ratio_qp * ratio_pq - 1.0, 1e-9)
                h_pq = (ratio_pq * g_pq - g_qp) / determinant
                h_qp = (ratio_qp * g_qp - g_pq) / determinant
                product = h_pq * h_qp
                if product > 0.2 or abs(product) > 10.0:  # far from the optimum: a shorter step
                    short = np.sqrt(0.2 / abs(product))
                    h_pq, h_qp, product = short * h_pq, short * h_qp, short * short * product
                decrease += g_pq * h_pq + g_qp * h_qp
                step = 2.0 / (1.0 + np.sqrt(1.0 - 4.0 * product))
                for k in range(n_matrices):
                    _subtract_rows(C_KNN[k], p, q, step * h_pq, step * h_qp)
                    _subtract_rows(C_KNN[k].T, p, q, step * h_pq, step * h_qp)
                _subtract_rows(V_NN, p, q, step * h_pq, step * h_qp)
        if decrease <= tolerance:
            return sweep + 1
    return -1


@numba.njit(cache=True)
def _subtract_rows(M, p, q, a, b):
    for j in range(M.shape[1]):
        x, y = M[p, j], M[q, j]
        M[p, j] = x - a * y
        M[q, j] = y - b * x

"""Loops compiled: the contrast over all pairs of a batch, and maxout. Each has a slow twin in the tests.

Shape legend: P pair of a batch, Q its alternatives, B frame, N component, W unit of a layer. Features come component
first, so that the inner loop is contiguous. `error_model="numpy"` leaves divisions unchecked: checks keep loops from
being vectorised, which costs a factor of eight.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

_fast: Any = numba.njit(cache=True, fastmath=True, error_model="numpy")


@intrinsic
def _bits_as_float(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return numba.float32(numba.int32), generate


@_fast
def _exp(x):
    """eˣ of a float32 x ≤ 0 to a relative 5e-6, by 2ᶠ on [−½, ½]: the library's function is not vectorised here."""
    scaled = max(x * np.float32(1.4426950408889634), np.float32(-126))
    whole = np.floor(scaled + np.float32(0.5))
    f = scaled - whole
    power = np.float32(1.5403530e-4)
    power = power * f + np.float32(1.3333558e-3)
    power = power * f + np.float32(9.6181291e-3)
    power = power * f + np.float32(5.5504109e-2)
    power = power * f + np.float32(2.4022651e-1)
    power = power * f + np.float32(6.9314718e-1)
    power = power * f + np.float32(1)
    bits = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23))
    return power * _bits_as_float(bits)  # type: ignore[call-arg]


# long: cut into parts it would write and read each row again, and fastmath would order its sums in another way
@_fast
def pair_contrast(a_NP, b_NQ, shape_6N, extra_PQ, first, chunk, group):
    """Cross-entropy of softmax_q r(p, q) at q = first + p for each pair p, and the gradients of its mean.

    r(p, q) = Σ_i [−k_i √((b_iq + c_i − ρ_i a_ip)² + ε_i²) + u_i b_iq² + v_i √(b_iq² + ε_i²)] + extra(p, q), with
    shape = (log k, ρ, c, log(ε − 0.001), u, v). The alternatives of a pair are those of its group of `group`
    successive q; pairs of one chunk are no alternatives to one another. Returns the losses (P,), and gradients in the
    order of the first four arguments; extra may be None.
    """
    n, n_p = a_NP.shape
    n_q = b_NQ.shape[1]
    loss_P, alone, to_alone = np.empty(n_p, np.float32), np.zeros(n_q, np.float32), np.zeros(n_q, np.float32)
    to_a, to_b, to_shape = np.zeros_like(a_NP), np.zeros_like(b_NQ), np.zeros_like(shape_6N)
    k_N, rounding_N = np.exp(shape_6N[0]), np.exp(shape_6N[3]) + np.float32(1e-3)
    rho_N, shift_N, curve_N, kink_N = shape_6N[1], shape_6N[2], shape_6N[4], shape_6N[5]
    row = np.empty(min(group, n_q), np.float32)
    one = np.float32(1)
    to_extra = None if extra_PQ is None else np.zeros_like(extra_PQ)
    for i in range(n):
        square = rounding_N[i] * rounding_N[i]
        for q in range(n_q):
            b2 = b_NQ[i, q] * b_NQ[i, q]
            alone[q] += curve_N[i] * b2 + kink_N[i] * np.sqrt(b2 + square)
    for p in range(n_p):
        own = first + p
        begin = own - own % group
        end = min(begin + group, n_q)
        size = end - begin
        for j in range(size):
            row[j] = alone[begin + j]
        if extra_PQ is not None:
            for j in range(size):
                row[j] += extra_PQ[p, begin + j]
        for i in range(n):
            centre, k = rho_N[i] * a_NP[i, p] - shift_N[i], k_N[i]
            square = rounding_N[i] * rounding_N[i]
            b = b_NQ[i, begin:end]
            for j in range(size):
                miss = b[j] - centre
                row[j] -= k * np.sqrt(miss * miss + square)
        true = row[own - begin]
        start = own - own % chunk - begin
        for j in range(max(start, 0), min(start + chunk, size)):
            row[j] = np.float32(-1e30)
        row[own - begin] = true
        largest = true
        for j in range(size):
            largest = max(largest, row[j])
        total = np.float32(0)
        for j in range(size):
            row[j] = _exp(row[j] - largest)
            total += row[j]
        loss_P[p] = np.log(total) + largest - true
        scale = one / (total * np.float32(n_p))
        for j in range(size):
            row[j] *= scale
        row[own - begin] -= one / np.float32(n_p)
        for j in range(size):
            to_alone[begin + j] += row[j]
        if extra_PQ is not None:
            for j in range(size):
                to_extra[p, begin + j] = row[j]  # type: ignore[index]
        for i in range(n):
            centre, k = rho_N[i] * a_NP[i, p] - shift_N[i], k_N[i]
            square = rounding_N[i] * rounding_N[i]
            pulled, length, inverse = np.float32(0), np.float32(0), np.float32(0)
            b, to_b_i = b_NQ[i, begin:end], to_b[i, begin:end]
            for j in range(size):
                miss = b[j] - centre
                distance2 = miss * miss + square
                weight = row[j] * (one / np.sqrt(distance2))
                pull = weight * miss
                to_b_i[j] -= k * pull
                pulled += pull
                length += weight * distance2
                inverse += weight
            to_a[i, p] = k * rho_N[i] * pulled
            to_shape[0, i] -= k * length
            to_shape[1, i] += k * a_NP[i, p] * pulled
            to_shape[2, i] -= k * pulled
            to_shape[3, i] -= k * rounding_N[i] * inverse
    for i in range(n):
        square = rounding_N[i] * rounding_N[i]
        for q in range(n_q):
            b, weight = b_NQ[i, q], to_alone[q]
            edge = np.sqrt(b * b + square)
            to_shape[4, i] += weight * b * b
            to_shape[5, i] += weight * edge
            to_b[i, q] += weight * b * (np.float32(2) * curve_N[i] + kink_N[i] / edge)
            to_shape[3, i] += weight * kink_N[i] * rounding_N[i] / edge
        to_shape[3, i] *= rounding_N[i] - np.float32(1e-3)
    return loss_P, to_a, to_b, to_shape, to_extra


@_fast
def maxout(y_B2W):
    """The larger of the first and the second half of each row, (B, W)."""
    width = y_B2W.shape[1] // 2
    larger = np.empty((y_B2W.shape[0], width), dtype=y_B2W.dtype)
    for b in range(larger.shape[0]):
        for w in range(width):
            larger[b, w] = max(y_B2W[b, w], y_B2W[b, w + width])
    return larger


@_fast
def maxout_gradient(grad_BW, y_B2W):
    """Gradient (B, 2W) of Σ grad · maxout(y); a tie goes to the first half."""
    width = grad_BW.shape[1]
    to_y = np.empty_like(y_B2W)
    for b in range(grad_BW.shape[0]):
        first, second = y_B2W[b, :width], y_B2W[b, width:]
        to_first, to_second = to_y[b, :width], to_y[b, width:]
        for w in range(width):
            kept = grad_BW[b, w] * np.float32(first[w] >= second[w])
            to_first[w] = kept
            to_second[w] = grad_BW[b, w] - kept
    return to_y


@_fast
def orthogonal_step(weight_RAB, grad_RAB, momentum_RAB, beta, rate, decay):
    """One step of `Orthogonal` on a stack of matrices: momentum, five Newton–Schulz steps, and the weights' decay."""
    n_restarts, n_rows, n_columns = weight_RAB.shape
    small, large = min(n_rows, n_columns), max(n_rows, n_columns)
    x, other = np.empty((small, large), np.float32), np.empty((small, large), np.float32)
    square, fourth = np.empty((small, small), np.float32), np.empty((small, small), np.float32)
    one = np.float32(1)
    for r in range(n_restarts):
        total = np.float32(0)
        for a in range(n_rows):
            for b in range(n_columns):
                g = grad_RAB[r, a, b]
                m = momentum_RAB[r, a, b] + (one - beta) * (g - momentum_RAB[r, a, b])
                momentum_RAB[r, a, b] = m
                value = g + beta * (m - g)
                total += value * value
                if n_rows > n_columns:
                    x[b, a] = value
                else:
                    x[a, b] = value
        scale = one / (np.sqrt(total) + np.float32(1e-7))
        for i in range(small):
            for j in range(large):
                x[i, j] *= scale
        for _ in range(5):
            np.dot(x, x.T, square)
            np.dot(square, square, fourth)
            for i in range(small):
                for j in range(small):
                    square[i, j] = np.float32(-4.7750) * square[i, j] + np.float32(2.0315) * fourth[i, j]
                square[i, i] += np.float32(3.4445)
            np.dot(square, x, other)
            x, other = other, x
        step = rate * np.float32(np.sqrt(max(1.0, n_rows / n_columns)))
        for a in range(n_rows):
            for b in range(n_columns):
                update = x[b, a] if n_rows > n_columns else x[a, b]
                weight_RAB[r, a, b] -= step * update + rate * decay * weight_RAB[r, a, b]

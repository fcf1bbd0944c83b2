"""Loops compiled: the contrast over all pairs of a batch, and maxout. Each has a slow twin in the tests.

Shape legend: B pair of a batch, N component, W unit of a layer. Features come component first, so that the inner loop
is contiguous. `error_model="numpy"` leaves divisions unchecked: checks keep loops from being vectorised, which costs a
factor of eight.
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


@_fast
def pair_contrast(a_NB, b_NB, log_k_N, rho_N, shift_N, log_round_N, curve_N, kink_N, chunk):
    """Cross-entropy of softmax_q r(p, q) at q = p for each pair p, and the gradients of its mean.

    r(p, q) = Σ_i [−k_i √((b_iq + c_i − ρ_i a_ip)² + ε_i²) + u_i b_iq² + v_i √(b_iq² + ε_i²)], k = exp(log_k) and
    ε = exp(log_round) + 0.001. Pairs come in chunks of successive ones, and those of one chunk are no alternatives to
    one another. Returns the losses (B,), and gradients in the order of the arguments.
    """
    n, n_b = a_NB.shape
    loss_B, alone, to_alone = np.empty(n_b, np.float32), np.zeros(n_b, np.float32), np.zeros(n_b, np.float32)
    to_a, to_b = np.zeros_like(a_NB), np.zeros_like(b_NB)
    to_k, to_rho, to_shift, to_rounding = (
        np.zeros_like(rho_N),
        np.zeros_like(rho_N),
        np.zeros_like(rho_N),
        np.zeros_like(rho_N),
    )
    to_curve, to_kink = np.zeros_like(rho_N), np.zeros_like(rho_N)
    k_N, rounding_N = np.exp(log_k_N), np.exp(log_round_N) + np.float32(1e-3)
    row = np.empty(n_b, np.float32)
    one = np.float32(1)
    for i in range(n):
        square = rounding_N[i] * rounding_N[i]
        for q in range(n_b):
            b2 = b_NB[i, q] * b_NB[i, q]
            alone[q] += curve_N[i] * b2 + kink_N[i] * np.sqrt(b2 + square)
    for p in range(n_b):
        for q in range(n_b):
            row[q] = alone[q]
        for i in range(n):
            centre, k = rho_N[i] * a_NB[i, p] - shift_N[i], k_N[i]
            square = rounding_N[i] * rounding_N[i]
            for q in range(n_b):
                miss = b_NB[i, q] - centre
                row[q] -= k * np.sqrt(miss * miss + square)
        true, start = row[p], p - p % chunk
        for q in range(start, min(start + chunk, n_b)):
            row[q] = np.float32(-1e30)
        row[p] = true
        largest = true
        for q in range(n_b):
            largest = max(largest, row[q])
        total = np.float32(0)
        for q in range(n_b):
            row[q] = _exp(row[q] - largest)
            total += row[q]
        loss_B[p] = np.log(total) + largest - true
        scale = one / (total * np.float32(n_b))
        for q in range(n_b):
            row[q] *= scale
        row[p] -= one / np.float32(n_b)
        for q in range(n_b):
            to_alone[q] += row[q]
        for i in range(n):
            centre, k = rho_N[i] * a_NB[i, p] - shift_N[i], k_N[i]
            square = rounding_N[i] * rounding_N[i]
            pulled, length, inverse = np.float32(0), np.float32(0), np.float32(0)
            for q in range(n_b):
                miss = b_NB[i, q] - centre
                distance2 = miss * miss + square
                weight = row[q] * (one / np.sqrt(distance2))
                pull = weight * miss
                to_b[i, q] -= k * pull
                pulled += pull
                length += weight * distance2
                inverse += weight
            to_a[i, p] = k * rho_N[i] * pulled
            to_k[i] -= k * length
            to_rho[i] += k * a_NB[i, p] * pulled
            to_shift[i] -= k * pulled
            to_rounding[i] -= k * rounding_N[i] * inverse
    for i in range(n):
        square = rounding_N[i] * rounding_N[i]
        for q in range(n_b):
            b, weight = b_NB[i, q], to_alone[q]
            edge = np.sqrt(b * b + square)
            to_curve[i] += weight * b * b
            to_kink[i] += weight * edge
            to_b[i, q] += weight * b * (np.float32(2) * curve_N[i] + kink_N[i] / edge)
            to_rounding[i] += weight * kink_N[i] * rounding_N[i] / edge
        to_rounding[i] *= rounding_N[i] - np.float32(1e-3)
    return loss_B, to_a, to_b, to_k, to_rho, to_shift, to_rounding, to_curve, to_kink


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

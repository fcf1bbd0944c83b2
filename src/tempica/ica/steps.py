"""The contrast of a batch and the gradients of its network, compiled as one: what a small step of torch costs beside
its arithmetic is several times the arithmetic. Its slow twin is autograd, which the tests hold it to.

Shape legend: R restart, L lag, C chunk, F frame of a chunk, J pair of a chunk, B = C F row, K feature of the input, W
unit of a hidden layer, N component.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from tempica.ica.kernels import pair_contrast

_fast: Any = numba.njit(cache=True, fastmath=True, error_model="numpy")


def compiled_step(
    Z: Tensor,
    places: Callable[[Tensor], Tensor],
    here: np.ndarray,
    there: Sequence[np.ndarray],
    parameters: Sequence[Tensor],
    scores: Sequence[Tensor],
    chunk: int,
    group: int | None,
) -> Callable[[Tensor], Tensor]:
    """A function of items that answers with the losses (R,), and leaves the gradients in `grad` of every parameter.

    `places(items)` (C, F) are frames of Z; `here` and `there` (J,) say which of a chunk make its pairs, at each lag.
    `parameters` are those of `Features` with restarts, `scores` the shape of each lag's `PairScore`. Raises ValueError
    for a network of fewer than two hidden layers.
    """
    if len(parameters) < 7:
        raise ValueError("two hidden layers are the least")
    for p in (*parameters, *scores):
        p.grad = torch.zeros_like(p)
    frames, there_LJ = Z.numpy(), np.stack(list(there))

    def step(items: Tensor) -> Tensor:
        # looked up each time: narrowing to fewer restarts gives parameters other arrays
        value, slope = ([_array(p, of) for p in (*parameters, *scores)] for of in ("data", "grad"))
        losses = network_contrast(
            frames,
            places(items).numpy(),
            here,
            there_LJ,
            chunk,
            group or np.iinfo(np.int64).max,
            *_ordered(value, len(scores)),
            *_ordered(slope, len(scores)),
        )
        return torch.from_numpy(losses)

    return step


def _array(p: Tensor, of: str) -> np.ndarray:
    if of == "grad" and p.grad is None:
        p.grad = torch.zeros_like(p)
    return (p.grad if of == "grad" else p.detach()).numpy()  # type: ignore[union-attr]


def _ordered(values: list[np.ndarray], n_scores: int) -> tuple[Any, ...]:
    """Linear part, first layer, the other hidden layers, the last, the scores."""
    network, scores = values[:-n_scores], values[-n_scores:]
    linear, first, first_bias, *middle, out, out_bias = network
    return linear, first, first_bias, tuple(middle[::2]), tuple(middle[1::2]), out, out_bias, tuple(scores)


@_fast
def network_contrast(
    Z,
    at_CF,
    here,
    there_LJ,
    chunk,
    group,
    linear_RNK,
    first_RWK,
    first_bias_RW,
    weights_RWW,
    biases_RW,
    out_RNW,
    out_bias_RN,
    shapes_R6N,
    to_linear,
    to_first,
    to_first_bias,
    to_weights,
    to_biases,
    to_out,
    to_out_bias,
    to_shapes,
):
    """Losses (R,): the mean over pairs and lags of `pair_contrast`, less the log of the alternatives.

    Gradients are written into the arrays to_…, which are those of the parameters before them.
    """
    n_restarts, n, n_inputs = linear_RNK.shape
    n_chunks, n_frames = at_CF.shape
    n_rows, n_layers, width = n_chunks * n_frames, len(weights_RWW) + 1, first_bias_RW.shape[1] // 2
    x = np.empty((n_rows, n_inputs), np.float32)
    for c in range(n_chunks):
        for f in range(n_frames):
            for k in range(n_inputs):
                x[c * n_frames + f, k] = Z[at_CF[c, f], k]
    sums = np.empty((n_layers, n_rows, 2 * width), np.float32)
    larger = np.empty((n_layers, n_rows, width), np.float32)
    h, straight, to_h = (
        np.empty((n_rows, n), np.float32),
        np.empty((n_rows, n), np.float32),
        np.empty((n_rows, n), np.float32),
    )
    losses = np.zeros(n_restarts, np.float32)
    for r in range(n_restarts):
        np.dot(x, first_RWK[r].T, sums[0])
        _maxout_of(sums[0], first_bias_RW[r], larger[0])
        for layer in range(1, n_layers):
            np.dot(larger[layer - 1], weights_RWW[layer - 1][r].T, sums[layer])
            _maxout_of(sums[layer], biases_RW[layer - 1][r], larger[layer])
        np.dot(larger[n_layers - 1], out_RNW[r].T, h)
        np.dot(x, linear_RNK[r].T, straight)
        for b in range(n_rows):
            for i in range(n):
                h[b, i] += straight[b, i] + out_bias_RN[r, i]
        to_h[:] = 0
        for lag in range(len(there_LJ)):
            losses[r] += _contrast_of(
                h,
                here,
                there_LJ[lag],
                n_chunks,
                n_frames,
                chunk,
                group,
                shapes_R6N[lag][r],
                to_h,
                to_shapes[lag][r],
                len(there_LJ),
            )
        np.dot(to_h.T, x, to_linear[r])
        np.dot(to_h.T, larger[n_layers - 1], to_out[r])
        _sum_rows(to_h, to_out_bias[r])
        to_larger = np.dot(to_h, out_RNW[r])
        for layer in range(n_layers - 1, -1, -1):
            _maxout_back(to_larger, sums[layer])
            if layer > 0:
                np.dot(sums[layer].T, larger[layer - 1], to_weights[layer - 1][r])
                _sum_rows(sums[layer], to_biases[layer - 1][r])
                np.dot(sums[layer], weights_RWW[layer - 1][r], to_larger)
            else:
                np.dot(sums[0].T, x, to_first[r])
                _sum_rows(sums[0], to_first_bias[r])
    return losses


@_fast
def _contrast_of(h, here, there, n_chunks, n_frames, chunk, group, shape_6N, to_h, to_shape, n_lags):
    """Loss of one lag, its share of the gradients added to those of h and put into those of the score."""
    n_j, n = len(here), h.shape[1]
    a, b = np.empty((n, n_chunks * n_j), np.float32), np.empty((n, n_chunks * n_j), np.float32)
    for i in range(n):
        for c in range(n_chunks):
            for j in range(n_j):
                a[i, c * n_j + j] = h[c * n_frames + here[j], i]
                b[i, c * n_j + j] = h[c * n_frames + there[j], i]
    group = min(group, n_chunks * n_j)
    loss, to_a, to_b, to_own, _ = pair_contrast(a, b, shape_6N, None, 0, chunk, group)
    share = np.float32(1) / np.float32(n_lags)
    for c in range(n_chunks):
        for j in range(n_j):
            for i in range(n):
                to_h[c * n_frames + here[j], i] += share * to_a[i, c * n_j + j]
                to_h[c * n_frames + there[j], i] += share * to_b[i, c * n_j + j]
    to_shape[:] = share * to_own
    return share * np.float32(loss.mean() - np.log(group))


@_fast
def _maxout_of(sums, bias, larger):
    """Adds the bias to the sums, and keeps the larger of the two halves of each row."""
    width = larger.shape[1]
    for b in range(len(sums)):
        for w in range(2 * width):
            sums[b, w] += bias[w]
        for w in range(width):
            larger[b, w] = max(sums[b, w], sums[b, w + width])


@_fast
def _maxout_back(to_larger, sums):
    """Puts the gradient of the sums where the sums were; a tie goes to the first half."""
    width = to_larger.shape[1]
    for b in range(len(sums)):
        for w in range(width):
            kept = to_larger[b, w] * np.float32(sums[b, w] >= sums[b, w + width])
            sums[b, w] = kept
            sums[b, w + width] = to_larger[b, w] - kept


@_fast
def _sum_rows(values, total):
    total[:] = 0
    for b in range(len(values)):
        for w in range(len(total)):
            total[w] += values[b, w]

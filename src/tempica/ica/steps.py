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

from tempica.ica.kernels import _exp, pair_contrast

_fast: Any = numba.njit(cache=True, fastmath=True, error_model="numpy")


def contrast_step(
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
    `parameters` are those of `Features` with restarts and two hidden layers at least, `scores` the shape of each
    lag's `PairScore`.
    """
    frames, there_LJ = Z.numpy(), np.stack(list(there))
    most = group or np.iinfo(np.int64).max

    def step(items: Tensor) -> Tensor:
        given = _ordered(parameters, scores)
        return torch.from_numpy(
            network_contrast(frames, places(items).numpy(), here, there_LJ, chunk, most, *given[0], *given[1])
        )

    return step


def labels_step(
    Z: Tensor, labels: Tensor, at: Tensor, parameters: Sequence[Tensor], head: Sequence[Tensor]
) -> Callable[[Tensor], Tensor]:
    """The same for the label (frame,) of each frame, from a linear head on |h|: weight (R, label, N), bias (R, label).

    `at` (item,) are frames of Z.
    """
    frames, numbers, places = Z.numpy(), labels.numpy(), at.numpy()

    def step(items: Tensor) -> Tensor:
        chosen = places[items.numpy()]
        given = _ordered(parameters, (head[0], head[1]), column=True)
        return torch.from_numpy(network_labels(frames, chosen, numbers[chosen], *given[0], *given[1]))

    return step


def _ordered(network: Sequence[Tensor], others: Sequence[Tensor], column: bool = False) -> list[tuple[Any, ...]]:
    """Values and gradients: linear part, first layer, the other hidden layers, the last, what follows the features.

    Looked up at each step, since narrowing to fewer restarts gives parameters other arrays. With `column`, the last is
    a column of each restart.
    """
    found = []
    for p in (*network, *others):
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    for of in (lambda p: p.detach().numpy(), lambda p: p.grad.numpy()):
        linear, first, first_bias, *middle, out, out_bias = map(of, network)
        rest = tuple(map(of, others))
        if column:
            rest = (*rest[:-1], rest[-1][..., None])
        found.append((linear, first, first_bias, tuple(middle[::2]), tuple(middle[1::2]), out, out_bias, rest))
    return found


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
    h, to_h = np.empty((n_rows, n), np.float32), np.empty((n_rows, n), np.float32)
    losses = np.zeros(n_restarts, np.float32)
    for r in range(n_restarts):
        _forward(
            r, x, sums, larger, h, linear_RNK, first_RWK, first_bias_RW, weights_RWW, biases_RW, out_RNW, out_bias_RN
        )
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
        _backward(
            r,
            x,
            sums,
            larger,
            to_h,
            weights_RWW,
            out_RNW,
            to_linear,
            to_first,
            to_first_bias,
            to_weights,
            to_biases,
            to_out,
            to_out_bias,
        )
    return losses


@_fast
def network_labels(
    Z,
    at_B,
    labels_B,
    linear_RNK,
    first_RWK,
    first_bias_RW,
    weights_RWW,
    biases_RW,
    out_RNW,
    out_bias_RN,
    head,
    to_linear,
    to_first,
    to_first_bias,
    to_weights,
    to_biases,
    to_out,
    to_out_bias,
    to_head,
):
    """Losses (R,): the mean over frames of the cross-entropy of softmax(W |h| + b) at the frame's label, less log of
    the number of labels; `head` is W (R, label, N) and b (R, label, 1).

    Gradients are written into the arrays to_…, which are those of the parameters before them.
    """
    n_restarts, n, n_inputs = linear_RNK.shape
    n_rows, n_layers, width = len(at_B), len(weights_RWW) + 1, first_bias_RW.shape[1] // 2
    n_labels = head[0].shape[1]
    x = np.empty((n_rows, n_inputs), np.float32)
    for b in range(n_rows):
        for k in range(n_inputs):
            x[b, k] = Z[at_B[b], k]
    sums = np.empty((n_layers, n_rows, 2 * width), np.float32)
    larger = np.empty((n_layers, n_rows, width), np.float32)
    h, size, to_h = (
        np.empty((n_rows, n), np.float32),
        np.empty((n_rows, n), np.float32),
        np.empty((n_rows, n), np.float32),
    )
    logits, losses = np.empty((n_rows, n_labels), np.float32), np.zeros(n_restarts, np.float32)
    scale = np.float32(1) / np.float32(n_rows)
    for r in range(n_restarts):
        _forward(
            r, x, sums, larger, h, linear_RNK, first_RWK, first_bias_RW, weights_RWW, biases_RW, out_RNW, out_bias_RN
        )
        for b in range(n_rows):
            for i in range(n):
                size[b, i] = abs(h[b, i])
        np.dot(size, head[0][r].T, logits)
        for b in range(n_rows):
            losses[r] += scale * _softmax_gradient(logits[b], head[1][r, :, 0], labels_B[b], scale)
        losses[r] -= np.float32(np.log(n_labels))
        np.dot(logits.T, size, to_head[0][r])
        _sum_rows(logits, to_head[1][r, :, 0])
        np.dot(logits, head[0][r], to_h)
        for b in range(n_rows):
            for i in range(n):
                to_h[b, i] *= np.sign(h[b, i])
        _backward(
            r,
            x,
            sums,
            larger,
            to_h,
            weights_RWW,
            out_RNW,
            to_linear,
            to_first,
            to_first_bias,
            to_weights,
            to_biases,
            to_out,
            to_out_bias,
        )
    return losses


@_fast
def _softmax_gradient(logits, bias, label, scale):
    """Cross-entropy of one frame; its gradient, scaled, takes the place of the logits."""
    largest = logits[0] + bias[0]
    for k in range(len(logits)):
        logits[k] += bias[k]
        largest = max(largest, logits[k])
    true, total = logits[label], np.float32(0)
    for k in range(len(logits)):
        logits[k] = _exp(logits[k] - largest)
        total += logits[k]
    for k in range(len(logits)):
        logits[k] *= scale / total
    logits[label] -= scale
    return np.log(total) + largest - true


@_fast
def _forward(r, x, sums, larger, h, linear_RNK, first_RWK, first_bias_RW, weights_RWW, biases_RW, out_RNW, out_bias_RN):
    """Features h (B, N) of one restart, and what its layers have seen."""
    np.dot(x, first_RWK[r].T, sums[0])
    _maxout_of(sums[0], first_bias_RW[r], larger[0])
    for layer in range(1, len(sums)):
        np.dot(larger[layer - 1], weights_RWW[layer - 1][r].T, sums[layer])
        _maxout_of(sums[layer], biases_RW[layer - 1][r], larger[layer])
    np.dot(larger[len(sums) - 1], out_RNW[r].T, h)
    straight = np.dot(x, linear_RNK[r].T)
    for b in range(len(h)):
        for i in range(h.shape[1]):
            h[b, i] += straight[b, i] + out_bias_RN[r, i]


@_fast
def _backward(
    r,
    x,
    sums,
    larger,
    to_h,
    weights_RWW,
    out_RNW,
    to_linear,
    to_first,
    to_first_bias,
    to_weights,
    to_biases,
    to_out,
    to_out_bias,
):
    """Gradients of one restart's parameters, from those of its features; the sums are used up."""
    np.dot(to_h.T, x, to_linear[r])
    np.dot(to_h.T, larger[len(sums) - 1], to_out[r])
    _sum_rows(to_h, to_out_bias[r])
    to_larger = np.dot(to_h, out_RNW[r])
    for layer in range(len(sums) - 1, -1, -1):
        _maxout_back(to_larger, sums[layer])
        if layer > 0:
            np.dot(sums[layer].T, larger[layer - 1], to_weights[layer - 1][r])
            _sum_rows(sums[layer], to_biases[layer - 1][r])
            np.dot(sums[layer], weights_RWW[layer - 1][r], to_larger)
        else:
            np.dot(sums[0].T, x, to_first[r])
            _sum_rows(sums[0], to_first_bias[r])


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

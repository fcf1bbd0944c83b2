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

from tempica.ica.training.kernels import _exp, pair_contrast

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
    most, arrays = group or np.iinfo(np.int64).max, _Arrays(parameters, [scores])

    def step(items: Tensor) -> Tensor:
        plan = frames, places(items).numpy(), here, there_LJ, chunk, most
        return arrays.run(network_contrast, plan)

    return step


def labels_step(
    Z: Tensor, labels: Tensor, at: Tensor, parameters: Sequence[Tensor], head: Sequence[Tensor]
) -> Callable[[Tensor], Tensor]:
    """The same for the label (frame,) of each frame, from a linear head on |h|: weight (R, label, N), bias (R, label).

    `at` (item,) are frames of Z.
    """
    frames, numbers, places = Z.numpy(), labels.numpy(), at.numpy()
    arrays = _Arrays(parameters, [[each] for each in head])

    def step(items: Tensor) -> Tensor:
        chosen = places[items.numpy()]
        return arrays.run(network_labels, (frames, chosen, numbers[chosen]))

    return step


class _Arrays:
    """A network's parameters, and groups of others, as a kernel takes them, with room for their gradients.

    Arrays are looked up again when parameters have got other memory, as narrowing gives them. Those of the inner
    layers are stacked, as those of a group are, so that a kernel is compiled once for every depth.
    """

    def __init__(self, network: Sequence[Tensor], others: Sequence[Sequence[Tensor]]) -> None:
        linear, first, first_bias, *inner, out, out_bias = network
        self.alone = [linear, first, first_bias, out, out_bias]
        self.groups = [inner[::2], inner[1::2], *others]
        self.address = 0

    def run(self, kernel: Any, plan: tuple[Any, ...]) -> Tensor:
        """What the kernel answers; gradients are left in `grad` of every parameter."""
        if self.alone[0].data_ptr() != self.address:
            self._look_up()
        for stack, group in zip(self.stacks, self.members, strict=True):
            for place, values in zip(stack, group, strict=True):
                place[...] = values
        losses = kernel(*plan, (*self.values, *self.stacks[:2]), *self.stacks[2:], self.to_network, *self.to_others)
        for p, gradient in self.gradients:
            if p.grad is not gradient:
                p.grad = gradient
        return torch.from_numpy(losses)

    def _look_up(self) -> None:
        self.address = self.alone[0].data_ptr()
        self.values = [p.detach().numpy() for p in self.alone]
        self.members = [[p.detach().numpy() for p in group] for group in self.groups]
        self.stacks = [np.stack(group) for group in self.members]
        to_alone, to_stacks = ([np.empty_like(x) for x in arrays] for arrays in (self.values, self.stacks))
        self.to_network, self.to_others = (*to_alone, *to_stacks[:2]), to_stacks[2:]
        self.gradients = [(p, torch.from_numpy(x)) for p, x in zip(self.alone, to_alone, strict=True)]
        for group, stack in zip(self.groups, to_stacks, strict=True):
            self.gradients += [(p, torch.from_numpy(x)) for p, x in zip(group, stack, strict=True)]


# places in a network: arrays with restarts first, and stacks (layer, R, …) of the hidden layers after the first
LINEAR, FIRST, FIRST_BIAS, OUT, OUT_BIAS, WEIGHTS, BIASES = range(7)


@_fast
def network_contrast(Z, at_CF, here, there_LJ, chunk, group, network, shapes_LR6N, to_network, to_shapes):
    """Losses (R,): the mean over pairs and lags of `pair_contrast`, less the log of the alternatives.

    Gradients are written into the arrays of to_…, which are those of the parameters.
    """
    n_restarts, n, _ = network[LINEAR].shape
    n_chunks, n_frames = at_CF.shape
    x, sums, larger = _room(Z, at_CF.flatten(), network)
    h, to_h = np.empty((len(x), n), np.float32), np.empty((len(x), n), np.float32)
    losses = np.zeros(n_restarts, np.float32)
    for r in range(n_restarts):
        _forward(r, x, sums, larger, h, network)
        to_h[:] = 0
        for lag in range(len(there_LJ)):
            shape, to_shape = shapes_LR6N[lag, r], to_shapes[lag, r]
            losses[r] += _contrast_of(
                h, here, there_LJ[lag], n_chunks, n_frames, chunk, group, shape, to_h, to_shape, len(there_LJ)
            )
        _backward(r, x, sums, larger, to_h, network, to_network)
    return losses


@_fast
def network_labels(Z, at_B, labels_B, network, weights, biases, to_network, to_weights, to_biases):
    """Losses (R,): the mean over frames of the cross-entropy of softmax(W |h| + b) at the frame's label, less log of
    the number of labels; W (1, R, label, N) and b (1, R, label) are those of the heads.

    Gradients are written into the arrays of to_…, which are those of the parameters.
    """
    n_restarts, n, _ = network[LINEAR].shape
    x, sums, larger = _room(Z, at_B, network)
    h, size, to_h = (
        np.empty((len(x), n), np.float32),
        np.empty((len(x), n), np.float32),
        np.empty((len(x), n), np.float32),
    )
    weight, bias, to_weight, to_bias = weights[0], biases[0], to_weights[0], to_biases[0]
    logits, losses = np.empty((len(x), weight.shape[1]), np.float32), np.zeros(n_restarts, np.float32)
    scale = np.float32(1) / np.float32(len(x))
    for r in range(n_restarts):
        _forward(r, x, sums, larger, h, network)
        for b in range(len(x)):
            for i in range(n):
                size[b, i] = abs(h[b, i])
        np.dot(size, weight[r].T, logits)
        for b in range(len(x)):
            losses[r] += scale * _softmax_gradient(logits[b], bias[r], labels_B[b], scale)
        losses[r] -= np.float32(np.log(weight.shape[1]))
        np.dot(logits.T, size, to_weight[r])
        _sum_rows(logits, to_bias[r])
        np.dot(logits, weight[r], to_h)
        for b in range(len(x)):
            for i in range(n):
                to_h[b, i] *= np.sign(h[b, i])
        _backward(r, x, sums, larger, to_h, network, to_network)
    return losses


@_fast
def _room(Z, at_B, network):
    """Frames of a batch (B, K), and room for what hidden layers make of them: (layer, B, 2 W) and (layer, B, W)."""
    n_layers, width = len(network[WEIGHTS]) + 1, network[FIRST_BIAS].shape[1] // 2
    x = np.empty((len(at_B), Z.shape[1]), np.float32)
    for b in range(len(at_B)):
        for k in range(Z.shape[1]):
            x[b, k] = Z[at_B[b], k]
    sums = np.empty((n_layers, len(at_B), 2 * width), np.float32)
    return x, sums, np.empty((n_layers, len(at_B), width), np.float32)


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
def _forward(r, x, sums, larger, h, network):
    """Features h (B, N) of one restart, and what its layers have seen."""
    np.dot(x, network[FIRST][r].T, sums[0])
    _maxout_of(sums[0], network[FIRST_BIAS][r], larger[0])
    for layer in range(1, len(sums)):
        np.dot(larger[layer - 1], network[WEIGHTS][layer - 1, r].T, sums[layer])
        _maxout_of(sums[layer], network[BIASES][layer - 1, r], larger[layer])
    np.dot(larger[len(sums) - 1], network[OUT][r].T, h)
    straight = np.dot(x, network[LINEAR][r].T)
    for b in range(len(h)):
        for i in range(h.shape[1]):
            h[b, i] += straight[b, i] + network[OUT_BIAS][r, i]


@_fast
def _backward(r, x, sums, larger, to_h, network, to_network):
    """Gradients of one restart's parameters, from those of its features; the sums are used up."""
    np.dot(to_h.T, x, to_network[LINEAR][r])
    np.dot(to_h.T, larger[len(sums) - 1], to_network[OUT][r])
    _sum_rows(to_h, to_network[OUT_BIAS][r])
    to_larger = np.dot(to_h, network[OUT][r])
    for layer in range(len(sums) - 1, -1, -1):
        _maxout_back(to_larger, sums[layer])
        if layer > 0:
            np.dot(sums[layer].T, larger[layer - 1], to_network[WEIGHTS][layer - 1, r])
            _sum_rows(sums[layer], to_network[BIASES][layer - 1, r])
            np.dot(sums[layer], network[WEIGHTS][layer - 1, r], to_larger)
        else:
            np.dot(sums[0].T, x, to_network[FIRST][r])
            _sum_rows(sums[0], to_network[FIRST_BIAS][r])


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

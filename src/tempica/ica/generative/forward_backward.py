"""Exact likelihood and posterior of hidden Markov chains of states, compiled, with gradients.

Shape legend: R restart, C chunk, T frame of a chunk, S state.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

_compiled: Any = numba.njit(cache=True)


@_compiled
def forward_backward(emission, first, transition):
    """ln p (R, C), posterior of states (R, C, T, S) and of successive pairs, summed over frames (R, C, S, S).

    `emission` (R, C, T, S) is ln p(x_t | state), `first` (R, S) and `transition` (R, S, S) are probabilities, from
    the second index to the last. Messages are logarithms: α_t(j) = e_t(j) + ln Σ_i exp α_{t−1}(i) A_ij and
    β_t(i) = ln Σ_j A_ij exp(e_{t+1}(j) + β_{t+1}(j)) (Rabiner, Proc. IEEE 77, 257, 1989).
    """
    n_restarts, n_chunks, n_frames, n = emission.shape
    total = np.empty((n_restarts, n_chunks))
    state = np.empty((n_restarts, n_chunks, n_frames, n))
    pair = np.zeros((n_restarts, n_chunks, n, n))
    alpha, beta = np.empty((n_frames, n)), np.empty(n)
    ahead, before, joint = np.empty(n), np.empty(n), np.empty((n, n))
    for r in range(n_restarts):
        A = transition[r]
        for c in range(n_chunks):
            e = emission[r, c]
            for j in range(n):
                alpha[0, j] = e[0, j] + np.log(first[r, j])
            for t in range(1, n_frames):
                top = alpha[t - 1].max()
                for i in range(n):
                    before[i] = np.exp(alpha[t - 1, i] - top)
                for j in range(n):
                    found = 0.0
                    for i in range(n):
                        found += before[i] * A[i, j]
                    alpha[t, j] = e[t, j] + top + np.log(found)
            top = alpha[-1].max()
            total[r, c] = top + np.log(np.exp(alpha[-1] - top).sum())
            beta[:] = 0
            for t in range(n_frames - 1, -1, -1):
                for i in range(n):
                    before[i] = alpha[t, i] + beta[i]
                before[:] = np.exp(before - before.max())  # not less the total, whose rounding grows with its size
                state[r, c, t] = before / before.sum()
                if t == 0:
                    break
                for j in range(n):
                    ahead[j] = e[t, j] + beta[j]
                top, best = ahead.max(), alpha[t - 1].max()
                for j in range(n):
                    ahead[j] = np.exp(ahead[j] - top)
                    before[j] = np.exp(alpha[t - 1, j] - best)
                whole = 0.0
                for i in range(n):
                    found = 0.0
                    for j in range(n):
                        joint[i, j] = before[i] * A[i, j] * ahead[j]
                        found += A[i, j] * ahead[j]
                        whole += joint[i, j]
                    beta[i] = top + np.log(found)
                for i in range(n):
                    for j in range(n):
                        pair[r, c, i, j] += joint[i, j] / whole
    return total, state, pair


def chain_likelihood(emission: Tensor, log_first: Tensor, log_transition: Tensor) -> Tensor:
    """ln p (R, C) of chunks whose states form a chain; shapes as `forward_backward`'s."""
    return _Chain.apply(emission, log_first, log_transition)


class _Chain(torch.autograd.Function):
    """Gradients are the posteriors (Fisher's identity): no graph through thousands of frames."""

    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Tensor:
        emission, first, transition = (x.detach().double().cpu().numpy() for x in arguments)
        total, *posterior = forward_backward(np.ascontiguousarray(emission), np.exp(first), np.exp(transition))
        ctx.posterior = [torch.from_numpy(x) for x in posterior]
        ctx.like = arguments[0].new_empty(0)  # for its precision and device
        return torch.from_numpy(total).to(ctx.like)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        grad = grads[0].double().cpu()[..., None, None]
        state, pair = ctx.posterior
        found = grad * state, (grad[..., 0] * state[:, :, 0]).sum(1), (grad * pair).sum(1)
        return tuple(each.to(ctx.like) for each in found)

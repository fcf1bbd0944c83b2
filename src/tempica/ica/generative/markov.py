"""Markov chain of hidden states, each with its laws of the sources.

Shape legend: R restart, C chunk, T frame of a chunk, B = C T, K feature of the whitened frames, N component, S state.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from tempica.ica.generative.flow import Flow
from tempica.ica.generative.forward_backward import chain_likelihood
from tempica.ica.generative.vae import GeneralNormal

WINDOW = 8  # frames, whose means and sizes tell states apart at the start
STAY = 0.9  # probability at the start


class Chain(nn.Module):
    """Markov chain of states, the laws of the sources in each, and of other latents in all."""

    def __init__(self, n_restarts: int, n_states: int, n: int, n_others: int) -> None:
        super().__init__()
        self.law, self.others = GeneralNormal(n_restarts, n_states, n), GeneralNormal(n_restarts, 1, n_others)
        stay = torch.eye(n_states) * math.log(STAY * max(n_states - 1, 1) / (1 - STAY))
        self.first = nn.Parameter(torch.zeros(n_restarts, n_states))
        self.transition = nn.Parameter(stay.repeat(n_restarts, 1, 1))

    @property
    def log_first(self) -> Tensor:
        """Log probabilities (R, S) of the first state."""
        return torch.log_softmax(self.first, -1)

    @property
    def log_transition(self) -> Tensor:
        """Log probabilities (R, S, S) of the next state, given the state."""
        return torch.log_softmax(self.transition, -1)

    def begin(self, z_RCTN: Tensor, seed: int) -> None:
        """Laws of states that cluster the means and log sizes of windows, each restart with its own seed."""
        n_states, size = self.first.shape[1], min(WINDOW, z_RCTN.shape[2])
        for r, z in enumerate(z_RCTN.double().cpu().numpy()):
            windows = z[:, : z.shape[1] // size * size].reshape(-1, size, z.shape[-1])
            place, spread = windows.mean(1), windows.std(1) + 0.05 * z.std((0, 1)) + 1e-9
            seen = np.column_stack([place / z.std((0, 1)).clip(1e-9), np.log(spread)])
            state = KMeans(min(n_states, len(seen)), n_init=1, random_state=(seed + r) % 2**31).fit_predict(seen)
            for k in range(n_states):  # a state that gets no window has the law of all
                inside = windows[state == k] if (state == k).any() else windows
                self.law.mean[r, k] = torch.as_tensor(inside.mean((0, 1)))
                self.law.log_scale[r, k] = torch.as_tensor(np.log(inside.std((0, 1)) + 1e-3))

    def emission(self, flow: Flow, x_BK: Tensor) -> Tensor:
        """ln p(x | state) (R, B, S)"""
        (n_restarts, n_states), n = self.first.shape, self.law.mean.shape[-1]
        z, volume = flow.with_log_det(x_BK.expand(n_restarts, -1, -1))
        label = torch.arange(n_states).repeat(len(x_BK))
        each = self.law(z[..., :n].repeat_interleave(n_states, 1), label).unflatten(1, (-1, n_states))
        common = volume + self.others(z[..., n:], torch.zeros(len(x_BK), dtype=torch.int64))
        return each + (common - z.shape[-1] * math.log(2))[..., None]  # the law leaves out the factor ½

    def forward(self, flow: Flow, x_CTK: Tensor, chained: bool = True) -> Tensor:
        """ln p (R, C) of chunks; if not chained, of states drawn anew in each frame, as often as the chain has them."""
        emission = self.emission(flow, x_CTK.flatten(0, 1)).unflatten(1, x_CTK.shape[:2])
        if chained:
            return chain_likelihood(emission, self.log_first, self.log_transition)
        share = torch.matrix_power(self.log_transition.double().exp(), 4096).mean(1).log().to(emission.dtype)
        return torch.logsumexp(emission + share[:, None, None], -1).sum(-1)

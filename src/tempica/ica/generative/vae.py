"""Variational autoencoders for identifiable models, and charts; several restarts in one batch.

Shape legend: R restart, B frame of a batch, K feature of the frames, N component.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from tempica.ica.generative.flow import Flow

LEAST_NOISE = 1e-4  # variance of the decoder in units of the whitened frames; less makes training stiff
FIRST_NOISE = 1e-3  # variance of the posterior and of the decoder, where this is the encoder's inverse


class Chart(nn.Module):
    """y = W x + b + network(x) for R restarts at once; leaky ReLU (slope 0.2), the network's last layer from zero."""

    def __init__(self, linear_RNK: Tensor, width: int, n_layers: int, generator: torch.Generator) -> None:
        super().__init__()
        n_restarts, n_out, n_in = linear_RNK.shape
        self.linear = nn.Parameter(linear_RNK.transpose(1, 2).clone(memory_format=torch.contiguous_format))
        self.weights, self.offsets = nn.ParameterList(), nn.ParameterList()
        for a, b in pairwise([n_in, *[width] * n_layers, n_out]):
            spread = math.sqrt(2 / (1 + 0.2**2) / a) if b == width else 0.0
            self.weights.append(spread * torch.randn(n_restarts, a, b, generator=generator))
            self.offsets.append(torch.zeros(n_restarts, 1, b))

    def forward(self, x_RBK: Tensor) -> Tensor:
        y = x_RBK
        for layer, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            y = torch.baddbmm(offset, nn.functional.leaky_relu(y, 0.2) if layer else y, weight)
        return torch.baddbmm(y, x_RBK, self.linear)

    def with_jacobian(self, x_RBK: Tensor) -> tuple[Tensor, Tensor]:
        """y and (∂y/∂x)ᵀ (R, B, in, out)."""
        y, inner, (n_frames, n_in) = x_RBK, self.weights[0][:, None], x_RBK.shape[1:]
        for layer, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            if layer:
                inner = inner * torch.where(y > 0, 1.0, 0.2)[..., None, :]
                y = nn.functional.leaky_relu(y, 0.2)
                # one product a restart: a product a frame would copy the weights for each
                inner = (inner.flatten(1, 2) @ weight).unflatten(1, (n_frames, n_in))
            y = torch.baddbmm(offset, y, weight)
        inner = (inner + self.linear[:, None]).expand(-1, n_frames, -1, -1)
        return torch.baddbmm(y, x_RBK, self.linear), inner


class GeneralNormal(nn.Module):
    """log Π_i p(z_i | u, before), p ∝ exp(−|(z_i − m_iu − ρ_i before_i) / a_iu|^α_i), normalised, `least` < α < 2.

    The absolute value is rounded within 0.01 a, so that gradients stay finite.
    """

    def __init__(self, n_restarts: int, n_labels: int, n: int, least: float = 1.0) -> None:
        super().__init__()
        self.least = least
        self.mean = nn.Parameter(torch.zeros(n_restarts, n_labels, n))
        self.log_scale = nn.Parameter(torch.zeros(n_restarts, n_labels, n))
        self.shape = nn.Parameter(torch.zeros(n_restarts, 1, n))
        self.rho = nn.Parameter(torch.ones(n_restarts, 1, n))

    @property
    def alpha(self) -> Tensor:
        """(R, 1, N)"""
        return self.least + (2 - self.least) * torch.sigmoid(self.shape)

    def forward(self, z_RBN: Tensor, label_B: Tensor, before_RBN: Tensor | None = None) -> Tensor:
        """(R, B) of latents with labels from 0."""
        alpha = self.alpha
        miss = z_RBN - self.mean[:, label_B]
        if before_RBN is not None:
            miss = miss - self.rho * before_RBN
        log_scale = self.log_scale[:, label_B]
        size = (miss * (-log_scale).exp()) ** 2 + 1e-4
        normaliser = alpha.log() - torch.lgamma(1 / alpha)
        return (normaliser - log_scale - size ** (0.5 * alpha)).sum(-1)


class Autoencoder(nn.Module):
    """q(z | x) the law of e(x + N(0, diag exp 2v(x))), p(x | z) = N(d(z), diag noise), z as many as the features.

    e is a flow, v a chart, and d begins as the inverse of e, with a network beside. So q is no product of independent
    laws: one that is prefers decoders with orthogonal Jacobians, and the truth then has a worse bound than wrong
    answers have. The first n coordinates are sources; the others, if any, follow a law of their own, `rest`.
    """

    def __init__(self, flow: Flow, rest: GeneralNormal, width: int, n_layers: int, generator: torch.Generator) -> None:
        super().__init__()
        n_restarts, k, _ = flow.matrices[0].shape
        nothing = torch.zeros(n_restarts, k, k)
        self.encoder, self.decoder, self.rest = flow, flow.inverse(), rest
        self.bent = Chart(nothing, width, n_layers, generator)
        self.log_spread = Chart(nothing, width // 2, 1, generator)
        self.log_noise = nn.Parameter(torch.full((n_restarts, 1, k), math.log(FIRST_NOISE)))
        nn.init.constant_(self.log_spread.offsets[-1], 0.5 * math.log(FIRST_NOISE))

    def bound(self, x_BK: Tensor, law: Callable[[Tensor], Tensor], n_items: int, generator: torch.Generator) -> Tensor:
        """ln p(x | z) + ln p(z) − ln q(z | x) (R, item) at one draw of z, up to a constant.

        Items have one or more frames each: first all frames of first place, then of second place. `law` gives ln p of
        the sources (R, B, n) of all as (R, item).
        """
        x = x_BK.expand(len(self.log_noise), -1, -1)
        log_spread, noise = self.log_spread(x).clamp(-10, 2), self.log_noise.exp() + LEAST_NOISE
        z, volume = self.encoder.with_log_det(x + noise_like(x, generator) * log_spread.exp())
        miss = x - self.decoder(z) - self.bent(z)
        frames = volume + (log_spread - 0.5 * (miss**2 / noise + noise.log())).sum(-1)
        return _of_items(z, frames, self.rest, law, n_items)


def noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers of a tensor's shape; drawn on the CPU, so that every device has the same."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)


def log_likelihood(
    flow: Flow, rest: GeneralNormal, x_BK: Tensor, law: Callable[[Tensor], Tensor], n_items: int
) -> Tensor:
    """ln p (R, item), up to a constant, if latents are what a flow makes of frames: the bound without noise."""
    z, volume = flow.with_log_det(x_BK.expand(len(flow.offsets[0]), -1, -1))
    return _of_items(z, volume, rest, law, n_items)


def _of_items(z_RBK: Tensor, frames_RB: Tensor, rest: GeneralNormal, law: Any, n_items: int) -> Tensor:
    """ln p (R, item) of sources, plus that of other latents and what else each frame brings (R, B)."""
    n, zero = z_RBK.shape[-1] - rest.mean.shape[-1], torch.zeros(z_RBK.shape[1], dtype=torch.int64)
    frames_RB = frames_RB + rest(z_RBK[..., n:], zero)
    return law(z_RBK[..., :n]) + frames_RB.unflatten(1, (-1, n_items)).sum(1)

"""Variational autoencoders for identifiable models: charts both ways, several restarts in one batched run.

Shape legend: R restart, B frame of a batch, K feature of the frames, N component.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

LEAST_NOISE = 1e-3  # variance of the decoder in units of the whitened frames; less makes training stiff


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


class Autoencoder(nn.Module):
    """q(z | x) = N(e(x), diag exp v(x)) and p(x | z) = N(d(z), diag noise), with e, v and d charts."""

    def __init__(self, linear_RNK: Tensor, width: int, n_layers: int, generator: torch.Generator) -> None:
        super().__init__()
        n_restarts, n, k = linear_RNK.shape
        self.mean = Chart(linear_RNK, width, n_layers, generator)
        self.log_variance = Chart(torch.zeros(n_restarts, n, k), width // 2, 1, generator)
        self.decoder = Chart(torch.linalg.pinv(linear_RNK), width, n_layers, generator)
        self.log_noise = nn.Parameter(torch.full((n_restarts, 1, k), math.log(0.1)))
        for offset in self.log_variance.offsets[-1:]:
            nn.init.constant_(offset, -3.0)

    @property
    def n_restarts(self) -> int:
        return len(self.log_noise)

    def encode(self, x_RBK: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (R, B, N)."""
        return self.mean(x_RBK), self.log_variance(x_RBK).clamp(-12, 4)

    def log_likelihood(self, x_RBK: Tensor, z_RBN: Tensor) -> Tensor:
        """log p(x | z) (R, B), up to a constant."""
        noise = self.log_noise.exp() + LEAST_NOISE
        return -0.5 * ((x_RBK - self.decoder(z_RBN)) ** 2 / noise + noise.log()).sum(-1)


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

    def forward(self, z_RBN: Tensor, label_B: Tensor, before_RBN: Tensor | None = None) -> Tensor:
        """(R, B) of latents with labels from 0."""
        alpha = self.least + (2 - self.least) * torch.sigmoid(self.shape)
        miss = z_RBN - self.mean[:, label_B]
        if before_RBN is not None:
            miss = miss - self.rho * before_RBN
        log_scale = self.log_scale[:, label_B]
        size = (miss * (-log_scale).exp()) ** 2 + 1e-4
        normaliser = alpha.log() - torch.lgamma(1 / alpha)
        return (normaliser - log_scale - size ** (0.5 * alpha)).sum(-1)


def train_restarts(
    module: nn.Module,
    losses: Callable[[Tensor], Tensor],
    validate: Callable[[], Tensor],
    n_items: int,
    *,
    batch_size: int,
    max_steps: int,
    learning_rate: float,
    generator: torch.Generator,
    checks: int = 40,
    patience: int = 20,
    on_check: Callable[[int, float], None] | None = None,
) -> tuple[Tensor, list[tuple[int, float]]]:
    """Minimise `losses(items)` (R,) of restarts whose parameters all begin with the restart's dimension.

    The restarts do not touch one another: their sum has each one's gradient. Every restart keeps the weights with
    its own lowest answer of `validate()` (R,); training ends when none has improved for `patience` checks. Returns
    those answers (R,) and the curve (step, least answer). Deterministic given the generator's state.
    """
    optimiser = torch.optim.Adam(module.parameters(), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=max_steps + 1, pct_start=0.1, cycle_momentum=False
    )
    batch_size, every = min(batch_size, n_items), max(10, max_steps // checks)
    best, kept, last = validate(), [p.detach().clone() for p in module.parameters()], 0
    curve = [(0, float(best.min()))]
    order, cursor = torch.randperm(n_items, generator=generator), 0
    for step in range(1, max_steps + 1):
        if cursor + batch_size > n_items:
            order, cursor = torch.randperm(n_items, generator=generator), 0
        total = losses(order[cursor : cursor + batch_size]).sum()
        cursor += batch_size
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 100.0)
        optimiser.step()
        schedule.step()
        if step % every == 0 or step == max_steps:
            now = validate()
            better = now < best
            for keep, parameter in zip(kept, module.parameters(), strict=True):
                keep[better] = parameter.detach()[better]
            best = torch.where(better, now, best)
            last = step if better.any() else last
            curve.append((step, float(best.min())))
            if on_check is not None:
                on_check(step, curve[-1][1])
            if step - last >= patience * every:
                break
    with torch.no_grad():
        for keep, parameter in zip(kept, module.parameters(), strict=True):
            parameter.copy_(keep)
    return best, curve


def keep_restart(module: nn.Module, restart: int) -> None:
    """Leave one restart of all."""
    for parameter in module.parameters():
        parameter.data = parameter.data[restart : restart + 1].clone()


def starts(linear: Tensor, n_restarts: int, generator: torch.Generator) -> Tensor:
    """Linear parts (R, N, K): the given one, then random rotations of it."""
    n = len(linear)
    turns: Sequence[Tensor] = [torch.linalg.qr(torch.randn(n, n, generator=generator)).Q for _ in range(n_restarts - 1)]
    return torch.stack([linear, *(turn @ linear for turn in turns)])

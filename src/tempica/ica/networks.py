"""Networks of the estimators, in plain torch.

Shape legend: B frame of a batch, K feature of the input, N component.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tempica.ica import kernels


class Features(nn.Module):
    """Features h (B, N) of inputs x (B, K): a linear part plus a maxout network that starts at zero.

    h(x) = W x + U · maxout(…maxout(x)); a maxout layer takes the larger of two linear maps per unit (Goodfellow
    et al. 2013), as in Hyvärinen & Morioka 2016. The network learns what the linear part cannot express.
    """

    def __init__(self, n_inputs: int, n_components: int, width: int, n_layers: int, linear: Tensor) -> None:
        super().__init__()
        self.linear = nn.Parameter(linear.clone())
        widths = [n_inputs, *[width] * n_layers]
        self.hidden = nn.ModuleList(nn.Linear(a, 2 * b) for a, b in pairwise(widths))
        self.out = nn.Linear(width, n_components) if n_layers else None
        if self.out is not None:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, x_BK: Tensor) -> Tensor:
        y = x_BK
        for layer in self.hidden:
            y = layer(y).unflatten(-1, (-1, 2)).amax(-1)
        linear = x_BK @ self.linear.T
        return linear if self.out is None else linear + self.out(y)


class PairScore(nn.Module):
    """Separable score of all pairs of two sets of features: r(a, b) = Σ_i B_i(a_i, b_i), as a (B, B) matrix.

    B_i(a, b) = −k_i √((b − ρ_i a + c_i)² + ε_i²) + g_i(b). For Laplace innovations the best score is of this form
    with ε = 0 (Hyvärinen & Morioka 2017, section 4.1); ε lets noise round the kink. Terms in a alone cancel in
    the contrast over b. g is a parabola plus a rounded absolute value.
    """

    def __init__(self, n_components: int) -> None:
        super().__init__()
        self.log_k = nn.Parameter(torch.zeros(n_components))
        self.rho = nn.Parameter(torch.full((n_components,), 0.5))
        self.shift = nn.Parameter(torch.zeros(n_components))
        self.log_round = nn.Parameter(torch.full((n_components,), -1.0))
        self.curve = nn.Parameter(torch.zeros(n_components))
        self.kink = nn.Parameter(torch.zeros(n_components))

    def forward(self, a_BN: Tensor, b_BN: Tensor) -> Tensor:
        rounding = self.log_round.exp() + 1e-3
        edge = torch.sqrt(b_BN * b_BN + rounding**2)
        alone = b_BN**2 @ self.curve + edge @ self.kink
        return _RoundedMiss.apply(a_BN, b_BN, self.log_k.exp(), self.rho, self.shift, rounding) + alone


class _RoundedMiss(torch.autograd.Function):
    """−Σ_i k_i √((b_i + c_i − ρ_i a_i)² + ε_i²) of all pairs.

    Compiled: plain torch makes some ten passes over a (B, B) matrix per component, 80 % of a training step.
    """

    @staticmethod
    def forward(ctx: Any, a_BN: Tensor, b_BN: Tensor, *parameters: Tensor) -> Tensor:
        arrays = [np.ascontiguousarray(x.detach().numpy().T) for x in (a_BN, b_BN, *parameters)]
        ctx.arrays = arrays
        return torch.from_numpy(kernels.rounded_miss(*arrays))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        found = kernels.rounded_miss_gradient(np.ascontiguousarray(grads[0].numpy()), *ctx.arrays)
        return tuple(torch.from_numpy(np.ascontiguousarray(x.T)) for x in found)

"""Networks of the estimators, in torch, with their two costly parts compiled.

Shape legend: B frame or pair of a batch, K feature of the input, N component.
"""

from __future__ import annotations

import math
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

    hidden: Any  # a list of nn.Linear, of which mypy only knows that they are modules

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
        if self.out is None:
            return x_BK @ self.linear.T
        layers = [*self.hidden, self.out]
        parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
        return _Maxout.apply(x_BK, self.linear, *parameters)

    def jacobian(self, x_BK: Tensor) -> Tensor:
        """∂h/∂x (B, N, K): products of the linear maps that win in each frame."""
        J = torch.zeros(len(x_BK), len(self.linear), x_BK.shape[1])
        if self.out is not None:
            y, inner = x_BK, torch.eye(x_BK.shape[1]).expand(len(x_BK), -1, -1)
            for layer in self.hidden:
                first, second = layer(y).chunk(2, -1)
                one, other = layer.weight.chunk(2)
                inner = torch.where((first >= second)[..., None], one @ inner, other @ inner)
                y = torch.maximum(first, second)
            J = self.out.weight @ inner
        return J + self.linear


class PairScore(nn.Module):
    """Separable score of all pairs of two sets of features, r(a, b) = Σ_i B_i(a_i, b_i), and its contrast.

    B_i(a, b) = −k_i √((b_i − ρ_i a_i + c_i)² + ε_i²) + g_i(b). For Laplace innovations the best score is of this form
    with ε = 0 (Hyvärinen & Morioka 2017, section 4.1); ε lets noise round the kink, and a large one makes the
    parabola of normal innovations. Terms in a alone cancel in the contrast over b. g is a parabola plus a rounded
    absolute value.
    """

    def __init__(self, n_components: int) -> None:
        super().__init__()
        self.log_k = nn.Parameter(torch.zeros(n_components))
        self.rho = nn.Parameter(torch.full((n_components,), 0.5))
        self.shift = nn.Parameter(torch.zeros(n_components))
        self.log_round = nn.Parameter(torch.full((n_components,), -1.0))
        self.curve = nn.Parameter(torch.zeros(n_components))
        self.kink = nn.Parameter(torch.zeros(n_components))

    def forward(self, a_BN: Tensor, b_BN: Tensor, chunk: int = 1) -> Tensor:
        """Mean over pairs p of the cross-entropy of softmax_q r(a_p, b_q) at q = p, less the log of B.

        Pairs of one chunk of successive ones are no alternatives to one another.
        """
        return _PairContrast.apply(*self._arguments(a_BN, b_BN), chunk) - math.log(len(a_BN))

    def each(self, a_BN: Tensor, b_BN: Tensor) -> np.ndarray:
        """The same cross-entropy of every pair (B,), all others being alternatives; no gradients."""
        with torch.no_grad():
            found = kernels.pair_contrast(*_arrays(self._arguments(a_BN, b_BN)), 1)
        return found[0].astype(np.float64) - math.log(len(a_BN))

    def _arguments(self, a_BN: Tensor, b_BN: Tensor) -> tuple[Tensor, ...]:
        return a_BN, b_BN, self.log_k, self.rho, self.shift, self.log_round, self.curve, self.kink


def _arrays(tensors: tuple[Tensor, ...]) -> list[np.ndarray]:
    """Component first, contiguous, as the kernels take them."""
    return [np.ascontiguousarray(x.detach().numpy().T) for x in tensors]


class _PairContrast(torch.autograd.Function):
    """Value and gradients at once: plain torch makes ten passes over a (B, B) matrix per component."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *tensors, chunk = arguments
        loss, *found = kernels.pair_contrast(*_arrays(tuple(tensors)), chunk)
        ctx.found = [torch.from_numpy(x).T if x.ndim == 2 else torch.from_numpy(x) for x in found]
        return tensors[0].new_tensor(float(loss.mean(dtype=np.float64)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*(grads[0] * x for x in ctx.found), None)


class _Maxout(torch.autograd.Function):
    """Features of inputs that need no gradients: written out, since the engine's own pace is half of a small step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: Tensor, *parameters: Tensor) -> Tensor:
        ctx.x, ctx.parameters, ctx.inputs, ctx.sums = x, parameters, [x], []
        *hidden, (weight, bias) = zip(parameters[::2], parameters[1::2], strict=True)
        for w, b in hidden:
            ctx.sums.append(torch.addmm(b, ctx.inputs[-1], w.T))
            ctx.inputs.append(torch.from_numpy(kernels.maxout(ctx.sums[-1].detach().numpy())))
        return torch.addmm(torch.addmm(bias, ctx.inputs[-1], weight.T), x, linear.T)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found: list[Tensor] = []
        grad = grads[0]
        for place in reversed(range(len(ctx.inputs))):
            found = [grad.T @ ctx.inputs[place], grad.sum(0), *found]
            if place > 0:
                to_larger = (grad @ ctx.parameters[2 * place]).numpy()
                grad = torch.from_numpy(kernels.maxout_gradient(to_larger, ctx.sums[place - 1].numpy()))
        return None, grads[0].T @ ctx.x, *found

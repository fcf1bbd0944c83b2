"""Networks of the estimators, in torch, with their two costly parts compiled for the CPU.

Each is one model, and has a function of explicit parameters beside its `forward`, so that `restarts` can train several
at once: parameters then have the restart's dimension first.

Shape legend: R restart, B frame or pair of a batch, K feature of the input, N component, P pair, Q its alternatives,
J function of one component.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tempica.errors import DataError
from tempica.ica.training import kernels

PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}
N_KNOTS, N_SPREADS = 8, 3.0


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
        return self.run(x_BK, *self.parameters())

    @staticmethod
    def run(x_BK: Tensor, linear: Tensor, *layers: Tensor) -> Tensor:
        """h (B, N), or (R, B, N) where parameters have restarts; weights and biases alternate, the last is `out`."""
        if not layers:
            return torch.matmul(x_BK, linear.mT)
        if not x_BK.requires_grad and _compiled(x_BK):
            return _Maxout.apply(x_BK, linear, *layers)
        y = x_BK
        for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
            y = torch.maximum(*(torch.matmul(y, weight.mT) + bias[..., None, :]).chunk(2, -1))
        return torch.matmul(y, layers[-2].mT) + layers[-1][..., None, :] + torch.matmul(x_BK, linear.mT)

    def jacobian(self, x_BK: Tensor) -> Tensor:
        """∂h/∂x (B, N, K): products of the linear maps that win in each frame."""
        J = x_BK.new_zeros(len(x_BK), len(self.linear), x_BK.shape[1])
        if self.out is not None:
            y, inner = x_BK, torch.eye(x_BK.shape[1], dtype=x_BK.dtype).expand(len(x_BK), -1, -1)
            for layer in self.hidden:
                first, second = layer(y).chunk(2, -1)
                one, other = layer.weight.chunk(2)
                inner = torch.where((first >= second)[..., None], one @ inner, other @ inner)
                y = torch.maximum(first, second)
            J = self.out.weight @ inner
        return J + self.linear

    def mean_with(self, other: Features, turned: Tensor, shift: Tensor) -> Features:
        """The network whose features are ½ (h(x) + turned h′(x) + shift), h′ those of another of the same depth.

        `turned` is (N, N), `shift` (N,). Both run side by side: layers of both widths together, without links between.
        """
        width = sum(len(network.hidden[0].bias) // 2 for network in (self, other))
        with torch.random.fork_rng(devices=[]):
            mean = Features(self.linear.shape[1], len(self.linear), width, len(self.hidden), self.linear)
        mean.to(self.linear)
        with torch.no_grad():
            mean.linear.copy_((self.linear + turned @ other.linear) / 2)
            for place, (layer, one, two) in enumerate(zip(mean.hidden, self.hidden, other.hidden, strict=True)):
                # a unit's two maps lie half the layer apart
                halves = zip(one.weight.chunk(2), two.weight.chunk(2), strict=True)
                together = [torch.block_diag(*pair) if place else torch.cat(pair) for pair in halves]
                layer.weight.copy_(torch.cat(together))
                biases = zip(one.bias.chunk(2), two.bias.chunk(2), strict=True)
                layer.bias.copy_(torch.cat([bias for pair in biases for bias in pair]))
            assert mean.out is not None
            assert self.out is not None
            assert other.out is not None
            mean.out.weight.copy_(torch.cat([self.out.weight, turned @ other.out.weight], 1) / 2)
            mean.out.bias.copy_((self.out.bias + turned @ other.out.bias + shift) / 2)
        return mean


class PairScore(nn.Module):
    """Separable score of all pairs of two sets of features, r(a, b) = Σ_i B_i(a_i, b_i), and its contrast.

    The reference score is B_i(a, b) = −k_i √((b_i − ρ_i a_i + c_i)² + ε_i²) + u_i b_i² + v_i √(b_i² + ε_i²). For
    Laplace innovations the best score is of this form with ε = 0 (Hyvärinen & Morioka 2017, section 4.1); ε lets noise
    round the kink, and a large one makes the parabola of normal innovations. Terms in a alone cancel in the contrast
    over b. A `free` score adds φ(a_i)ᵀ C_i φ(b_i), of 10 functions φ: 1, u, and max(u − knot, 0) at 8 knots, with
    u = h / √(1 + h² / 9), hence any function B_i in the limit of many knots; it starts at zero.
    `shape` (6, N) is (log k, ρ, c, log(ε − 0.001), u, v).
    """

    def __init__(self, n_components: int, *, free: bool = False) -> None:
        super().__init__()
        shape = torch.zeros(6, n_components)
        shape[1], shape[3] = 0.5, -1.0
        self.shape = nn.Parameter(shape)
        if free:
            self.knots = nn.Parameter(torch.linspace(-2, 2, N_KNOTS).repeat(n_components, 1))
            self.table = nn.Parameter(torch.zeros(n_components, N_KNOTS + 2, N_KNOTS + 2))

    def forward(self, a_PN: Tensor, b_QN: Tensor, chunk: int = 1, group: int | None = None) -> Tensor:
        """Mean over pairs p of the cross-entropy of softmax_q r(a_p, b_q) at q = p, less the log of the alternatives.

        Pairs of one chunk of successive ones are no alternatives to one another, nor are those of another group.
        """
        return self.run(a_PN, b_QN, *self.parameters(), chunk=chunk, group=group)

    @staticmethod
    def run(
        a_PN: Tensor, b_QN: Tensor, *own: Tensor, chunk: int = 1, group: int | None = None, first: int = 0
    ) -> Tensor:
        """The same for explicit parameters, scalar or (R,); pair p's own successor is q = first + p."""
        group = min(group or b_QN.shape[-2], b_QN.shape[-2])
        extra = _free(a_PN, b_QN, *own[1:]) if len(own) > 1 else None
        if _compiled(a_PN):
            return _PairContrast.apply(a_PN, b_QN, own[0], extra, first, chunk, group) - math.log(group)
        return _plain_contrast(a_PN, b_QN, own[0], extra, first, chunk, group).mean(-1) - math.log(group)

    def each(self, a_PN: Tensor, b_QN: Tensor) -> np.ndarray:
        """The same cross-entropy of every pair (P,), all others being alternatives; no gradients."""
        return self.run_each(a_PN, b_QN, *self.parameters())

    @staticmethod
    def run_each(a_PN: Tensor, b_QN: Tensor, *own: Tensor) -> np.ndarray:
        """(P,), or (R, P), for explicit parameters."""
        n = b_QN.shape[-2]
        with torch.no_grad():
            extra = _free(a_PN, b_QN, *own[1:]) if len(own) > 1 else None
            if _compiled(a_PN):
                found = _contrasts(a_PN, b_QN, own[0], extra, 0, 1, n)
                losses = np.stack([each[0] for each in found]).reshape(a_PN.shape[:-1])
            else:
                losses = _plain_contrast(a_PN, b_QN, own[0], extra, 0, 1, n).cpu().numpy()
        return losses.astype(np.float64) - math.log(n)


def check_device(device: str, precision: str) -> torch.dtype:
    """The precision of frames and parameters. Raises DataError for a device that is not here."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as problem:
        said = str(problem).splitlines()[0]
        raise DataError(f"device = {device!r} is not available: {said} Use 'cpu'.") from None
    return PRECISIONS[precision]


def in_precision(features: Callable[[Tensor], Tensor], device: str, precision: str) -> Callable[[Tensor], Tensor]:
    """Features whose matrix products are in bfloat16, if that was asked for; weights and contrast stay in float32."""
    if precision != "bfloat16":
        return features

    def lowered(x: Tensor) -> Tensor:
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            return features(x).float()

    return lowered


def _compiled(x: Tensor) -> bool:
    """Whether the compiled kernels can take it: they know single precision on the CPU."""
    return x.dtype is torch.float32 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def _free(a_PN: Tensor, b_QN: Tensor, knots: Tensor, table: Tensor) -> Tensor:
    """Σ_i φ(a_i)ᵀ C_i φ(b_i) of all pairs (P, Q): one matrix product."""
    mixed = torch.einsum("...pnj,...njk->...pnk", _functions(a_PN, knots), table).flatten(-2)
    return torch.matmul(mixed, _functions(b_QN, knots).flatten(-2).mT)


def _functions(h_BN: Tensor, knots: Tensor) -> Tensor:
    """φ (B, N, J) of every component; rare large values are drawn in, or one of them would outweigh all others."""
    h = (h_BN / (1 + (h_BN / N_SPREADS) ** 2).sqrt())[..., None]
    return torch.cat([torch.ones_like(h), h, torch.relu(h - knots[..., None, :, :])], -1)


def _plain_contrast(
    a_PN: Tensor, b_QN: Tensor, shape: Tensor, extra: Tensor | None, first: int, chunk: int, group: int
) -> Tensor:
    """Losses (P,) of any device and precision; kernels.pair_contrast says of what."""
    log_k, rho, shift, log_round, curve, kink = (s[..., None, None, :] for s in shape.unbind(-2))
    square = (log_round.exp() + 1e-3) ** 2
    b = b_QN[..., None, :, :]
    miss = b + shift - rho * a_PN[..., :, None, :]
    r = (-log_k.exp() * (miss**2 + square).sqrt() + curve * b**2 + kink * (b**2 + square).sqrt()).sum(-1)
    r = r if extra is None else r + extra
    q = torch.arange(b_QN.shape[-2], device=r.device)
    p = torch.arange(first, first + a_PN.shape[-2], device=r.device)[:, None]
    others = ((p // chunk == q // chunk) & (p != q)) | (p // group != q // group)
    own = r.diagonal(first, -2, -1)
    return torch.logsumexp(r.masked_fill(others, -torch.inf), -1) - own


def _contrasts(
    a_PN: Tensor, b_QN: Tensor, shape: Tensor, extra: Tensor | None, first: int, chunk: int, group: int
) -> list[tuple[Any, ...]]:
    """What the kernel answers for each restart, or for the only one."""
    stacked = [x.detach().numpy() for x in (a_PN, b_QN, shape)]
    lone = shape.ndim == 2
    a, b, shapes = ([x] if lone else list(x) for x in stacked)
    extras: Any = [None] * len(a) if extra is None else [extra.detach().numpy()] if lone else extra.detach().numpy()
    return [
        kernels.pair_contrast(
            np.ascontiguousarray(x.T),
            np.ascontiguousarray(y.T),
            np.ascontiguousarray(s),
            None if e is None else np.ascontiguousarray(e),
            first,
            chunk,
            group,
        )
        for x, y, s, e in zip(a, b, shapes, extras, strict=True)
    ]


class _PairContrast(torch.autograd.Function):
    """Value and gradients at once: plain torch makes ten passes over a (P, Q) matrix per component."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        a, b, shape, extra, *plan = arguments
        found = _contrasts(a, b, shape, extra, *plan)
        lone = shape.ndim == 2

        def joined(place: int, turned: bool) -> Tensor:
            each = [torch.from_numpy(x[place]).T if turned else torch.from_numpy(x[place]) for x in found]
            return each[0] if lone else torch.stack(each)

        ctx.found = [joined(1, True), joined(2, True), joined(3, False), None if extra is None else joined(4, False)]
        values = [float(x[0].mean(dtype=np.float64)) for x in found]
        return a.new_tensor(values[0] if lone else values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0][..., None, None]
        return (*(None if x is None else grad * x for x in ctx.found), None, None, None)


class _Maxout(torch.autograd.Function):
    """Features of inputs that need no gradients: written out, since the engine's own pace is half of a small step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: Tensor, *layers: Tensor) -> Tensor:
        if linear.ndim == 3 and x.ndim == 2:
            x = x.expand(len(linear), -1, -1)
        ctx.layers, ctx.inputs, ctx.sums = layers, [x], []
        *hidden, (weight, bias) = zip(layers[::2], layers[1::2], strict=True)
        for w, b in hidden:
            ctx.sums.append(_affine(b, ctx.inputs[-1], w))
            larger = kernels.maxout(ctx.sums[-1].detach().flatten(0, -2).numpy())
            ctx.inputs.append(torch.from_numpy(larger).unflatten(0, x.shape[:-1]))
        straight = torch.matmul(x, linear.mT)
        add = torch.addmm if x.ndim == 2 else torch.baddbmm
        return add(straight, ctx.inputs[-1], weight.mT) + bias[..., None, :]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found: list[Tensor] = []
        grad = grads[0]
        for place in reversed(range(len(ctx.inputs))):
            found = [torch.matmul(grad.mT, ctx.inputs[place]), grad.sum(-2), *found]
            if place > 0:
                to_larger = torch.matmul(grad, ctx.layers[2 * place]).flatten(0, -2).numpy()
                sums = ctx.sums[place - 1]
                to_sums = kernels.maxout_gradient(to_larger, sums.flatten(0, -2).numpy())
                grad = torch.from_numpy(to_sums).unflatten(0, sums.shape[:-1])
        return None, torch.matmul(grads[0].mT, ctx.inputs[0]), *found


def _affine(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    if weight.ndim == 2:
        return torch.addmm(bias, x, weight.mT)
    return torch.baddbmm(bias[:, None], x, weight.mT)

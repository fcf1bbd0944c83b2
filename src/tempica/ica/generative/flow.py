"""Invertible maps with a cheap determinant, in which nonlinear ICA is maximum likelihood; several restarts at once.

Shape legend: R restart, B frame of a batch, K feature of the whitened frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

DEPTH = 12  # matrices; with 5, restarts end in worse optima where the mixing has three nonlinear layers (measured)
JITTER, SHIFT = 0.15, 0.3  # deviation of inner matrices from one, and of where the bends lie, at the start
STEEPEST = 0.999


class Flow(nn.Module):
    """y = M_D β_D(… β_2(M_1 x + b_1) …) + b_D with β(x) = x + a √(x² + e²), |a| < 1, in every coordinate.

    β rises everywhere, with slope 1 − a on the left, 1 + a on the right and a bend as wide as e: so the map is
    invertible, its inverse is of the same form, and ln |det ∂y/∂x| is a sum. `first` (R, K, K) are the starts: the
    first restart begins as that linear map exactly (a = 0, M = 1), the others near theirs.
    """

    def __init__(self, first_RKK: Tensor, generator: torch.Generator, depth: int = DEPTH) -> None:
        super().__init__()
        n_restarts, k, _ = first_RKK.shape
        self.matrices, self.offsets = nn.ParameterList([first_RKK.transpose(1, 2).contiguous()]), nn.ParameterList()
        self.bends, self.rounds = nn.ParameterList(), nn.ParameterList()
        for _ in range(depth - 1):
            change = JITTER * torch.randn(n_restarts, k, k, generator=generator)
            change[0] = 0
            self.matrices.append(torch.eye(k) + change)
            self.offsets.append(SHIFT * torch.randn(n_restarts, 1, k, generator=generator))
            self.bends.append(torch.zeros(n_restarts, 1, k))
            self.rounds.append(torch.full((n_restarts, 1, k), -1.0))
        self.offsets.append(torch.zeros(n_restarts, 1, k))

    def _bend(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """β(x), and its slope less one."""
        a, root = self._strength(layer), (x * x + self.rounds[layer - 1].exp() ** 2 + 1e-12).sqrt()
        return x + a * root, a * x / root

    def _strength(self, layer: int) -> Tensor:
        return STEEPEST * torch.tanh(self.bends[layer - 1])

    def forward(self, x_RBK: Tensor) -> Tensor:
        y = x_RBK
        for layer, (matrix, offset) in enumerate(zip(self.matrices, self.offsets, strict=True)):
            y = torch.baddbmm(offset, self._bend(layer, y)[0] if layer else y, matrix)
        return y

    def with_log_det(self, x_RBK: Tensor) -> tuple[Tensor, Tensor]:
        """y and ln |det ∂y/∂x| (R, B)."""
        y, total = x_RBK, x_RBK.new_zeros(())
        for layer, (matrix, offset) in enumerate(zip(self.matrices, self.offsets, strict=True)):
            if layer:
                y, slope = self._bend(layer, y)
                total = total + torch.log1p(slope)
            y = torch.baddbmm(offset, y, matrix)
        volume = torch.linalg.slogdet(torch.stack(list(self.matrices)))[1].sum(0)
        return y, total.sum(-1) + volume[:, None]

    def inverse(self) -> Flow:
        """The map back: β⁻¹(y) = (y − a √(y² + (1 − a²) e²)) / (1 − a²)."""
        found = Flow(self.matrices[0].detach(), torch.Generator(), len(self.matrices))
        depth = len(self.matrices)
        with torch.no_grad():
            for place, layer in enumerate(reversed(range(depth))):
                back = torch.linalg.inv(self.matrices[layer])
                found.offsets[place].copy_(-self.offsets[layer] @ back)
                if layer < depth - 1:
                    a = self._strength(layer + 1)
                    back = back / (1 - a**2).transpose(1, 2)
                    found.bends[place - 1].copy_(-self.bends[layer])
                    found.rounds[place - 1].copy_(self.rounds[layer] + 0.5 * torch.log1p(-(a**2)))
                found.matrices[place].copy_(back)
        return found

    def rescale(self, deviation_RK: Tensor) -> None:
        """Replace y by y / deviation."""
        self.offsets[-1].div_(deviation_RK[:, None])
        self.matrices[-1].div_(deviation_RK[:, None])


def completed(linear_RNK: Tensor) -> Tensor:
    """Matrices (R, K, K): the given rows, then unit rows orthogonal to them."""
    n = linear_RNK.shape[1]
    return torch.cat([linear_RNK, torch.linalg.qr(linear_RNK.transpose(1, 2), mode="complete").Q[..., n:].mT], 1)

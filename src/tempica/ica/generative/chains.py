"""Chunks of noisy series under a state-space model: the sources' law, the emission, and the posterior between them.

Sources are independent, s_t = ρ s_{t−1} + e_t of unit variance, with e of law exp(−|e / a|^α); frames are
x_t = d(s_t) + noise. The posterior of a chunk is taken as normal: each e as normal of the variance that makes a
parabola touch |e / a|^α from above at its expected size, each frame's evidence as d linearised. All sources of all
frames of a chunk are then normal together, with a block-tridiagonal precision.

Shape legend: R restart, C chunk, T frame of a chunk, N component, K feature of the whitened frames.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tempica.ica.generative.vae import LEAST_NOISE, Chart, noise_like

ROUND = 1e-4  # added to (e / a)², so that gradients stay finite
LEAST_SHAPE = 0.5


class Innovations(nn.Module):
    """Law of R × N autoregressions of unit variance: coefficient ρ and shape ½ < α < 2 of each."""

    def __init__(self, rho_RN: Tensor) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.atanh(rho_RN.clamp(-0.99, 0.99))[:, None, None])
        self.shape = nn.Parameter(torch.zeros_like(self.raw))

    @property
    def rho(self) -> Tensor:
        """(R, 1, 1, N)"""
        return 0.9999 * torch.tanh(self.raw)

    @property
    def alpha(self) -> Tensor:
        """(R, 1, 1, N)"""
        return LEAST_SHAPE + (2 - LEAST_SHAPE) * torch.sigmoid(self.shape)

    @property
    def square_scale(self) -> Tensor:
        """a² (R, 1, 1, N), so that sources have unit variance: e has a² Γ(3/α) / Γ(1/α)."""
        return (1 - self.rho**2) * (torch.lgamma(1 / self.alpha) - torch.lgamma(3 / self.alpha)).exp()

    def log_density(self, s_RCTN: Tensor) -> Tensor:
        """ln p(s) (R, C): the first frame normal, the others given the one before."""
        alpha, square = self.alpha, self.square_scale
        news = s_RCTN[:, :, 1:] - self.rho * s_RCTN[:, :, :-1]
        each = alpha.log() - torch.lgamma(1 / alpha) - math.log(2) - 0.5 * square.log()
        each = each - (news**2 / square + ROUND) ** (0.5 * alpha)
        first = -0.5 * (s_RCTN[:, :, 0] ** 2 + math.log(2 * math.pi))
        return each.sum((-1, -2)) + first.sum(-1)

    def process(self, expected: Tensor | None, like: Tensor) -> Tensor:
        """Variance (R, C, T, N) of the normal law that stands for each frame's innovation; 1 for the first.

        `expected` (R, C, T − 1, N) is ⟨e²⟩ under the posterior; the law's own when None.
        """
        alpha, square = self.alpha, self.square_scale
        ratio = (1 - self.rho**2 if expected is None else expected) / square
        news = square / alpha * (ratio.detach() + ROUND) ** (1 - 0.5 * alpha)
        return torch.cat([torch.ones_like(like[:, :, :1]), news.expand(*like[:, :, 1:].shape)], 2)


class Emission(nn.Module):
    """x = d(s) + noise: encoder, a first guess of s from x, and decoder d, charts both; variance of the noise (K,)."""

    def __init__(self, linear_RNK: Tensor, width: int, n_layers: int, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = Chart(linear_RNK, width, n_layers, generator)
        self.decoder = Chart(torch.linalg.pinv(linear_RNK), width, n_layers, generator)
        # what of the (white) frames the sources leave, at first: a tenth of their own directions, all of the others
        loading = self.decoder.linear.detach().transpose(1, 2)
        rest = torch.eye(loading.shape[1]) - 0.9 * loading @ torch.linalg.pinv(loading)
        self.noise_root = nn.Parameter(torch.linalg.cholesky(rest)[:, None])

    def bent(self, width: int, n_layers: int, generator: torch.Generator) -> Emission:
        """The same emission with networks that have yet to learn, on the CPU."""
        found = Emission(self.encoder.linear.detach().cpu().float().transpose(1, 2), width, n_layers, generator)
        found.decoder.linear.data = self.decoder.linear.detach().clone()
        found.noise_root.data = self.noise_root.detach().clone()
        for chart, own in ((found.encoder, self.encoder), (found.decoder, self.decoder)):
            chart.offsets[-1].data = own.offsets[-1].detach().clone()
        return found

    @property
    def noise(self) -> Tensor:
        """Covariance (R, 1, K, K)."""
        root = self.noise_root.tril()
        return root @ root.transpose(-1, -2) + LEAST_NOISE * torch.eye(
            root.shape[-1], dtype=root.dtype, device=root.device
        )

    def precision(self, covariance_BKK: Tensor | None) -> Tensor:
        """Inverse covariance of the noise: (R, 1, K, K), or (R, B, K, K) where frames bring their own."""
        return torch.linalg.inv(self.noise if covariance_BKK is None else self.noise + covariance_BKK)

    def evidence(self, x_RBK: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
        """What frames say of their sources: place (R, B, N) and precision (R, B, N, N), d linearised there."""
        guess = self.encoder(x_RBK)
        slope = self.decoder.with_jacobian(guess)[1]
        return guess, slope @ precision @ slope.transpose(-1, -2)

    def evidence_at(self, y_RBK: Tensor, s_RBN: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
        """Evidence (η, Λ) of frames, d linearised at given sources: a Gauss–Newton step begins there."""
        seen, slope = self.decoder.with_jacobian(s_RBN)
        rest = y_RBK - seen + (s_RBN[..., None, :] @ slope)[..., 0, :]
        weighed = slope @ precision
        return (weighed @ rest[..., None])[..., 0], weighed @ slope.transpose(-1, -2)

    def log_likelihood(self, y_RBK: Tensor, s_RBN: Tensor, precision: Tensor) -> Tensor:
        """ln p(y | s) (R, B)"""
        miss = y_RBK - self.decoder(s_RBN)
        square = ((miss[..., None, :] @ precision)[..., 0, :] * miss).sum(-1)
        return 0.5 * (torch.linalg.slogdet(precision)[1] - square - miss.shape[-1] * math.log(2 * math.pi))


def posterior(place: Tensor, lam: Tensor, rho: Tensor, process: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (R, C, T, N) and Cholesky factor (R, C, TN, TN) of the precision of a chunk's sources.

    `place` (R, C, T, N) and `lam` (R, C, T, N, N) are the frames' evidence, `process` (R, C, T, N) the variance of
    what is new in each frame.
    """
    n_frames, n = place.shape[-2:]
    within = 1 / process
    within = torch.cat([within[:, :, :-1] + rho**2 / process[:, :, 1:], within[:, :, -1:]], 2)
    matrix = place.new_zeros(*place.shape[:2], n_frames, n, n_frames, n)
    blocks = lam + torch.diag_embed(within)
    matrix.diagonal(dim1=2, dim2=4).copy_(blocks.permute(0, 1, 3, 4, 2))
    for side in (matrix[:, :, 1:, :, :-1], matrix[:, :, :-1, :, 1:]):
        side.diagonal(dim1=2, dim2=4).diagonal(dim1=2, dim2=3).copy_(-rho / process[:, :, 1:])
    size = n_frames * n
    root = torch.linalg.cholesky(matrix.reshape(*place.shape[:2], size, size))
    eta = (lam @ place[..., None]).reshape(*place.shape[:2], size, 1)
    return torch.cholesky_solve(eta, root).reshape(place.shape), root


def expected_squares(mean: Tensor, root: Tensor, rho: Tensor) -> Tensor:
    """⟨(s_t − ρ s_{t−1})²⟩ (R, C, T − 1, N) under a posterior."""
    shape = mean.shape
    covariance = torch.cholesky_inverse(root).reshape(*shape, *shape[2:])
    own = covariance.diagonal(dim1=2, dim2=4).diagonal(dim1=2, dim2=3)  # (R, C, T, N)
    cross = covariance[:, :, 1:, :, :-1].diagonal(dim1=2, dim2=4).diagonal(dim1=2, dim2=3)
    news = mean[:, :, 1:] - rho * mean[:, :, :-1]
    return news**2 + own[:, :, 1:] - 2 * rho * cross + rho**2 * own[:, :, :-1]


def bound(
    emission: Emission,
    law: Innovations,
    x_CTK: Tensor,
    y_CTK: Tensor,
    covariance: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """Evidence lower bound (R, C) of chunks, in nats, at one draw of their sources.

    The encoder sees x, the likelihood is of y: the same frames, unless these are posteriors whose prior has been
    divided out of y and of its `covariance` (C, T, K, K).
    """
    n_restarts, (n_chunks, n_frames, _) = len(law.raw), x_CTK.shape
    flat = [each.flatten(0, 1).expand(n_restarts, -1, -1) for each in (x_CTK, y_CTK)]
    precision = emission.precision(None if covariance is None else covariance.flatten(0, 1))
    place, lam = (each.unflatten(1, (n_chunks, n_frames)) for each in emission.evidence(flat[0], precision))
    with torch.no_grad():
        mean, root = posterior(place, lam, law.rho, law.process(None, place))
        expected = expected_squares(mean, root, law.rho)
    mean, root = posterior(place, lam, law.rho, law.process(expected, place))
    size = mean.shape[2] * mean.shape[3]
    noise = noise_like(mean.new_empty(*root.shape[:2], size, 1), generator)
    s = mean + torch.linalg.solve_triangular(root.transpose(-1, -2), noise, upper=True).reshape(mean.shape)
    entropy = 0.5 * ((noise**2).sum((-1, -2)) + size * math.log(2 * math.pi))
    entropy = entropy - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    seen = emission.log_likelihood(flat[1], s.flatten(1, 2), precision).unflatten(1, (n_chunks, n_frames)).sum(-1)
    return seen + law.log_density(s) + entropy

"""The contrast of frames with an auxiliary variable, a label or a history, through a score that is separable.

Shape legend: B frame of a batch, Q candidate, N component, M function of one component.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tempica.ica.training import parallel
from tempica.ica.training.networks import Features
from tempica.ica.training.schedules import Plateau
from tempica.ica.training.trainer import Trainer

N_KNOTS = 8
VALIDATION_ITEMS = 1024  # where candidates are the other items: the cost grows with the square


class SeparableScore(nn.Module):
    """r(h, u) = Σ_i ψ_i(h_i, u) + b(u), ψ_i a linear spline of h_i whose slopes depend on u.

    u is the number of a label, with a row of slopes each, or a vector, from which a network makes them.
    """

    def __init__(self, n: int, n_labels: int | None, n_inputs: int, width: int) -> None:
        super().__init__()
        self.knots = nn.Parameter(torch.linspace(-2, 2, N_KNOTS).repeat(n, 1))
        n_out = n * (N_KNOTS + 1) + 1
        if n_labels is None:
            hidden = [nn.Linear(n_inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2)]
            last = nn.Linear(width, n_out)
            nn.init.zeros_(last.bias)
            self.slopes: nn.Module = nn.Sequential(*hidden, last)
            last.weight.data *= 0.1
        else:
            self.slopes = nn.Embedding(n_labels, n_out)
            nn.init.zeros_(self.slopes.weight)

    def forward(self, h_BN: Tensor, u_Q: Tensor) -> Tensor:
        """r of every frame with every candidate (B, Q)."""
        return self.of_slopes(h_BN, self.slopes(u_Q))

    def of_slopes(self, h_BN: Tensor, slopes: Tensor) -> Tensor:
        """The same, with what `slopes` makes of the candidates."""
        splines = torch.cat([h_BN[..., None], torch.relu(h_BN[..., None] - self.knots)], -1).flatten(1)
        return torch.addmm(slopes[:, -1], splines, slopes[:, :-1].T)


class Auxiliary:
    """Frames Z (frame, K) at `at` (item,), the auxiliary variable u of each item, and the contrast over them.

    u is (item,) numbers of labels, whose logarithmic shares (label,) are given: each frame then chooses among all
    labels. Or u is (item, feature): each frame chooses its own among those of the batch. Losses are cross-entropies,
    less that of choosing without looking.
    """

    def __init__(self, Z: Tensor, at: np.ndarray, u: Tensor, held: np.ndarray, log_share: Tensor | None = None) -> None:
        self.Z, self.at, self.u, self.log_share = Z, torch.as_tensor(at), u, log_share
        self.n_labels = None if log_share is None else len(log_share)
        self.train = torch.as_tensor(np.flatnonzero(~held))
        asked = np.flatnonzero(held)
        most = VALIDATION_ITEMS if log_share is None else 20 * VALIDATION_ITEMS
        if len(asked) > most:
            asked = asked[np.linspace(0, len(asked) - 1, most).astype(int)]
        self.asked = torch.as_tensor(asked)

    def score_function(self, n: int, width: int, seed: int) -> SeparableScore:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            score = SeparableScore(n, self.n_labels, 0 if self.n_labels else self.u.shape[1], width)
        if self.log_share is not None:
            score.slopes.weight.data[:, -1] = self.log_share.cpu()  # type: ignore[union-attr,operator,index]
        return score

    def training(
        self,
        module: nn.Module,
        features: nn.Module,
        score: nn.Module,
        precise: Callable[[Any], Any] = lambda features: features,
        *,
        max_steps: int | None,
        **options: Any,
    ) -> Trainer:
        """A training of `module`, which holds whichever of features and score are to learn.

        `precise(features)` are the features in the precision asked for.
        """
        hidden = [layer.weight for layer in features.hidden] if isinstance(features, Features) else []
        run = precise(features)
        return Trainer(
            module,
            lambda items: self._each(run, score, self.train[items]).mean(),
            lambda: float(self.losses(run, score).mean()),
            len(self.train),
            schedule=Plateau(max_steps),
            hidden=[weight for weight in hidden if any(weight is p for p in module.parameters())],
            **options,
        )

    def held_out(self, model: Any) -> np.ndarray:
        """Loss of every held-out item, of a model [features, score]."""
        return self.losses(*model)

    def losses(self, features: Callable[[Tensor], Tensor], score: nn.Module) -> np.ndarray:
        """Loss of every held-out item, in nats."""
        with torch.no_grad():
            return self._each(features, score, self.asked).double().cpu().numpy()

    def losses_of(self, S: np.ndarray, width: int, max_steps: int = 400) -> np.ndarray:
        """Held-out losses of given sources (frame, n) under the best separable score."""
        held = np.ones(len(self.at), dtype=bool)
        held[self.train.numpy()] = False
        scaled = torch.as_tensor(S / np.maximum(S.std(0), 1e-12), dtype=torch.float32)
        u = self.u.cpu() if self.log_share is not None else self.u.cpu().float()
        share = None if self.log_share is None else self.log_share.cpu().float()
        inner = Auxiliary(scaled, self.at.numpy(), u, held, share)
        score = inner.score_function(S.shape[1], width, 0)
        inner.training(
            score, nn.Identity(), score, batch_size=256, max_steps=max_steps, learning_rate=1e-2, seed=0
        ).advance()
        return inner.losses(nn.Identity(), score)

    def _each(self, features: Callable[[Tensor], Tensor], score: Any, items: Tensor) -> Tensor:
        h_BN = features(self.Z[self.at[items]])
        if self.log_share is None:
            slopes, first = parallel.gather(score.slopes(self.u[items]))
            own = torch.arange(first, first + len(items), device=h_BN.device)
            return nn.functional.cross_entropy(score.of_slopes(h_BN, slopes), own, reduction="none") - math.log(
                len(slopes)
            )
        number = self.u[items]
        logits = score(h_BN, torch.arange(len(self.log_share), device=h_BN.device))
        return nn.functional.cross_entropy(logits, number, reduction="none") + self.log_share[number]

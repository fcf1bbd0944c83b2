"""Restarts of modules whose parameters all have the restart's dimension first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tempica.ica.training.progress import Progress
from tempica.ica.training.schedules import OneCycle
from tempica.ica.training.trainer import Trainer

LONGEST = 100.0  # norm of a restart's gradient, at most


def train_batched(
    progress: Progress,
    run: int,
    name: str,
    module: nn.Module,
    losses: Callable[[Tensor], Tensor],
    validate: Callable[[], Tensor],
    n_items: int,
    *,
    batch_size: int,
    max_steps: int,
    learning_rate: float,
    generator: torch.Generator,
) -> Trainer:
    """Minimise `losses(items)` (R,) of restarts, to the end, where each has the weights with its lowest `validate()`.

    The restarts do not touch one another: their sum has each one's gradient. Training is over when none has improved
    for 20 of 40 checks. `generator` is what `losses` draws from. The trainer's `bests` (R,) are the lowest answers,
    `ranked` the places of the restarts, best first.
    """

    def make(on_check: Callable[[Trainer], None]) -> Trainer:
        return Trainer(
            module,
            losses,
            validate,
            n_items,
            batch_size=batch_size,
            learning_rate=learning_rate,
            schedule=OneCycle(max_steps),
            generator=generator,
            weight_decay=0.0,
            longest=LONGEST,
            on_check=on_check,
        )

    return progress.begin(run, name, make).advance()


def keep_restart(module: nn.Module, restart: int) -> None:
    """Leave one restart of all."""
    for parameter in module.parameters():
        parameter.data = parameter.data[restart : restart + 1].clone()


def starts(linear: Tensor, n_restarts: int, generator: torch.Generator) -> Tensor:
    """Linear parts (R, N, K): the given one, then random rotations of it."""
    n = len(linear)
    turns = [torch.linalg.qr(torch.randn(n, n, generator=generator)).Q for _ in range(n_restarts - 1)]
    return torch.stack([linear, *(turn @ linear for turn in turns)])

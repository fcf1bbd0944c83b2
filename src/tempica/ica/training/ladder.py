"""From simple models to rich ones: how restarts are trained, and which of several models is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tempica.ica.training.progress import Progress
from tempica.ica.training.restarts import Restarts
from tempica.ica.training.trainer import Trainer
from tempica.series import standard_error

FINALISTS = 2  # restarts that are trained to the end: the best is kept, the other says how far it can be relied on


@dataclass(frozen=True)
class Rung:
    """A trained model, its losses of every held-out item, those of all restarts, and the next best model if any."""

    model: Any
    trainer: Trainer
    losses: np.ndarray
    restarts: list[float]
    rival: Any = None
    alone: Any = None  # the best restart's own model, where the model is its mean with the rival


@dataclass(frozen=True)
class Plan:
    """What is to be trained: n components, of networks of a size, so many restarts."""

    n: int
    width: int
    n_layers: int
    n_restarts: int
    max_steps: int | None
    options: dict[str, Any]  # batch_size, learning_rate and others
    precise: Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]  # features in the precision asked for
    seeds: np.ndarray  # of the rungs before the network, then of each restart

    def given(self, run: int, max_steps: int | None) -> dict[str, Any]:
        """Options of a training of so many steps."""
        return self.options | {"max_steps": max_steps, "seed": int(self.seeds[run])}


def climb(losses: Mapping[str, np.ndarray], judge: Callable[[str], np.ndarray] | None = None) -> str:
    """The name of the model to keep, of models from simple to rich with their losses (item,) of the same items.

    Each is taken if it gains more than the standard error over the one that was kept before: under strong noise a
    richer one would otherwise be chosen by chance. `judge(name)` gives losses of the features of a model by another
    measure, asked for where the first speaks for a model: it must gain as much by that one.
    """
    kept, *richer = losses
    for name in richer:
        if gains(losses[kept], losses[name]) and (judge is None or gains(judge(kept), judge(name))):
            kept = name
    return kept


def gains(before: np.ndarray, after: np.ndarray, errors: float = 1.0) -> bool:
    """Whether losses (item,) of the same items have fallen by more than so many standard errors."""
    gain = before - after
    return bool(gain.mean() > errors * standard_error(gain))


def pilot_steps(n_train: int, max_steps: int | None) -> int:
    """Steps after which restarts show what they are worth."""
    return max(1, (max_steps or int(np.clip(n_train // 10, 1500, 6000))) // 4)


def train_together(
    progress: Progress,
    run: int,
    name: str,
    models: Sequence[Any],
    like: Tensor,
    make: Callable[[Restarts, Callable[[Trainer], None]], Trainer],
    pilot: int | None = None,
) -> tuple[Any, Any, Trainer]:
    """The best of models [features, head] trained side by side, the next best if any, and their trainer.

    `make(together, on_check)` makes it. Where there are more than two, the two with the lowest held-out losses after
    the pilot's steps go on to the end. `like` has the device and type of the parameters.
    """
    together = Restarts(models).to(like.device, like.dtype)
    trainer = progress.begin(run, name, lambda told: make(together, told))
    if len(trainer.alive) > FINALISTS:
        trainer.advance(pilot)
        trainer.narrow(sorted(trainer.ranked[:FINALISTS]))
    best, *others = trainer.advance().ranked
    return together.model(best), together.model(others[0]) if others else None, trainer


def train_apart(
    begin: Callable[[int], tuple[Any, Trainer]], n_restarts: int, pilot: int, finalists: int = FINALISTS
) -> tuple[list[tuple[Any, Trainer]], list[float]]:
    """Restarts 1, 2 … that `begin` makes, one after another: the finalists, and the losses of all.

    The finalists are those with the lowest held-out losses after the pilot's steps, the lowest first. It is trained to
    the end, the others for as many steps at most.
    """
    begun = [begin(run) for run in range(1, n_restarts + 1)]
    for _, trainer in begun:
        trainer.advance(pilot if n_restarts > 1 else None)
    # of a fit that goes on from a checkpoint some are beyond the pilot
    order = np.argsort([trainer.best_until(pilot) for _, trainer in begun], kind="stable")[:finalists]
    ranked = [begun[place] for place in order]
    steps = ranked[0][1].advance().step
    for _, trainer in ranked[1:]:
        trainer.advance(steps).settle()
    return ranked, [trainer.best for _, trainer in begun]


def agreement(features: Any, rival: Any, frames: Any) -> float:
    """Least correlation of features of frames with the affine map of the rival's that comes nearest to them.

    1 where there is no rival. Linear mixtures are the second stage's business.
    """
    if rival is None:
        return 1.0
    h, other, weight = aligned(features, rival, frames)
    nearest = np.column_stack([other, np.ones(len(other))]) @ weight
    return float(min(np.corrcoef(x, y)[0, 1] for x, y in zip(h.T, nearest.T, strict=True)))


def aligned(features: Any, rival: Any, frames: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (frame, N) of frames, the rival's, and the affine map (N + 1, N) that brings these nearest to those."""
    with torch.no_grad():
        h, other = (each(frames).double().cpu().numpy() for each in (features, rival))
    return h, other, np.linalg.lstsq(np.column_stack([other, np.ones(len(other))]), h, rcond=None)[0]

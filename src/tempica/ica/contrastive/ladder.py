"""PCL's models, from the simplest to the richest, each trained from the one before.

Shape legend: K feature of the whitened frames, N component.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tempica.ica.contrastive.contrast import Contrast
from tempica.ica.training.networks import Features, PairScore
from tempica.ica.training.progress import Progress
from tempica.ica.training.restarts import Restarts
from tempica.ica.training.trainer import Trainer
from tempica.series import standard_error

FINALISTS = 2  # restarts that are trained to the end: the best is kept, the other says how far it can be relied on
RUNG_STEPS = 400
N_LAYERS, AGREED = 3, 0.99
# of the deeper network: gains go on long after the held-out loss has ceased to show them clearly (measured: of a
# correlation of 0.75, 0.06 at ten sources and five layers), and so does overfitting
HARD = {"worth": 0.005, "decay": 0.03}
FREE = 0.15  # share of the information that only a free score finds, and 3 standard errors, from which on it is taken


@dataclass(frozen=True)
class Plan:
    """What is to be trained: N components, of networks of a width, so many restarts, with these options each."""

    n: int
    width: int
    n_layers: int
    n_restarts: int
    max_steps: int | None
    score_function: str
    options: dict[str, Any]  # of Trainer
    precise: Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]  # features in the precision asked for
    seeds: np.ndarray  # of the rungs before the network, then of each restart


@dataclass(frozen=True)
class Rung:
    """A model [features, scores] that was trained on a contrast, the losses of all restarts, and the next best one."""

    model: Any  # nn.ModuleList, of which mypy only knows that it holds modules
    training: Trainer
    contrast: Contrast
    restarts: list[float]
    rival: Any = None

    @property
    def score_function(self) -> str:
        """free or reference."""
        return "free" if hasattr(self.model[1][0], "table") else "reference"

    def losses(self) -> np.ndarray:
        """Of every held-out pair."""
        with torch.no_grad():
            return self.contrast.losses(*self.model)


def climb(
    contrast: Contrast,
    plan: Plan,
    progress: Progress,
    chosen: Sequence[int] | None = None,
    steps: int = RUNG_STEPS,
    augment: Any = None,
) -> dict[str, Rung]:
    """Scores alone on TICA's sources, the first or those chosen, then a linear map with them.

    The linear map has a number of steps, and learns from frames that `augment` changes.
    """
    n_inputs = contrast.Z.shape[1]
    free = plan.score_function == "free"
    short = min(plan.max_steps or RUNG_STEPS, RUNG_STEPS)
    first = torch.eye(n_inputs)[range(plan.n) if chosen is None else chosen]
    start = model(n_inputs, plan, first, scores(plan, contrast, free), 0, linear=True)
    start.to(contrast.Z.device, contrast.Z.dtype)
    features, own = start
    training = progress.begin(
        0,
        "tica",
        lambda on_check: contrast.training(own, features, own, on_check=on_check, **_given(plan, 0, short)),
    )
    steps = min(plan.max_steps or steps, steps)
    found = {"tica": Rung(start, training.advance(), contrast, training.every)}
    return found | {
        "linear": train(contrast, plan, progress, 0, "linear", [copy.deepcopy(start)], steps, augment=augment)
    }


def network(contrast: Contrast, plan: Plan, progress: Progress, linear: Rung, name: str = "network") -> Rung:
    """The best of several restarts, the first of which begins at the linear map, the others at random rotations."""
    n_inputs = contrast.Z.shape[1]
    free = plan.score_function == "free" or (plan.score_function == "auto" and needs_free(linear))
    models = []
    for run in range(1, plan.n_restarts + 1):
        begun, own = linear.model[0].linear.detach().cpu(), scores(plan, contrast, free)
        if run == 1:
            for each, known in zip(own, linear.model[1], strict=True):
                each.load_state_dict(known.state_dict(), strict=False)
        else:
            rng = torch.Generator().manual_seed(int(plan.seeds[run]))
            begun = torch.linalg.qr(torch.randn(n_inputs, plan.n, generator=rng)).Q.T.contiguous()
        models.append(model(n_inputs, plan, begun, own, run))
    return train(
        contrast, plan, progress, 1, name, models, plan.max_steps, pilot_steps(contrast.n_train, plan.max_steps)
    )


def deeper(contrast: Contrast, plan: Plan, progress: Progress, linear: Rung, shallow: Rung) -> Rung:
    """The network again, deeper and for longer, if its two best restarts have found different things.

    That is what a mixing bent too strongly for the first shows. Kept if it gains more than the standard error.
    """
    gain = linear.losses() - shallow.losses()
    if agreement(shallow) > AGREED or gain.mean() < standard_error(gain):
        return shallow
    options = plan.options | HARD | {"learning_rate": plan.options["learning_rate"] / 2}
    plan = replace(plan, n_layers=plan.n_layers + 2, options=options, score_function=shallow.score_function)
    deep = network(contrast, plan, progress, linear, "deep network")
    gain = shallow.losses() - deep.losses()
    return deep if gain.mean() > standard_error(gain) else shallow


def agreement(rung: Rung) -> float:
    """Least correlation of the features of a rung with the affine map of its rival's that comes nearest to them.

    On held-out frames; 1 where there is no rival. Linear mixtures are the second stage's business.
    """
    if rung.rival is None:
        return 1.0
    with torch.no_grad():
        frames = rung.contrast.held_out_frames()
        h, other = (part[0](frames).double().cpu().numpy() for part in (rung.model, rung.rival))
    design = np.column_stack([other, np.ones(len(other))])
    aligned = design @ np.linalg.lstsq(design, h, rcond=None)[0]
    return float(min(np.corrcoef(x, y)[0, 1] for x, y in zip(h.T, aligned.T, strict=True)))


def needs_free(rung: Rung) -> bool:
    """Whether a free score finds much more in a rung's features than the reference does."""
    contrast = rung.contrast
    with torch.no_grad():
        S = rung.model[0](contrast.Z).double().cpu().numpy()
    known, free = contrast.losses_of(S), contrast.losses_of(S, free=True)
    gain = known - free
    return bool(gain.mean() > max(3 * standard_error(gain), FREE * -free.mean()))


def train(
    contrast: Contrast,
    plan: Plan,
    progress: Progress,
    run: int,
    name: str,
    models: list[nn.ModuleList],
    max_steps: int | None,
    pilot: int | None = None,
    augment: Any = None,
) -> Rung:
    """Restarts side by side; after the pilot's steps the two with the lowest held-out losses go on to the end."""
    together = Restarts(models).to(contrast.Z.device, contrast.Z.dtype)
    features = plan.precise(together.features)

    def make(on_check: Callable[[Trainer], None]) -> Trainer:
        given = _given(plan, run, max_steps)
        return contrast.training(together, features, together.scores, augment, on_check=on_check, **given)

    training = progress.begin(run, name, make)
    ranked = finish(training, pilot)
    rival = together.model(ranked[1]) if len(ranked) > 1 else None
    return Rung(together.model(ranked[0]), training, contrast, training.every, rival)


def finish(training: Trainer, pilot: int | None) -> list[int]:
    """Train to the end, after the pilot's steps the two best restarts alone; places of restarts, the best first."""
    if len(training.alive) > FINALISTS:
        training.advance(pilot)
        best = np.argsort(training.bests, kind="stable")[:FINALISTS]
        training.narrow(sorted(best.tolist()))
    training.advance()
    return np.argsort(training.bests, kind="stable").tolist()


def pilot_steps(n_train: int, max_steps: int | None) -> int:
    """Steps after which restarts show what they are worth."""
    return max(1, (max_steps or int(np.clip(n_train // 10, 1500, 6000))) // 4)


def scores(plan: Plan, contrast: Contrast, free: bool) -> nn.ModuleList:
    """One a lag."""
    return nn.ModuleList(PairScore(plan.n, free=free) for _ in contrast.lags)


def model(
    n_inputs: int, plan: Plan, start: Tensor, own: nn.ModuleList, run: int, *, linear: bool = False
) -> nn.ModuleList:
    """Features that begin at a linear map (N, K), and their scores."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(plan.seeds[run]))
        width, n_layers = (0, 0) if linear else (plan.width, plan.n_layers)
        return nn.ModuleList([Features(n_inputs, plan.n, width, n_layers, start), own])


def _given(plan: Plan, run: int, max_steps: int | None) -> dict[str, Any]:
    return plan.options | {"max_steps": max_steps, "seed": int(plan.seeds[run])}

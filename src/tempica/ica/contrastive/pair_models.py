"""PCL's models, from the simplest to the richest, each trained from the one before.

Shape legend: K feature of the whitened frames, N component.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tempica.ica.contrastive.contrast import Contrast
from tempica.ica.training.ladder import Plan, Rung, agreement, aligned, climb, gains, pilot_steps, train_together
from tempica.ica.training.networks import Features, PairScore
from tempica.ica.training.progress import Progress
from tempica.ica.training.restarts import Restarts
from tempica.ica.training.trainer import Trainer
from tempica.series import standard_error

RUNG_STEPS = 400
AGREED = 0.99
# of the deeper network: gains go on long after the held-out loss has ceased to show them clearly (measured: of a
# correlation of 0.75, 0.06 at ten sources and five layers), and so does overfitting
HARD = {"worth": 0.005, "decay": 0.03}
FREE = 0.15  # share of the information that only a free score finds, and 3 standard errors, from which on it is taken


@dataclass(frozen=True)
class PairPlan(Plan):
    """A plan, and the score of pairs: reference, free, or auto."""

    score_function: str = "auto"


def simple(
    contrast: Contrast,
    plan: PairPlan,
    progress: Progress,
    chosen: Sequence[int] | None = None,
    steps: int = RUNG_STEPS,
    augment: Any = None,
) -> dict[str, Rung]:
    """Scores alone on TICA's sources, the first or those chosen, then a linear map with them.

    The linear map has a number of steps, and learns from frames that `augment` changes.
    """
    n_inputs = contrast.Z.shape[1]
    short = min(plan.max_steps or RUNG_STEPS, RUNG_STEPS)
    first = torch.eye(n_inputs)[range(plan.n) if chosen is None else chosen]
    start = model(n_inputs, plan, first, scores(plan, contrast, plan.score_function == "free"), 0, linear=True)
    start.to(contrast.Z.device, contrast.Z.dtype)
    features, own = start

    def make(on_check: Callable[[Trainer], None]) -> Trainer:
        return contrast.training(own, features, own, on_check=on_check, **plan.given(0, short))

    trainer = progress.begin(0, "tica", make).advance()
    tica = Rung(start, trainer, contrast.held_out(start), trainer.every)
    steps = min(plan.max_steps or steps, steps)
    return {
        "tica": tica,
        "linear": train(contrast, plan, progress, 0, "linear", [copy.deepcopy(start)], steps, augment=augment),
    }


def network(contrast: Contrast, plan: PairPlan, progress: Progress, linear: Rung, name: str = "network") -> Rung:
    """The best of several restarts, the first of which begins at the linear map, the others at random rotations."""
    n_inputs = contrast.Z.shape[1]
    free = plan.score_function == "free" or (plan.score_function == "auto" and needs_free(contrast, linear))
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
    pilot = pilot_steps(contrast.n_train, plan.max_steps)
    return train(contrast, plan, progress, 1, name, models, plan.max_steps, pilot)


def deeper(contrast: Contrast, plan: PairPlan, progress: Progress, linear: Rung, shallow: Rung) -> Rung:
    """The network again, deeper and for longer, if its two best restarts have found different things.

    That is what a mixing bent too strongly for the first shows. Kept if it gains more than the standard error.
    """
    rival = None if shallow.rival is None else shallow.rival[0]
    gain = linear.losses - shallow.losses
    alike = agreement(shallow.model[0], rival, contrast.held_out_frames())
    if alike > AGREED or gain.mean() < standard_error(gain):
        return shallow
    options = plan.options | HARD | {"learning_rate": plan.options["learning_rate"] / 2}
    kind = score_function(shallow.model[1])
    plan = replace(plan, n_layers=plan.n_layers + 2, options=options, score_function=kind)
    deep = network(contrast, plan, progress, linear, "deep network")
    return deep if climb({"shallow": shallow.losses, "deep": deep.losses}) == "deep" else shallow


def averaged(contrast: Contrast, rung: Rung) -> Rung:
    """The mean of the best restart's features and the nearest affine map of the second best's, if that is better.

    Networks err apart on what noise or too few frames leave open; where they have found different things, their mean
    is worse than either. Kept if the held-out contrast gains more than its standard error.
    """
    if rung.rival is None:
        return rung
    features, own = rung.model
    _, _, weight = aligned(features, rung.rival[0], contrast.training_frames())
    turned, shift = torch.as_tensor(weight).to(features.linear).split([len(weight) - 1, 1])
    model = nn.ModuleList([features.mean_with(rung.rival[0], turned.mT, shift[0]), own])
    losses = contrast.held_out(model)
    return replace(rung, model=model, losses=losses, alone=rung.model) if gains(rung.losses, losses) else rung


def needs_free(contrast: Contrast, rung: Rung) -> bool:
    """Whether a free score finds much more in a rung's features than the reference does."""
    with torch.no_grad():
        S = rung.model[0](contrast.Z).double().cpu().numpy()
    known, free = contrast.losses_of(S), contrast.losses_of(S, free=True)
    gain = known - free
    return bool(gain.mean() > max(3 * standard_error(gain), FREE * -free.mean()))


def train(
    contrast: Contrast,
    plan: PairPlan,
    progress: Progress,
    run: int,
    name: str,
    models: list[nn.ModuleList],
    max_steps: int | None,
    pilot: int | None = None,
    augment: Any = None,
) -> Rung:
    """Restarts side by side, the best of them."""

    def make(together: Restarts, on_check: Callable[[Trainer], None]) -> Trainer:
        features, given = plan.precise(together.features), plan.given(run, max_steps)
        return contrast.training(together, features, together.scores, augment, on_check=on_check, **given)

    best, rival, trainer = train_together(progress, run, name, models, contrast.Z, make, pilot)
    return Rung(best, trainer, contrast.held_out(best), trainer.every, rival)


def scores(plan: PairPlan, contrast: Contrast, free: bool) -> nn.ModuleList:
    """One a lag."""
    return nn.ModuleList(PairScore(plan.n, free=free) for _ in contrast.lags)


def score_function(scores: Any) -> str:
    """free or reference."""
    return "free" if hasattr(scores[0], "table") else "reference"


def model(
    n_inputs: int, plan: PairPlan, start: Tensor, own: nn.ModuleList, run: int, *, linear: bool = False
) -> nn.ModuleList:
    """Features that begin at a linear map (N, K), and their scores."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(plan.seeds[run]))
        width, n_layers = (0, 0) if linear else (plan.width, plan.n_layers)
        return nn.ModuleList([Features(n_inputs, plan.n, width, n_layers, start), own])

"""What an SNR means for an experiment: ceilings, what is at stake at each lag, and what labels do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tempica import seeds
from tempica.designs import stakes
from tempica.designs.fits import ceilings, drawn
from tempica.designs.modulation import Modulation, modulation
from tempica.designs.world import World
from tempica.evaluate.metrics import correlation_matrix
from tempica.recipe.dynamics import Relaxation
from tempica.recipe.experiment import Recipe

STAKE_FRAMES = 200_000  # from which stakes are computed
FORGOTTEN = 0.1  # autocorrelation below which longer lags are not looked at
LAGS = (1, 2, 3, 5, 8, 13, 21, 34)


@dataclass(frozen=True)
class Light:
    """What an SNR means: the ceilings of linear maps, and what is at stake at each lag."""

    snr: float
    correlation: tuple[float, ...]  # of each variable with its best linear estimate from a single frame
    ceiling: dict[str, float]  # unmixed, smoothed
    lags: tuple[dict[str, float], ...]  # lag, stake, second_order, frames
    order_free: float  # stake of frames in any order
    labels: float | None  # stake of labels
    modulation: Modulation | None  # what labels do
    lag: int | None  # the best
    verdict: str


def light_of(world: World, snr: float, lag: int | None) -> Light:
    """What an SNR means, from one long experiment of white noise and moving sources."""
    recipe = world.sources.recipe
    each = recipe.simulate.n_frames
    long = world.draw(seeds.integer(recipe.seed, "design stakes"), -(-STAKE_FRAMES // each), each, snr)
    terms = np.concatenate([np.ones((len(long), 1)), long.mean], 1)
    weight, *_ = np.linalg.lstsq(terms, long.truth, rcond=None)
    best = terms @ weight
    correlation = np.abs(np.diagonal(correlation_matrix(best, long.truth))).tolist()
    y = stakes.whitened(best)
    looked = [] if len(correlation) < 2 else [(k, stakes.of_pairs(y, long.molecule, k)) for k in _lags(recipe, long)]
    rows = tuple(
        {"lag": k, "stake": s.value, "second_order": s.sure_second_order, "error": s.errors[1]} for k, s in looked
    )
    free = stakes.of_frames(y).value if len(correlation) > 1 else 0.0
    labelled = stakes.of_labels(y, long.labels).value if long.labels is not None and len(correlation) > 1 else None
    chosen = lag or (max(rows, key=lambda row: row["stake"])["lag"] if rows else None)
    ceiling = ceilings(recipe, drawn(world, min(each, 1000), snr, 0))
    lag = None if chosen is None else int(chosen)
    acts = None
    if long.labels is not None:
        delays = any(isinstance(entry, Relaxation) for entry in recipe.simulate.dynamics)
        acts = modulation(y, long.labels, ordered=delays)
    return Light(snr, tuple(correlation), ceiling, rows, free, labelled, acts, lag, _verdict(rows, free, labelled))


def _lags(recipe: Recipe, long: Any) -> list[int]:
    """1, 2, 3, 5, 8 …, while sources remember themselves."""
    each = recipe.frames_per_molecule or recipe.simulate.n_frames
    found: list[int] = []
    for k in LAGS:
        if k >= each or (k > 1 and k >= each // 2):
            break
        one = long.truth - long.truth.mean(0)
        same = long.molecule[k:] == long.molecule[:-k]
        rho = (one[k:] * one[:-k])[same].mean(0) / one.var(0)
        found.append(k)
        if (rho < FORGOTTEN).all():
            break
    return found


def _verdict(rows: Iterable[dict[str, float]], free: float, labels: float | None) -> str:
    """Which theorem can apply, in a few words."""
    found = []
    if any(row["stake"] > row["second_order"] + 4 * row["error"] for row in rows):
        found.append("pairs")
    if any(row["stake"] > 0 and row["second_order"] > 0 for row in rows):
        found.append("autocorrelations")
    if labels:
        found.append("labels")
    if free:
        found.append("order-free")
    return ", ".join(found) or "nothing"

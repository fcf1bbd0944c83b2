"""What an experiment needs before it is made: lag, number of frames, labels, for a stated score at an SNR."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tempica import pipeline, seeds
from tempica.designs import stakes
from tempica.designs.curves import Curve
from tempica.designs.fits import (
    LINEAR,
    Setting,
    Trial,
    ceilings,
    drawn,
    fit,
    n_learning,
    save_pilot,
    world_of,
)
from tempica.designs.pilot import Pilot, check, run_pilot
from tempica.designs.world import World
from tempica.errors import RecipeError
from tempica.evaluate.metrics import correlation_matrix
from tempica.ica import methods
from tempica.progress import Progress
from tempica.recipe.experiment import Recipe
from tempica.runs import pool
from tempica.runs.folder import open_run
from tempica.runs.layout import fingerprint
from tempica.stores import files

NETWORKS = ("pcl", "tcl")  # that are tried too where a recipe names them
STAKE_FRAMES = 200_000  # from which stakes are computed
LEAST, MOST = 100, 40_000  # frames to learn from that are tried
STEP = 2.0  # factor within which the number of frames is bracketed
FORGOTTEN = 0.1  # autocorrelation below which longer lags are not looked at
N_LAGS = 8


@dataclass(frozen=True)
class Row:
    """What one method needs at one SNR."""

    snr: float
    method: str
    lag: int | None
    frames: float | None  # to learn from; None: not reached
    interval: tuple[float, float | None]  # of the frames, one standard error of the curve to either side
    most: float  # the best score that was foreseen
    curve: Curve


@dataclass(frozen=True)
class Light:
    """What an SNR means: the ceilings of linear maps, and what is at stake at each lag."""

    snr: float
    correlation: tuple[float, ...]  # of each variable with its best linear estimate from a single frame
    ceiling: dict[str, float]  # unmixed, smoothed
    lags: tuple[dict[str, float], ...]  # lag, stake, second_order, frames
    order_free: float  # stake of frames in any order
    labels: float | None  # stake of labels
    lag: int | None  # the best
    verdict: str


@dataclass(frozen=True)
class Design:
    """What was found."""

    recipe: str
    score: float  # that is wanted
    stage: str  # unmixed or smoothed
    variables: tuple[str, ...]
    replicas: int  # that training and validation see
    alike: tuple[tuple[str, ...], ...]
    lights: tuple[Light, ...]
    rows: tuple[Row, ...]

    def best(self, snr: float) -> Row | None:
        """The method that needs the fewest frames, or else comes closest."""
        rows = [row for row in self.rows if row.snr == snr]
        reached = [row for row in rows if row.frames is not None]
        if reached:
            return min(reached, key=lambda row: row.frames or 0)
        return max(rows, key=lambda row: row.most, default=None)

    def as_json(self) -> dict[str, Any]:
        """Plain data; infinite numbers are left out."""
        return json.loads(json.dumps(asdict(self), default=float))


# long: half of it says what it takes and gives
def design(
    target: str | Path,
    *,
    score: float = 0.9,
    snr: Sequence[float] = (),
    method: Sequence[str] = (),
    lag: int | None = None,
    draws: int = 3,
    most_frames: int = MOST,
    out: str | Path | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Design:
    """Foresee what a recipe's experiment needs, from a short run and its images' information.

    A pilot of some hundred frames tells how the molecule answers its drives and what an image says of each mode.
    Latents of experiments of any length are then drawn from the declared dynamics, and methods trained on them, at
    growing numbers of frames, until the held-out mean correlation reaches the score.

    Parameters:
        target: Recipe (TOML file), or folder of a run.
        score: Held-out mean correlation (Spearman) that is wanted, in (0, 1).
        snr: Signal-to-noise ratios to look at; the recipe's if none.
        method: Names of `tempica methods`; the linear ones that the data allow and those of pcl and tcl that the
            recipe names, if none.
        lag: Of the methods that take one, in frames; the one with the most at stake if none.
        draws: Independent experiments at each number of frames.
        most_frames: To learn from, beyond which nothing is tried.
        out: Folder of the pilot and of design.json; runs/<name>-design if none.
        jobs: Worker processes; one per usable core if none.
        progress: Where to report; stderr if none.

    Returns the design. Raises RecipeError for recipes and values that cannot be used.
    Source: the pairs' contrast, Hyvärinen & Morioka 2017; frames seen above chance from about 10 nats on, `stakes`.
    """
    run = open_run(Path(target), None)
    recipe, source = run.recipe, run.source
    pipeline.check_methods(recipe, f"The recipe {target}")
    check(recipe)
    names = _methods(recipe, method)
    _check_values(recipe, score, snr, lag, draws, most_frames)
    folder, progress = Path(out or Path("runs") / f"{recipe.name}-design"), progress or Progress()
    jobs = jobs or pool.usable_cores()
    pilot = run_pilot(recipe, source, folder / "pilot", jobs=jobs, progress=progress)
    save_pilot(folder / "pilot.npz", pilot)
    setting = Setting(recipe.model_dump_json(), str(source.resolve()), str((folder / "pilot.npz").resolve()))
    world = world_of(setting)
    stage = "unmixed" if recipe.frames_per_molecule == 1 else "smoothed"
    lights = [_light(world, one, lag) for one in (snr or (_own_snr(recipe, pilot),))]
    work = folder / "fits" / fingerprint(setting.recipe, pilot.information.sum())
    work.mkdir(parents=True, exist_ok=True)
    wanted = [(light, name) for light in lights for name in names]
    with pool.process_pool(jobs) as executor:
        rows = _rows(world, setting, wanted, (score, stage, draws, most_frames), work, executor, progress)
    found = Design(
        recipe.name,
        score,
        stage,
        pilot.names,
        n_learning(recipe),
        world.sources.alike,
        tuple(lights),
        tuple(rows),
    )
    files.write_json(folder / "design.json", found.as_json())
    return found


def _own_snr(recipe: Recipe, pilot: Pilot) -> float:
    """The recipe's, as it writes it where it does."""
    stated = recipe.microscope.snr
    return stated if abs(stated / pilot.snr - 1) < 0.02 else float(f"{pilot.snr:.3g}")


def _methods(recipe: Recipe, asked: Sequence[str]) -> list[str]:
    """Names of the methods to try. Raises RecipeError for names that cannot be used."""
    known = {row.name: row for row in methods.trainable() if not row.images}
    if wrong := [name for name in asked if name not in known]:
        raise RecipeError(f"--method {wrong[0]}: design tries methods on latents: {', '.join(known)}.")
    could = {name for name in known if methods.lacks(name, recipe) is None}
    if lacking := [name for name in asked if name not in could]:
        raise RecipeError(f"--method {lacking[0]} needs {methods.lacks(lacking[0], recipe)}")
    if asked:
        return list(dict.fromkeys(asked))
    own = [name for name in methods.chosen(recipe) if name in NETWORKS or name in LINEAR]
    return list(dict.fromkeys([*own, *(name for name in LINEAR if name in could)]))


def _check_values(
    recipe: Recipe, score: float, snr: Sequence[float], lag: int | None, draws: int, most_frames: int
) -> None:
    if not 0 < score < 1:
        raise RecipeError(f"--score {score:g} must lie between 0 and 1: it is a mean correlation. 0.9 is usual.")
    for one in snr:
        if not 1e-6 <= one <= 1e4:
            raise RecipeError(f"--snr {one:g} must be from 1e-6 to 1e4.")
    each = recipe.frames_per_molecule or recipe.simulate.n_frames
    if lag is not None and not 1 <= lag < each:
        raise RecipeError(f"--lag {lag} must be at least 1 and below the {each} frames of a molecule.")
    if draws < 2:
        raise RecipeError(f"--draws {draws} must be at least 2, for the error of a score.")
    if most_frames < LEAST:
        raise RecipeError(f"--most-frames {most_frames} must be at least {LEAST}.")


def _light(world: World, snr: float, lag: int | None) -> Light:
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
        {"lag": k, "stake": s.value, "second_order": s.second_order, "error": max(s.errors)} for k, s in looked
    )
    free = stakes.of_frames(y).value if len(correlation) > 1 else 0.0
    labelled = stakes.of_labels(y, long.labels).value if long.labels is not None and len(correlation) > 1 else None
    chosen = lag or (max(rows, key=lambda row: row["stake"])["lag"] if rows else None)
    ceiling = ceilings(recipe, drawn(world, min(each, 1000), snr, 0))
    lag = None if chosen is None else int(chosen)
    return Light(snr, tuple(correlation), ceiling, rows, free, labelled, lag, _verdict(rows, free, labelled))


def _lags(recipe: Recipe, long: Any) -> list[int]:
    """1, 2, 3, 5, 8 …, while sources remember themselves."""
    each = recipe.frames_per_molecule or recipe.simulate.n_frames
    found: list[int] = []
    for k in (1, 2, 3, 5, 8, 13, 21, 34)[:N_LAGS]:
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


def _rows(
    world: World,
    setting: Setting,
    wanted: list[tuple[Light, str]],
    asked: tuple[float, str, int, int],
    work: Path,
    executor: Any,
    progress: Progress,
) -> list[Row]:
    """Try every method at numbers of frames that close in on the score, all of a round side by side."""
    recipe = world.sources.recipe
    score, stage, draws, most_frames = asked
    scores: list[dict[int, list[float]]] = [{} for _ in wanted]
    sizes: list[int | None] = [_first(light, recipe, most_frames) for light, _ in wanted]
    while any(sizes):
        chains, places = [], []
        for which, ((light, name), size) in enumerate(zip(wanted, sizes, strict=True)):
            if size is None:
                continue
            for number in range(1, draws + 1):
                trial = Trial(name, _per_replica(recipe, size), light.snr, light.lag or 1, number)
                places.append((which, size, work / f"{trial.key}.json"))
                if not places[-1][2].exists():
                    chains.append([partial(_task, setting, trial, work)])
        label = "methods on foreseen latents"
        with progress.task("design", label, len(chains), 0) as advance:
            pool.run_chains(executor, chains, advance)
        for which, size, path in places:
            told = json.loads(path.read_text(encoding="utf-8"))
            n = _per_replica(recipe, size) * n_learning(recipe)
            scores[which].setdefault(n, []).append(told[stage])
        for which, (light, _) in enumerate(wanted):
            if sizes[which] is not None:
                goal = min(score, light.ceiling[stage] * 0.97)
                tried = Curve.of(scores[which])
                found = tried.next(goal, _least(recipe), most_frames, STEP)
                new = None if found is None else _per_replica(recipe, found) * n_learning(recipe)
                sizes[which] = None if new in tried.frames else found
    return [
        _row(light, name, Curve.of(each), score) for (light, name), each in zip(wanted, scores, strict=True) if each
    ]


def _task(setting: Setting, trial: Trial, work: Path) -> None:
    with pool.one_thread():
        fit(setting, trial, work)


def _row(light: Light, name: str, curve: Curve, score: float) -> Row:
    needed, low, high = (curve.needed(score, shift) for shift in (0.0, 1.0, -1.0))
    takes_lag = methods.takes_lag(name)
    return Row(
        light.snr,
        name,
        light.lag if takes_lag else None,
        None if math.isinf(needed) else needed or float(curve.frames[0]),
        (0.0 if math.isinf(low) else low, None if math.isinf(high) else high),
        float(curve.rising()[-1]),
        curve,
    )


def _first(light: Light, recipe: Recipe, most: int) -> int:
    """Where to begin: where there are about 20 nats."""
    told = [row["stake"] for row in light.lags] + [light.order_free, light.labels or 0.0]
    frames = 2 * stakes.ENOUGH / max(told) if max(told) > 0 else 2000.0
    return int(np.clip(frames, _least(recipe), most))


def _least(recipe: Recipe) -> int:
    return max(LEAST, _grain(recipe) * n_learning(recipe) * (2 if recipe.labelled else 1), 12 * n_learning(recipe))


def _grain(recipe: Recipe) -> int:
    """Frames of a replica come in multiples of these."""
    grain = recipe.simulate.segment_frames or 1
    return math.lcm(grain, 2) if recipe.frames_per_molecule == 2 else grain


def _per_replica(recipe: Recipe, size: int) -> int:
    grain = _grain(recipe)
    return max(1, round(size / n_learning(recipe) / grain)) * grain

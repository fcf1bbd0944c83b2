"""What an experiment needs before it is made: lag, number of frames, labels, for a stated score at an SNR."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tempica import pipeline
from tempica.designs import stakes
from tempica.designs.curves import Curve
from tempica.designs.fits import (
    LINEAR,
    Setting,
    Trial,
    fit,
    n_learning,
    save_pilot,
    world_of,
)
from tempica.designs.lights import Light, light_of
from tempica.designs.pilot import Pilot, check, run_pilot
from tempica.designs.results import Design, Row
from tempica.designs.world import World
from tempica.errors import RecipeError
from tempica.ica import methods
from tempica.progress import Progress
from tempica.recipe.experiment import Recipe
from tempica.runs import pool
from tempica.runs.folder import open_run
from tempica.runs.layout import fingerprint
from tempica.stores import files

NETWORKS = ("pcl", "tcl")  # that are tried too where a recipe names them
LEAST, MOST = 100, 40_000  # frames to learn from that are tried
STEP = 2.0  # factor within which the number of frames is bracketed


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
    lights = [light_of(world, one, lag) for one in (snr or (_own_snr(recipe, pilot),))]
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
    keep(folder, found)
    return found


def keep(folder: Path, found: Design) -> None:
    """Write design.json and design.html; those of another question go to `superseded/`."""
    from tempica.designs.page import render_page

    new = {"design.json": json.dumps(found.as_json(), indent=1) + "\n", "design.html": render_page(found)}
    there = {name: folder / name for name in new if (folder / name).exists()}
    if any(path.read_text(encoding="utf-8") != new[name] for name, path in there.items()):
        shelf = folder / "superseded"
        shelf = shelf / str(1 + max((int(p.name) for p in shelf.glob("*") if p.name.isdigit()), default=0))
        shelf.mkdir(parents=True)
        for name, path in there.items():
            path.rename(shelf / name)
    for name, text in new.items():
        files.write_text(folder / name, text)


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
    cheap = [name for name in LINEAR if name in could]
    if not recipe.labelled:
        cheap = [name for name in cheap if not known[name].needs.startswith("labels")]
    return list(dict.fromkeys([*own, *cheap]))


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
        for which, (light, name) in enumerate(wanted):
            if sizes[which] is not None:
                goal = min(score, light.ceiling[stage] * 0.97)
                tried = Curve.of(scores[which])
                found = tried.next(goal, _least(recipe), most_frames, STEP)
                new = None if found is None else _per_replica(recipe, found) * n_learning(recipe)
                # of a method that has nothing to look at, one number of frames shows as much as many
                hopeless = math.isinf(_holds(light, name))
                sizes[which] = None if hopeless or new in tried.frames else found
    return [
        _row(light, name, Curve.of(each), score) for (light, name), each in zip(wanted, scores, strict=True) if each
    ]


def _task(setting: Setting, trial: Trial, work: Path) -> None:
    with pool.one_thread():
        fit(setting, trial, work)


def _row(light: Light, name: str, curve: Curve, score: float) -> Row:
    least = _holds(light, name)
    needed, low, high = (max(curve.needed(score, shift), least) for shift in (0.0, 1.0, -1.0))
    return Row(
        light.snr,
        name,
        light.lag if methods.takes_lag(name) else None,
        None if math.isinf(needed) else needed or float(curve.frames[0]),
        None if math.isinf(least) else least,
        (0.0 if math.isinf(low) else low, None if math.isinf(high) else high),
        float(curve.rising()[-1]),
        curve,
    )


def _holds(light: Light, name: str) -> float:
    """Frames from which on what a method looks at holds 10 nats; 0 for methods that look at more than is known here."""
    if len(light.correlation) < 2:
        return 0.0
    if name in ("tica", "sobi"):
        stake = max((row["second_order"] for row in light.lags), default=0.0)
    elif name == "pcl":
        stake = max((row["stake"] for row in light.lags), default=0.0)
    elif name == "fastica":
        stake = light.order_free
    elif name in ("tcl", "nonstationary") and light.labels is not None:
        stake = light.labels
    else:
        return 0.0
    return stakes.ENOUGH / stake if stake > 0 else math.inf


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

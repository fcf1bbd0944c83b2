"""Finds poses where they are hidden, learns modes and their dynamics from images, and embeds every frame."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from tempica.embed import crops, hidden, known, rounds, start
from tempica.embed.heights import form
from tempica.embed.heights import stage as heights
from tempica.embed.learning import learn, search
from tempica.embed.maps.from_images import add_spans
from tempica.embed.plan import Plan
from tempica.embed.saved import load_motion
from tempica.embed.setting import Setting, Span, stated_precision
from tempica.embed.writing import write_latents
from tempica.stores import files

if TYPE_CHECKING:
    from pathlib import Path

    from tempica.runs.work import Work

LEARN_SIGNAL, LEARN_LEAST, LEARN_MOST = 6e5, 1500, 6000
"""Frames that modes are learned from: as many as hold that much signal over noise, within limits."""
SEARCH_AGAIN = 6  # round before which hidden poses are searched again, by the model that has been learned


def run(work: Work) -> None:
    """Poses, modes and latents; of crops without a structure, linear components."""
    if work.recipe.film is not None and work.recipe.simulate.molecule.structure_files:
        return form.run(work)
    if work.recipe.film is not None:
        return crops.run(work)
    plan = Plan(work, work.read("movie"))
    if plan.movie.attrs["kind"] == "heights":
        return heights.run(plan)
    few, first, model = plan.few_spans, plan.file("setting-0"), plan.file("model")
    stated = [] if plan.pose == "hidden" else _stated(plan, "few", few)
    sums = _add_up_images(plan) if work.recipe.embed.modes_from == "images" else []
    task = partial(start.begin, work.recipe.embed, work.run, first, model, few, stated, sums)
    work.run_chains(None, [[("start", task)]])
    shifted = plan.pose == "hidden" and not plan.has_patterns
    setting = _find_shifts(plan, first, model) if shifted else first
    setting, state = _learn(plan, setting)
    if plan.pose == "hidden":
        _search(plan, "all", plan.long_spans, setting, state, "searching poses of all frames")
        _track(plan, setting, state)
    else:
        _embed(plan, setting, state)
    _write(plan, setting, state)


def _add_up_images(plan: Plan) -> list[Path]:
    """What images of training replicas add up to at their stated poses, in files."""
    groups = plan.map_spans
    parts = [plan.file(f"map-{number}") for number in range(len(groups))]
    task = partial(add_spans, plan.work.run)
    chains = [[(path.stem, partial(task, spans, path))] for spans, path in zip(groups, parts, strict=True)]
    plan.work.run_chains("map of the images", chains)
    return parts


def _find_shifts(plan: Plan, setting: Path, model: Path) -> Path:
    """The setting, with how far particles lie from the centres of their boxes: from a few frames."""
    found, spans = plan.file("setting-1"), plan.few_spans
    _search(plan, "shifts", spans, setting, model, "searching shifts")
    parts = [plan.file(f"shifts-{span}") for span in spans]
    task = partial(hidden.find_shifts, setting, parts, found)
    plan.work.run_chains(None, [[("shifts", task)]])
    return found


def _search(plan: Plan, name: str, spans: list[Span], setting: Path, state: Path, label: str | None = None) -> None:
    search(plan, partial(hidden.search_span, plan.work.run, setting, state), name, spans, label)


def _stated(plan: Plan, name: str, spans: list[Span]) -> list[Path]:
    """Poses that the movie states, in files of the same kind as those of a search."""
    precision = stated_precision(plan.movie)
    for span in spans:
        part = span.of(plan.movie)
        rotation = Rotation.from_quat(part["pose_quaternion"].values).as_matrix()
        shift = part["pose_shift_A"].values
        files.save_arrays(
            plan.file(f"{name}-{span}"),
            rotation=rotation,
            shift_A=shift,
            stated_rotation=rotation,
            stated_shift_A=shift,
            precision=precision,
        )
    return [plan.file(f"{name}-{span}") for span in spans]


def _embed(plan: Plan, setting: Path, state: Path) -> None:
    """Every frame at the pose that the movie states."""
    work, spans = plan.work, plan.long_spans
    task = partial(known.embed_span, work.run, setting, state, n=work.recipe.embed.n_iterations)
    chains = [
        [(f"embed-{span}", partial(task, poses, plan.file(f"embed-{span}"), span))]
        for span, poses in zip(spans, _stated(plan, "all", spans), strict=True)
    ]
    work.run_chains("embedding", chains)


def _learn(plan: Plan, setting: Path) -> tuple[Path, Path]:
    """Rounds of learning modes; returns the files of the setting, with the noise that they leave over, and of the last
    state."""
    work, recipe = plan.work, plan.work.recipe.embed
    strength = float(Setting.load(setting).signal)
    spans = plan.learning_spans(round(np.clip(LEARN_SIGNAL / strength, LEARN_LEAST, LEARN_MOST)))
    task = partial(start.begin_learning, plan.file("model"), plan.file("state-0"), sum(len(span) for span in spans))
    work.run_chains(None, [[("begin", task)]])
    if plan.pose == "hidden":
        _search(plan, "learn", spans, setting, plan.file("state-0"), "searching poses to learn from")
    else:
        _stated(plan, "learn", spans)
    expand = partial(rounds.expand_block, work.run, setting)
    search_again = partial(_search, plan, "again", spans, setting) if plan.pose == "hidden" else None
    after, parts = learn(plan, spans, expand, search_again, SEARCH_AGAIN)
    refined = plan.file("setting-2")
    task = partial(start.refine_noise, recipe, work.run, setting, after, spans, parts, refined)
    work.run_chains(None, [[("noise", task)]])
    return refined, after


def _track(plan: Plan, setting: Path, state: Path) -> None:
    work, motion = plan.work, plan.file("motion")
    spans = [span for span in plan.long_spans if work.recipe.splits[span.replica] == "train"]
    parts = [plan.file(f"all-{span}") for span in spans]
    task = partial(hidden.learn_motion, work.run, setting, state, parts, motion, spans)
    work.run_chains("learning how poses go on", [[("motion", task)]])
    task = partial(hidden.track_span, work.run, setting, state, motion)
    chains = [
        [(f"embed-{span}", partial(task, plan.file(f"all-{span}"), plan.file(f"embed-{span}"), span))]
        for span in plan.long_spans
    ]
    work.run_chains("following poses", chains)


def _write(plan: Plan, setting_file: Path, state: Path) -> None:
    """Everything that was found, into the store."""
    setting = Setting.load(setting_file)
    noise = float(setting.noise_variance)
    about: dict[str, float | str] = {"pose_source": SOURCE[plan.pose]}
    if plan.pose == "hidden":
        motion = load_motion(plan.file("motion"))
        found = {
            "shift_deviation_A": float(setting.shift_deviation_A),
            "turn_deg": float(np.degrees(np.sqrt(motion.turn_variance))),
            "shift_step_A": float(np.sqrt(motion.shift_variance)),
        }
        told = ["turn_deg"] if plan.has_patterns else list(found)
        about |= {name: found[name] for name in told if np.isfinite(found[name])}  # else nothing goes on
    write_latents(plan, state, about, noise)


SOURCE = {"known": "stated", "approximate": "refined", "hidden": "searched"}

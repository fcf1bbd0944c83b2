"""Embeds heights: tip and noise, poses by search, modes learned from the images, and every frame."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from tempica.embed import rounds, start
from tempica.embed.heights import tasks
from tempica.embed.heights.setting import Setting
from tempica.embed.modes.state import MOST_ROUNDS, converged
from tempica.embed.plan import Plan
from tempica.embed.saved import load_state
from tempica.embed.setting import Span, labels_of, molecules
from tempica.embed.writing import write_latents

TIMELESS_ROUNDS = 4  # without time, of an elastic basis, until its reference is about right
SEARCH_AGAIN = 5  # round before which poses are searched again
LEARN_FRAMES = 1500


def run(plan: Plan) -> None:
    """Poses, modes and latents."""
    work, recipe = plan.work, plan.work.recipe.embed
    setting, model, first = plan.file("setting-0"), plan.file("model"), plan.file("state-0")
    spans = plan.learning_spans(LEARN_FRAMES)
    work.run_chains(None, [[("start", partial(tasks.begin, recipe, work.run, plan.few_spans, setting, model))]])
    task = partial(start.begin_learning, model, first, sum(map(len, spans)))
    work.run_chains(None, [[("begin", task)]])
    _search(plan, "learn", spans, setting, first, "searching poses to learn from")
    state, parts = _learn(plan, spans, setting)
    refined = plan.file("setting-1")
    task = partial(tasks.refine_setting, work.run, setting, state, spans, parts, refined)
    work.run_chains(None, [[("refine", task)]])
    _search(plan, "all", plan.long_spans, refined, state, "searching poses of all frames")
    task = partial(tasks.embed_span, work.run, refined, state, n=recipe.n_iterations)
    chains = [
        [(f"embed-{span}", partial(task, plan.file(f"all-{span}"), plan.file(f"embed-{span}"), span))]
        for span in plan.long_spans
    ]
    work.run_chains("embedding", chains)
    found = Setting.load(refined)
    radius, noise = float(found.tip_radius_nm), float(found.noise_nm)
    work.progress.say(f"embed: the tip's radius is {radius:.2g} nm; {noise:.2g} nm are left unexplained in a pixel")
    write_latents(plan, state, {"pose_source": "searched", "tip_radius_nm": radius}, noise**2)


def _search(plan: Plan, name: str, spans: list[Span], setting: Path, state: Path, label: str | None) -> None:
    task = partial(tasks.search_span, plan.work.run, setting, state)
    chains = [[(f"{name}-{span}", partial(task, plan.file(f"{name}-{span}"), span))] for span in spans]
    plan.work.run_chains(label, chains)


def _learn(plan: Plan, spans: list[Span], setting: Path) -> tuple[Path, list[Path]]:
    """Rounds of learning modes; returns the files of the last state and of the poses of its last round."""
    work, recipe = plan.work, plan.work.recipe.embed
    molecule = molecules(plan.movie, spans)
    last = np.cumsum([len(span) for span in spans]).tolist()
    places = [slice(end - len(span), end) for span, end in zip(spans, last, strict=True)]
    snapshots = len(np.unique(molecule)) == len(molecule)
    label = labels_of(plan.movie, spans) if snapshots else None
    first_timed = 0 if recipe.modes_from == "ensemble" else TIMELESS_ROUNDS
    done = sum(work.is_done(plan.file(f"state-{number + 1}").stem) for number in range(MOST_ROUNDS))
    with work.progress.task(work.stage, f"learning modes, at most {MOST_ROUNDS} rounds", MOST_ROUNDS, done) as advance:
        for number in range(MOST_ROUNDS):
            state, before = plan.file(f"state-{number}"), f"round-{number - 1}" if number else "learn"
            if number == SEARCH_AGAIN:
                before = "again"
                _search(plan, before, spans, setting, state, None)
            task = partial(tasks.expand_block, work.run, setting, state)
            parts = [plan.file(f"round-{number}-{span}") for span in spans]
            chains = [
                [(part.stem, partial(task, plan.file(f"{before}-{span}"), part, span, at))]
                for span, part, at in zip(spans, parts, places, strict=True)
            ]
            work.run_chains(None, chains)
            after, timeless = plan.file(f"state-{number + 1}"), snapshots or number < first_timed
            sources = rounds.sources_of(work.recipe, number, max(first_timed, SEARCH_AGAIN))
            step = partial(rounds.learn_round, state, parts, after, molecule, *sources, label, timeless=timeless)
            work.run_chains(None, [[(after.stem, step)]])
            if number >= done:
                advance()
            if number > SEARCH_AGAIN and converged(load_state(after)):
                break
    return after, parts

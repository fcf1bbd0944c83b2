"""Embeds heights: tip and noise, poses by search, modes learned from the images, and every frame."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tempica.embed import start
from tempica.embed.heights import tasks
from tempica.embed.heights.setting import Setting
from tempica.embed.learning import learn, search
from tempica.embed.plan import Plan
from tempica.embed.setting import Span
from tempica.embed.writing import write_latents

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
    expand = partial(tasks.expand_block, work.run, setting)
    search_again = partial(_search, plan, "again", spans, setting)
    state, parts = learn(plan, spans, expand, search_again, SEARCH_AGAIN)
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


def _search(plan: Plan, name: str, spans: list[Span], setting: Path, state: Path, label: str | None = None) -> None:
    search(plan, partial(tasks.search_span, plan.work.run, setting, state), name, spans, label)

"""Rounds of learning modes from blocks of frames, whichever camera took them; resumable, a task a block and round."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tempica.embed import rounds
from tempica.embed.modes.state import MOST_ROUNDS, converged
from tempica.embed.plan import Plan
from tempica.embed.saved import load_state
from tempica.embed.setting import Span, labels_of, molecules

TIMELESS_ROUNDS = 4
"""Rounds without time, of an elastic basis: what a wrong reference leaves over is as slow as the views are."""


def search(plan: Plan, task: Callable[[Path, Span], None], name: str, spans: list[Span], label: str | None) -> None:
    """Poses of spans, in the files NAME-SPAN."""
    chains = [[(f"{name}-{span}", partial(task, plan.file(f"{name}-{span}"), span))] for span in spans]
    plan.work.run_chains(label, chains)


def learn(
    plan: Plan,
    spans: list[Span],
    expand: Callable[[Path, Path, Path, Span, slice], None],
    search_again: Callable[[Path], None] | None = None,
    again: int = 0,
) -> tuple[Path, list[Path]]:
    """The files of the last state and of the poses of its last round, from state-0 and the poses in learn-SPAN.

    Parameters:
        expand: (state, poses, out, span, frames of the state) -> None, what a block says of the modes.
        search_again: (state) -> None, leaves new poses in again-SPAN; none where poses are stated.
        again: the round before which that is done; modes are not final before it.
    """
    work, recipe = plan.work, plan.work.recipe.embed
    molecule = molecules(plan.movie, spans)
    last = np.cumsum([len(span) for span in spans]).tolist()
    places = [slice(end - len(span), end) for span, end in zip(spans, last, strict=True)]
    snapshots = len(np.unique(molecule)) == len(molecule)
    label = labels_of(plan.movie, spans) if snapshots else None
    first_timed = 0 if recipe.modes_from == "ensemble" else TIMELESS_ROUNDS
    earliest = max(first_timed, 0 if search_again is None else again)
    done = sum(work.is_done(plan.file(f"state-{number + 1}").stem) for number in range(MOST_ROUNDS))
    with work.progress.task(work.stage, f"learning modes, at most {MOST_ROUNDS} rounds", MOST_ROUNDS, done) as advance:
        for number in range(MOST_ROUNDS):
            state, before = plan.file(f"state-{number}"), f"round-{number - 1}" if number else "learn"
            if search_again is not None and number == again:
                before = "again"
                search_again(state)
            parts = [plan.file(f"round-{number}-{span}") for span in spans]
            chains = [
                [(part.stem, partial(expand, state, plan.file(f"{before}-{span}"), part, span, at))]
                for span, part, at in zip(spans, parts, places, strict=True)
            ]
            work.run_chains(None, chains)
            after = plan.file(f"state-{number + 1}")
            timeless = snapshots or number < first_timed
            sources = rounds.sources_of(work.recipe, number, max(earliest, 2))
            step = partial(rounds.learn_round, state, parts, after, molecule, *sources, label, timeless=timeless)
            work.run_chains(None, [[(after.stem, step)]])
            if number >= done:
                advance()
            if number > earliest and converged(load_state(after)):
                break
    return after, parts

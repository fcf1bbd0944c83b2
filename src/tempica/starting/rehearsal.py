"""A run that is not carried out: which stages would be, and what they would take. Nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tempica.errors import StoreError
from tempica.pipeline import check_inputs, check_methods, check_possible
from tempica.runs import pool
from tempica.runs.folder import open_run
from tempica.runs.stages import STAGES
from tempica.starting.estimates import Estimate, estimate


@dataclass(frozen=True)
class Rehearsal:
    """What a run would do."""

    folder: Path
    states: dict[str, str]  # of each stage that was asked for: "to do" or "up to date"
    estimates: dict[str, Estimate]  # of those to do
    free_bytes: int  # on the disk of the run folder

    @property
    def seconds(self) -> float:
        return sum(each.seconds for each in self.estimates.values())

    @property
    def n_bytes(self) -> float:
        return sum(each.n_bytes for each in self.estimates.values())


def rehearse(
    target: str | Path,
    *,
    out: str | Path | None = None,
    stages: Sequence[str] = tuple(STAGES),
    jobs: int | None = None,
    device: str = "cpu",
    values: Sequence[str] = (),
) -> Rehearsal:
    """What `pipeline.run` would do with the same arguments. Raises what it would raise for mistakes in the input."""
    run = open_run(Path(target), None if out is None else Path(out), values)
    check_methods(run.recipe, f"The recipe {run.recipe.name}")
    check_possible(run.recipe, stages, device)
    check_inputs(run)
    if run.path.exists() and not run.path.is_dir():
        raise StoreError(f"The output folder {run.path} is a file. Give --out another name.")
    states = {stage: "up to date" if run.is_current(stage) else "to do" for stage in stages}
    todo = [stage for stage, state in states.items() if state == "to do"]
    estimates = estimate(run.recipe, run.source, jobs or pool.usable_cores()) if todo else {}
    there = next(place for place in (run.path.resolve(), *run.path.resolve().parents) if place.exists())
    return Rehearsal(run.path, states, {stage: estimates[stage] for stage in todo}, shutil.disk_usage(there).free)

"""What is done with a run beside its stages: checks for bias, and the audit of its sources."""

from __future__ import annotations

import contextlib
import json
import os
from functools import partial
from pathlib import Path

from tempica.errors import RecipeError, StoreError
from tempica.progress import Progress
from tempica.runs import pool
from tempica.runs.committing import Room, carry_out, carry_out_beside
from tempica.runs.folder import Run, open_run
from tempica.runs.layout import fingerprint
from tempica.runs.stages import AUDIT, CHECK, Stage
from tempica.stores import files


def check(
    folder: str | Path,
    *,
    frames: int = 600,
    against: str | Path | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> tuple[Path, bool]:
    """Test a run for bias: other molecules, noise alone and halves of the data, into its checks.json.

    A report that is there is written anew.

    Parameters:
        folder: of a run that has been embedded.
        frames: from which models are learned; half as many are held out.
        against: structure file (PDB or mmCIF) of another form of the molecule, to begin with instead.
        jobs, progress: as for `run`.

    Returns the path of checks.json, and whether it was made now; raises as `run` does.
    """
    from tempica.embed.checks import tasks as room
    from tempica.simulate.structures import load_molecule

    work = _run_for(CHECK, folder)
    other, name = (None, "") if against is None else (load_molecule(Path(against)).position, Path(against).name)
    asked = fingerprint(work.fingerprints["embed"], frames, name, None if other is None else other.tolist())
    make = partial(room.run, n_frames=frames, other=other, other_name=name)
    return _do_beside(CHECK, work, make, asked, "embed", jobs, progress or Progress())


def audit(
    folder: str | Path,
    *,
    method: str = "auto",
    n_components: int | None = None,
    lag: int | None = None,
    progress: Progress | None = None,
) -> tuple[Path, bool]:
    """Say whether the sources of a run can be believed, without its truth, into its audit.json.

    A report that is there is written anew.

    Parameters:
        folder: of a run that has been trained.
        method, n_components: as for `tempica.evaluate.audit`.
        lag: between the frames of a pair; the recipe's own if none.
        progress: as for `run`.

    Returns the path of audit.json, and whether it was made now; raises as `run` does.
    """
    from tempica.audit import stage as room

    work = _run_for(AUDIT, folder)
    lag = work.recipe.train.lag if lag is None else lag
    asked = fingerprint(work.fingerprints["train"], method, n_components, lag)
    make = partial(room.run, method=method, n_components=n_components, lag=lag)
    return _do_beside(AUDIT, work, make, asked, "train", 1, progress or Progress())


def _judge_again(run: Run) -> None:
    """Let the verdict in scores.json count the audit that was just made."""
    from tempica.evaluate.judging import judge_again

    path = run.path / "scores.json"
    if path.exists():
        scores, audited = (json.loads(each.read_text(encoding="utf-8")) for each in (path, run.path / "audit.json"))
        files.write_json(path, judge_again(scores, audited))


def _run_for(what: Stage, folder: str | Path) -> Run:
    """The run of a folder that a check or an audit is asked of. Raises where it cannot be had."""
    if not Path(folder).is_dir():
        raise StoreError(f"There is no run folder {folder}. Give the folder of a run, not its recipe.")
    work = open_run(Path(folder), None)
    if (refusal := what.refuses(work.recipe)) is not None:
        raise RecipeError(refusal)
    return work


def _do_beside(
    what: Stage, run: Run, room: Room, asked: str, after: str, jobs: int | None, progress: Progress
) -> tuple[Path, bool]:
    """Do a check or an audit of what the stage `after` has made, and tell the report, if there is one."""
    from tempica.report import stage as report

    with contextlib.ExitStack() as stack:
        stack.callback(os.close, run.claim(progress.say))
        if not run.is_current(after):
            raise StoreError(
                f"{what.name} needs {' and '.join(run.outputs(after))} in {run.path}, missing or of another recipe."
                f" Do all stages up to it with: tempica run {run.path} --until {after}"
            )
        executor = stack.enter_context(pool.process_pool(jobs or pool.usable_cores()))
        done = carry_out_beside(run, what, room, asked, executor, progress)
        if done and what is AUDIT and run.is_current("evaluate"):
            _judge_again(run)
        if done and (run.path / "report.html").exists() and run.is_current("report"):
            (run.path / "report.html").unlink()
            carry_out(run, "report", report.run, executor, progress, "cpu")
    return run.path / what.makes[0], done

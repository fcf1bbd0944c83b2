"""How one stage is done, resumed and committed.

A stage works in `.tempica/<stage>-<fingerprint>/` and commits by renaming what it made into the run folder.
"""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor

from tempica.errors import TaskError, TempicaError
from tempica.progress import Progress
from tempica.runs import locks
from tempica.runs.folder import Run, stamp
from tempica.runs.stages import READERS, STAGES, Stage
from tempica.runs.work import Lease, Work
from tempica.stores import store

Room = Callable[[Work], None]  # does a stage: `run` of a room's stage module


def carry_out(run: Run, stage: str, room: Room, executor: Executor, progress: Progress, device: str) -> None:
    """Do a stage from where an earlier run left it, and move what it makes into the run folder."""
    outputs = run.outputs(stage)
    digest = run.fingerprints[stage]
    shelf = run.set_aside([name for name in STAGES[stage].makes if stamp(run.path / name) not in (None, digest)])
    if shelf is not None:
        progress.say(f"{stage}: the recipe has changed; what was there is kept in {shelf}")
    for other in run.hidden.glob(f"{stage}-*"):
        if other.name != f"{stage}-{digest}":
            shutil.rmtree(other)  # unfinished work of another recipe
    folder = run.hidden / f"{stage}-{digest}"
    resumed = folder.exists()
    folder.mkdir(exist_ok=True)
    started = time.monotonic()
    run.log(stage=stage, event="resumed" if resumed else "started", fingerprint=digest)
    if any(not (run.path / name).exists() and not (folder / f"{name}.sealed").exists() for name in outputs):
        token = locks.renew(run.lease, say=progress.say)
        make(run, room, work_of(run, stage, (run.lease.resolve(), token), executor, progress, device=device))
        locks.renew(run.lease, say=progress.say)  # a task that was done twice may still be at its second end
        for name in outputs:
            if name.endswith(".zarr"):
                store.seal(folder / name)
            (folder / f"{name}.sealed").touch()
    for name in outputs:
        if (folder / name).exists() and not (run.path / name).exists():
            os.rename(folder / name, run.path / name)
    shutil.rmtree(folder)
    seconds = time.monotonic() - started
    run.log(stage=stage, event="done", seconds=round(seconds, 2))
    progress.say(f"{stage}: done in {seconds:.1f} s")


def carry_out_beside(run: Run, stage: Stage, room: Room, digest: str, executor: Executor, progress: Progress) -> bool:
    """Do what is no stage of a run (CHECK, AUDIT) from where an earlier try left it; returns whether it was done.

    It makes one JSON file, unless that is there. Nothing that stages made is touched. A digest says what is asked.
    """
    (name,) = stage.makes
    folder, kept = run.hidden / f"{stage.name}-{digest}", run.path / name
    if stamp(kept) == digest:
        return False
    run.set_aside([name])
    for other in run.hidden.glob(f"{stage.name}-*"):
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(exist_ok=True)
    started = time.monotonic()
    run.log(stage=stage.name, event="started", fingerprint=digest)
    token = locks.renew(run.lease, say=progress.say)
    lease = (run.lease.resolve(), token)
    work = Work(
        stage.name, run.path.resolve(), folder.resolve(), run.recipe, run.recipe_text, digest, executor, progress, lease
    )
    make(run, room, work)
    locks.renew(run.lease, say=progress.say)
    os.rename(folder / name, kept)
    shutil.rmtree(folder)
    run.log(stage=stage.name, event="done", seconds=round(time.monotonic() - started, 2))
    return True


def work_of(
    run: Run,
    stage: str,
    lease: Lease,
    executor: Executor,
    progress: Progress,
    replica: int | None = None,
    device: str = "cpu",
) -> Work:
    """What a stage is handed; workers may stand in another folder, so paths are absolute."""
    digest = run.fingerprints[stage]
    path, folder = run.path.resolve(), run.hidden.resolve() / f"{stage}-{digest}"
    return Work(stage, path, folder, run.recipe, run.recipe_text, digest, executor, progress, lease, replica, device)


def make(run: Run, room: Room, work: Work) -> None:
    """Hand the work to its room. A damaged input is a better diagnosis than an error that it may have caused."""
    stage = READERS[work.stage]
    try:
        room(work)
    except Exception as error:
        if isinstance(error, TempicaError | BrokenExecutor | MemoryError) and not isinstance(error, TaskError):
            raise
        details = error.details if isinstance(error, TaskError) else traceback.format_exc()
        run.log(stage=stage.name, event="failed", error=str(error), traceback=details)
        for kind in stage.reads:  # a run need not have all of them
            if (path := work.run / store.file_name(kind)).exists():
                store.read_all(path)
        if isinstance(error, TaskError):
            raise TaskError(f"{stage.name}: {error} (the traceback is in {run.path / 'log.jsonl'})", details) from None
        raise

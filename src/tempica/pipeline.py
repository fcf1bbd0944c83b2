"""How the stages of a run are done, resumed and committed.

Every stage works in `.tempica/<stage>-<fingerprint>/` and commits by renaming what it made into the run folder.
One replica alone (an array task of a cluster) is done in the same working folder, beside others; a later run finds
their marks and completes the stage.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path

from tempica._version import __version__
from tempica.errors import RecipeError, StoreError, TaskError, TempicaError
from tempica.progress import Progress
from tempica.recipe import experiment
from tempica.recipe.experiment import Recipe, parse_recipe, read_text
from tempica.runs import locks, pool
from tempica.runs.folder import Run, open_run, stamp
from tempica.runs.foreign import LARGE
from tempica.runs.stages import STAGES
from tempica.runs.work import Lease, Work
from tempica.stores import store


def run(
    target: str | Path,
    *,
    out: str | Path | None = None,
    stages: Sequence[str] = tuple(STAGES),
    jobs: int | None = None,
    scheduler: str | None = None,
    replica: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> tuple[Path, list[str]]:
    """Carry out those stages of a recipe, or of a run folder, that are not up to date.

    Tasks go to `jobs` processes of this machine, or to the Dask cluster of a `scheduler` (its address), whose workers
    must see the run folder. With `replica` only that replica is simulated, beside other processes that do others;
    the number n_replicas means the separate ensemble. `device` "cuda" makes images on a GPU.

    Returns the run folder and the stages that were done. Worker processes are spawned, so a script that calls
    this needs the usual `if __name__ == "__main__":`. Raises TempicaError for every mistake in the input, and its
    child WorkerError when workers are killed.
    """
    if device == "cuda":
        from tempica.imaging import kernels_gpu

        kernels_gpu.check()
    work = open_run(Path(target), None if out is None else Path(out))
    progress = progress or Progress()
    if replica is not None:
        return work.path, simulate_replica(work, replica, progress)
    return work.path, execute(
        work, stages, jobs=jobs or pool.usable_cores(), scheduler=scheduler, device=device, progress=progress
    )


def import_trajectory(
    files: Sequence[str | Path],
    recipe: str | Path,
    *,
    topology: str | Path | None = None,
    out: str | Path | None = None,
    stride: int | None = None,
    selection: str | None = None,
    name: str | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> tuple[Path, list[str]]:
    """Make a run's trajectory and ensemble from files of another program; `run` on its folder does the rest.

    `recipe` is a recipe without the molecule's files; the run gets it completed. Returns as `run` does.
    """
    from tempica.recipe.completing import complete_recipe

    path = Path(recipe)
    text = complete_recipe(
        read_text(path),
        path,
        [Path(file) for file in files],
        topology=None if topology is None else Path(topology),
        stride=stride,
        selection=selection,
        name=name,
    )
    checked = parse_recipe(text, path)
    work = Run(Path(out) if out is not None else Path("runs") / checked.name, checked, text, path.parent)
    return work.path, execute(
        work, ("simulate",), jobs=jobs or pool.usable_cores(), scheduler=None, progress=progress or Progress()
    )


def import_particles(
    star: str | Path,
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    name: str | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> tuple[Path, list[str]]:
    """Make a run's ensemble and movie from a particle stack with its STAR file; `run` on its folder does the rest.

    `recipe` is a recipe without camera; the run gets it completed. Returns as `run` does.
    """
    from tempica.recipe.completing import complete_with_particles

    path = Path(recipe)
    text = complete_with_particles(read_text(path), path, Path(star), name=name)
    checked = parse_recipe(text, path)
    work = Run(Path(out) if out is not None else Path("runs") / checked.name, checked, text, path.parent)
    return work.path, execute(
        work, ("simulate", "render"), jobs=jobs or pool.usable_cores(), scheduler=None, progress=progress or Progress()
    )


def load_recipe(path: str | Path) -> tuple[Recipe, str]:
    """A checked recipe and its text. Raises RecipeError, in one message, for everything wrong with it."""
    recipe, text = experiment.load_recipe(Path(path))
    check_methods(recipe, f"The recipe {path}")
    return recipe, text


def check_methods(recipe: Recipe, whose: str) -> None:
    """Raise RecipeError for methods that nobody knows, or that the recipe's data do not suffice for."""
    from tempica.ica import methods

    if wrong := methods.mistakes(recipe):
        raise RecipeError("\n".join([f"{whose} cannot be used:", *(f"  {line}" for line in wrong)]))


def execute(
    run: Run, stages: Sequence[str], *, jobs: int, scheduler: str | None, progress: Progress, device: str = "cpu"
) -> list[str]:
    """Carry out those of the given stages that are not up to date; returns the ones that were done."""
    check_methods(run.recipe, f"The recipe {run.recipe.name}")
    stages = _possible(run.recipe, stages, device, progress)
    if run.foreign.undigested > LARGE:
        progress.say(f"reading {run.foreign.undigested / 1e9:.0f} GB of trajectory files once, for their digest")
    _check(run)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(pool.dask_cluster(scheduler)) if scheduler else None
        stack.callback(os.close, run.claim(progress.say))
        current = {stage: run.is_current(stage) for stage in STAGES}  # look at all before anything moves
        names = list(STAGES)
        for earlier in names[: names.index(stages[0])]:
            if not current[earlier]:
                made = run.outputs(earlier)
                raise StoreError(
                    f"The stage {stages[0]} needs {' and '.join(made)} in {run.path}, missing or of another recipe."
                    f" Do all stages up to it with: tempica run {run.path} --until {stages[0]}"
                )
        if cluster:
            pool.check_cluster(cluster, run.hidden.resolve(), __version__, progress.say)
        run.freeze()
        for stage in stages:
            if current[stage]:
                progress.say(f"{stage}: up to date")
                for leftover in run.hidden.glob(f"{stage}-*"):
                    shutil.rmtree(leftover)
        todo = [stage for stage in stages if not current[stage]]
        if todo:
            executor = cluster or stack.enter_context(pool.process_pool(jobs))
            for stage in todo:
                _carry_out(run, stage, executor, progress, device)
        return todo


def _possible(recipe: Recipe, stages: Sequence[str], device: str, progress: Progress) -> list[str]:
    """Those of the stages that a recipe can go through.

    Raises RecipeError for others, except where all stages are asked for and the table lets a run end without them.
    """
    refusals = {stage: sentence for stage in stages if (sentence := STAGES[stage].refuses(recipe, device)) is not None}
    left_out = {stage: STAGES[stage].left_out for stage in refusals}
    if refusals and (len(stages) < len(STAGES) or not all(left_out.values())):
        raise RecipeError(next(iter(refusals.values())))
    for reason in dict.fromkeys(left_out.values()):
        names = [stage for stage in left_out if left_out[stage] == reason]
        progress.say(f"{reason}: {' and '.join(names)} are left out")
    return [stage for stage in stages if stage not in refusals]


def _check(run: Run) -> None:
    """Raise what is wrong with the molecule, the images or the files of other programs before anything is written."""
    molecule_is_made = run.is_current("simulate")
    images_are_foreign = run.recipe.particles is not None
    images_are_made = not images_are_foreign or run.is_current("render")
    if not (molecule_is_made and images_are_made):
        run.foreign.verify()
    if not molecule_is_made:
        from tempica.simulate import stage as simulate

        simulate.check(run.recipe, run.source)
    if not images_are_made:
        from tempica.render.particles import stage as particles

        particles.check(run.recipe, run.source)


def simulate_replica(run: Run, replica: int, progress: Progress) -> list[str]:
    """Simulate one replica, or with the number n_replicas the separate ensemble; returns the stages it worked on.

    Any number of such processes may be at work in one folder, each with a replica of its own. None of them seals
    a store or moves anything: a run does that once they have ended.
    """
    from tempica.simulate.stage import check

    check(run.recipe, run.source)
    check_methods(run.recipe, f"The recipe {run.recipe.name}")
    if run.recipe.particles is not None:
        raise RecipeError("--replica: of a recipe with particles only the ensemble is simulated. Leave --replica out.")
    ensemble = run.recipe.simulate.n_replicas
    if not 0 <= replica <= ensemble:
        raise RecipeError(
            f"--replica {replica}: the recipe's replicas are 0 … {ensemble - 1}, and {ensemble} is the separate"
            f" ensemble (sbatch --array=0-{ensemble})."
        )
    digest = run.fingerprints["simulate"]
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, run.join())
        folder = run.hidden / f"simulate-{digest}"
        if run.is_current("simulate") or list(folder.glob("*.sealed")):
            progress.say("simulate: every replica is done")
            return []
        folder.mkdir(exist_ok=True)
        at_it = f"Another tempica is at work on replica {replica} in {run.path}. Wait until it has ended."
        stack.callback(os.close, locks.hold(folder / f"replica-{replica}.lock", refusal=at_it))
        lease = folder.resolve() / f"replica-{replica}.lease"
        token = locks.renew(lease, say=progress.say)
        executor = pool.Here()
        run.log(stage="simulate", event="replica started", replica=replica, fingerprint=digest)
        _make(run, _work(run, "simulate", (lease, token), executor, progress, replica))
        run.log(stage="simulate", event="replica done", replica=replica)
    return ["simulate"]


def _work(
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


def _make(run: Run, work: Work) -> None:
    """Hand the work to its room. A damaged input is a better diagnosis than an error that it may have caused."""
    stage = STAGES[work.stage]
    try:
        _room(stage.room)(work)
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


def _room(name: str) -> Callable[[Work], None]:
    """The function that does a room's stage. Rooms are imported only when they have something to do."""
    match name:
        case "simulate":
            from tempica.simulate import stage as simulate

            return simulate.run
        case "render":
            from tempica.render import stage as render

            return render.run
        case "embed":
            from tempica.embed import stage as embed

            return embed.run
        case "ica":
            from tempica.ica import stage as ica

            return ica.run
        case "evaluate":
            from tempica.evaluate import stage as evaluate

            return evaluate.run
        case "report":
            from tempica.report import stage as report

            return report.run
    raise KeyError(name)


def _carry_out(run: Run, stage: str, executor: Executor, progress: Progress, device: str) -> None:
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
        _make(run, _work(run, stage, (run.lease.resolve(), token), executor, progress, device=device))
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

"""Runs of a recipe: which stages are done, by which room, and with which workers.

One replica alone (an array task of a cluster) is done in the same working folder as others; a later run finds their
marks and completes the stage.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tempica._version import __version__
from tempica.errors import RecipeError, StoreError, TempicaError, WorkerError
from tempica.progress import Progress
from tempica.recipe import experiment, shipped
from tempica.recipe.afm import AfmRecipe
from tempica.recipe.experiment import Recipe, parse_recipe, read_text
from tempica.runs import locks, notices, pool
from tempica.runs.committing import Room, carry_out, make, work_of
from tempica.runs.folder import Run, open_run
from tempica.runs.foreign import LARGE
from tempica.runs.stages import STAGES, has_truth


def run(
    target: str | Path,
    *,
    out: str | Path | None = None,
    stages: Sequence[str] = tuple(STAGES),
    jobs: int | None = None,
    scheduler: str | None = None,
    replica: int | None = None,
    device: str = "cpu",
    values: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Path, list[str]]:
    """Carry out the stages of a recipe, or of a run folder, that are not up to date.

    Worker processes are spawned, so a script that calls this needs the usual `if __name__ == "__main__":`.

    Parameters:
        target: Recipe (TOML file), or folder of an earlier run.
        out: Run folder; runs/<name of the recipe> if none.
        stages: Names of the stages to do, in order; all if not given.
        jobs: Worker processes on this machine; one per usable core if none.
        scheduler: Address of a Dask scheduler, whose workers do the tasks instead; they must see the run
            folder.
        replica: Simulate only this replica, while other processes do others; n_replicas stands for the
            separate ensemble.
        device: "cpu", or "cuda" to make images and to train networks on a GPU.
        values: To change in the recipe, "render.snr=0.3" each; the run's own recipe has them.
        progress: Where to report; stderr if none.

    Returns the run folder and the stages that were done. Raises TempicaError for every mistake in the input, and its
    child WorkerError when workers are killed or a task fails.
    """
    if device == "cuda":
        from tempica.imaging import kernels_gpu

        kernels_gpu.check()
    work = open_run(Path(target), None if out is None else Path(out), values)
    progress = progress or Progress()
    if replica is not None:
        return work.path, simulate_replica(work, replica, progress)
    return work.path, execute(
        work, stages, jobs=jobs or pool.usable_cores(), scheduler=scheduler, device=device, progress=progress
    )


def warnings_of(folder: str | Path) -> list[dict[str, str]]:
    """Warnings of the stages that a run folder holds: `stage` and `text`, each once."""
    work = open_run(Path(folder), None)
    return notices.collect(work.path, work.fingerprints)


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

    Returns and raises as `run` does.

    Parameters:
        files: DCD, XTC, TRR, HDF5 or NetCDF files, in order.
        recipe: Recipe without the molecule's files; the run gets the completed one.
        topology: Structure file of the trajectory; not needed where the first file is HDF5.
        out: Run folder; runs/<name of the recipe> if none.
        stride: Use every N-th frame.
        selection: Atoms that become beads, as MDTraj selects.
        name: Name of the completed recipe; its own if none.
        jobs: Worker processes; one per usable core if none.
        progress: Where to report; stderr if none.
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
    return carry_out_import(text, path, out, ("simulate",), jobs, progress)


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

    Returns and raises as `run` does.

    Parameters:
        star: STAR file of RELION.
        recipe: Recipe without camera; the run gets the completed one.
        out: Run folder; runs/<name of the recipe> if none.
        name: Name of the completed recipe; its own if none.
        jobs: Worker processes; one per usable core if none.
        progress: Where to report; stderr if none.
    """
    from tempica.recipe.completing import complete_with_particles

    path = Path(recipe)
    text = complete_with_particles(read_text(path), path, Path(star), name=name)
    return carry_out_import(text, path, out, ("simulate", "render"), jobs, progress)


def carry_out_import(
    text: str,
    path: Path,
    out: str | Path | None,
    stages: Sequence[str],
    jobs: int | None,
    progress: Progress | None,
) -> tuple[Path, list[str]]:
    """Do the first stages of a recipe's text, which is that of `path`; a mistake in the input leaves nothing behind."""
    checked = parse_recipe(text, path)
    run = Run(Path(out) if out is not None else Path("runs") / checked.name, checked, text, path.parent)
    is_new = not run.path.exists()
    try:
        done = execute(run, stages, jobs=jobs or pool.usable_cores(), scheduler=None, progress=progress or Progress())
    except WorkerError:
        raise
    except TempicaError:
        if is_new:  # a mistake in the input leaves nothing; what a killed import has done is kept
            shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run.path, done


def load_recipe(recipe: str | Path) -> tuple[Recipe, str]:
    """A checked recipe and its text. Raises RecipeError, in one message, for everything wrong with it.

    Parameters:
        recipe: TOML file, name of a recipe that comes with tempica, or the text of a recipe.

    Example:
        >>> import tempica
        >>> recipe, text = tempica.load_recipe("quick_look")
        >>> tempica.load_recipe(text)[0] == recipe
        True
    """
    if isinstance(recipe, str) and ("\n" in recipe or "=" in recipe):  # names of files have neither
        checked, text, whose = parse_recipe(recipe, Path("given as text")), recipe, "The recipe given as text"
    else:
        path = shipped.find(Path(recipe))
        checked, text = experiment.load_recipe(path)
        whose = f"The recipe {path}"
    check_methods(checked, whose)
    return checked, text


def check_methods(recipe: Recipe, whose: str) -> None:
    """Raise RecipeError for methods that are unknown, or that the recipe's data do not suffice for."""
    from tempica.ica import methods

    if wrong := methods.mistakes(recipe):
        raise RecipeError("\n".join([f"{whose} cannot be used:", *(f"  {line}" for line in wrong)]))


def execute(
    run: Run, stages: Sequence[str], *, jobs: int, scheduler: str | None, progress: Progress, device: str = "cpu"
) -> list[str]:
    """Carry out those of the given stages that are not up to date; returns the ones that were done."""
    check_methods(run.recipe, f"The recipe {run.recipe.name}")
    check_possible(run.recipe, stages, device)
    if run.foreign.undigested > LARGE:
        progress.say(f"reading {run.foreign.undigested / 1e9:.0f} GB of trajectory files once, for their digest")
    check_inputs(run)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(pool.dask_cluster(scheduler)) if scheduler else None
        stack.callback(os.close, run.claim(progress.say))
        current = {stage: run.is_current(stage) for stage in STAGES}  # look at all before anything moves
        names = list(STAGES)
        for earlier in names[: names.index(stages[0])]:
            if not current[earlier] and STAGES[earlier].refuses(run.recipe, device) is None:
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
        progress.stages = todo
        if todo:
            executor = cluster or stack.enter_context(pool.process_pool(jobs))
            for stage in todo:
                carry_out(run, stage, _room_of(run, stage), executor, progress, device)
        return todo


def check_possible(recipe: Recipe, stages: Sequence[str], device: str) -> None:
    """Raise RecipeError for the first of the stages that a recipe cannot go through."""
    for stage in stages:
        if (refusal := STAGES[stage].refuses(recipe, device)) is not None:
            raise RecipeError(refusal)


def check_inputs(run: Run) -> None:
    """Raise what is wrong with the molecule, the images or the files of other programs before anything is written."""
    molecule_is_made = run.is_current("simulate")
    images_are_foreign = run.recipe.particles is not None or run.recipe.film is not None
    images_are_made = not images_are_foreign or run.is_current("render")
    if not (molecule_is_made and images_are_made):
        run.foreign.verify()
    if not molecule_is_made:
        from tempica.simulate import stage as simulate

        molecule = simulate.check(run.recipe, run.source)
        if molecule is not None and isinstance(run.recipe.render, AfmRecipe):
            from tempica.render.afm import stage as afm

            afm.check(run.recipe.render, molecule.position, molecule.formula)
    if not images_are_made and run.recipe.film is not None:
        from tempica.render.film import stage as film

        film.check(run.recipe, run.source)
    elif not images_are_made:
        from tempica.render.particles import stage as particles

        particles.check(run.recipe, run.source)


def simulate_replica(run: Run, replica: int, progress: Progress) -> list[str]:
    """Simulate one replica, or with the number n_replicas the separate ensemble; returns the stages it worked on.

    Any number of such processes may work in one folder, each on its own replica. None of them seals a store or moves
    anything; a run does that when they have ended.
    """
    from tempica.simulate.stage import check

    check(run.recipe, run.source)
    check_methods(run.recipe, f"The recipe {run.recipe.name}")
    if run.recipe.particles is not None:
        raise RecipeError("--replica: a recipe with particles simulates only the ensemble. Leave --replica out.")
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
        make(run, _room("simulate"), work_of(run, "simulate", (lease, token), executor, progress, replica))
        run.log(stage="simulate", event="replica done", replica=replica)
    return ["simulate"]


def _room_of(run: Run, stage: str) -> Room:
    """The function that does a stage of a run: where no truth is known, the audit takes the place of scores."""
    if stage == "evaluate" and not has_truth(run.recipe):
        from tempica.audit import untold

        return untold.run
    return _room(STAGES[stage].room)


def _room(name: str) -> Room:
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

"""A run: which stages there are, which are up to date, and how one is done, resumed and committed.

Every stage works in `.tempica/<stage>-<fingerprint>/` and commits by renaming what it made into the run folder.
A stage is up to date when its outputs are complete and carry the fingerprint of its part of the recipe.
One replica alone (an array task of a cluster) is done in the same working folder, beside others; a later run finds
their marks and completes the stage.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tempica import __version__, locks, pool, store
from tempica.errors import RecipeError, StoreError, TempicaError
from tempica.progress import Progress
from tempica.recipe import (
    RECORD,
    Recipe,
    TrajectoryRecipe,
    fingerprint,
    load_recipe,
    parse_recipe,
    read_text,
    recorded,
    structure_path,
    trajectory_path,
)

# stage -> (room, what it makes)
STAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "simulate": ("simulate", ("ensemble.zarr", "trajectory.zarr")),
    "render": ("render", ("movie.zarr",)),
    "embed": ("embed", ("latents.zarr",)),
    "train": ("ica", ("sources.zarr",)),
    "evaluate": ("evaluate", ("scores.json",)),
    "report": ("report", ("report.html",)),
}

LARGE = 2 * 10**9  # bytes that take long enough to be announced


Lease = tuple[Path, str]  # a file of locks.py, and the token that its holder must find there


@dataclass(frozen=True)
class Work:
    """What a stage is handed: the recipe, a place to work in, and hands to work with."""

    stage: str
    run: Path
    folder: Path
    recipe: Recipe
    recipe_text: str
    fingerprint: str
    executor: Executor
    progress: Progress
    lease: Lease | None = None  # of those who work elsewhere
    replica: int | None = None  # the only one to be simulated

    def run_chains(self, label: str, chains: Sequence[Sequence[tuple[str, pool.Task]]]) -> None:
        """Run chains of (key, task) that have not been done before; a key names its task within the stage."""
        marks = self.folder / "done"
        marks.mkdir(exist_ok=True)
        left = [
            [_Marked(task, marks / key, self.lease) for key, task in chain if not (marks / key).exists()]
            for chain in chains
        ]
        total = sum(map(len, chains))
        with self.progress.task(self.stage, label, total, total - sum(map(len, left))) as advance:
            pool.run_chains(self.executor, left, advance)

    def is_done(self, key: str) -> bool:
        return (self.folder / "done" / key).exists()

    def create_store(self, kind: str, sizes: dict[str, int], **options: Any) -> Path:
        """Make the store of a kind in the working folder unless it is there; see `store.create`."""
        path = self.folder / f"{kind}.zarr"
        about = store.provenance(self.recipe_text, self.recipe.seed, self.fingerprint, f"{self.recipe.name}: {kind}")
        store.create(path, kind, sizes, attributes=about | options.pop("attributes", {}), **options)
        return path


@dataclass(frozen=True)
class _Marked:
    """A task that leaves a mark once it is done, and is not done again.

    A cluster that loses sight of a worker gives its task to another while the first is still at it. Both then write
    the same bytes, each file under a name of its own until it is complete, so that it does not matter who is last.
    """

    task: pool.Task
    mark: Path
    lease: Lease | None

    def __call__(self) -> None:
        with pool.one_thread(), locks.at_work(*self.lease) if self.lease else contextlib.nullcontext():
            if not self.mark.exists():
                self.task()
                self.mark.touch()


@dataclass(frozen=True)
class Run:
    """A run folder and the recipe to be carried out in it."""

    path: Path
    recipe: Recipe
    recipe_text: str
    source: Path  # folder that the recipe's structure files are relative to

    @property
    def hidden(self) -> Path:
        return self.path / ".tempica"

    def structure(self, name: str) -> Path:
        return structure_path(self.source, name)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Digest of everything that each stage's output depends on, the stages before it included."""
        digests: dict[str, str] = {}
        content = [*map(_digest, self._structures()), *(about["sha256"] for about in self.trajectories.values())]
        if isinstance(self.recipe.simulate.molecule, TrajectoryRecipe):
            content += self.recipe.splits  # the ensemble is taken from the training replicas
        before = fingerprint(__version__, self.recipe.name, self.recipe.seed, *content)
        for stage in STAGES:
            section = getattr(self.recipe, stage).model_dump(
                mode="json",
                # their content counts, not their place
                exclude={"molecule": {"structure", "second_structure", "topology", "files"}},
            )
            before = digests[stage] = fingerprint(before, stage, section)
        return digests

    def _structures(self) -> list[Path]:
        return [self.structure(name) for name in self.recipe.simulate.molecule.structure_files]

    @cached_property
    def trajectories(self) -> dict[str, dict[str, Any]]:
        """What is known of each foreign trajectory file by the name that the recipe gives it; see `recipe.recorded`.

        A run folder goes by its own record. Elsewhere files are digested, unless the run knows them by place, size
        and time of change.
        """
        names, known = self.recipe.simulate.molecule.trajectory_files, recorded(self.path)
        if self.source == self.path and all(name in known for name in names):
            return {name: known[name] for name in names}
        found = {}
        for name in names:
            path = trajectory_path(self.source, name).resolve()
            place = _place(path)
            same = (about for about in known.values() if place.items() <= about.items())
            found[name] = next(same, place | {"sha256": _digest(path)})
        return found

    @property
    def undigested(self) -> int:
        """Bytes of trajectory files that this run does not know."""
        names, known = self.recipe.simulate.molecule.trajectory_files, recorded(self.path)
        if self.source == self.path and all(name in known for name in names):
            return 0
        places = [_place(trajectory_path(self.source, name).resolve()) for name in names]
        return sum(p["bytes"] for p in places if not any(p.items() <= about.items() for about in known.values()))

    def verify_trajectories(self) -> None:
        """Raise StoreError when a trajectory file that this run has written down has gone or changed since."""
        known = recorded(self.path) if self.source == self.path else {}
        for name in self.recipe.simulate.molecule.trajectory_files:
            about = known.get(name)
            if about is None:
                continue
            path = Path(about["path"])
            if not path.is_file():
                raise StoreError(
                    f"The trajectory file {path}, from which the run {self.path} is made, has gone. Put it back, or"
                    " import it from its new place into the same run with the same recipe."
                )
            if _place(path) != {key: about[key] for key in ("path", "bytes", "modified")} and (
                (now := _digest(path)) != about["sha256"]
            ):
                raise StoreError(
                    f"The trajectory file {path} has changed since the run {self.path} began: its SHA-256 was"
                    f" {about['sha256'][:16]}… and is {now[:16]}…. Restore it, or import it into another run."
                )

    def is_current(self, stage: str) -> bool:
        """Whether a stage's outputs are complete and belong to this recipe. Raises StoreError when damaged."""
        return all(_stamp(self.path / name) == self.fingerprints[stage] for name in STAGES[stage][1])

    def claim(self, say: Callable[[str], None] = lambda _: None) -> int:
        """Take the folder for this run alone: make it and lock it; returns the lock's descriptor.

        Raises StoreError when the folder holds something else or another tempica is at work in it.
        """
        self._begin()
        try:
            lock = locks.hold(self.hidden / "lock")
        except StoreError:
            os.close(locks.hold(self.hidden / "lock", shared=True))  # as array tasks do; raises if it is none of them
            raise StoreError(
                f"Array tasks (--replica) are at work in {self.path}. Wait until they have ended."
            ) from None
        self._introduce()
        for lease in (self.lease, *self.hidden.glob("simulate-*/*.lease")):
            locks.renew(lease, say=say)
        return lock

    def join(self) -> int:
        """Take the folder together with other array tasks; returns the shared lock's descriptor. Raises StoreError."""
        self._begin()
        lock = locks.hold(self.hidden / "lock", shared=True)
        turn = locks.hold(self.hidden / "array.lock", patience=60.0)
        try:
            self._introduce()
            if self._outdated():
                raise StoreError(
                    f"The run folder {self.path} is of an earlier version of this recipe, which array tasks leave"
                    " alone. Give --out another folder, or do the stage without --replica."
                )
            self.freeze()
        finally:
            os.close(turn)
        return lock

    @property
    def lease(self) -> Path:
        return self.hidden / "workers.lock"

    def _begin(self) -> None:
        """Make the folder. Raises StoreError when it holds something else."""
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"The output folder {self.path} is a file. Give --out another name.")
        if self.path.is_dir() and self._holds_something():
            try:
                name = json.loads((self.hidden / "run.json").read_text())["name"]
            except (OSError, ValueError, KeyError, TypeError):
                raise StoreError(
                    f"The output folder {self.path} holds something that is no tempica run. Nothing was changed."
                    " Give --out a new or empty folder."
                ) from None
            if name != self.recipe.name:
                raise StoreError(
                    f"The output folder {self.path} holds the run '{name}', and this recipe is '{self.recipe.name}'."
                    " Nothing was changed. Give --out another folder."
                )
        try:
            self.hidden.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"The output folder {self.path} cannot be made: {error}.") from None

    def _introduce(self) -> None:
        """Write down whose folder this is."""
        for pattern in (".tempica/run.json.*.new", "recipe.toml.*.new", "structures/*.new"):
            for leftover in self.path.glob(pattern):  # of a killed run
                leftover.unlink()
        if not (self.hidden / "run.json").exists():
            store.write_json(self.hidden / "run.json", {"name": self.recipe.name, "tempica": __version__})

    def _holds_something(self) -> bool:
        """Whether the folder is more than what a run that was killed at its very start leaves behind."""
        begun = {self.hidden, self.hidden / "lock", self.hidden / "array.lock"}
        begun.update(self.hidden.glob("run.json.*new"))
        return any(path not in begun for path in (*self.path.iterdir(), *self.hidden.glob("*")))

    def freeze(self) -> None:
        """Keep the recipe and its structure files with the run; older ones go to `superseded`.

        Trajectory files, which may be large, stay where they are: their place and digest are written down.
        """
        self.set_aside(self._outdated())
        if not (self.path / "recipe.toml").exists():
            store.write_text(self.path / "recipe.toml", self.recipe_text)
        for path in self._structures():
            kept = self.path / "structures" / path.name
            kept.parent.mkdir(exist_ok=True)
            if not kept.exists():
                shutil.copyfile(path, kept.with_name(path.name + ".new"))
                os.replace(kept.with_name(path.name + ".new"), kept)
        known = recorded(self.path)
        if self.trajectories and known != self.trajectories:
            if {a["sha256"] for a in known.values()} - {a["sha256"] for a in self.trajectories.values()}:
                self.set_aside([RECORD])
            store.write_json(self.path / RECORD, self.trajectories)

    def _outdated(self) -> list[str]:
        """What was kept with the run and is not what this recipe says."""
        frozen = self.path / "recipe.toml"
        found = ["recipe.toml"] if frozen.exists() and frozen.read_text(encoding="utf-8") != self.recipe_text else []
        for path in self._structures():
            kept = self.path / "structures" / path.name
            if kept.exists() and kept.read_bytes() != path.read_bytes():
                found.append(f"structures/{path.name}")
        return found

    def set_aside(self, names: Sequence[str]) -> Path | None:
        """Move outputs of another recipe to `superseded/<n>/`; returns that folder if there were any."""
        there = [name for name in names if (self.path / name).exists()]
        if not there:
            return None
        for name in there:
            (self.shelf / name).parent.mkdir(parents=True, exist_ok=True)
            os.rename(self.path / name, self.shelf / name)
        return self.shelf

    @cached_property
    def shelf(self) -> Path:
        """Where this invocation puts what it must not overwrite."""
        taken = [int(p.name) for p in (self.path / "superseded").glob("*") if p.name.isdigit()]
        return self.path / "superseded" / str(max(taken, default=0) + 1)

    def log(self, **event: object) -> None:
        """Append a line to log.jsonl."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **event})
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def open_run(target: Path, out: Path | None) -> Run:
    """The run that a recipe file or a run folder stands for."""
    if target.is_dir():
        if not (target / ".tempica" / "run.json").exists():
            raise StoreError(f"The folder {target} is no tempica run. Give a recipe (TOML file) or a run folder.")
        if out is not None and out.resolve() != target.resolve():
            raise StoreError(f"--out {out} contradicts the run folder {target}. Leave it out, or give a recipe.")
        recipe, text = load_recipe(target / "recipe.toml")
        return Run(target, recipe, text, target)
    recipe, text = load_recipe(target)
    return Run(out or Path("runs") / recipe.name, recipe, text, target.parent)


def run(
    target: str | Path,
    *,
    out: str | Path | None = None,
    stages: Sequence[str] = tuple(STAGES),
    jobs: int | None = None,
    scheduler: str | None = None,
    replica: int | None = None,
    progress: Progress | None = None,
) -> tuple[Path, list[str]]:
    """Carry out those stages of a recipe, or of a run folder, that are not up to date.

    Tasks go to `jobs` processes of this machine, or to the Dask cluster of a `scheduler` (its address), whose workers
    must see the run folder. With `replica` only that replica is simulated, beside other processes that do others;
    the number n_replicas means the separate ensemble.

    Returns the run folder and the stages that were done. Worker processes are spawned, so a script that calls
    this needs the usual `if __name__ == "__main__":`. Raises TempicaError for every mistake in the input, and its
    child WorkerError when workers are killed.
    """
    work = open_run(Path(target), None if out is None else Path(out))
    progress = progress or Progress()
    if replica is not None:
        return work.path, simulate_replica(work, replica, progress)
    return work.path, execute(work, stages, jobs=jobs or pool.usable_cores(), scheduler=scheduler, progress=progress)


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
    from tempica.importing import complete_recipe

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


def execute(run: Run, stages: Sequence[str], *, jobs: int, scheduler: str | None, progress: Progress) -> list[str]:
    """Carry out those of the given stages that are not up to date; returns the ones that were done."""
    if run.undigested > LARGE:
        progress.say(f"reading {run.undigested / 1e9:.0f} GB of trajectory files for their digest, this once")
    if not run.is_current("simulate"):
        run.verify_trajectories()
        importlib.import_module("tempica.simulate.stage").check(run.recipe, run.source)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(pool.dask_cluster(scheduler)) if scheduler else None
        stack.callback(os.close, run.claim(progress.say))
        current = {stage: run.is_current(stage) for stage in STAGES}  # look at all before anything moves
        names = list(STAGES)
        for earlier in names[: names.index(stages[0])]:
            if not current[earlier]:
                made = STAGES[earlier][1]
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
                _carry_out(run, stage, executor, progress)
        return todo


def simulate_replica(run: Run, replica: int, progress: Progress) -> list[str]:
    """Simulate one replica, or with the number n_replicas the separate ensemble; returns the stages it worked on.

    Any number of such processes may be at work in one folder, each with a replica of its own. None of them seals
    a store or moves anything: a run does that once they have ended.
    """
    importlib.import_module("tempica.simulate.stage").check(run.recipe, run.source)
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
        _make(_work(run, "simulate", (lease, token), executor, progress, replica))
        run.log(stage="simulate", event="replica done", replica=replica)
    return ["simulate"]


def _work(
    run: Run, stage: str, lease: Lease, executor: Executor, progress: Progress, replica: int | None = None
) -> Work:
    """What a stage is handed; workers may stand in another folder, so paths are absolute."""
    digest = run.fingerprints[stage]
    path, folder = run.path.resolve(), run.hidden.resolve() / f"{stage}-{digest}"
    return Work(stage, path, folder, run.recipe, run.recipe_text, digest, executor, progress, lease, replica)


def _make(work: Work) -> None:
    room = STAGES[work.stage][0]
    try:
        importlib.import_module(f"tempica.{room}.stage").run(work)
    except TempicaError:
        raise
    except Exception:
        for kind in store.READS[room]:  # a damaged input explains more than where it was stumbled over
            store.read_all(work.run / f"{kind}.zarr")
        raise


def _carry_out(run: Run, stage: str, executor: Executor, progress: Progress) -> None:
    outputs = STAGES[stage][1]
    digest = run.fingerprints[stage]
    shelf = run.set_aside([name for name in outputs if _stamp(run.path / name) not in (None, digest)])
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
        _make(_work(run, stage, (run.lease.resolve(), token), executor, progress))
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


def _stamp(path: Path) -> str | None:
    """Fingerprint of a completed output; None when it is not there. Raises StoreError when it is damaged."""
    if not path.exists():
        return None
    if path.suffix == ".zarr":
        return str(store.verify(path).get("fingerprint"))
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".json":
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(json.loads(text)["fingerprint"])
    else:
        match = re.search(r'<meta name="tempica-fingerprint" content="(\w+)">', text)
        if match and text.rstrip().endswith("</html>"):
            return match[1]
    raise StoreError(
        f"The file {path} is damaged: it carries no fingerprint. Nothing was changed. Move it away and run again."
    )


def _place(path: Path) -> dict[str, Any]:
    """Where a file is, and what tells quickly whether it is still the same."""
    try:
        about = path.stat()
    except OSError:
        return {"path": str(path), "bytes": 0, "modified": 0}
    return {"path": str(path), "bytes": about.st_size, "modified": about.st_mtime_ns}


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:  # piece by piece: trajectories are large
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "missing"  # the simulate stage's own check reports it

"""The run folder: whose it is, what belongs to which recipe, and who may work in it.

A stage is up to date when its outputs are complete and carry the fingerprint of its part of the recipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tempica._version import __version__
from tempica.errors import StoreError
from tempica.recipe.experiment import Recipe, load_recipe
from tempica.recipe.molecule import TrajectoryRecipe
from tempica.runs import locks
from tempica.runs.foreign import _digest, _place
from tempica.runs.layout import RECORD, fingerprint, recorded, structure_path, trajectory_path
from tempica.runs.stages import STAGES
from tempica.stores import files, schema, store


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
        molecule, particles = self.recipe.simulate.molecule, self.recipe.particles
        moved = [self.foreign[name]["sha256"] for name in molecule.trajectory_files]
        content = [*map(_digest, self._structures()), *moved]
        if isinstance(molecule, TrajectoryRecipe) and particles is None:
            content += self.recipe.splits  # the ensemble is taken from the training replicas
        before = fingerprint(__version__, schema.SCHEMA_VERSION, self.recipe.name, self.recipe.seed, *content)
        for stage in STAGES:
            section = getattr(self.recipe, stage).model_dump(
                mode="json",
                # their content counts, not their place
                exclude={"molecule": {"structure", "second_structure", "topology", "files"}},
            )
            if stage == "render" and particles is not None:
                images = [
                    about["sha256"] for name, about in self.foreign.items() if name not in molecule.trajectory_files
                ]
                section = {"particles": particles.model_dump(mode="json", exclude={"star"}), "images": images}
            before = digests[stage] = fingerprint(before, stage, section)
        return digests

    def outputs(self, stage: str) -> tuple[str, ...]:
        """What a stage makes in this run.

        No trajectory where the images are of another program; true poses only where the movie does not tell them.
        """
        absent = {"trajectory.zarr"} if self.recipe.particles else set()
        if self.recipe.particles or not self.recipe.hides_poses:
            absent.add("poses.zarr")
        return tuple(name for name in STAGES[stage][1] if name not in absent)

    def _structures(self) -> list[Path]:
        return [self.structure(name) for name in self.recipe.simulate.molecule.structure_files]

    @cached_property
    def foreign(self) -> dict[str, dict[str, Any]]:
        """What is known of each file of another program by the name that the recipe gives it; see `recipe.recorded`.

        Image stacks, which a STAR file names, go by their path. A run folder goes by its own record. Elsewhere files
        are digested, unless the run knows them by place, size and time of change.
        """
        known, found = recorded(self.path), {}
        if self._written_down:
            return known
        for name, place in self._foreign_places.items():
            same = (about for about in known.values() if place.items() <= about.items())
            found[name] = next(same, place | {"sha256": _digest(Path(place["path"]))})
        return found

    @property
    def undigested(self) -> int:
        """Bytes of other programs' files that this run does not know."""
        if self._written_down:
            return 0
        known = recorded(self.path).values()
        places = self._foreign_places.values()
        return sum(place["bytes"] for place in places if not any(place.items() <= about.items() for about in known))

    @property
    def _written_down(self) -> bool:
        return self.source == self.path and all(name in recorded(self.path) for name in self.recipe.foreign_files)

    @cached_property
    def _foreign_places(self) -> dict[str, dict[str, Any]]:
        names = self.recipe.foreign_files
        paths = {name: trajectory_path(self.source, name).resolve() for name in names}
        if self.recipe.particles is not None:
            from tempica.exchange.particle_file import read_particles

            stacks = read_particles(paths[self.recipe.particles.star]).stacks
            paths |= {stack: Path(stack).resolve() for stack in stacks}
        return {name: _place(path) for name, path in paths.items()}

    def verify_foreign(self) -> None:
        """Raise StoreError when another program's file that this run has written down has gone or changed since."""
        for about in self.foreign.values() if self._written_down else ():
            path = Path(about["path"])
            if not path.is_file():
                raise StoreError(
                    f"The file {path}, from which the run {self.path} is made, has gone. Put it back, or import it from"
                    " its new place into the same run with the same recipe."
                )
            if _place(path) != {key: about[key] for key in ("path", "bytes", "modified")} and (
                (now := _digest(path)) != about["sha256"]
            ):
                raise StoreError(
                    f"The file {path} has changed since the run {self.path} began: its SHA-256 was"
                    f" {about['sha256'][:16]}… and is {now[:16]}…. Restore it, or import it into another run."
                )

    def is_current(self, stage: str) -> bool:
        """Whether a stage's outputs are complete and belong to this recipe. Raises StoreError when damaged."""
        return all(stamp(self.path / name) == self.fingerprints[stage] for name in self.outputs(stage))

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
            files.write_json(self.hidden / "run.json", {"name": self.recipe.name, "tempica": __version__})

    def _holds_something(self) -> bool:
        """Whether the folder is more than what a run that was killed at its very start leaves behind."""
        begun = {self.hidden, self.hidden / "lock", self.hidden / "array.lock"}
        begun.update(self.hidden.glob("run.json.*new"))
        return any(path not in begun for path in (*self.path.iterdir(), *self.hidden.glob("*")))

    def freeze(self) -> None:
        """Keep the recipe and its structure files with the run; older ones go to `superseded`.

        Files of other programs, which may be large, stay where they are: their place and digest are written down.
        """
        self.set_aside(self._outdated())
        if not (self.path / "recipe.toml").exists():
            files.write_text(self.path / "recipe.toml", self.recipe_text)
        for path in self._structures():
            kept = self.path / "structures" / path.name
            kept.parent.mkdir(exist_ok=True)
            if not kept.exists():
                shutil.copyfile(path, kept.with_name(path.name + ".new"))
                os.replace(kept.with_name(path.name + ".new"), kept)
        known = recorded(self.path)
        if self.foreign and known != self.foreign:
            if {a["sha256"] for a in known.values()} - {a["sha256"] for a in self.foreign.values()}:
                self.set_aside([RECORD])
            files.write_json(self.path / RECORD, self.foreign)

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


def stamp(path: Path) -> str | None:
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

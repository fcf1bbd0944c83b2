"""The run folder: which run it holds, what belongs to which recipe, and who may work in it.

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
from tempica.recipe import shipped
from tempica.recipe.experiment import Recipe, parse_recipe, read_text
from tempica.recipe.molecule import TrajectoryRecipe
from tempica.recipe.setting import set_values
from tempica.runs import locks
from tempica.runs.foreign import ForeignFiles, digest
from tempica.runs.layout import RECORD, fingerprint, recorded, structure_path
from tempica.runs.stages import STAGES
from tempica.stores import files, schema, store
from tempica.stores.scores import SCORES_VERSION

# a change of these alone makes a stage and those after it out of date, and nothing before them
_VERSIONS = {"train": (schema.version_of("sources"),), "evaluate": (SCORES_VERSION,)}


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
        recipe, molecule = self.recipe, self.recipe.simulate.molecule
        content = [digest(path) for path in self._structures()]
        content += [self.foreign.records[name]["sha256"] for name in molecule.trajectory_files]
        if isinstance(molecule, TrajectoryRecipe) and recipe.particles is None:
            content += recipe.splits  # the ensemble is taken from the training replicas
        before = fingerprint(__version__, schema.SCHEMA_VERSION, recipe.name, recipe.seed, *content)
        for stage in STAGES:
            before = digests[stage] = fingerprint(before, stage, self._section(stage), *_VERSIONS.get(stage, ()))
        return digests

    def _section(self, stage: str) -> dict[str, Any]:
        """What a stage's output depends on besides earlier stages; files count by content, not by path."""
        molecule, particles = self.recipe.simulate.molecule, self.recipe.particles
        if stage == "render" and self.recipe.film is not None:
            movie = [self.foreign.records[name]["sha256"] for name in self.recipe.film.files]
            return {"film": self.recipe.film.model_dump(mode="json", exclude={"files"}), "movie": movie}
        if stage == "render" and particles is not None:
            records = self.foreign.records.items()
            images = [about["sha256"] for name, about in records if name not in molecule.trajectory_files]
            return {"particles": particles.model_dump(mode="json", exclude={"star", "folder"}), "images": images}
        return getattr(self.recipe, stage).model_dump(
            mode="json", exclude={"molecule": {"structure", "second_structure", "topology", "files", "map"}}
        )

    def outputs(self, stage: str) -> tuple[str, ...]:
        """The files that a stage makes in this run."""
        return STAGES[stage].outputs(self.recipe)

    def _structures(self) -> list[Path]:
        return [self.structure(name) for name in self.recipe.simulate.molecule.structure_files]

    @cached_property
    def foreign(self) -> ForeignFiles:
        return ForeignFiles(self.path, self.source, self.recipe)

    def is_current(self, stage: str) -> bool:
        """Whether a stage's outputs are complete and belong to this recipe. Raises StoreError when damaged."""
        return all(stamp(self.path / name) == self.fingerprints[stage] for name in self.outputs(stage))

    def claim(self, say: Callable[[str], None] = lambda _: None) -> int:
        """Make the folder and lock it for this run alone; returns the lock's descriptor.

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
        """Lock the folder together with other array tasks; returns the lock's descriptor. Raises StoreError."""
        self._begin()
        lock = locks.hold(self.hidden / "lock", shared=True)
        turn = locks.hold(self.hidden / "array.lock", patience=60.0)
        try:
            self._introduce()
            if self._outdated():
                raise StoreError(
                    f"The run folder {self.path} belongs to an earlier version of this recipe, which array tasks do"
                    " not replace. Give --out another folder, or run the stage without --replica."
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
                    f"The output folder {self.path} holds something else than a tempica run. Nothing was changed."
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
        """Record which run the folder holds."""
        for pattern in (".tempica/run.json.*.new", "recipe.toml.*.new", "structures/*.new"):
            for leftover in self.path.glob(pattern):  # of a killed run
                leftover.unlink()
        if not (self.hidden / "run.json").exists():
            files.write_json(self.hidden / "run.json", {"name": self.recipe.name, "tempica": __version__})

    def _holds_something(self) -> bool:
        """Whether the folder holds more than a run leaves behind that was killed at its very start."""
        begun = {self.hidden, self.hidden / "lock", self.hidden / "array.lock"}
        begun.update(self.hidden.glob("run.json.*new"))
        return any(path not in begun for path in (*self.path.iterdir(), *self.hidden.glob("*")))

    def freeze(self) -> None:
        """Copy the recipe and its structure files into the run; older ones go to `superseded`.

        Files of other programs, which may be large, stay where they are; their path and digest are recorded.
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
        known, records = recorded(self.path), self.foreign.records
        if records and known != records:
            if {about["sha256"] for about in known.values()} - {about["sha256"] for about in records.values()}:
                self.set_aside([RECORD])
            files.write_json(self.path / RECORD, records)

    def _outdated(self) -> list[str]:
        """Copies in the run that differ from this recipe."""
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
        """Where this invocation moves what it must not overwrite."""
        taken = [int(p.name) for p in (self.path / "superseded").glob("*") if p.name.isdigit()]
        return self.path / "superseded" / str(max(taken, default=0) + 1)

    def log(self, **event: object) -> None:
        """Append a line to log.jsonl."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **event})
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def open_run(target: Path, out: Path | None, values: Sequence[str] = ()) -> Run:
    """The run that a recipe file, the name of a recipe that comes with tempica, or a run folder stands for.

    `values` are changed in the recipe first, KEY=VALUE each, and are part of what the run records.
    """
    target = shipped.find(target)
    if target.is_dir():
        if not (target / ".tempica" / "run.json").exists():
            raise StoreError(f"The folder {target} is no tempica run. Give a recipe (TOML file) or a run folder.")
        if out is not None and out.resolve() != target.resolve():
            raise StoreError(f"--out {out} contradicts the run folder {target}. Leave it out, or give a recipe.")
        recipe, text = _changed(target / "recipe.toml", values)
        return Run(target, recipe, text, target)
    recipe, text = _changed(target, values)
    return Run(out or Path("runs") / recipe.name, recipe, text, target.parent)


def _changed(path: Path, values: Sequence[str]) -> tuple[Recipe, str]:
    text = read_text(path)
    if values:
        text = set_values(text, path, values)
    return parse_recipe(text, path), text


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
        f"The file {path} is damaged: it has no fingerprint. Nothing was changed. Move it away and run again."
    )

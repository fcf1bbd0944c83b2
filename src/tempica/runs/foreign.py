"""Files of other programs that a run is made of, which stay where they are: their places and digests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tempica.errors import StoreError
from tempica.recipe.experiment import Recipe
from tempica.runs.layout import recorded, trajectory_path

LARGE = 2 * 10**9  # bytes that take long enough to be announced


@dataclass(frozen=True)
class ForeignFiles:
    """The trajectories, particles and image stacks of other programs that a recipe names."""

    run: Path  # the run folder, which records them
    source: Path  # folder that the recipe's names are relative to; a run that was made is its own source
    recipe: Recipe

    @cached_property
    def records(self) -> dict[str, dict[str, Any]]:
        """What is known of each file by the name that the recipe gives it; see `layout.recorded`.

        Image stacks, which a STAR file names, go by their path. A run folder relies on its own record. Elsewhere files
        are digested, unless the run knows them by place, size and time of change.
        """
        known = recorded(self.run)
        if self.are_recorded:
            return known
        return {name: _known(place, known) or place | {"sha256": digest(place["path"])} for name, place in self._places}

    @property
    def undigested(self) -> int:
        """Bytes of files that this run does not know."""
        if self.are_recorded:
            return 0
        known = recorded(self.run)
        return sum(place["bytes"] for _, place in self._places if _known(place, known) is None)

    @property
    def are_recorded(self) -> bool:
        return self.source == self.run and all(name in recorded(self.run) for name in self.recipe.foreign_files)

    @cached_property
    def _places(self) -> list[tuple[str, dict[str, Any]]]:
        names = self.recipe.foreign_files
        paths = {name: trajectory_path(self.source, name).resolve() for name in names}
        if self.recipe.particles is not None:
            from tempica.exchange.particle_file import read_particles

            stacks = read_particles(paths[self.recipe.particles.star], self.recipe.particles).stacks
            paths |= {stack: Path(stack).resolve() for stack in stacks}
        return [(name, _place(path)) for name, path in paths.items()]

    def verify(self) -> None:
        """Raise StoreError when a file that the run has recorded has gone or changed since."""
        for about in self.records.values() if self.are_recorded else ():
            path = Path(about["path"])
            if not path.is_file():
                raise StoreError(
                    f"The file {path}, from which the run {self.run} is made, has gone. Put it back, or import it from"
                    " its new place into the same run with the same recipe."
                )
            if _place(path) != {key: about[key] for key in ("path", "bytes", "modified")} and (
                (now := digest(path)) != about["sha256"]
            ):
                raise StoreError(
                    f"The file {path} has changed since the run {self.run} began: its SHA-256 was"
                    f" {about['sha256'][:16]}… and is {now[:16]}…. Restore it, or import it into another run."
                )


def digest(path: str | Path) -> str:
    """SHA-256 of a file; "missing" where it cannot be read, which the stage's own check reports."""
    try:
        with Path(path).open("rb") as file:  # in blocks: trajectories are large
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "missing"


def _place(path: Path) -> dict[str, Any]:
    """Where a file is, and what shows without reading it whether it is still the same."""
    try:
        about = path.stat()
    except OSError:
        return {"path": str(path), "bytes": 0, "modified": 0}
    return {"path": str(path), "bytes": about.st_size, "modified": about.st_mtime_ns}


def _known(place: dict[str, Any], records: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The record of the file at that place, if it has not changed."""
    return next((about for about in records.values() if place.items() <= about.items()), None)

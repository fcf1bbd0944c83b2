"""Columns of a STAR file of particles, those of its optics groups dealt out to particles; and where its stacks are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tempica.errors import FormatError
from tempica.exchange.star import Table, read_star

MOST_IMAGES = 2**31 - 1  # of an MRC stack


@dataclass(frozen=True)
class Columns:
    """What a STAR file says of each particle."""

    star: Path
    values: dict[str, np.ndarray]  # label -> (particle,)
    labels: list[str]  # all of the file, read or not
    n: int
    table: str  # the block of the particles
    optics: str  # the block that optics are in: that of the particles in files of RELION 3.0
    assumed: tuple[str, ...]  # what the file does not say and was taken for granted

    def __contains__(self, label: str) -> bool:
        return label in self.values

    def need(self, label: str) -> np.ndarray:
        """A column (particle,). Raises FormatError when the file lacks it."""
        if label not in self.values:
            raise FormatError(
                f"{self.star} lacks the column _{label} in {self.table}. Export it again, with that column."
            )
        return self.values[label]


def read_columns(star: Path, wanted: Mapping[str, type]) -> Columns:
    """Columns of a STAR file of RELION 3.0 (one table), 3.1 or 5. Raises FormatError."""
    blocks = read_star(star, wanted)
    name = next((name for name in ("particles", "", "images") if name in blocks), None)
    if name is None:
        there = ", ".join(f"data_{name}" for name in blocks) or "nothing"
        raise FormatError(f"{star} has no table data_particles; it has {there}. Give the STAR file of the particles.")
    table, optics = blocks[name], blocks.get("optics")
    if table.n_rows == 0:
        raise FormatError(f"The table data_{name} of {star} has no particles.")
    if optics is None:
        return Columns(star, table.columns, table.labels, table.n_rows, f"data_{name}", f"data_{name}", ())
    row, assumed = _groups(star, table, optics, f"data_{name}")
    of_group = {label: column[row] for label, column in optics.columns.items()}
    labels = [*table.labels, *optics.labels]
    return Columns(star, of_group | table.columns, labels, table.n_rows, f"data_{name}", "data_optics", assumed)


def _groups(star: Path, table: Table, optics: Table, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Row of the optics table (particle,), and what was assumed of it."""
    asked = table.columns.get("rlnOpticsGroup")
    if asked is None and optics.n_rows == 1:
        told = f"{star} has no column _rlnOpticsGroup in {name}: all particles are taken to be of its one optics group"
        return np.zeros(table.n_rows, dtype=int), (told,)
    known = optics.columns.get("rlnOpticsGroup")
    if asked is None or known is None:
        raise FormatError(
            f"{star} lacks the column _rlnOpticsGroup in {name if asked is None else 'data_optics'}. Export it again,"
            " with that column."
        )
    if len(np.unique(known)) < len(known):
        raise FormatError(f"The table data_optics of {star} has an rlnOpticsGroup twice.")
    absent = np.setdiff1d(asked, known)
    if len(absent):
        raise FormatError(f"{star} has particles of optics group {absent[0]:g}, which data_optics lacks.")
    order = np.argsort(known)
    return order[np.searchsorted(known[order], asked)], ()


def find_images(columns: Columns, folder: str | None) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Image number from 0 and number of the stack (particle,), paths of the stacks, and what was assumed of them.

    `folder`: where the stacks lie, relative to the STAR file; none: where the file says. Raises FormatError.
    """
    star = columns.star
    number, stack = np.empty(columns.n, np.int64), np.empty(columns.n, np.int64)
    order: dict[str, int] = {}
    for i, name in enumerate(columns.need("rlnImageName").tolist()):
        left, at, path = name.partition("@")
        if not (at and path and left.isascii() and left.isdigit() and 0 < int(left[:20]) <= MOST_IMAGES):
            raise FormatError(
                f"{star}: particle {i + 1} has rlnImageName '{name}'; it must be like 000001@particles.mrcs, counted"
                " from 1."
            )
        number[i], stack[i] = int(left) - 1, order.setdefault(path, len(order))
    paths, moved = _find_all(star, list(order), folder)
    return number, stack, [str(path) for path in paths], moved


def _find_all(star: Path, names: list[str], folder: str | None) -> tuple[list[Path], list[str]]:
    """Paths of the stacks of a STAR file, and a sentence if they are not where it says."""
    found = [_find(star, name, folder) for name in names]
    moved = [i for i, (_, as_said) in enumerate(found) if not as_said]
    by_name = [names[i].rpartition("/")[2] for i in moved]
    twice = next((name for name in by_name if by_name.count(name) > 1), None)
    if twice is not None:
        raise FormatError(
            f"{star} names several stacks that are called {twice}, in different folders, and {found[moved[0]][0]} can"
            " be one of them only. Give particles.folder a folder with the folders of their names in it."
        )
    told = f"{names[moved[0]]} of {star} is taken to be {found[moved[0]][0]}" if moved else ""
    more = f", and {len(moved) - 1} more stacks likewise" if len(moved) > 1 else ""
    return [path for path, _ in found], [told + more] if moved else []


def _find(star: Path, name: str, folder: str | None) -> tuple[Path, bool]:
    """A stack, and whether it is where its name says: relative to the given folder; or else to the STAR file's or, as
    RELION does, to the project's folder above it. A moved one is known by the last part of its name."""
    own = star.resolve().parent
    places = (own, *own.parents) if folder is None else (own / folder,)
    for place in places:
        if (path := place / (name if folder is None else name.lstrip("/"))).is_file():
            return path, True
    last = places[0] / name.rpartition("/")[2]
    if last.is_file():
        return last, False
    where = f"neither in {own} nor in a folder above it" if folder is None else f"not in {own / folder}"
    raise FormatError(
        f"The image stack {name}, which {star} names, is {where}. Put it beside the STAR file, or say in the recipe"
        " where the stacks lie, relative to that file: particles.folder."
    )

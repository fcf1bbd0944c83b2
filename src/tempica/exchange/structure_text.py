"""PDB and mmCIF files as text, prepared so that readers lose no atom and take one conformation of each residue.

Of alternate locations, a residue has the one of the highest mean occupancy, the first of equal ones; readers would take
the first, whatever its occupancy. Serial numbers of six digits, which run into the fields beside them, and those that
are not decimal (hybrid-36) are replaced; readers skip such lines or misread them.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tempica.exchange.plain_paths import ending, plain_file, plain_path
from tempica.exchange.star import split_row

_PDB_ATOM = re.compile(r"ATOM[ \d]|HETATM")
_LONG_SERIAL = re.compile(r"(ATOM|HETATM) *(\d{6,})")
_COORDINATES = re.compile(r"\.\d{3}.{4}\.\d{3}.{4}\.\d{3}")
_X_POINT = 34  # column, from 0, of the decimal point of x in a PDB line
_CIF_KEYS = ("pdbx_PDB_model_num", "label_asym_id", "auth_asym_id", "auth_seq_id", "label_seq_id", "pdbx_PDB_ins_code")


@dataclass(frozen=True)
class StructureText:
    """A structure file ready to be read."""

    path: str  # of the file itself, or of a corrected copy
    n_atoms: int | None  # of its first model, in one conformation; None for other formats
    notes: tuple[str, ...]  # what was corrected, a sentence each


@dataclass(frozen=True)
class _Atom:
    row: int
    residue: tuple[str, ...]
    residue_name: str
    name: str
    alternate: str  # "" where it has one location
    occupancy: float


def tidy(path: Path) -> StructureText:
    """A PDB or mmCIF file, or a corrected copy of it; files of other formats as they are."""
    about = path.stat()
    return _tidy(path.absolute(), about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=8)
def _tidy(path: Path, size: int, modified: int) -> StructureText:
    kind = ending(path).removesuffix(".gz")
    if kind not in (".pdb", ".cif", ".mmcif", ".pdbx"):
        return StructureText(plain_path(path), None, ())
    with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
        lines = file.read().decode("latin-1").split("\n")  # which keeps every byte
    kept, notes = list(lines), []
    if kind == ".pdb" and (renumbered := _renumber(kept)):
        notes.append(
            f"{path.name} has {renumbered} atoms whose serial numbers are not of five digits: they are read, without"
            " the bonds of its CONECT records"
        )
    atoms = _pdb_atoms(kept) if kind == ".pdb" else _cif_atoms(kept)
    dropped, n_alternate = _other_conformations(atoms)
    if n_alternate:
        notes.append(
            f"{n_alternate} residues of {path.name} have alternate locations: of each the one of the highest occupancy"
            " is taken"
        )
    models = {atom.residue[0] for atom in atoms}
    first = atoms[0].residue[0] if models else ""
    n_atoms = sum(atom.residue[0] == first and atom.row not in dropped for atom in atoms) if models else None
    if dropped or kept != lines or path.name.lower().endswith(".gz"):
        text = "\n".join(line for row, line in enumerate(kept) if row not in dropped)
        return StructureText(plain_file(text.encode("latin-1"), kind), n_atoms, tuple(notes))
    return StructureText(plain_path(path), n_atoms, ())


def lost_atoms(text: StructureText, path: Path, n_read: int) -> tuple[str, ...]:
    """Notes on a file of which `n_read` atoms were read: a warning if it has another number."""
    if text.n_atoms in (None, n_read):
        return text.notes
    return (*text.notes, f"warning: {path.name} has {text.n_atoms} atoms, and {n_read} of them are read")


def _renumber(lines: list[str]) -> int:
    """Replace serial numbers that are not of five decimal digits, in place, and remove CONECT records if there are any.

    Returns how many numbers were replaced.
    """
    number, odd = 0, 0
    for row, line in enumerate(lines):
        if line.startswith(("MODEL", "ENDMDL")):
            number = 0
        if not _PDB_ATOM.match(line):
            continue
        number += 1
        shift = 0
        if _LONG_SERIAL.match(line):
            point = _COORDINATES.search(line)
            if point is None:
                continue
            shift = point.start() - _X_POINT
        elif line[6:11].strip().isdecimal():
            continue
        odd += 1
        record = "HETATM" if line.startswith("HETATM") else "ATOM  "
        lines[row] = f"{record}{number % 100_000:5d} {line[12 + shift :]}"
    if odd:
        lines[:] = ["REMARK" if line.startswith("CONECT") else line for line in lines]
    return odd


def _pdb_atoms(lines: list[str]) -> list[_Atom]:
    atoms, model, begun = [], 0, False
    for row, line in enumerate(lines):
        if line.startswith(("ENDMDL", "END")):
            model, begun = model + begun, False
        elif line.startswith(("ATOM  ", "HETATM")) and len(line) > 54:
            begun = True
            residue = (str(model), line[21], line[22:27])
            atoms.append(_Atom(row, residue, line[17:20], line[12:16], line[16].strip(), _number(line[54:60])))
    return atoms


def _cif_atoms(lines: list[str]) -> list[_Atom]:
    atoms: list[_Atom] = []
    columns: list[str] = []
    for row, line in enumerate(lines):
        text = line.strip()
        if text.startswith("_atom_site."):
            columns.append(text.split()[0].removeprefix("_atom_site."))
        elif columns and (not text or text.startswith(("#", "_", "loop_", "data_"))):
            break
        elif columns:
            values = dict(zip(columns, split_row(text), strict=False))
            if len(values) < len(columns):
                return []  # a row that spans several lines: left to the reader
            residue = tuple(values.get(key, "") for key in _CIF_KEYS)
            alternate = values.get("label_alt_id", ".")
            atoms.append(
                _Atom(
                    row,
                    residue,
                    values.get("label_comp_id", ""),
                    values.get("label_atom_id", values.get("auth_atom_id", "")),
                    "" if alternate in (".", "?") else alternate,
                    _number(values.get("occupancy", "")),
                )
            )
    return atoms


def _other_conformations(atoms: Iterable[_Atom]) -> tuple[set[int], int]:
    """Rows of all conformations but the one that is kept, and in how many residues there were others."""
    having = {atom.residue for atom in atoms if atom.alternate}
    residues: dict[tuple[str, ...], list[_Atom]] = {}
    for atom in atoms:
        if atom.residue in having:
            residues.setdefault(atom.residue, []).append(atom)
    dropped: set[int] = set()
    n_residues = 0
    for of_residue in residues.values():
        rows = {atom.row for atom in of_residue} - {atom.row for atom in _one_conformation(of_residue)}
        dropped |= rows
        n_residues += bool(rows)
    return dropped, n_residues


def _one_conformation(atoms: list[_Atom]) -> list[_Atom]:
    """Atoms of a residue in its most occupied conformation; those that lack it in their own most occupied one."""
    occupancy: dict[str, list[float]] = {}
    for atom in atoms:
        if atom.alternate:
            occupancy.setdefault(atom.alternate, []).append(atom.occupancy)
    best = max(occupancy, key=lambda alternate: sum(occupancy[alternate]) / len(occupancy[alternate]))
    residue_name = next(atom.residue_name for atom in atoms if atom.alternate == best)
    found: dict[str, _Atom] = {}
    for atom in atoms:
        if atom.alternate and atom.residue_name != residue_name:
            continue  # of another residue at the same place
        other = found.get(atom.name)
        if other is None or (atom.alternate == best, atom.occupancy) > (other.alternate == best, other.occupancy):
            found[atom.name] = atom
    return list(found.values())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0

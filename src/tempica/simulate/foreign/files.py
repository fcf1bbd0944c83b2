"""Trajectory files of other programs, read a few frames at a time through MDTraj; nm and ps whatever the format.

MDTraj's own `iterload` cuts the topology anew with every chunk and strides differently from format to format, so the
formats' file objects are read directly: a frame is found by its number, and nothing else is held in memory.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from mdtraj.utils import lengths_and_angles_to_box_vectors

from tempica.errors import StructureError
from tempica.exchange.plain_paths import plain_path
from tempica.exchange.structure_text import lost_atoms, tidy

SUFFIXES = (".dcd", ".xtc", ".trr", ".h5", ".hdf5", ".nc", ".ncdf", ".netcdf")
HDF5 = (".h5", ".hdf5")
MOST_OPEN = 4


@dataclass(frozen=True)
class Chunk:
    """Consecutive frames of a file."""

    position: np.ndarray  # (time, atom, space) float32, nm
    time: np.ndarray | None  # (time,) ps; none where the format has none
    box: np.ndarray | None  # (time, vector, space) nm, unit cell vectors; zeros in a frame without, none if all are


def count(path: Path) -> int:
    """Number of frames of a file, without reading them. Raises StructureError."""
    with _readable(path):
        return _count(*_identity(path))


def read(path: Path, frames: np.ndarray, atoms: np.ndarray | None = None) -> Chunk:
    """Frames of the given increasing numbers, of some atoms or all.

    Raises StructureError when the file is damaged there or ends before.
    """
    runs = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
    with _readable(path):
        file = _open(*_identity(path))
        parts = [_READERS[path.suffix.lower()](_sought(file, int(run[0])), len(run), atoms) for run in runs]
    if sum(len(part[0]) for part in parts) != len(frames):
        raise StructureError(
            f"The trajectory file {path} ends before its frame {frames[-1]}: it is truncated{_promised(path)}."
            " Copy it again, or lower simulate.n_frames."
        )
    position, time, box = (
        None if any(part[i] is None for part in parts) else np.concatenate([part[i] for part in parts])
        for i in range(3)
    )
    if box is not None:  # a cell of no volume is how some programs say that there is none
        cell = np.abs(np.linalg.det(box)) > 0
        box = np.where(cell[:, None, None], box, 0) if cell.any() else None
    assert position is not None
    return Chunk(position, time, box)


def topology_of(path: Path) -> mdtraj.Topology:
    """The topology of a structure file, or the one that an HDF5 trajectory carries. Raises StructureError."""
    if not path.is_file():
        raise StructureError(f"The topology file {path} does not exist. Correct `topology` in the recipe.")
    try:
        with _hushed():
            topology, _ = _topology(path, path.stat().st_size, path.stat().st_mtime_ns)
    except StructureError:
        raise
    except Exception as error:  # mdtraj's readers raise whatever the malformed line provokes
        raise StructureError(
            f"The topology file {path} cannot be read ({_told(error, path)}). It must be a PDB, mmCIF, GRO, PSF,"
            " prmtop, MOL2 or HDF5 file whose ending says which."
        ) from None
    if topology is None or topology.n_atoms == 0:
        raise StructureError(f"The topology file {path} holds no atoms. Give the structure the trajectory was made of.")
    return topology


def notes_on_topology(path: Path) -> tuple[str, ...]:
    """What to know of how the topology of a file was read, a sentence each."""
    topology_of(path)
    return _topology(path, path.stat().st_size, path.stat().st_mtime_ns)[1]


def is_hdf5(path: Path) -> bool:
    return path.suffix.lower() in HDF5


def promised(path: Path) -> int | None:
    """Number of frames in the header of a DCD file; none for other formats."""
    if path.suffix.lower() != ".dcd":
        return None
    with path.open("rb") as file:
        head = file.read(12)
    return int(struct.unpack("<i" if head[:4] == b"\x54\0\0\0" else ">i", head[8:12])[0])


def _promised(path: Path) -> str:
    number = promised(path)
    return f"; its header promises {number} frames" if number else ""


def _identity(path: Path) -> tuple[Path, int, int]:
    """Identity of a file: another one may have replaced it under its name."""
    if path.suffix.lower() not in SUFFIXES:
        raise StructureError(
            f"The trajectory file {path} ends in '{path.suffix}'; tempica reads {', '.join(SUFFIXES)}. Convert it,"
            " for example with mdconvert, which comes with MDTraj."
        )
    try:
        about = path.stat()
    except OSError:
        raise StructureError(f"The trajectory file {path} does not exist. Correct `files` in the recipe.") from None
    if about.st_size == 0:
        raise StructureError(f"The trajectory file {path} is empty: it has 0 bytes. Copy it again.")
    return path, about.st_size, about.st_mtime_ns


_held: dict[tuple[Path, int, int], Any] = {}


def _open(path: Path, size: int, modified: int) -> Any:
    """An open file, kept by the process, since XTC and TRR files are scanned for their frames when opened."""
    key = path, size, modified
    if key not in _held:
        while len(_held) >= MOST_OPEN:
            _held.pop(next(iter(_held))).close()
        _held[key] = mdtraj.open(plain_path(path))
    return _held[key]


@cache
def _count(path: Path, size: int, modified: int) -> int:
    return len(_open(path, size, modified))


@lru_cache(maxsize=2)
def _topology(path: Path, size: int, modified: int) -> tuple[mdtraj.Topology, tuple[str, ...]]:
    """A file's topology, and what to know of how it was read."""
    if is_hdf5(path):
        return _open(*_identity(path)).topology, ()
    text = tidy(path)
    topology = mdtraj.load_topology(text.path)
    return topology, lost_atoms(text, path, topology.n_atoms)


@atexit.register
def _close_all() -> None:
    while _held:
        _held.popitem()[1].close()


def _sought(file: Any, frame: int) -> Any:
    file.seek(frame)
    return file


_Read = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


def _dcd(file: Any, n: int, atoms: np.ndarray | None) -> _Read:
    position, length, angle = file.read(n_frames=n, atom_indices=atoms)
    return 0.1 * position, None, _box(length, angle, 0.1)


def _gromacs(file: Any, n: int, atoms: np.ndarray | None) -> _Read:
    found = file.read(n_frames=n, atom_indices=atoms)
    return found[0], found[1], found[3]


def _netcdf(file: Any, n: int, atoms: np.ndarray | None) -> _Read:
    position, time, length, angle = file.read(n_frames=n, atom_indices=atoms)
    return 0.1 * position, time, _box(length, angle, 0.1)


def _hdf5(file: Any, n: int, atoms: np.ndarray | None) -> _Read:
    found = file.read(n_frames=n, atom_indices=atoms)
    return found.coordinates, found.time, _box(found.cell_lengths, found.cell_angles, 1.0)


_READERS: dict[str, Callable[[Any, int, np.ndarray | None], _Read]] = {
    ".dcd": _dcd,
    ".xtc": _gromacs,
    ".trr": _gromacs,
} | {suffix: _hdf5 if suffix in HDF5 else _netcdf for suffix in SUFFIXES[3:]}


def _box(length: np.ndarray | None, angle: np.ndarray | None, scale: float) -> np.ndarray | None:
    if length is None or angle is None:
        return None
    cell = np.asarray(((length > 0) & (angle > 0)).all(1))
    length, angle = np.where(cell[:, None], length, 1.0), np.where(cell[:, None], angle, 90.0)
    box = np.stack(lengths_and_angles_to_box_vectors(*(scale * length).T, *angle.T), axis=1)
    return np.where(cell[:, None, None], box, 0.0)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        with _hushed():
            yield
    except StructureError:
        raise
    except ImportError as error:
        raise StructureError(
            f"Reading {path} needs a package that is not installed ({_told(error, path)}). For HDF5 files:"
            " pip install 'tempica[hdf5]'"
        ) from None
    except Exception as error:  # every format has errors of its own
        raise StructureError(
            f"The trajectory file {path} cannot be read ({_told(error, path)}): it is damaged, truncated, or of another"
            " format than its ending says. Copy or convert it again."
        ) from None


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Silence the C readers; what matters is in their errors."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in kept:
            os.dup2(nowhere, number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on slower readers and missing unit cells
            yield
    finally:
        ctypes.CDLL(None).fflush(None)  # else what C has buffered would be printed later
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)


def _told(error: Exception, path: Path) -> str:
    lines = str(error).replace(plain_path(path), str(path)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__

"""Frames of another program, brought into the form of a simulation of ours.

A block of frames is a pure function of its number and the files, so that reading resumes like integrating.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path

import mdtraj
import numpy as np

from tempica.errors import RecipeError, StructureError
from tempica.recipe.experiment import Recipe
from tempica.recipe.molecule import TrajectoryRecipe
from tempica.recipe.residues import residues, told
from tempica.recipe.simulate import SimulateRecipe
from tempica.runs.layout import structure_path, trajectory_path
from tempica.simulate.beads import scattering_of
from tempica.simulate.coordinates import CollectiveVariable
from tempica.simulate.foreign import files
from tempica.simulate.foreign.checks import check_cells, check_finite, check_molecule, check_times, neighbours
from tempica.simulate.foreign.layout import Piece, frame_interval, layout, library, molecule_of, rounding
from tempica.simulate.foreign.wrapping import bonded_links, make_whole
from tempica.simulate.frames import Frames, superpose_onto
from tempica.simulate.models import declared
from tempica.simulate.structures import Molecule


@dataclass(frozen=True)
class Foreign:
    """The beads of a foreign trajectory and how they are read."""

    molecule: Molecule  # its positions are those of the first frame
    body: np.ndarray  # (body bead,) on which frames are superposed
    variables: tuple[CollectiveVariable, ...]
    atoms: np.ndarray  # (read,) atoms of the files that are read: the beads, and what they hang together by
    beads: np.ndarray  # (atom,) where the beads are among those
    links: np.ndarray  # (link, 2) among those, a placed atom and one to be placed next to it; none without unit cells
    periodic: bool  # whether the first frame has a unit cell; all must be alike

    @cached_property
    def neighbours(self) -> tuple[np.ndarray, np.ndarray]:
        """Neighbouring beads and their distances (nm) in the first frame; see `checks.neighbours`."""
        return neighbours(self.molecule)


def check(recipe: SimulateRecipe, folder: Path, *, library_only: bool = False) -> None:
    """Raise the error of a foreign molecule and its files, if there is one, before anything is written.

    The first and the last frame of each file that are needed are read; damage in between is found when it is reached.
    With `library_only` the frames are an ensemble alone, whatever their replicas and times.
    """
    molecule = molecule_of(recipe)
    for path in (trajectory_path(folder, name) for name in molecule.files):
        files.count(path)
    foreign = build_foreign(recipe, folder)
    topology = files.topology_of(_topology_path(molecule, folder))
    needed: dict[Path, list[int]] = {}
    if library_only:
        pieces = library(recipe, folder)
    else:
        plan = layout(recipe, folder)
        frame_interval(recipe, folder)
        pieces = [piece for r in range(recipe.n_replicas) for piece in plan.pieces(r, 0, recipe.n_frames)]
    for path, frames in pieces:
        needed.setdefault(path, []).extend((int(frames[0]), int(frames[-1])))
    for path, numbers in needed.items():
        _check_atoms(path, _whole_file(path, min(numbers)).position.shape[1], topology)
        _check_frame(foreign, path, max(numbers))


def build_foreign(recipe: SimulateRecipe, folder: Path) -> Foreign:
    """Topology and first frame to beads. Raises StructureError, RecipeError."""
    molecule = molecule_of(recipe)
    path = _topology_path(molecule, folder)
    topology = files.topology_of(path)
    first = trajectory_path(folder, molecule.files[0])
    frame = _whole_file(first, 0)
    _check_atoms(first, frame.position.shape[1], topology)
    chosen = _select(topology, molecule.selection, "selection")
    if len(chosen) < 3:
        raise StructureError(
            f"simulate.molecule.selection = '{molecule.selection}' selects {len(chosen)} of the topology's"
            f" {topology.n_atoms} atoms; a superposition needs at least 3 beads. Select more, as with 'name CA'."
        )
    atoms = np.unique([a.index for i in chosen for a in topology.atom(i).residue.atoms])
    links = np.empty((0, 2), dtype=int)
    if frame.box is not None:
        atoms, links = bonded_links(topology, atoms)
    position = frame.position[0].astype(np.float64)
    position[atoms] = make_whole(position[None, atoms], frame.box, links)[0]
    length, width, made_of, notes = scattering_of(topology, chosen, position)
    beads = Molecule(
        topology=topology.subset(chosen),
        position=position[chosen] - position[chosen].mean(0),
        centre=position[chosen].mean(0),
        residue=np.array([topology.atom(i).residue.resSeq for i in chosen]),
        scattering_length_A=length,
        bead_width=width,
        formula=made_of,
        notes=(*files.notes_on_topology(path), *notes),
    )
    if not len(links):
        atoms = chosen
    where = np.searchsorted(atoms, chosen)
    periodic = frame.box is not None
    plain = Foreign(beads, chosen, (), atoms, where, links, periodic)
    _check_frame(plain, first, 0)
    asked = {number for cv in recipe.collective_variables for text in cv.residues for number in residues(text)}
    _check_numbers(topology, chosen, asked, "collective variables ask")
    return replace(plain, body=_body(molecule, topology, chosen, beads), variables=declared(recipe, beads))


@lru_cache(maxsize=2)
def cached_foreign(recipe_json: str, folder: str) -> Foreign:
    """A foreign molecule, built once per process."""
    return build_foreign(Recipe.model_validate_json(recipe_json).simulate, Path(folder))


def read_block(
    foreign: Foreign, pieces: list[Piece], what: str, first: int, step: float | None, before: list[Piece] | None = None
) -> Frames:
    """Frames of a block: whole, measured, superposed. `step` (ps), if given, is what the files' times must follow.

    So must the time from the frame in `before`, the last of the block before this one, where it is of the same file.

    Energies are NaN: the foreign program's are not known. Raises StructureError for coordinates that are not finite.
    """
    parts, done = [], first
    for path, frames in pieces:
        chunk = files.read(path, frames, foreign.atoms)
        if chunk.time is not None and step is not None:
            number, time = frames, chunk.time.astype(np.float64)
            if before and before[-1][0] == path:
                earlier = before[-1][1][-1:]
                number = np.concatenate([earlier, frames])
                time = np.concatenate([files.read(path, earlier, np.array([0])).time, time])
            check_times(time, number, step, rounding(step, float(np.abs(time).max())), path)
        parts.append(_whole(foreign, chunk, path, frames, partial(_frame_name, what, path, frames, done)))
        done += len(frames)
        before = None
    position = np.concatenate(parts)
    position -= position.mean(1, keepdims=True)  # far from the origin, single precision would lose digits
    nothing = np.full(len(position), np.nan)
    return Frames(
        position=superpose_onto(foreign.molecule.position, foreign.body, position),
        source=np.empty((len(position), 0)),
        collective_variable=np.stack([v.measure(position) for v in foreign.variables], -1),
        potential_energy=nothing,
        kinetic_energy=nothing,
    )


def _whole(
    foreign: Foreign, chunk: files.Chunk, path: Path, frames: np.ndarray, where: Callable[[int], str]
) -> np.ndarray:
    """Beads (time, bead, space) of frames of a file, made whole and checked; `where` names a frame by its row."""
    numbers = foreign.atoms[foreign.beads]
    check_finite(chunk.position[:, foreign.beads], foreign.molecule, numbers, where)
    check_cells(chunk.box, foreign.periodic, path, frames)
    whole = make_whole(chunk.position.astype(np.float64), chunk.box, foreign.links)[:, foreign.beads]
    check_finite(whole, foreign.molecule, numbers, where)  # what it hangs by may not be
    check_molecule(whole, foreign.neighbours, where)
    return whole


def _check_frame(foreign: Foreign, path: Path, number: int) -> None:
    frames = np.array([number])
    _whole(foreign, files.read(path, frames, foreign.atoms), path, frames, lambda row: f"frame {number} of {path}")


def _frame_name(what: str, path: Path, frames: np.ndarray, first: int, row: int) -> str:
    return f"frame {first + row} of {what} ({path}, its frame {frames[row]})"


def _topology_path(molecule: TrajectoryRecipe, folder: Path) -> Path:
    if molecule.topology is None:
        first = trajectory_path(folder, molecule.files[0])
        if not files.is_hdf5(first):
            raise RecipeError(
                f"simulate.molecule.topology is missing, and {first} carries none of its own (HDF5 files do). Name the"
                " structure file that the trajectory was made of; for `tempica import`, with --topology."
            )
        return first
    if molecule.structure_files:
        return structure_path(folder, molecule.topology)
    return trajectory_path(folder, molecule.topology)


def _whole_file(path: Path, frame: int) -> files.Chunk:
    if files.count(path) == 0:
        raise StructureError(f"The trajectory file {path} holds no frames. Copy it again or take it off `files`.")
    return files.read(path, np.array([frame]))


def _check_atoms(path: Path, n_atoms: int, topology: mdtraj.Topology) -> None:
    if n_atoms != topology.n_atoms:
        raise StructureError(
            f"The trajectory file {path} has {n_atoms} atoms a frame and the topology {topology.n_atoms}; they must be"
            " of the same atoms in the same order. Give the topology that the trajectory was written with."
        )


def _check_numbers(topology: mdtraj.Topology, chosen: np.ndarray, asked: set[tuple[str, int]], who: str) -> None:
    owner: dict[tuple[str, int], int] = {}
    for residue in (topology.atom(i).residue for i in chosen):
        for key in {("", residue.resSeq), (residue.chain.chain_id or "", residue.resSeq)} & asked:
            if owner.setdefault(key, residue.index) != residue.index:
                raise StructureError(
                    f"The {who} for residue {told(key)}, which the selection has more than once. Name its chain, as in"
                    " 'A:5', or narrow simulate.molecule.selection to one chain, as with 'name CA and chainid 0'."
                )


def _select(topology: mdtraj.Topology, text: str, field: str) -> np.ndarray:
    try:
        return np.asarray(topology.select(text), dtype=int)
    except Exception as error:  # its parser raises errors of several kinds
        place = re.search(r"\(at char (\d+)\)", str(error))  # what was expected there would fill a page
        what = f"it stops making sense at character {int(place[1]) + 1}" if place else str(error)[:100]
        raise RecipeError(
            f"simulate.molecule.{field} = '{text}' is no selection that MDTraj understands: {what}. Write it as in"
            " 'name CA and chainid 0'."
        ) from None


def _body(recipe: TrajectoryRecipe, topology: mdtraj.Topology, chosen: np.ndarray, beads: Molecule) -> np.ndarray:
    if recipe.body is None:
        return np.arange(len(chosen))
    try:
        numbers = residues(recipe.body)
    except ValueError:
        body = np.flatnonzero(np.isin(chosen, _select(topology, recipe.body, "body")))
    else:
        _check_numbers(topology, chosen, set(numbers), "body asks")
        body = beads.atoms_of(numbers, "simulate.molecule.body")
    if len(body) < 3:
        raise StructureError(
            f"simulate.molecule.body = '{recipe.body}' holds {len(body)} of the selected beads; a superposition"
            " needs 3."
        )
    return body

"""Checks of frames of foreign trajectories: coordinates, times and unit cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tempica.errors import StructureError
from tempica.simulate.structures import Molecule

MOST_NM = 1e4  # from the centroid; chains of a complex that drift apart in a simulation stay far below
NEAR_NM = 0.6  # beads next to each other along a chain; alpha carbons are 0.38 apart
STRETCHED, SCALED = 10.0, 5.0  # of distances between neighbours: one of them, and their median
COINCIDING = 3  # beads in a row at one place, which no rounding explains


def neighbours(molecule: Molecule) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of beads i, i + 1 that are neighbours along a protein chain or within a residue: i (pair,), and their
    distance (pair,) in the first frame, nm."""
    atoms = list(molecule.topology.atoms)
    number = np.array([atom.residue.resSeq for atom in atoms])
    chain = np.array([atom.residue.chain.index for atom in atoms])
    residue = np.array([atom.residue.index for atom in atoms])
    protein = np.array([atom.residue.is_protein for atom in atoms])
    follows = protein[:-1] & protein[1:] & (chain[:-1] == chain[1:]) & (np.diff(number) == 1)
    apart = np.linalg.norm(np.diff(molecule.position, axis=0), axis=-1)
    pair = np.flatnonzero(((np.diff(residue) == 0) | follows) & (apart > 0) & (apart <= NEAR_NM))
    return pair, apart[pair]


def check_finite(position: np.ndarray, molecule: Molecule, numbers: np.ndarray, where: Callable[[int], str]) -> None:
    """Raise StructureError for coordinates (time, bead, space) that are not finite.

    `numbers` (bead,): of the beads' atoms in the files. `where`: name of a frame by its row, for the message.
    """
    bad = np.argwhere(~np.isfinite(position).all(-1))
    if len(bad):
        row, bead = map(int, bad[0])
        raise StructureError(
            f"The coordinates of atom {molecule.topology.atom(bead)} (number {numbers[bead]}) are not finite in"
            f" {where(row)}. Repair the trajectory, or leave that frame or atom out with files, stride or selection."
        )


def check_molecule(position: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], where: Callable[[int], str]) -> None:
    """Raise StructureError for a frame (time, bead, space) that holds no molecule.

    Either consecutive beads are at one place, as in the zeros that a killed or joined run leaves, or the frame has
    blown up: beads are too far from their centroid, or from the `neighbours` along their chain.
    """
    hole = (np.diff(position, axis=1) == 0).all(-1)
    for _ in range(COINCIDING - 2):
        hole = hole[:, 1:] & hole[:, :-1]
    farthest = np.sqrt(np.square(position - position.mean(1, keepdims=True)).sum(-1).max(1))
    first, reference = pairs
    share = np.linalg.norm(position[:, first + 1] - position[:, first], axis=-1) / reference
    share = share if len(first) else np.ones((len(position), 1))
    median = np.median(share, axis=1)
    faults = {
        "beads in a row are all at one place, as where a run was killed or joined": hole.any(1),
        "it has blown up: beads are {farthest:.3g} nm from their centroid": farthest > MOST_NM,
        "neighbours along a chain are {most:.3g} times as far apart as in the first frame, so that it has blown up, or"
        " is broken by a periodic box": share.max(1) > STRETCHED,
        "distances along its chains are {median:.3g} times those of the first frame": (median > SCALED)
        | (median * SCALED < 1),
    }
    for what, bad in faults.items():
        if bad.any():
            row = int(bad.argmax())
            details = what.format(farthest=farthest[row], most=share[row].max(), median=median[row])
            raise StructureError(
                f"There is no molecule in {where(row)}: {details}. Repair the trajectory, or leave that frame out with"
                " files or stride."
            )


def check_cells(box: np.ndarray | None, periodic: bool, path: Path, frames: np.ndarray) -> None:
    """Raise StructureError where a frame has a unit cell and the first has none, or the other way round.

    Without its cell a frame's broken molecules would stay broken, and look like a large motion.
    """
    cell = np.zeros(len(frames), dtype=bool) if box is None else box.any((1, 2))
    odd = np.flatnonzero(cell != periodic)
    if len(odd):
        has, others = ("no", "has one") if periodic else ("a", "has none")
        raise StructureError(
            f"Frame {frames[odd[0]]} of {path} has {has} unit cell, and the first frame of the trajectory {others}."
            " Write the files anew with a cell in every frame, or with molecules made whole and no cell at all."
        )


def check_times(time: np.ndarray, frames: np.ndarray, step: float, most: float, path: Path) -> None:
    """Raise StructureError where frames of a file are not `step` ps apart within `most` ps."""
    apart = np.diff(time)
    wrong = np.flatnonzero(np.abs(apart - step) > most)
    if len(wrong):
        raise StructureError(
            f"Frames {frames[wrong[0]]} and {frames[wrong[0] + 1]} of {path} are {apart[wrong[0]]:g} ps apart,"
            f" and {step:g} ps are expected. Repair the file, or give simulate.molecule.frame_interval to have"
            " its times ignored."
        )

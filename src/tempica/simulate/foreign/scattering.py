"""What the beads of a foreign trajectory scatter: each is an atom that stands for its residue, or for a part of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import mdtraj
import numpy as np

from tempica.imaging import SCATTERING_LENGTH_A, formula, hydrogens_of
from tempica.simulate.beads import ATOM_WIDTH_NM, element, heavy_atoms, incomplete, residue_bead


def scattering(
    topology: mdtraj.Topology, chosen: np.ndarray, position: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Scattering length (Å), width (nm) and formula of each bead, and a warning if residues lack atoms.

    A bead alone in its residue stands for all of it (`residue_bead`); several share its atoms (`_shared`).
    """
    length, width = np.zeros(len(chosen)), np.full(len(chosen), ATOM_WIDTH_NM)
    made_of = [""] * len(chosen)
    of_residue: dict[int, list[int]] = {}
    for bead, atom in enumerate(chosen.tolist()):
        of_residue.setdefault(topology.atom(atom).residue.index, []).append(bead)
    lacking = []
    for index, own in of_residue.items():
        residue = topology.residue(index)
        if len(own) == 1:
            whole = residue_bead(residue, position, "the topology")
            length[own], width[own], made_of[own[0]] = whole.scattering_length, whole.width, whole.formula
            lacking.append((residue, whole.n_missing))
            continue
        for bead, part in zip(own, _shared(residue, chosen[own], position), strict=True):
            length[bead], width[bead], made_of[bead] = part
    return length, width, np.array(made_of), incomplete(lacking, "the topology")


def _shared(
    residue: mdtraj.core.topology.Residue, own: np.ndarray, position: np.ndarray
) -> Iterator[tuple[float, float, str]]:
    """Scattering length, width and formula of several beads of a residue, the atoms `own` of it: each of its atoms
    belongs to the nearest.

    Hydrogens count in the formula alone; a residue without any gets those it lacks, shared among its heavy atoms.
    """
    atoms = heavy_atoms(residue, "the topology", own.tolist())
    where = position[[atom.index for atom in atoms]]
    nearest = np.linalg.norm(where[:, None] - position[own][None], axis=-1).argmin(1)
    hydrogens = [a.index for a in residue.atoms if element(a) in ("H", "D") and a not in atoms]
    carrier = np.linalg.norm(position[hydrogens][:, None] - position[own][None], axis=-1).argmin(1)
    shown = len(hydrogens) + sum(element(a) == "H" for a in atoms)
    lacking = 0.0 if shown else hydrogens_of(residue.name, len(atoms)) / len(atoms)
    for k in range(len(own)):
        symbols = [element(atom) for atom, near in zip(atoms, nearest, strict=True) if near == k]
        part = where[nearest == k]
        spread = np.sqrt(((part - part.mean(0)) ** 2).sum(1).mean() / 3)
        counts = Counter(symbols)
        counts["H"] += (carrier == k).sum() + lacking * (nearest == k).sum()
        yield sum(SCATTERING_LENGTH_A[s] for s in symbols), max(spread, ATOM_WIDTH_NM), formula(counts)

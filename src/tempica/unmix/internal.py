"""Internal coordinates of a molecule: torsions, distances, aligned coordinates, in double precision.

Shape legend: t frame, a atom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mdtraj
import numpy as np

MOST_PAIRS = 1225  # distances: those of 50 residues; of more, every second, third … is taken
APART = 2  # residues along the chain between two atoms of a distance
BACKBONE = "name N or name CA or name O"

Measure = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Coordinates:
    """A kind of internal coordinates: names, and the function from positions (t, a, 3) in nm to values (t, feature)."""

    kind: str
    names: list[str]
    measure: Measure
    atoms: np.ndarray | None = None  # (coordinate, 2 or 4), of distances and torsions


def candidates(topology: mdtraj.Topology, reference: np.ndarray) -> list[Coordinates]:
    """Kinds that a topology allows; `reference` (a, 3) is the structure that others are superposed on."""
    kinds = (torsions(topology), distances(topology), aligned(topology, reference))
    return [each for each in kinds if len(each.names) > 1]


def torsions(topology: mdtraj.Topology) -> Coordinates:
    """Sine and cosine of the backbone's φ and ψ, and of χ₁: periodic angles without a jump."""
    frame = mdtraj.Trajectory(np.zeros((1, topology.n_atoms, 3)), topology)
    found = [
        (name, atoms)
        for name, compute in (("phi", mdtraj.compute_phi), ("psi", mdtraj.compute_psi), ("chi1", mdtraj.compute_chi1))
        for atoms in compute(frame, periodic=False)[0]
    ]
    quads = np.array([atoms for _, atoms in found], dtype=int).reshape(-1, 4)
    told = [f"{name} {topology.atom(int(atoms[1])).residue}" for name, atoms in found]

    def measure(position: np.ndarray) -> np.ndarray:
        angle = dihedral(*(position[:, quads[:, i]] for i in range(4)))
        return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)

    return Coordinates("torsions", [f"sin {name}" for name in told] + [f"cos {name}" for name in told], measure, quads)


def distances(topology: mdtraj.Topology) -> Coordinates:
    """Distances (nm) between backbone atoms two residues apart or more, or in different chains.

    Of nitrogen, alpha carbon and oxygen in peptides, of one atom a residue in proteins.
    """
    atoms, step = topology.select(BACKBONE), 1
    if not 1 < len(_pairs(topology, atoms)) <= MOST_PAIRS:
        atoms = representatives(topology)
    while len(pairs := _pairs(topology, atoms[::step])) > MOST_PAIRS:
        step += 1

    def measure(position: np.ndarray) -> np.ndarray:
        return np.linalg.norm(position[:, pairs[:, 0]] - position[:, pairs[:, 1]], axis=-1)

    names = [f"{topology.atom(a)}–{topology.atom(b)}" for a, b in pairs.tolist()]
    return Coordinates("distances", names, measure, pairs)


def aligned(topology: mdtraj.Topology, reference: np.ndarray) -> Coordinates:
    """Cartesian coordinates (nm) of one atom a residue, superposed on a reference."""
    atoms = representatives(topology)

    def measure(position: np.ndarray) -> np.ndarray:
        return superposed(position[:, atoms], reference[atoms]).reshape(len(position), -1)

    names = [f"{topology.atom(a).residue} {axis}" for a in atoms.tolist() for axis in "xyz"]
    return Coordinates("aligned coordinates", names if len(atoms) > 3 else [], measure)


def representatives(topology: mdtraj.Topology) -> np.ndarray:
    """One atom a residue: alpha carbons and phosphorus atoms, or the first atoms where a molecule has neither."""
    found = topology.select("name CA or name P")
    return found if len(found) > 1 else np.array([next(r.atoms).index for r in topology.residues if r.n_atoms])


def _pairs(topology: mdtraj.Topology, atoms: np.ndarray) -> np.ndarray:
    i, j = np.triu_indices(len(atoms), 1)
    residue = np.array([topology.atom(a).residue.index for a in atoms.tolist()])
    chain = np.array([topology.atom(a).residue.chain.index for a in atoms.tolist()])
    far = (np.abs(residue[i] - residue[j]) >= APART) | (chain[i] != chain[j])
    return np.stack([atoms[i[far]], atoms[j[far]]], axis=1).reshape(-1, 2)


def dihedral(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Dihedral angle (rad) of four points (…, 3) about the axis from b to c, positive clockwise looking along it."""
    axis = c - b
    left, right = np.cross(b - a, axis), np.cross(axis, d - c)
    across = np.linalg.norm(axis, axis=-1) * np.einsum("...i,...i->...", b - a, right)
    return np.arctan2(across, np.einsum("...i,...i->...", left, right))


def superposed(position: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Positions (t, a, 3) about their centroid, turned onto a reference (a, 3) by least squares (Kabsch 1976)."""
    return (position - position.mean(1, keepdims=True)) @ turns_onto(position, reference)


def turns_onto(position: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Rotations R (t, 3, 3) for which centred positions x (t, a, 3), as x R, are nearest to a reference (a, 3)."""
    centred = position - position.mean(1, keepdims=True)
    left, _, right = np.linalg.svd(np.einsum("tai,aj->tij", centred, reference - reference.mean(0)))
    right[:, -1] *= np.sign(np.linalg.det(left @ right))[:, None]  # no mirror images
    return left @ right

"""Structure files to coarse-grained molecules: one bead per residue, at its Cα atom."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np

from tempica.errors import StructureError
from tempica.imaging import SCATTERING_LENGTH_A
from tempica.recipe_base import spans


@dataclass(frozen=True)
class Molecule:
    """Beads of a protein; positions in nm, centred on their centroid.

    `scattering_length` (Å) is the electron scattering amplitude F(0) of the residue's heavy atoms;
    `bead_width` (nm) is their root-mean-square spread per axis about their centroid, Rg/√3.
    """

    topology: mdtraj.Topology
    position: np.ndarray  # (atom, space)
    residue: np.ndarray  # (atom,) residue numbers of the file
    scattering_length: np.ndarray  # (atom,)
    bead_width: np.ndarray  # (atom,)

    def atoms_of(self, numbers: tuple[int, ...], what: str) -> np.ndarray:
        """Bead indices of residue numbers. Raises StructureError when the structure lacks one of them."""
        missing = sorted(set(numbers) - set(self.residue.tolist()))
        if missing:
            raise StructureError(
                f"{what} asks for residues {spans(missing)}, but the structure has residues"
                f" {self.residue.min()} to {self.residue.max()}"
                f" ({len(self.residue)} with a bead). Correct the residue range in the recipe."
            )
        return np.flatnonzero(np.isin(self.residue, numbers))


def load_molecule(path: Path) -> Molecule:
    """Read a PDB or mmCIF file into beads.

    Raises StructureError when the file is missing, malformed, has no Cα atoms, holds two residues of the
    same number, or has positions that are not finite.
    """
    if not path.is_file():
        raise StructureError(f"The structure file {path} does not exist. Correct `structure` in the recipe.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on remarks and records that do not concern us
            model = mdtraj.load(str(path))
    except Exception as error:  # mdtraj's readers raise whatever the malformed line provokes
        raise StructureError(
            f"The structure file {path} cannot be read ({type(error).__name__}: {error})."
            " It must be a PDB or mmCIF file."
        ) from error
    xyz = model.xyz[0].astype(np.float64)
    alpha = [atom for atom in model.topology.atoms if atom.name == "CA" and symbol(atom) == "C"]
    if len(alpha) < 4:
        raise StructureError(
            f"The structure file {path} has {len(alpha)} Cα atoms among {model.n_atoms} atoms; a Cα network needs at"
            " least 4. Give a protein structure with its backbone."
        )
    if not np.isfinite(xyz).all():
        raise StructureError(f"The structure file {path} holds coordinates that are not finite numbers.")
    numbers = np.array([atom.residue.resSeq for atom in alpha])
    values, counts = np.unique(numbers, return_counts=True)
    if (counts > 1).any():
        raise StructureError(
            f"The structure file {path} has residue number {values[counts > 1][0]} more than once;"
            " residue ranges would be ambiguous. Keep one chain and one conformation per residue."
        )
    length, width = zip(*(_residue_scattering(atom.residue, xyz, path) for atom in alpha), strict=True)
    position = xyz[[atom.index for atom in alpha]]
    return Molecule(
        topology=model.topology.subset([atom.index for atom in alpha]),
        position=position - position.mean(0),
        residue=numbers,
        scattering_length=np.array(length),
        bead_width=np.array(width),
    )


def matching(first: Molecule, second: Molecule, path: Path) -> Molecule:
    """The second form of a molecule, whose beads must be those of the first.

    Raises StructureError when the two forms do not have the same residues in the same order.
    """
    if first.residue.tolist() != second.residue.tolist():
        odd = sorted(set(first.residue.tolist()) ^ set(second.residue.tolist()))
        raise StructureError(
            f"The second structure {path} must have the residues of the first, in the same order; they differ"
            f" {f'at residue {odd[0]}' if odd else 'in order'}."
        )
    return second


def topology_json(topology: mdtraj.Topology) -> str:
    """A topology in the JSON layout of MDTraj's HDF5 format."""
    chains = [
        {
            "index": chain.index,
            "residues": [
                {
                    "index": residue.index,
                    "name": residue.name,
                    "resSeq": residue.resSeq,
                    "segmentID": residue.segment_id,
                    "atoms": [
                        {"index": atom.index, "name": atom.name, "element": symbol(atom)} for atom in residue.atoms
                    ],
                }
                for residue in chain.residues
            ],
        }
        for chain in topology.chains
    ]
    bonds = [[a.index, b.index] for a, b in topology.bonds]
    return json.dumps({"chains": chains, "bonds": bonds})


def symbol(atom: mdtraj.core.topology.Atom) -> str:
    """Chemical symbol of an atom; empty where the file does not tell."""
    return atom.element.symbol if atom.element is not None else ""


def _residue_scattering(residue: mdtraj.core.topology.Residue, xyz: np.ndarray, path: Path) -> tuple[float, float]:
    heavy = [atom for atom in residue.atoms if symbol(atom) not in ("H", "D")]
    unknown = [atom for atom in heavy if symbol(atom) not in SCATTERING_LENGTH_A]
    if unknown:
        raise StructureError(
            f"Atom {unknown[0]} of {path} has the element '{symbol(unknown[0])}'; known are"
            f" {', '.join(SCATTERING_LENGTH_A)}. Rename it or take it out of the structure."
        )
    where = xyz[[atom.index for atom in heavy]]
    length = sum(SCATTERING_LENGTH_A[symbol(atom)] for atom in heavy)
    return length, float(np.sqrt(((where - where.mean(0)) ** 2).sum(1).mean() / 3))

"""Structure files to molecules: coarse-grained, one bead per residue at its Cα atom, or of all their atoms."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import mdtraj
import numpy as np

from tempica.errors import StructureError
from tempica.exchange.plain_paths import ending
from tempica.exchange.structure_text import lost_atoms, tidy
from tempica.recipe.residues import spans, told
from tempica.simulate.beads import element, incomplete, residue_bead, symbol

SUFFIXES = tuple(f".{kind}{zipped}" for kind in ("pdb", "ent", "cif", "mmcif", "pdbx") for zipped in ("", ".gz"))


@dataclass(frozen=True)
class Molecule:
    """Beads of a protein, or its atoms; positions in nm, centred on their centroid.

    `scattering_length_A` (Å) is the electron scattering amplitude F(0) of the residue's heavy atoms;
    `bead_width` (nm) is their root-mean-square spread per axis about their centroid, Rg/√3; `formula` counts the
    residue's atoms, hydrogens included. `notes` are what a user should know of the file, a sentence each.
    """

    topology: mdtraj.Topology
    position: np.ndarray  # (atom, space)
    residue: np.ndarray  # (atom,) residue numbers of the file
    scattering_length_A: np.ndarray  # (atom,)
    bead_width: np.ndarray  # (atom,)
    formula: np.ndarray  # (atom,) such as "C3H5NO"
    centre: np.ndarray | None = None  # (space,) nm, of the centroid in the file; none of a molecule without a file
    notes: tuple[str, ...] = ()

    @cached_property
    def chain(self) -> np.ndarray:
        """Chain (atom,) of the file, "" where it has none."""
        return np.array([atom.residue.chain.chain_id or "" for atom in self.topology.atoms])

    def part(self, atoms: np.ndarray) -> Molecule:
        """A part of it, its atoms at the same positions."""
        return Molecule(
            self.topology.subset(atoms),
            self.position[atoms],
            self.residue[atoms],
            self.scattering_length_A[atoms],
            self.bead_width[atoms],
            self.formula[atoms],
            self.centre,
            self.notes,
        )

    def _in_gaps(self, chain: str, numbers: list[int]) -> bool:
        """Whether residues that are absent all lie between the first and the last of a chain."""
        there = self.residue[self.chain == chain] if chain else self.residue
        return len(there) > 0 and there.min() < min(numbers) and max(numbers) < there.max()

    def atoms_of(self, wanted: tuple[tuple[str, int], ...], what: str, names: str = "") -> np.ndarray:
        """Indices of beads of residues (chain, number), of atoms called `names` alone ("C, CA") where they are given.

        The chain may be "" where a number belongs to one chain only. Residues that a model lacks within its chain, in a
        loop that was not seen, are passed over. Raises StructureError when the structure lacks all of them, or one
        before its first or after its last residue, or has one twice.
        """
        chosen = np.zeros(len(self.residue), dtype=bool)
        missing: dict[str, list[int]] = {}
        for chain, number in wanted:
            here = (self.residue == number) & ((self.chain == chain) if chain else True)
            if not here.any():
                missing.setdefault(chain, []).append(number)
            elif len(chains := np.unique(self.chain[here])) > 1:
                raise StructureError(
                    f"{what} asks for residue {number}, which chains {', '.join(chains)} have."
                    f" Write {chains[0]}:{number}."
                )
            chosen |= here
        gaps = {chain: self._in_gaps(chain, numbers) for chain, numbers in missing.items()}
        if missing and not (chosen.any() and all(gaps.values())):
            chain, numbers = next(iter(missing.items()))
            which = f" of chain {chain}" if chain else ""
            there = self.residue[self.chain == chain] if (self.chain == chain).any() and chain else self.residue
            known = "" if not chain or (self.chain == chain).any() else f" (chains {', '.join(np.unique(self.chain))})"
            raise StructureError(
                f"{what} asks for residues {spans(numbers)}{which}, but the structure{known} has residues"
                f" {there.min()} to {there.max()} ({len(np.unique(there))} in all). Correct the residue range in the"
                " recipe."
            )
        if names:
            asked = [name.strip() for name in names.split(",")]
            called = np.array([atom.name for atom in self.topology.atoms])
            absent = [name for name in asked if not (chosen & (called == name)).any()]
            if absent:
                raise StructureError(
                    f"{what} asks for atom {absent[0]}, but its residues have atoms"
                    f" {', '.join(dict.fromkeys(called[chosen]))}."
                )
            chosen &= np.isin(called, asked)
        return np.flatnonzero(chosen)


def load_molecule(path: Path) -> Molecule:
    """Read a PDB or mmCIF file into beads, one a residue with a Cα atom.

    Raises StructureError when the file is missing, malformed, has no Cα atoms, holds two residues of the
    same number, or has positions that are not finite or the same for neighbours.
    """
    model, notes = read_structure(path)
    xyz = model.xyz[0].astype(np.float64)
    alpha = [atom for atom in model.topology.atoms if atom.name == "CA" and element(atom) == "C"]
    if len(alpha) < 4:
        raise StructureError(
            f"The structure file {path} has {len(alpha)} Cα atoms among {model.n_atoms} atoms; a Cα network needs at"
            " least 4. Give a protein structure with its backbone."
        )
    numbers = np.array([atom.residue.resSeq for atom in alpha])
    _once([atom.residue for atom in alpha], path)
    beads = [residue_bead(atom.residue, xyz, str(path)) for atom in alpha]
    position = xyz[[atom.index for atom in alpha]]
    same = np.flatnonzero((np.diff(position, axis=0) == 0).all(-1))
    if len(same):
        raise StructureError(
            f"The structure file {path} has {alpha[same[0]]} and {alpha[same[0] + 1]} at one place: these coordinates"
            " are placeholders. Give a structure in which every residue has its own."
        )
    return Molecule(
        topology=model.topology.subset([atom.index for atom in alpha]),
        position=position - position.mean(0),
        residue=numbers,
        scattering_length_A=np.array([bead.scattering_length_A for bead in beads]),
        bead_width=np.array([bead.width for bead in beads]),
        formula=np.array([bead.formula for bead in beads]),
        centre=position.mean(0),
        notes=notes
        + incomplete(((atom.residue, bead.n_missing) for atom, bead in zip(alpha, beads, strict=True)), path.name),
    )


def read_structure(path: Path) -> tuple[mdtraj.Trajectory, tuple[str, ...]]:
    """A structure file in one conformation (`structure_text.tidy`), and what to know of how it was read.

    Raises StructureError when it is missing, malformed, or not finite.
    """
    if not path.is_file():
        fault = "is a folder" if path.is_dir() else "does not exist"
        raise StructureError(f"The structure file {path} {fault}. Correct `structure` in the recipe.")
    if path.stat().st_size == 0:
        raise StructureError(f"The structure file {path} is empty: it has 0 bytes. Copy it again.")
    if not path.name.lower().endswith(SUFFIXES):
        raise StructureError(
            f"The structure file {path} must have a name that ends in one of {', '.join(SUFFIXES)}: the ending says how"
            " to read it."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about remarks and records that are not used
            text = tidy(path)
            model = mdtraj.load(text.path)
    except Exception as error:  # mdtraj's readers raise whatever the malformed line provokes
        raise StructureError(
            f"The structure file {path} cannot be read ({type(error).__name__}: {error}): it is damaged, or no"
            f" {'PDB' if ending(path).startswith('.pdb') else 'mmCIF'} file. Copy or convert it again."
        ) from error
    if not np.isfinite(model.xyz[0]).all():
        raise StructureError(f"The structure file {path} holds coordinates that are not finite numbers.")
    return model, lost_atoms(text, path, model.n_atoms)


def _once(residues: list[mdtraj.core.topology.Residue], path: Path) -> None:
    """Raise StructureError when a chain has a residue number twice."""
    keys = [(residue.chain.chain_id or "", residue.resSeq) for residue in residues]
    twice = next((key for key, number in Counter(keys).items() if number > 1), None)
    if twice is not None:
        raise StructureError(
            f"The structure file {path} has residue number {told(twice)} more than once; residue ranges would be"
            " ambiguous. Keep one conformation per residue, number inserted residues anew, and give chains names."
        )


def matching(first: Molecule, second: Molecule, path: Path) -> Molecule:
    """The second form of a molecule, whose beads must be those of the first.

    Raises StructureError when the two forms do not have the same residues in the same order.
    """
    one, other = (list(zip(m.chain.tolist(), m.residue.tolist(), strict=True)) for m in (first, second))
    if len(set(first.chain)) == len(set(second.chain)) == 1:  # whatever the chain's name
        one, other = ([("", number) for number in m.residue.tolist()] for m in (first, second))
    if one != other:
        odd = sorted(set(one) ^ set(other))
        raise StructureError(
            f"The second structure {path} must have the residues of the first, in the same order; they differ"
            f" {f'at residue {told(odd[0])}' if odd else 'in order'}."
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

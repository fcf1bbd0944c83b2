"""Protein chains of structure files, and the one of them that is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np

from tempica.errors import StructureError
from tempica.recipe.residues import spans
from tempica.simulate.beads import element
from tempica.simulate.structures import read_structure

LEAST = 10  # residues of a protein of which hinges are proposed
_SEGMENT = 4  # shorter pieces of a chain are ligands that are amino acids
_NUCLEIC = {"A", "C", "G", "U", "I", "DA", "DC", "DG", "DT", "DU", "DI", "ADE", "CYT", "GUA", "THY", "URA"}
_MOST_NUMBER = 9999  # that a PDB file can hold


@dataclass(frozen=True)
class Chain:
    """The protein residues of a chain, each with a Cα atom."""

    path: Path
    name: str  # "" where the file names none
    model: mdtraj.Trajectory  # of the whole file
    atoms: tuple[np.ndarray, ...]  # (residue,) of each residue, its atoms in the file
    alpha: np.ndarray  # (residue,) the Cα atom in the file
    numbers: tuple[int, ...]  # (residue,) as they will be written
    names: tuple[str, ...]  # (residue,)
    renumbered: bool  # whether numbers are new

    def __len__(self) -> int:
        return len(self.alpha)

    @property
    def position(self) -> np.ndarray:
        """Cα atoms (residue, space), nm."""
        return self.model.xyz[0, self.alpha].astype(float)

    @property
    def told(self) -> str:
        """What it is called."""
        return f"chain {self.name} of {self.path.name}" if self.name else f"the protein of {self.path.name}"


def chains_of(path: Path, tell: Callable[[str], None]) -> list[Chain]:
    """The protein chains of a file, in its order. Raises StructureError when there are none."""
    model, notes = read_structure(path)
    for note in notes:
        tell(note.removeprefix("warning: "))
    residues: dict[str, list[mdtraj.core.topology.Residue]] = {}
    for chain in model.topology.chains:
        found = [residue for residue in chain.residues if _alpha(residue) is not None and _is_protein(residue)]
        if len(found) >= _SEGMENT:
            residues.setdefault((chain.chain_id or "").strip(), []).extend(found)
    chains = [_chain(path, name, model, found) for name, found in residues.items()]
    if not chains:
        raise StructureError(_no_protein(path, model.topology))
    return chains


def choose(chains: Sequence[Chain], asked: str | None, tell: Callable[[str], None]) -> Chain:
    """The chain asked for, or the longest. Raises StructureError when there is none such, or it is too short."""
    path = chains[0].path
    listed = ", ".join(f"{chain.name or 'without a name'} ({len(chain)} residues)" for chain in chains)
    if asked is not None:
        found = next((chain for chain in chains if chain.name == asked), None)
        if found is None:
            raise StructureError(f"--chain {asked}: {path} has the protein chains {listed}. Give one of them.")
    else:
        found = max(chains, key=len)
        if len(chains) > 1:
            tell(
                f"{path.name} has the protein chains {listed}: {found.name or 'that without a name'}, the longest, is"
                " taken; another with --chain NAME"
            )
            others = [chain for chain in chains if chain is not found and _alike(chain, found)]
            if others:
                tell(
                    f"chains {found.name} and {others[0].name} are copies of one protein; to take them as its two"
                    f" forms: --chain {found.name} --chain {others[0].name}"
                )
    if len(found) < LEAST:
        raise StructureError(
            f"{found.told[:1].upper()}{found.told[1:]} has {len(found)} residues, too few to find domains in: {LEAST}"
            " are needed. For peptides there is a recipe of all atoms: tempica new --example alanine_dipeptide"
        )
    if found.renumbered:
        tell(
            f"residues of {found.told} do not have numbers of their own (insertion codes, or beyond {_MOST_NUMBER}):"
            f" they are numbered anew, 1 to {len(found)}"
        )
    if missing := _missing(found):
        tell(f"{found.told} lacks residues {missing}; domains and variables do without them")
    return found


def _alike(one: Chain, other: Chain) -> bool:
    """Whether two chains are copies: the same names at nearly all numbers that both have."""
    names = dict(zip(other.numbers, other.names, strict=True))
    common = [(name, names[number]) for number, name in zip(one.numbers, one.names, strict=True) if number in names]
    return len(common) >= LEAST and sum(a == b for a, b in common) >= 0.9 * len(common)


def _chain(path: Path, name: str, model: mdtraj.Trajectory, residues: list[mdtraj.core.topology.Residue]) -> Chain:
    numbers = tuple(residue.resSeq for residue in residues)
    odd = len(set(numbers)) < len(numbers) or list(numbers) != sorted(numbers)
    odd |= min(numbers) < -999 or max(numbers) > _MOST_NUMBER
    alpha = [_alpha(residue) for residue in residues]
    return Chain(
        path,
        name,
        model,
        tuple(np.array([atom.index for atom in residue.atoms]) for residue in residues),
        np.array([atom.index for atom in alpha if atom is not None]),
        tuple(range(1, len(numbers) + 1)) if odd else numbers,
        tuple(residue.name for residue in residues),
        odd,
    )


def _alpha(residue: mdtraj.core.topology.Residue) -> mdtraj.core.topology.Atom | None:
    return next((atom for atom in residue.atoms if atom.name == "CA" and element(atom) == "C"), None)


def _is_protein(residue: mdtraj.core.topology.Residue) -> bool:
    return residue.is_protein or {"N", "CA", "C"} <= {atom.name for atom in residue.atoms}


def _missing(chain: Chain) -> str:
    there = set(chain.numbers)
    absent = set(range(min(there), max(there) + 1)) - there
    return spans(absent) if absent else ""


def _no_protein(path: Path, topology: mdtraj.Topology) -> str:
    kinds = {
        "protein": sum(residue.is_protein for residue in topology.residues),
        "nucleic acid": sum(residue.name.strip() in _NUCLEIC for residue in topology.residues),
        "water": sum(residue.is_water for residue in topology.residues),
    }
    kinds["other"] = topology.n_residues - sum(kinds.values())
    found = ", ".join(
        f"{number} {kind} residue{'' if number == 1 else 's'}" for kind, number in kinds.items() if number
    )
    return (
        f"The structure file {path} has no protein chain of {_SEGMENT} residues or more, each with its Cα atom; it has"
        f" {found or 'no atoms'}. Give a structure of a protein"
    )

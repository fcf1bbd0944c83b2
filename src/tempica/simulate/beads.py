"""Beads that stand for whole residues: what a residue is made of, whatever a file shows of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import mdtraj
import numpy as np

from tempica.errors import StructureError
from tempica.imaging import AVERAGE_RESIDUE, RESIDUES, SCATTERING_LENGTH_A, composition, formula, hydrogens_of

BEAD_WIDTH_NM = 0.2  # spread of the average residue's heavy atoms about their centre
CARBON_WIDTH_NM = 0.046  # √(B/8π²) of carbon, B = Σab/Σa of its electron scattering factor (Peng 1996) at rest


@dataclass(frozen=True)
class Bead:
    """A whole residue as one scatterer."""

    scattering_length_A: float  # of its heavy atoms
    width: float  # nm, root-mean-square spread of its heavy atoms per axis about their centroid
    formula: str  # hydrogens included
    n_missing: float  # heavy atoms that the residue has by its name and the file does not show


def residue_bead(residue: mdtraj.core.topology.Residue, position: np.ndarray, source: str) -> Bead:
    """The bead of a residue, by its name and its atoms at `position` (atom of the file, space), nm.

    Of each element it holds what the file shows, at least what a residue of its name has within a chain: a Cα atom
    alone scatters as its whole residue, as the average one where the name is not known. Hydrogens count in the formula
    alone; a residue without any, or with heavy atoms missing, gets those that its name tells. Where atoms are missing
    the bead is at least as wide as the average residue. Raises StructureError for an element without scattering.
    """
    heavy = heavy_atoms(residue, source)
    if not heavy:
        raise StructureError(f"Residue {residue} of {source} has no heavy atoms, and cannot be a bead. Leave it out.")
    shown = Counter(element(atom) for atom in heavy)
    if residue.name in RESIDUES:
        whole: dict[str, float] = composition(RESIDUES[residue.name])
    else:
        whole = AVERAGE_RESIDUE if [atom.name for atom in heavy] == ["CA"] else {}
    missing = {e: n - shown[e] for e, n in whole.items() if e != "H" and n > shown[e]}
    counts = dict(shown) | {e: whole[e] for e in missing}
    n_hydrogens: float = residue.n_atoms - len(heavy)
    if missing:
        n_hydrogens = max(n_hydrogens, whole["H"])
    elif not n_hydrogens:
        n_hydrogens = hydrogens_of(residue.name, len(heavy))
    length = sum(SCATTERING_LENGTH_A[element(atom)] for atom in heavy)
    if missing:
        length = sum(n * SCATTERING_LENGTH_A[e] for e, n in counts.items())
    where = position[[atom.index for atom in heavy]]
    spread = float(np.sqrt(((where - where.mean(0)) ** 2).sum(1).mean() / 3))
    return Bead(
        scattering_length_A=length,
        width=max(spread, BEAD_WIDTH_NM if missing else CARBON_WIDTH_NM),
        formula=formula(counts | {"H": n_hydrogens}),
        n_missing=sum(missing.values()),
    )


def scattering_of(
    topology: mdtraj.Topology, chosen: np.ndarray, position: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Scattering length (Å), width (nm) and formula of each bead, and a warning if residues lack atoms.

    A bead alone in its residue stands for all of it (`residue_bead`); several share its atoms (`_shared`).
    """
    length, width = np.zeros(len(chosen)), np.full(len(chosen), CARBON_WIDTH_NM)
    made_of = [""] * len(chosen)
    of_residue: dict[int, list[int]] = {}
    for bead, atom in enumerate(chosen.tolist()):
        of_residue.setdefault(topology.atom(atom).residue.index, []).append(bead)
    lacking = []
    for index, own in of_residue.items():
        residue = topology.residue(index)
        if len(own) == 1:
            whole = residue_bead(residue, position, "the topology")
            length[own], width[own], made_of[own[0]] = whole.scattering_length_A, whole.width, whole.formula
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
        yield sum(SCATTERING_LENGTH_A[s] for s in symbols), max(spread, CARBON_WIDTH_NM), formula(counts)


def heavy_atoms(
    residue: mdtraj.core.topology.Residue, source: str, beads: Sequence[int] = ()
) -> list[mdtraj.core.topology.Atom]:
    """Atoms of a residue but hydrogens and virtual sites, which count where they are among `beads` (atom numbers).

    Raises StructureError for an element without scattering.
    """
    heavy = [atom for atom in residue.atoms if element(atom) not in ("H", "D", "VS") or atom.index in beads]
    unknown = next((atom for atom in heavy if element(atom) not in SCATTERING_LENGTH_A), None)
    if unknown is not None:
        raise StructureError(
            f"Atom {unknown} of {source} has the element '{element(unknown)}'; known are H to Cf. Correct its symbol,"
            " or leave its residue out."
        )
    return heavy


def element(atom: mdtraj.core.topology.Atom) -> str:
    """Symbol of an atom; of a protein's by the first letter of its name where a reader took CA for calcium.

    A symbol of two letters that the name begins with is such a guess, selenium excepted; any other is the file's.
    """
    found, name = symbol(atom), atom.name.lstrip("0123456789").upper()
    protein = atom.residue.is_protein or (name == "CA" and atom.residue.name.upper() != "CA")
    guessed = not found or (len(found) == 2 and found != "Se" and name.startswith(found.upper()))
    return name[:1] if protein and guessed and name[:1] in SCATTERING_LENGTH_A else found


def symbol(atom: mdtraj.core.topology.Atom) -> str:
    """Chemical symbol of an atom; empty where the file does not tell."""
    return atom.element.symbol if atom.element is not None else ""


def incomplete(residues: Iterable[tuple[mdtraj.core.topology.Residue, float]], source: str) -> tuple[str, ...]:
    """A warning, if any, about residues and the number of heavy atoms that each lacks."""
    lacking = [residue for residue, n_missing in residues if n_missing]
    if not lacking:
        return ()
    names = ", ".join(str(residue) for residue in lacking[:3]) + (", …" if len(lacking) > 3 else "")
    return (
        f"warning: {len(lacking)} residues of {source} lack heavy atoms ({names}); their beads scatter as the whole"
        " residues",
    )

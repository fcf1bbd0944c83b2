"""A map's pseudo-atoms as a molecule, in the place of a structure that nobody has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np

from tempica.errors import DataError, StructureError
from tempica.exchange.mrc_volume import read_volume
from tempica.imaging import AVERAGE_RESIDUE, SCATTERING_LENGTH_A, formula
from tempica.imaging.pseudo_atoms import RESIDUE_A3, pseudo_atoms
from tempica.recipe.molecule import MapRecipe
from tempica.runs.layout import trajectory_path
from tempica.simulate.structures import Molecule

GOOD = 0.98  # correlation of a map and its pseudo-atoms below which a warning is given


@dataclass(frozen=True)
class Mapped:
    """What a store of the structure is made of."""

    molecule: Molecule
    variables: tuple[()] = ()


def build_map(recipe: MapRecipe, folder: Path) -> Mapped:
    """A map as pseudo-atoms, at the places that they have about its middle voxel; deterministic.

    A map's values have no scale, so the molecule gets that of a protein of its volume; images tell theirs in the end.
    Raises FormatError and StructureError for a map that cannot be used.
    """
    path = trajectory_path(folder, recipe.map)
    volume = read_volume(path)
    pixel_A = recipe.pixel_size_A or volume.pixel_A
    try:
        found = pseudo_atoms(volume.density, pixel_A, recipe.n_beads)
    except DataError as error:
        raise StructureError(f"{path}: {error}") from None
    amplitude = found.scatterers.amplitude[:, 0]
    n_residues = found.volume_A3 / RESIDUE_A3
    each = sum(n * SCATTERING_LENGTH_A[element] for element, n in AVERAGE_RESIDUE.items() if element != "H")
    length = amplitude * (n_residues * each / amplitude.sum())
    notes = [
        f"{path.name}: {len(amplitude)} pseudo-atoms, {found.scatterers.width_A[0, 0]:.2f} Å wide, in a volume"
        f" of about {n_residues:.0f} residues; their correlation with the map is {found.correlation:.3f}"
    ]
    if found.correlation < GOOD:
        notes.append(
            f"warning: the pseudo-atoms explain {path.name} badly. Filter the map to its resolution, or raise"
            " simulate.molecule.n_beads"
        )
    return Mapped(
        Molecule(
            topology=_topology(len(amplitude)),
            position=found.position,
            residue=np.arange(1, len(amplitude) + 1),
            scattering_length_A=length,
            bead_width=0.1 * found.scatterers.width_A[:, 0],
            formula=np.full(len(amplitude), formula(AVERAGE_RESIDUE)),
            notes=tuple(notes),
        )
    )


def _topology(n_beads: int) -> mdtraj.Topology:
    """One chain of residues that stand for pseudo-atoms and are not bound to each other."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for number in range(1, n_beads + 1):
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("UNK", chain, resSeq=number))
    return topology

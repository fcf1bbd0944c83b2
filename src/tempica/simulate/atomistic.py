"""All-atom molecules in implicit solvent: Amber ff14SB with the generalised Born model GBn2."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import openmm
from openmm import app

from tempica.errors import StructureError
from tempica.exchange.plain_paths import ending
from tempica.exchange.structure_text import tidy
from tempica.imaging import SCATTERING_LENGTH_A, formula
from tempica.recipe.molecule import AtomisticRecipe
from tempica.simulate.beads import symbol
from tempica.simulate.structures import Molecule, read_structure

FORCE_FIELD = ("amber14-all.xml", "implicit/gbn2.xml")
CORE_WIDTH_NM = 0.035  # of a heavy atom's own potential, to which the hydrogens that it carries add
HYDROGEN_NM = 0.11  # from the atom that it is bound to


def build_atomistic(recipe: AtomisticRecipe, path: Path) -> tuple[Molecule, np.ndarray, openmm.System]:
    """Every atom of a molecule, the indices of its heavy atoms, and its system; bonds with hydrogen are rigid.

    Hydrogens of the file are kept, those that lack are added at pH 7. The heavy atoms carry the scattering of their
    hydrogens (united atoms). Raises StructureError when the force field does not know a residue.
    """
    model, notes = read_structure(path)
    keys = [(r.chain.chain_id or "", r.resSeq) for r in model.topology.residues]
    if len(set(keys)) < len(keys):
        raise StructureError(f"The structure file {path} has a residue number twice. Number its residues anew.")
    force_field = app.ForceField(*FORCE_FIELD)
    try:
        given = (app.PDBFile if ending(path) in (".pdb", ".pdb.gz") else app.PDBxFile)(tidy(path).path)
        modeller = app.Modeller(given.topology, given.positions)
        modeller.addHydrogens(force_field)
        system = force_field.createSystem(
            modeller.topology,
            nonbondedMethod=app.NoCutoff,
            constraints=app.HBonds,
            hydrogenMass=recipe.hydrogen_mass,
        )
    except Exception as error:  # OpenMM raises plain ones of many kinds
        raise StructureError(
            f"The structure {path} cannot be given the force field {' + '.join(FORCE_FIELD)}: {error}. Complete its"
            " residues (PDBFixer does), and take out what is neither protein nor cap."
        ) from None
    topology = mdtraj.Topology.from_openmm(modeller.topology)
    position = np.array(modeller.positions._value)
    unknown = next((a for a in topology.atoms if symbol(a) not in SCATTERING_LENGTH_A), None)
    if unknown is not None:
        raise StructureError(f"Atom {unknown} of {path} has the element '{symbol(unknown)}'; known are H to Cf.")
    length = np.array([SCATTERING_LENGTH_A[symbol(atom)] for atom in topology.atoms])
    heavy = np.array([symbol(atom) != "H" for atom in topology.atoms])
    carried, hydrogens = np.zeros(len(heavy)), np.zeros(len(heavy))
    for one, other in topology.bonds:
        for hydrogen, holder in ((one, other), (other, one)):
            if not heavy[hydrogen.index]:
                carried[holder.index] += length[hydrogen.index]
                hydrogens[holder.index] += 1
    united = length + carried
    whole = Molecule(
        topology=topology,
        position=position - position[heavy].mean(0),
        residue=np.array([atom.residue.resSeq for atom in topology.atoms]),
        scattering_length_A=np.where(heavy, united, 0.0),
        bead_width=np.sqrt(CORE_WIDTH_NM**2 + carried / united * HYDROGEN_NM**2 / 3),
        formula=np.array(
            [
                formula({symbol(atom): 1, "H": n} if is_heavy else {"H": 1})
                for atom, n, is_heavy in zip(topology.atoms, hydrogens, heavy, strict=True)
            ]
        ),
        centre=position[heavy].mean(0),
        notes=notes,
    )
    return whole, np.flatnonzero(heavy), system

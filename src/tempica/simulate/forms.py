"""One form of a molecule that a movie shows: read, not simulated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tempica.imaging.afm import radii_nm
from tempica.recipe.molecule import UnknownRecipe
from tempica.recipe.residues import residues
from tempica.runs.layout import structure_path
from tempica.simulate.structures import Molecule, load_molecule


@dataclass(frozen=True)
class Form:
    """What a store of the structure is made of."""

    molecule: Molecule
    about: dict[str, object]  # radii of beads (nm), and the beads of each domain
    variables: tuple[()] = ()


def build_form(recipe: UnknownRecipe, folder: Path) -> Form:
    """The structure of a recipe that has one. Raises StructureError for files and domains that cannot be used."""
    assert recipe.structure is not None
    molecule = load_molecule(structure_path(folder, recipe.structure))
    domains = {
        name: molecule.atoms_of(residues(text), f"domain {name}").tolist() for name, text in recipe.domains.items()
    }
    return Form(molecule, {"bead_radius_nm": radii_nm(molecule.formula).tolist(), "domains": domains})

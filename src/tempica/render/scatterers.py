"""What of the molecule the electrons see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tempica import imaging
from tempica.errors import RecipeError
from tempica.recipe import RenderRecipe
from tempica.recipe_render import BeadScattering

if TYPE_CHECKING:
    import xarray


def scatterers(recipe: RenderRecipe, trajectory: xarray.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude (atom, gaussian) in Å and standard deviation (atom, gaussian) in Å of every Gaussian.

    Raises RecipeError where atoms are asked for and the trajectory's particles stand for several.
    """
    scattering = recipe.scattering
    if isinstance(scattering, BeadScattering):
        amplitude = scattering.solvent_contrast * trajectory["scattering_length"].values
        width = np.sqrt((10 * trajectory["bead_width"].values) ** 2 + recipe.bead_b_factor_A2 / (8 * np.pi**2))
        return amplitude[:, None], width[:, None]
    elements, hydrogens = atoms_of([str(text) for text in trajectory["formula"].values])
    if scattering.n_gaussians == 5 and any(hydrogens):
        raise RecipeError(
            f"render.scattering.n_gaussians = 5 is the table of bare atoms, and {sum(map(bool, hydrogens))} of the"
            f" trajectory's {len(elements)} atoms carry hydrogens. Take 2."
        )
    return imaging.gaussians(
        elements,
        scattering.n_gaussians,
        pixel_A=recipe.pixel_size_A,
        b_factor_A2=scattering.b_factor_A2,
        hydrogens=np.array(hydrogens),
        solvent=scattering.solvent,
    )


def atoms_of(formulas: list[str]) -> tuple[list[str], list[int]]:
    """Element and number of hydrogens of particles that are atoms each. Raises RecipeError where one is not."""
    elements, hydrogens = [], []
    for number, text in enumerate(formulas):
        counts = imaging.composition(text)
        riding = counts.pop("H", 0.0) if len(counts) > 1 or counts.get("H") != 1 else 0.0
        if list(counts.values()) != [1.0] or riding != int(riding):
            raise RecipeError(
                f"render.scattering.kind = 'atoms' needs a trajectory of atoms, and particle {number} of this one"
                f" stands for {text}. Take kind = 'beads', or a molecule of kind 'atomistic' (or 'trajectory', with a"
                " selection of all heavy atoms)."
            )
        elements.append(next(iter(counts)))
        hydrogens.append(int(riding))
    return elements, hydrogens

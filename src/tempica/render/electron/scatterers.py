"""Scattering amplitudes and widths of beads or atoms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tempica import imaging
from tempica.errors import RecipeError
from tempica.recipe.electron import BeadScattering, RenderRecipe

if TYPE_CHECKING:
    import xarray

VISIBLE = 0.1  # of the envelope, below which detail does not count


def scatterers(recipe: RenderRecipe, trajectory: xarray.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude (atom, gaussian) in Å and standard deviation (atom, gaussian) in Å of every Gaussian.

    Raises RecipeError where atoms are asked for and the trajectory's particles stand for several.
    """
    scattering = recipe.scattering
    if isinstance(scattering, BeadScattering):
        amplitude = scattering.solvent_contrast * trajectory["scattering_length_A"].values
        width = np.sqrt((10 * trajectory["bead_width"].values) ** 2 + recipe.bead_b_factor_A2 / (8 * np.pi**2))
        return amplitude[:, None], width[:, None]
    elements, hydrogens = atoms_of([str(text) for text in trajectory["formula"].values])
    if scattering.n_gaussians == 5 and any(hydrogens):
        raise RecipeError(
            f"render.scattering.n_gaussians = 5 is the table of bare atoms, and {sum(map(bool, hydrogens))} of the"
            f" trajectory's {len(elements)} atoms carry hydrogens. Use 2."
        )
    return imaging.gaussians(
        elements,
        scattering.n_gaussians,
        pixel_A=recipe.pixel_size_A,
        b_factor_A2=scattering.b_factor_A2,
        hydrogens=np.array(hydrogens),
        solvent=scattering.solvent,
    )


def remarks(recipe: RenderRecipe, formulas: list[str]) -> list[str]:
    """Remarks on how well the recipe's grid resolves atoms and contrast transfer.

    A defocus d spreads detail of spatial frequency k over λ d k − Cs λ³ k³ to either side, the slope of the phase
    over 2π. Where that is more than half the box, it comes in again at the other side.
    """
    lines = []
    if recipe.scattering.kind == "atoms" and recipe.scattering.n_gaussians < 5:
        elements, hydrogens = atoms_of(formulas)
        n, riding = recipe.scattering.n_gaussians, np.array(hydrogens)
        error = imaging.refit_error(elements, n, pixel_A=recipe.pixel_size_A, hydrogens=riding)
        worst = int(error.argmax())
        lines.append(
            f"{n} Gaussian{'s' if n > 1 else ''} an atom: off by at most {100 * error[worst]:.2g} % of its scattering"
            f" within the pixels' resolution ({formulas[worst]}), before its B factor"
        )
    k = np.linspace(0, 0.5 / recipe.pixel_size_A, 1000)
    k = k[np.exp(-0.25 * recipe.b_factor_A2 * k**2) >= VISIBLE]
    wavelength = imaging.electron_wavelength_A(recipe.voltage_kV)
    third_order = 1e7 * recipe.spherical_aberration_mm * wavelength**3 * k**3
    half = recipe.astigmatism_A / 2
    ends = [recipe.defocus_low_A - half, recipe.defocus_high_A + half]
    spread = np.max([np.abs(wavelength * defocus * k - third_order) for defocus in ends], axis=0)
    beyond = spread > recipe.n_pixels * recipe.pixel_size_A / 2
    if beyond.any():
        lines.append(
            f"warning: a defocus of {ends[1]:.5g} Å spreads detail finer than {1 / k[beyond][0]:.2g} Å over more than"
            f" the box, so that it comes in again at the other side; render.n_pixels ="
            f" {2 * math.ceil(spread.max() / recipe.pixel_size_A + 1)} would hold it"
        )
    return lines


def atoms_of(formulas: list[str]) -> tuple[list[str], list[int]]:
    """Element and number of hydrogens of particles that are atoms each. Raises RecipeError where one is not."""
    elements, hydrogens = [], []
    for number, text in enumerate(formulas):
        counts = imaging.composition(text)
        riding = counts.pop("H", 0.0) if len(counts) > 1 or counts.get("H") != 1 else 0.0
        if list(counts.values()) != [1.0] or riding != int(riding):
            raise RecipeError(
                f"render.scattering.kind = 'atoms' needs a trajectory of atoms, and particle {number} of this one"
                f" stands for {text}. Use kind = 'beads', or a molecule of kind 'atomistic' (or 'trajectory', with a"
                " selection of all heavy atoms)."
            )
        elements.append(next(iter(counts)))
        hydrogens.append(int(riding))
    return elements, hydrogens

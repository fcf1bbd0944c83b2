"""What a STAR file says of all images of a movie together, or a recipe in its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica import imaging
from tempica.errors import FormatError
from tempica.exchange.particle_file import Particles
from tempica.exchange.relion import KEPT
from tempica.imaging.detector import FINE_LEVELS, LEVELS
from tempica.recipe.particles import ParticlesRecipe

if TYPE_CHECKING:
    from tempica.render.particles.looking import Beads

BEAD_B_FACTOR_A2 = 20.0


def b_factor(about: ParticlesRecipe, particles: Particles, star: Path) -> float:
    if about.b_factor_A2 is not None:
        return about.b_factor_A2
    values = particles.b_factor_A2
    if np.ptp(values) > 0 or not 0 <= values[0] <= 2000:
        raise FormatError(
            f"rlnCtfBfactor of {star} is {values.min():g} to {values.max():g}; a movie has one, of 0 to 2,000 Å²."
            " Write it into the recipe: particles.b_factor_A2."
        )
    return float(values[0])


def bead_b_factor(about: ParticlesRecipe, particles: Particles, *, of_a_map: bool) -> float:
    """B factor of beads; a map's pseudo-atoms have that of the map in their width already."""
    if about.bead_b_factor_A2 is not None:
        return about.bead_b_factor_A2
    if of_a_map:
        return 0.0
    return particles.store.get("tempicaBeadBfactor", BEAD_B_FACTOR_A2)


def phase_shift(particles: Particles, star: Path) -> float:
    values = particles.phase_shift
    if np.ptp(values) > 1e-9:
        raise FormatError(
            f"rlnPhaseShift of {star} is {np.degrees(values.min()):g}° to {np.degrees(values.max()):g}°; a movie has"
            " one. Import the particles of each phase shift apart."
        )
    return float(values[0])


def visible_share(particles: Particles, beads: Beads) -> float:
    """How much of the molecule's scattering an export of ours shows: less than all where there is solvent."""
    shown, whole = particles.store.get("tempicaScattering"), float(beads.scattering_length_A.sum())
    return 1.0 if shown is None or abs(shown / whole - 1) < 1e-9 else shown / whole


def levels_of(particles: Particles) -> imaging.Scale | None:
    """Digital levels of an export of ours."""
    needed = {"tempicaImageScale", "tempicaImageOffset", KEPT["noise_std"], KEPT["electrons_per_pixel"]}
    if not needed <= particles.store.keys():
        return None
    factor = particles.store["tempicaImageScale"]
    most = int(particles.store.get("tempicaImageLevels", LEVELS))
    if factor <= 0 or most not in (LEVELS, FINE_LEVELS):
        return None
    return imaging.Scale(factor, particles.store["tempicaImageOffset"], most)


def not_ours(star: Path) -> str:
    """What to know of an export of ours that has changed on its way."""
    return (
        f"the images of {star} are not those of the export that its columns tempica… are of: they, or the numbers of"
        " data_optics, have been changed (some programs write six decimals). Replicas, frames, times and pose errors"
        " are those of the export; noise is taken to be white and is measured anew, and the SNR is not known"
    )

"""The deterministic camera: beads of a molecule to projections, and projections through the optics.

Used by `render` to make movies and by `embed` and `evaluate` to explain them; noise is added elsewhere.
"""

from tempica.imaging.composition import composition, formula, hydrogens_of
from tempica.imaging.geometry import rotation_matrix, to_pixels
from tempica.imaging.optics import (
    Optics,
    contrast_at,
    contrast_transfer,
    electron_wavelength_A,
    optics_of,
    plane_weights,
    through_optics,
)
from tempica.imaging.projection import CUTOFF, project, project_with_jacobian
from tempica.imaging.scattering import (
    SCATTERING_LENGTH_A,
    gaussians,
    refit_error,
    solvent_contrast,
    solvent_gaussians,
)

__all__ = [
    "CUTOFF",
    "SCATTERING_LENGTH_A",
    "Optics",
    "composition",
    "contrast_at",
    "contrast_transfer",
    "electron_wavelength_A",
    "formula",
    "gaussians",
    "hydrogens_of",
    "optics_of",
    "plane_weights",
    "project",
    "project_with_jacobian",
    "refit_error",
    "rotation_matrix",
    "solvent_contrast",
    "solvent_gaussians",
    "through_optics",
    "to_pixels",
]

"""The camera: a molecule to projections, projections through the optics, and, apart from it, noise.

Used by `render` to make movies and by `embed`, `evaluate` and `report` to explain them.
"""

from tempica import kernel_cache  # noqa: F401  # first: it must be there before any kernel is declared
from tempica.imaging.camera import FOCUS, PARTS, Camera, camera_of
from tempica.imaging.composition import AVERAGE_RESIDUE, RESIDUES, composition, formula, hydrogens_of
from tempica.imaging.counting import poisson
from tempica.imaging.detector import Detector, Scale, detector_of
from tempica.imaging.geometry import quaternion_between, quaternion_of, quaternion_product, rotation_matrix, to_pixels
from tempica.imaging.optics import (
    Optics,
    contrast_at,
    contrast_transfer,
    electron_wavelength_A,
    interaction_A,
    optics_of,
    plane_weights,
    through_optics,
)
from tempica.imaging.projection import CUTOFF, project, project_with_jacobian
from tempica.imaging.radial import critical_exposure_e_A2, damage_filter, frequency_grid, noise_power
from tempica.imaging.scattering import SCATTERING_LENGTH_A, gaussians, refit_error, solvent_gaussians

__all__ = [
    "AVERAGE_RESIDUE",
    "CUTOFF",
    "FOCUS",
    "PARTS",
    "RESIDUES",
    "SCATTERING_LENGTH_A",
    "Camera",
    "Detector",
    "Optics",
    "Scale",
    "camera_of",
    "composition",
    "contrast_at",
    "contrast_transfer",
    "critical_exposure_e_A2",
    "damage_filter",
    "detector_of",
    "electron_wavelength_A",
    "formula",
    "frequency_grid",
    "gaussians",
    "hydrogens_of",
    "interaction_A",
    "noise_power",
    "optics_of",
    "plane_weights",
    "poisson",
    "project",
    "project_with_jacobian",
    "quaternion_between",
    "quaternion_of",
    "quaternion_product",
    "refit_error",
    "rotation_matrix",
    "solvent_gaussians",
    "through_optics",
    "to_pixels",
]

"""Whether a molecule or a map belongs to images: size of the box, size of the voxels, number of beads."""

from __future__ import annotations

import numpy as np

from tempica.errors import DataError
from tempica.imaging.linearise import Scatterers

AGREES = 0.02  # relative difference of two sizes that calibration explains, and binning does not
MOST_OUTSIDE = 0.01  # of the scattering that may lie beyond the box


def check_box(position: np.ndarray, scatterers: Scatterers, n_pixels: int, pixel_A: float, what: str) -> None:
    """Raise DataError where a structure (N, 3) in nm does not fit into images of `n_pixels`, however it turns.

    `what`: what the message calls it, as in "The structure".
    """
    half_A = 0.5 * n_pixels * pixel_A
    reach_A = 10 * np.linalg.norm(position - position.mean(0), axis=-1)
    weight = np.abs(scatterers.amplitude).sum(1)
    outside = float(weight[reach_A > half_A].sum() / weight.sum())
    if outside > MOST_OUTSIDE:
        raise DataError(
            f"{what} reaches {reach_A.max():.0f} Å from its centre, and the images of {n_pixels} pixels of"
            f" {pixel_A:g} Å show {half_A:.0f} Å around theirs: the box is too small for {100 * outside:.0f} % of it."
            " Extract the particles in a larger box, or is the pixel size or the molecule another?"
        )


def check_grid(n_voxels: tuple[int, ...], voxel_A: float, n_pixels: int, pixel_A: float, what: str) -> None:
    """Raise DataError where a map (its voxels along z, y, x) is not on the grid of the images, or on a binned one.

    The box of a consensus map is that of the images, in Å; another size is that of other images, or of a header that
    says it wrongly.
    """
    if len(set(n_voxels)) > 1:
        raise DataError(
            f"{what} has {' × '.join(map(str, n_voxels[::-1]))} voxels; a consensus map has the box of its images, and"
            " that is a cube. Give the map as it was reconstructed, not cut out."
        )
    if n_voxels[0] == n_pixels and abs(voxel_A / pixel_A - 1) > AGREES:
        raise DataError(
            f"{what} has voxels of {voxel_A:.4g} Å and the images pixels of {pixel_A:.4g} Å, in boxes of {n_pixels}"
            " both: one of the two is wrong. Correct the header of the map, or say the voxels' size in the recipe:"
            " simulate.molecule.pixel_size_A."
        )
    map_A, box_A = n_voxels[0] * voxel_A, n_pixels * pixel_A
    if abs(map_A / box_A - 1) > AGREES:
        raise DataError(
            f"{what} is {map_A:.4g} Å wide ({n_voxels[0]} × {voxel_A:.4g} Å) and the images {box_A:.4g} Å ({n_pixels} ×"
            f" {pixel_A:.4g} Å); a consensus map has the box of its images. Give the map of these particles, or"
            " correct the size of its voxels."
        )


def check_beads(n_beads: int, n_scatterers: int, what: str) -> None:
    """Raise DataError where a structure has not the beads that the images were made of."""
    if n_beads != n_scatterers:
        raise DataError(
            f"{what} has {n_beads} beads, and the images were made with {n_scatterers}. Give the structure of the same"
            " molecule, with the same residues."
        )

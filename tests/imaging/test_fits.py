"""Molecules and maps that do not belong to the images."""

import numpy as np
import pytest

from tempica.errors import DataError
from tempica.imaging.fits import check_beads, check_box, check_grid
from tempica.imaging.linearise import Scatterers

PLACE = np.random.default_rng(0).normal(size=(100, 3))
SCATTERERS = Scatterers(np.full((100, 1), 20.0), np.full((100, 1), 2.0))


def test_what_fits_is_let_through():
    check_box(PLACE, SCATTERERS, 64, 1.5, "The structure")
    check_box(PLACE + 7, SCATTERERS, 64, 1.5, "The structure")  # wherever it lies
    check_grid((64, 64, 64), 1.51, 64, 1.5, "The map")
    check_grid((48, 48, 48), 2.0, 64, 1.5, "The map")  # binned
    check_beads(214, 214, "The structure")


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (lambda: check_box(PLACE, SCATTERERS, 24, 1.5, "The structure"), "the box is too small for .* % of it"),
        (lambda: check_grid((64, 64, 64), 1.0, 64, 1.5, "The map"), "voxels of 1 Å and the images pixels of 1.5 Å"),
        (lambda: check_grid((80, 80, 80), 1.5, 64, 1.5, "The map"), "is 120 Å wide .* and the images 96 Å"),
        (lambda: check_grid((64, 64, 60), 1.5, 64, 1.5, "The map"), "has 60 × 64 × 64 voxels"),
        (lambda: check_beads(213, 214, "The structure"), "has 213 beads, and the images were made with 214"),
    ],
)
def test_what_does_not_fit_is_told(check, told):
    with pytest.raises(DataError, match=told):
        check()

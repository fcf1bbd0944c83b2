"""What linearised images are made with: transforms of eight images at once, grids, transfer at some coefficients."""

import numba
import numpy as np
import pytest

from tempica import imaging
from tempica.imaging.kernels_fourier import good_size, passes_of, transform_line, transform_rows
from tempica.imaging.spreading import grid_of


@numba.njit
def transform_plane(room, n, margin, low, high, n_columns, passes, offset, out):
    transform_rows(room, n, margin, low, high, n_columns, *passes, offset[0], offset[1], offset[2])
    for k in range(n_columns):
        at = offset[2] + np.uint64(16 * (n + 1) * k)
        line = transform_line(room, at, at + np.uint64(8), np.uint64(16), n, *passes, offset[0], offset[1])
        for i in range(16 * n):
            out[k, i] = room[line + np.uint64(i)]


@pytest.mark.parametrize("n", [2, 4, 6, 8, 10, 12, 16, 18, 20, 24, 30, 36, 48, 50, 54, 60, 64, 90, 96, 100, 120])
def test_transforms_are_those_of_numpy(n):
    rng, margin, low, high = np.random.default_rng(n), 8, n // 4 // 2 * 2, n - n // 8 // 2 * 2
    image = rng.standard_normal((8, n, n)).astype(np.float32)
    image[:, :low] = image[:, high:] = 0
    n_columns = n // 2
    sizes = [8 * (n + margin) ** 2, 16 * n, 16 * n, 16 * (n + 1) * n_columns]
    room = np.full(sum(sizes), 7, dtype=np.float32)  # what is not read does not matter
    sheet = room[: sizes[0]].reshape(n + margin, n + margin, 8)
    sheet[low:high, :n] = np.moveaxis(image[:, low:high], 0, -1)
    out = np.empty((n_columns, 16 * n), dtype=np.float32)
    offset = np.cumsum(sizes[:3]).astype(np.uint64)
    transform_plane(room, n, margin, low, high, n_columns, tuple(passes_of(n)), offset, out)
    lanes = out.reshape(n_columns, n, 2, 8)
    found = np.moveaxis(lanes[:, :, 0] + 1j * lanes[:, :, 1], (2, 1, 0), (0, 1, 2)) / 2
    expected = np.fft.rfft2(image.astype(np.float64))[:, :, :n_columns]
    np.testing.assert_allclose(found, expected, atol=5e-7 * np.abs(expected).max())


def test_sizes_are_even_and_of_small_factors():
    assert [good_size(n) for n in (1, 2, 7, 11, 13, 49, 62, 97)] == [2, 2, 8, 12, 16, 50, 64, 100]
    with pytest.raises(ValueError, match="n = 14 must be a product of 2, 3 and 5"):
        passes_of(14)


def test_grids_get_finer_with_the_disc_and_take_the_images_own_where_that_is_cheap():
    amplitude, width = np.full((200, 1), 20.0), np.full((200, 1), 1.3)
    grids = [grid_of(amplitude, width, 128, 1.5, radius) for radius in (8, 16, 32, 60)]
    assert [g.n for g in grids] == sorted(g.n for g in grids)
    assert all(g.n >= 2 * r + 2 for g, r in zip(grids, (8, 16, 32, 60), strict=True))
    assert grids[0].extra_A2 > 0
    assert (grids[-1].n, grids[-1].extra_A2) == (128, 0.0)
    for g in grids:  # whatever is cut off lies beyond four standard deviations
        wide = np.sqrt(1.3**2 + g.extra_A2) / g.pixel_A
        assert g.spreading.window_NC.min() >= min(8 * wide, g.n)


@pytest.mark.parametrize("dose", [0.0, 12.0])
def test_the_transfer_at_coefficients_is_that_of_the_plane(dose):
    rng = np.random.default_rng(0)
    optics = imaging.Optics(64, 1.2, 200.0, 2.7, 0.07, 30.0, 20.0, phase_shift=0.5)
    table = np.array([0.0, 0.2, 0.4]), np.ones(3), np.array([0.9, 0.6, 0.2])
    camera = imaging.Camera(optics, np.ones((1, 1)), np.ones((1, 1)), *table)
    defocus = rng.uniform(5_000, 40_000, 7)
    focus = [defocus + 800, defocus - 800, rng.uniform(0, np.pi, 7), np.full(7, dose)]
    ky, kx = rng.integers(-31, 32, 300), rng.integers(0, 32, 300)
    found = camera.transfer_at(ky, kx, focus)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, camera.transfer(*focus)[:, ky, kx], atol=1e-4)

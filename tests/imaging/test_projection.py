"""Projection kernels against slow twins in float64 without a window."""

import numba
import numpy as np
import pytest

from tempica import imaging
from tempica.errors import DataError
from tempica.imaging import kernels_cpu

PIXEL_A = 1.5


def slow_project(xy, length, width_A, n_pixels, pixel_A):
    """The formula of `project`, bead by bead over the whole box."""
    grid = np.arange(n_pixels)
    images = np.zeros((len(xy), n_pixels, n_pixels))
    for image, beads in zip(images, xy, strict=True):
        for (x, y), f, s in zip(beads, length, width_A, strict=True):
            r2 = ((grid[None, :] - x) ** 2 + (grid[:, None] - y) ** 2) * pixel_A**2
            image += f / (2 * np.pi * s**2) * np.exp(-r2 / (2 * s**2))
    return images


def slow_jacobian(xy, velocity, length, width_A, n_pixels, pixel_A):
    """∂/∂θ of slow_project, differentiated by hand: each bead's Gaussian times (r − r_n)·v / s²."""
    grid = np.arange(n_pixels)
    columns = np.zeros((*velocity.shape[:2], n_pixels, n_pixels))
    for frame in range(len(xy)):
        for n, (x, y) in enumerate(xy[frame]):
            bead = slow_project(xy[frame : frame + 1, [n]], length[[n]], width_A[[n]], n_pixels, pixel_A)[0]
            for p, (vx, vy) in enumerate(velocity[frame, :, n]):
                along = (grid[None, :] - x) * vx + (grid[:, None] - y) * vy
                columns[frame, p] += bead * along * (pixel_A / width_A[n]) ** 2
    return columns


def relative_error(value, twin):
    return np.linalg.norm(value - twin) / np.linalg.norm(twin)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def beads(rng, n_pixels, n_frames=3, n_beads=40, spread=0.25):
    """xy in pixels around the centre, scattering lengths, widths in Å."""
    xy = n_pixels // 2 + spread * n_pixels * rng.normal(size=(n_frames, n_beads, 2))
    return xy, rng.uniform(1, 30, n_beads), rng.uniform(0.6, 3.0, n_beads)


@pytest.mark.parametrize("n_pixels", [16, 33, 64])
@pytest.mark.parametrize("pixel_A", [0.7, 1.5, 4.0])
def test_projection_agrees_with_the_direct_sum(rng, n_pixels, pixel_A):
    xy, length, width = beads(rng, n_pixels)
    image = imaging.project(xy, length, width, n_pixels, pixel_A)
    assert image.dtype == np.float32
    assert relative_error(image, slow_project(xy, length, width, n_pixels, pixel_A)) <= 1e-5


def test_beads_outside_the_box_give_only_what_reaches_in(rng):
    xy, length, width = beads(rng, 24, spread=1.0)
    xy[0, :8] = [[-0.5, 3], [-3, -3], [23.5, 12], [25, 25], [12, -4], [12, 27.9], [-1e9, 5], [5, 1e30]]
    image = imaging.project(xy, length, width, 24, PIXEL_A)
    assert relative_error(image, slow_project(xy, length, width, 24, PIXEL_A)) <= 1e-5
    assert not imaging.project(xy + 1000, length, width, 24, PIXEL_A).any()


def test_a_projection_keeps_the_mass_of_its_beads(rng):
    xy, length, width = beads(rng, 64, spread=0.05)
    mass = imaging.project(xy, length, width + 1, 64, PIXEL_A).sum(axis=(1, 2), dtype=np.float64) * PIXEL_A**2
    np.testing.assert_allclose(mass, length.sum(), rtol=1e-5)


@pytest.mark.parametrize("n_pixels", [17, 32])
@pytest.mark.parametrize("spread", [0.25, 0.8])
def test_jacobian_agrees_with_the_analytic_twin_and_with_finite_differences(rng, n_pixels, spread):
    xy, length, width = beads(rng, n_pixels, spread=spread, n_beads=25)
    velocity = rng.normal(size=(len(xy), 4, xy.shape[1], 2))
    columns = imaging.project_with_jacobian(xy, velocity, length, width, n_pixels, PIXEL_A)
    assert columns.shape == (3, 5, n_pixels, n_pixels)
    np.testing.assert_array_equal(columns[:, 0], imaging.project(xy, length, width, n_pixels, PIXEL_A))

    twin = slow_jacobian(xy, velocity, length, width, n_pixels, PIXEL_A)
    step = 1e-4
    for p in range(4):
        move = step * velocity[:, p]
        ahead, behind = (slow_project(at, length, width, n_pixels, PIXEL_A) for at in (xy + move, xy - move))
        difference = (ahead - behind) / (2 * step)
        assert relative_error(twin[:, p], difference) <= 1e-6
        assert relative_error(columns[:, p + 1], difference) <= 1e-4
        assert relative_error(columns[:, p + 1], twin[:, p]) <= 1e-4


def test_jacobian_without_parameters_is_the_projection(rng):
    xy, length, width = beads(rng, 16)
    columns = imaging.project_with_jacobian(xy, np.empty((3, 0, 40, 2)), length, width, 16, PIXEL_A)
    np.testing.assert_array_equal(columns[:, 0], imaging.project(xy, length, width, 16, PIXEL_A))


@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_images_do_not_depend_on_threads_or_blocks_of_frames(rng, monkeypatch, n_threads):
    xy, length, width = beads(rng, 40, n_frames=13, n_beads=30)
    velocity = rng.normal(size=(13, 3, 30, 2))
    alone = [imaging.project(xy[[f]], length, width, 40, PIXEL_A)[0] for f in range(13)]
    monkeypatch.setattr(kernels_cpu, "_threads", lambda: n_threads)
    monkeypatch.setattr(kernels_cpu, "THREAD_WORK", 1)
    images = imaging.project(xy, length, width, 40, PIXEL_A)
    np.testing.assert_array_equal(images, alone)
    columns = imaging.project_with_jacobian(xy, velocity, length, width, 40, PIXEL_A)
    np.testing.assert_array_equal(columns[:, 0], images)
    block = imaging.project_with_jacobian(xy[5:8], velocity[5:8], length, width, 40, PIXEL_A)
    np.testing.assert_array_equal(columns[5:8], block)


def test_the_kernels_use_numbas_number_of_threads(rng):
    numba.set_num_threads(1)
    try:
        assert kernels_cpu._threads() == 1
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert kernels_cpu._threads() == numba.config.NUMBA_NUM_THREADS


@pytest.mark.parametrize("layout", ["fortran", "view", "float32"])
def test_any_memory_layout_is_accepted(rng, layout):
    xy, length, width = beads(rng, 16)
    expected = imaging.project(xy, length, width, 16, PIXEL_A)
    if layout == "fortran":
        given = np.asfortranarray(xy)
    elif layout == "view":
        given = np.repeat(xy, 2, axis=0)[::2]
    else:
        given = xy.astype(np.float32)
    assert relative_error(imaging.project(given, length, width, 16, PIXEL_A), expected) <= 1e-5


@pytest.mark.parametrize("n_terms", [1, 2, 3, 5])
def test_an_atom_may_be_several_gaussians(rng, n_terms):
    xy, length, width = beads(rng, 32, n_beads=20 * n_terms)
    xy = np.repeat(xy[:, ::n_terms], n_terms, axis=1)  # the Gaussians of an atom share its place
    velocity = np.repeat(rng.normal(size=(3, 2, 20, 2)), n_terms, axis=2)
    terms = length.reshape(20, n_terms), width.reshape(20, n_terms)
    image = imaging.project(xy[:, ::n_terms], *terms, 32, PIXEL_A)
    assert relative_error(image, slow_project(xy, length, width, 32, PIXEL_A)) <= 1e-5
    columns = imaging.project_with_jacobian(xy[:, ::n_terms], velocity[:, :, ::n_terms], *terms, 32, PIXEL_A)
    assert relative_error(columns[:, 0], image) <= 1e-6
    assert relative_error(columns[:, 1:], slow_jacobian(xy, velocity, length, width, 32, PIXEL_A)) <= 1e-4


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_positions_that_are_not_numbers_are_refused(rng, value):
    xy, length, width = beads(rng, 16)
    xy[2, 7, 1] = value
    with pytest.raises(DataError, match=r"Atom 7 of frame 2 is at .* positions must be numbers"):
        imaging.project(xy, length, width, 16, PIXEL_A)
    with pytest.raises(DataError, match="Atom 7 of frame 2"):
        imaging.project_with_jacobian(xy, np.zeros((3, 1, 40, 2)), length, width, 16, PIXEL_A)


def test_shapes_that_do_not_fit_are_refused(rng):
    xy, length, width = beads(rng, 16)
    with pytest.raises(DataError, match=r"amplitude \(39,\) and width \(40,\)"):
        imaging.project(xy, length[1:], width, 16, PIXEL_A)
    with pytest.raises(DataError, match=r"velocity has the shape \(3, 1, 39, 2\)"):
        imaging.project_with_jacobian(xy, np.zeros((3, 1, 39, 2)), length, width, 16, PIXEL_A)
    with pytest.raises(DataError, match="width a positive"):
        imaging.project(xy, length, 0 * width, 16, PIXEL_A)

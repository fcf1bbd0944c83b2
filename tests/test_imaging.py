"""Conventions of poses and optics against independent numbers."""

import math

import numpy as np
import pytest
import xarray
from scipy import constants
from scipy.spatial.transform import Rotation

from tempica import imaging

OPTICS = {"voltage_kV": 300.0, "spherical_aberration_mm": 2.7, "amplitude_contrast": 0.1}
ASTIGMATIC = {"defocus_u_A": 15_300.0, "defocus_v_A": 14_700.0, "defocus_angle": math.radians(25)}
PIXEL_A = 1.5


def relative_error(value, twin):
    return np.linalg.norm(value - twin) / np.linalg.norm(twin)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def test_rotation_matrices_are_scipys(rng):
    rotation = Rotation.random(50, rng=rng)
    matrix = imaging.rotation_matrix(rotation.as_quat())
    np.testing.assert_allclose(matrix, rotation.as_matrix(), atol=1e-14)
    many = imaging.rotation_matrix(rotation.as_quat().reshape(5, 10, 4))
    np.testing.assert_array_equal(many.reshape(50, 3, 3), matrix)


def test_a_pose_follows_relions_convention():
    rot, tilt, psi = 30.0, 40.0, 50.0
    quaternion = Rotation.from_euler("zyz", [-rot, -tilt, -psi], degrees=True).as_quat()
    A = imaging.rotation_matrix(quaternion)
    expected = [
        [0.043412, 0.909616, -0.413176],
        [-0.829598, 0.263258, 0.492404],
        [0.556670, 0.321394, 0.766044],
    ]
    np.testing.assert_allclose(A, expected, atol=1e-6)
    assert math.degrees(math.acos(A[2, 2])) == pytest.approx(tilt)
    assert math.degrees(math.atan2(A[2, 1], A[2, 0])) == pytest.approx(rot)
    assert math.degrees(math.atan2(A[1, 2], -A[0, 2])) == pytest.approx(psi)


def molecule_image(position, quaternion, shift_A, n_pixels):
    """Image (y, x) of beads (N, 3) in nm, all of one width."""
    rotation = imaging.rotation_matrix(np.asarray(quaternion))[None]
    xy = imaging.to_pixels(position[None], rotation, np.asarray([shift_A], dtype=float), n_pixels, PIXEL_A)
    n = len(position)
    return imaging.project(xy, np.arange(1.0, n + 1), np.full(n, 2.0), n_pixels, PIXEL_A)[0]


@pytest.mark.parametrize("n_pixels", [32, 33])
def test_a_particle_at_the_origin_sits_at_pixel_half_d(rng, n_pixels):
    image = molecule_image(np.zeros((1, 3)), Rotation.random(rng=rng).as_quat(), (0, 0), n_pixels)
    assert np.unravel_index(image.argmax(), image.shape) == (n_pixels // 2, n_pixels // 2)


@pytest.mark.parametrize("n_pixels", [64, 65])
def test_a_shift_of_whole_pixels_rolls_the_image(rng, n_pixels):
    position, quaternion = rng.normal(size=(20, 3)), Rotation.random(rng=rng).as_quat()
    still = molecule_image(position, quaternion, (0, 0), n_pixels)
    moved = molecule_image(position, quaternion, (3 * PIXEL_A, -5 * PIXEL_A), n_pixels)  # +x, −y
    np.testing.assert_allclose(moved, np.roll(still, (-5, 3), axis=(0, 1)), atol=1e-5 * still.max())


def test_rotating_about_the_projection_axis_rotates_the_image(rng):
    position, pose = rng.normal(size=(20, 3)), Rotation.random(rng=rng)
    about_z, about_x = (Rotation.from_euler(*turn, degrees=True) * pose for turn in (("z", 90), ("x", 40)))
    still, turned, tilted = (molecule_image(position, seen.as_quat(), (0, 0), 65) for seen in (pose, about_z, about_x))
    np.testing.assert_allclose(turned, still[::-1].T, atol=5e-5 * still.max())  # x → y, y → −x
    assert relative_error(tilted, still) > 0.1


def test_the_image_does_not_depend_on_the_height_along_the_beam(rng):
    position, pose = rng.normal(size=(20, 3)), Rotation.random(rng=rng)
    along = position + 0.7 * pose.inv().apply([0, 0, 1])
    still, lifted = (molecule_image(p, pose.as_quat(), (0, 0), 48) for p in (position, along))
    np.testing.assert_allclose(lifted, still, atol=1e-5 * still.max())


@pytest.mark.parametrize(("voltage_kV", "wavelength"), [(300, 0.0196875), (200, 0.0250795), (100, 0.0370146)])
def test_electron_wavelengths(voltage_kV, wavelength):
    value = imaging.electron_wavelength_A(voltage_kV)
    assert value == pytest.approx(wavelength, rel=1e-5)  # PHYSICS.md: constants of RELION, off by 6e-6
    energy, rest = constants.e * 1e3 * voltage_kV, constants.m_e * constants.c**2
    momentum = math.sqrt(energy * (energy + 2 * rest)) / constants.c
    assert value == pytest.approx(1e10 * constants.h / momentum, rel=1e-7)


@pytest.mark.parametrize(
    ("k", "angle", "b_factor_A2", "expected"),
    [
        (0.0, 0.0, 0, 0.100000),
        (0.02, 0.0, 0, 0.458218),
        (0.05, 0.3, 0, 0.628312),
        (0.20, 2.0, 0, -0.984231),
        (0.0, 0.0, 80, 0.1),
        (0.02, 0.0, 80, 0.454567),
        (0.05, 0.3, 80, 0.597669),
        (0.20, 2.0, 80, -0.442244),
    ],
)
def test_contrast_transfer_at_given_frequencies(monkeypatch, k, angle, b_factor_A2, expected):
    optics = {**OPTICS, **ASTIGMATIC, "b_factor_A2": b_factor_A2}
    assert imaging.contrast_at(k, angle, **optics) == pytest.approx(expected, abs=5e-5)
    relion = 12.2643247 / math.sqrt(3e5 * (1 + 3e5 * 0.978466e-6))  # the wavelength behind these numbers
    monkeypatch.setattr("tempica.imaging.optics.electron_wavelength_A", lambda voltage_kV: relion)
    assert imaging.contrast_at(k, angle, **optics) == pytest.approx(expected, abs=1e-6)


def transfer(n_pixels, pixel_A=PIXEL_A, b_factor_A2=40.0, n_frames=2, phase_shift=0.0):
    frames = {name: np.full(n_frames, value) for name, value in ASTIGMATIC.items()}
    frames["defocus_u_A"] = frames["defocus_u_A"] + 1000.0 * np.arange(n_frames)
    plate = {"phase_shift": phase_shift}
    return imaging.contrast_transfer(n_pixels, pixel_A, **OPTICS, **plate, b_factor_A2=b_factor_A2, **frames)


@pytest.mark.parametrize("n_pixels", [20, 21])
def test_the_grid_holds_the_transfer_function_of_its_frequencies(n_pixels):
    """Written out frequency by frequency, in the layout of a real FFT with y first."""
    grid = transfer(n_pixels, b_factor_A2=80.0)
    assert grid.shape == (2, n_pixels, n_pixels // 2 + 1)
    assert grid.dtype == np.float32
    wavelength = 0.0196874887

    def at(i, j, u):
        k, angle = math.hypot(i, j) / (n_pixels * PIXEL_A), math.atan2(j, i)
        defocus = 0.5 * (u + 14_700 + (u - 14_700) * math.cos(2 * (angle - math.radians(25))))
        phase = math.pi * wavelength * k**2 * (defocus - 0.5 * 2.7e7 * wavelength**2 * k**2)
        return math.sin(phase + math.asin(0.1)) * math.exp(-80 * k**2 / 4)

    for frame, u in enumerate((15_300, 16_300)):
        for row in range(n_pixels):
            j = row if row < n_pixels / 2 else row - n_pixels
            for i in range((n_pixels + 1) // 2):
                assert grid[frame, row, i] == pytest.approx(at(i, j, u), abs=1e-5)
            if n_pixels % 2 == 0 and row != n_pixels // 2:
                i = n_pixels // 2  # +Nyquist and −Nyquist are one frequency of the grid
                assert grid[frame, row, i] == pytest.approx((at(i, j, u) + at(-i, j, u)) / 2, abs=1e-5)
    assert grid[:, 0, 0] == pytest.approx(0.1)


@pytest.mark.parametrize("n_pixels", [16, 17])
def test_half_plane_sums_are_sums_over_pixels(rng, n_pixels):
    """Parseval, also for images that went through astigmatic optics: what `embed` relies on."""
    a, b = rng.normal(size=(2, 2, n_pixels, n_pixels))
    weight, ctf = imaging.plane_weights(n_pixels), transfer(n_pixels, b_factor_A2=0.0)
    a_k, b_k = np.fft.rfft2(a), np.fft.rfft2(b)
    seen_a, seen_b = imaging.through_optics(a, ctf), imaging.through_optics(b, ctf)
    for x, y, x_k, y_k in (
        (a, b, a_k, b_k),
        (seen_a, b, ctf * a_k, b_k),
        (seen_a, seen_b, ctf * a_k, ctf * b_k),
    ):
        half = (weight * (x_k.conj() * y_k).real).sum((1, 2))
        np.testing.assert_allclose(half, (x * y).sum((1, 2)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_pixels", [16, 17])
def test_optics_are_linear_real_and_keep_the_mean_times_w(rng, n_pixels):
    a, b = rng.normal(size=(2, 2, n_pixels, n_pixels))
    ctf = transfer(n_pixels)
    seen = imaging.through_optics(2 * a - 3 * b, ctf)
    assert seen.dtype == np.float64
    expected = 2 * imaging.through_optics(a, ctf) - 3 * imaging.through_optics(b, ctf)
    np.testing.assert_allclose(seen, expected, atol=1e-12)
    np.testing.assert_allclose(seen.mean((1, 2)), 0.1 * (2 * a - 3 * b).mean((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(imaging.through_optics(a, np.ones_like(ctf)), a, atol=1e-12)
    roll = {"shift": (2, -3), "axis": (1, 2)}  # a translation before or after the optics is the same
    moved = imaging.through_optics(np.roll(a, **roll), ctf)
    np.testing.assert_allclose(moved, np.roll(imaging.through_optics(a, ctf), **roll), atol=1e-12)


def test_the_optics_of_a_movie_are_those_its_attributes_state(rng):
    values = {"pixel_size_A": PIXEL_A, **OPTICS, "b_factor_A2": 40.0, "bead_b_factor_A2": 20.0, "phase_shift": 0.3}
    movie = xarray.Dataset({"image": (("y", "x"), np.zeros((24, 24)))}, attrs=values | {"title": "other"})
    optics = imaging.optics_of(movie)
    assert optics == imaging.Optics(n_pixels=24, **values)
    np.testing.assert_array_equal(
        optics.transfer(np.array([15_300.0, 16_300.0]), np.full(2, 14_700.0), np.full(2, math.radians(25))),
        transfer(24, phase_shift=0.3),
    )
    np.testing.assert_allclose(optics.width_A(np.array([0.0, 0.1])) ** 2, [0.253303, 1.253303], atol=1e-6)

"""Strength of the molecule and noise of images, from their power alone."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.imaging.linearise import Scatterers
from tempica.imaging.optics import contrast_transfer, through_optics
from tempica.imaging.projection import project
from tempica.imaging.strength import power_on_plane, ring_numbers, rings_of, scattering_power, strength_of

N_PIXELS, PIXEL_A = 48, 2.0


@pytest.fixture(scope="module")
def molecule():
    rng = np.random.default_rng(0)
    return rng.normal(0, 1.0, (60, 3)) * [1.5, 1.0, 0.7], Scatterers(rng.uniform(10, 30, (60, 1)), np.full((60, 1), 2))


def projections(molecule, rotation):
    place, scatterers = molecule
    xy = 10 / PIXEL_A * np.einsum("fij,nj->fni", rotation[:, :2], place) + N_PIXELS // 2
    return project(xy, scatterers.amplitude, scatterers.width_A, N_PIXELS, PIXEL_A)


def test_power_is_the_mean_over_views(molecule):
    image = projections(molecule, Rotation.random(3000, rng=np.random.default_rng(1)).as_matrix())
    wave = np.square(np.abs(np.fft.rfft2(image))).mean(0) * PIXEL_A**4
    ring = ring_numbers(N_PIXELS)
    k = np.hypot(np.fft.fftfreq(N_PIXELS)[:, None], np.fft.rfftfreq(N_PIXELS)) / PIXEL_A
    expected = scattering_power(*molecule, k[:10, 0])
    mean = [wave[(ring == r) & (np.abs(k * N_PIXELS * PIXEL_A - r) < 0.02)].mean() for r in range(10)]
    np.testing.assert_allclose(mean, expected, rtol=0.1)


@pytest.mark.parametrize(("strength", "noise"), [(1.0, 1.0), (-2.5, 4.0), (0.3, 0.05)])
def test_strength_and_noise_come_back(molecule, strength, noise):
    rng = np.random.default_rng(2)
    n = 400
    optics = {"voltage_kV": 300.0, "spherical_aberration_mm": 2.7, "amplitude_contrast": 0.1, "b_factor_A2": 20.0}
    u = rng.uniform(8e3, 15e3, n)
    transfer = contrast_transfer(
        N_PIXELS, PIXEL_A, **optics, defocus_u_A=u, defocus_v_A=u - 500, defocus_angle=np.full(n, 0.3)
    )
    clean = through_optics(projections(molecule, Rotation.random(n, rng=rng).as_matrix()), transfer)
    image = strength * clean + noise * rng.normal(size=clean.shape) + 3.0  # a background is no matter
    power = power_on_plane(*molecule, N_PIXELS, PIXEL_A)
    parts = [rings_of(image[part], transfer[part], power) for part in (slice(0, 150), slice(150, n))]
    found = strength_of(parts[0] + parts[1])
    assert found.strength == pytest.approx(abs(strength), rel=0.05)
    assert found.noise_variance == pytest.approx(noise**2, rel=0.03)
    assert found.error < 0.1 * abs(strength)


def test_noise_alone_shows_nothing(molecule):
    image = np.random.default_rng(3).normal(size=(200, N_PIXELS, N_PIXELS))
    transfer = np.ones((200, N_PIXELS, N_PIXELS // 2 + 1))
    power = power_on_plane(*molecule, N_PIXELS, PIXEL_A)
    found = strength_of(rings_of(image, transfer, power))
    assert not found.strength > 5 * found.error
    assert found.noise_variance == pytest.approx(1.0, rel=0.02)

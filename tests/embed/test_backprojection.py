"""Maps from images at known poses, against the density that they were made of."""

import numpy as np
import pytest
from scipy import fft
from scipy.spatial.transform import Rotation

from tempica.embed.maps.backprojection import add_images, back_project, no_sums, reconstruct
from tempica.embed.quadratic import Disc, Observed, model_waves
from tempica.errors import DataError
from tempica.imaging.linearise import Scatterers
from tempica.imaging.pseudo_atoms import density_of

N_PIXELS, PIXEL_A, N_FRAMES = 32, 3.0, 900


@pytest.fixture(scope="module")
def molecule():
    rng = np.random.default_rng(0)
    place = rng.normal(0, 1.0, (40, 3)) * [1.6, 1.0, 0.6]
    return place - place.mean(0), Scatterers(rng.uniform(20, 40, (40, 1)), np.full((40, 1), 3.0))


@pytest.fixture(scope="module")
def images(molecule):
    """Whitened coefficients with a transfer function that changes sign, noise of variance 1, and their poses."""
    rng = np.random.default_rng(1)
    disc = Disc(N_PIXELS, PIXEL_A, 12)
    rotation = Rotation.random(N_FRAMES, rng=rng).as_matrix()
    shift = rng.normal(0, 3, (N_FRAMES, 2))
    place = np.broadcast_to(molecule[0], (N_FRAMES, *molecule[0].shape))
    waves = model_waves(disc, molecule[1], place, rotation, shift)
    ky, kx = disc.index
    k2 = ky**2 + kx**2
    transfer = np.sin(0.1 + k2 * rng.uniform(0.02, 0.05, (N_FRAMES, 1))).astype(np.float32)
    transfer *= np.float32(0.15) * np.sqrt(np.where(kx > 0, 2, 1)).astype(np.float32)
    noise = rng.normal(size=(2, *waves.shape)) * np.where(kx > 0, 1.0, np.sqrt(0.5))
    target = (waves * transfer + noise[0] + 1j * noise[1]).astype(np.complex64)
    return Observed(disc, target, transfer), rotation, shift


def agreement(one, other):
    """Fourier shell correlation."""
    k = fft.fftfreq(N_PIXELS) * N_PIXELS
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int).ravel()
    a, b = fft.fftn(one).ravel(), fft.fftn(other).ravel()
    return np.bincount(shell, (a * b.conj()).real) / np.sqrt(
        np.bincount(shell, abs(a) ** 2) * np.bincount(shell, abs(b) ** 2)
    )


def test_the_map_is_that_of_the_molecule(molecule, images):
    truth = density_of(*molecule, N_PIXELS, PIXEL_A)
    found = back_project(*images)
    assert found.density.shape == (N_PIXELS,) * 3
    shells = agreement(found.density.astype(float), truth)
    assert shells[:6].min() > 0.98
    assert found.correlation[1:6].min() > 0.9
    low = slice(1, 6)  # the scale is that of the images
    spectrum = [np.abs(fft.fftn(x))[0, 0, low] for x in (found.density, truth)]
    np.testing.assert_allclose(spectrum[0] / spectrum[1], 1, atol=0.2)
    mirrored = agreement(found.density[::-1].astype(float), truth)
    assert mirrored[3:6].max() < 0.9


def test_sums_of_blocks_are_those_of_all(images):
    observed, rotation, shift = images
    half = np.arange(N_FRAMES) % 2
    parts = []
    for part in (slice(0, 200), slice(200, 201), slice(201, None)):
        parts.append(no_sums(observed.disc))
        add_images(parts[-1], observed[part], rotation[part], shift[part], half[part])
    whole = reconstruct(parts[2] + parts[0] + parts[1])
    np.testing.assert_allclose(whole.density, back_project(*images).density, atol=1e-6)


def test_noise_and_too_few_images_are_told(images):
    observed, rotation, shift = images
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(2, *observed.target.shape)) * np.where(observed.disc.index[1] > 0, 1.0, np.sqrt(0.5))
    nothing = Observed(observed.disc, (noise[0] + 1j * noise[1]).astype(np.complex64), observed.transfer)
    with pytest.raises(DataError, match="do not agree"):
        back_project(nothing, rotation, shift)
    with pytest.raises(DataError, match="at least two images, and there are 1"):
        back_project(observed[:1], rotation[:1], shift[:1])

"""Noise learned from images: its level and colour, with and without poses."""

import numpy as np
import pytest

from tempica import imaging
from tempica.embed.micrographs import Micrographs
from tempica.embed.noise import Views, choose_radius, estimate_noise, noise_of_hidden
from tempica.embed.poses.settling import PosePrior
from tempica.embed.posterior import posterior
from tempica.embed.quadratic import linearise
from tempica.errors import DataError
from tempica.imaging.detector import coloured, counted
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes

from .toy import BEADS, CAMERA, MODES, N_PIXELS, PIXEL_A, RADIUS, Setting, standardised

RED = imaging.noise_power(N_PIXELS, PIXEL_A, np.array([0.0, 0.1, 0.25]), np.array([5.0, 1.5, 0.5]))


@pytest.fixture(scope="module")
def setting():
    return Setting(200, seed=6)


def with_noise(setting, variance, power):
    white = np.sqrt(variance) * setting.rng.standard_normal(setting.clean.shape)
    return setting.clean + (white if power is None else np.stack([coloured(n, power) for n in white]))


def views_of(setting, image):
    return Views(CAMERA, image.astype(np.float32), setting.focus)


def learn(setting, views, **options):
    return estimate_noise(views, BEADS, MODES, setting.rotation, setting.shift, 8, **options)


def spectrum(noise):
    """Mean noise in rings 2 … 11."""
    ring = np.rint(imaging.frequency_grid(N_PIXELS, PIXEL_A) * N_PIXELS * PIXEL_A).astype(int)
    plane = noise.variance * np.broadcast_to(noise.power, ring.shape)
    return np.array([plane[ring == r].mean() for r in range(2, 12)])


@pytest.mark.parametrize("power", [None, RED], ids=["white", "red"])
@pytest.mark.parametrize("fraction", [1.0, 10.0])
def test_level_and_colour_are_learned(setting, fraction, power):
    variance = fraction * setting.signal
    views = views_of(setting, with_noise(setting, variance, power))
    plane = np.ones_like(RED) if power is None else power
    truth = spectrum(type(learn(setting, views))(variance, plane))
    found = learn(setting, views)
    assert found.variance == pytest.approx(variance, rel=0.02)
    np.testing.assert_allclose(spectrum(found), truth, rtol=0.1)
    hidden = noise_of_hidden(views, BEADS, MODES.mean)
    np.testing.assert_allclose(spectrum(hidden), truth, rtol=0.25)
    # power is relative to white noise of that variance
    assert (found.power @ imaging.plane_weights(N_PIXELS)).sum() == pytest.approx(1)


def test_counted_electrons_have_white_noise(setting):
    contrast_A, electrons = 1e-3, 300.0
    image = np.stack([counted(clean, electrons, contrast_A, key) for key, clean in enumerate(setting.clean)])
    expected = np.mean(1 - contrast_A * setting.clean) / (contrast_A**2 * electrons)
    found = learn(setting, views_of(setting, image))
    assert found.variance == pytest.approx(expected, rel=0.02)
    np.testing.assert_allclose(spectrum(found), expected, rtol=0.1)


def test_errors_of_poses_are_no_noise(setting):
    turn, shift_A = np.deg2rad(4.0), 0.7
    rotation, shift = setting.misplaced(turn, shift_A)
    prior = PosePrior(rotation, shift, np.array([turn**-2] * 3 + [shift_A**-2] * 2))
    variance = 0.1 * setting.signal
    views = views_of(setting, with_noise(setting, variance, None))
    found = estimate_noise(views, BEADS, MODES, rotation, shift, 8, prior)
    taken = estimate_noise(views, BEADS, MODES, rotation, shift, 8)
    assert found.variance == pytest.approx(variance, rel=0.05)
    assert taken.variance > 1.2 * variance


def test_in_other_units_the_answer_is_the_same(setting):
    image = with_noise(setting, setting.signal, RED)
    found = learn(setting, views_of(setting, image))
    beads = Scatterers(3 * BEADS.amplitude, BEADS.width_A)
    louder = estimate_noise(views_of(setting, 3 * image), beads, MODES, setting.rotation, setting.shift, 8)
    assert louder.variance == pytest.approx(9 * found.variance, rel=2e-3)
    np.testing.assert_allclose(louder.power, found.power, rtol=5e-3)


def test_what_the_modes_cannot_express_counts_as_noise(setting):
    """Else images without noise would make the posterior overconfident."""
    one = Modes(MODES.mean, MODES.shape[:1])
    views = views_of(setting, setting.clean)
    found = estimate_noise(views, BEADS, one, setting.rotation, setting.shift, 8)
    assert found.variance > 0.01 * setting.signal
    posteriors = [
        posterior(Micrographs(views.observe(noise, RADIUS), BEADS), one, setting.rotation, setting.shift, 8)
        for noise in (found, type(found)(1e-4 * setting.signal, np.ones_like(RED)))
    ]
    modest, proud = (standardised(p.mean - setting.truth[:, :1], p.covariance).mean() for p in posteriors)
    assert modest < 0.1 * proud


def test_the_radius_keeps_what_images_say(setting):
    views = views_of(setting, with_noise(setting, setting.signal, None))
    noise = learn(setting, views)
    radii = [choose_radius(views, BEADS, MODES, noise, share) for share in (0.5, 0.9, 0.99)]
    assert radii == sorted(radii)
    assert radii[0] < radii[2] <= RADIUS
    seen = views.observe(noise, RADIUS)
    place = BEADS, np.broadcast_to(MODES.mean, (200, *MODES.mean.shape)), setting.rotation, 0 * setting.shift
    trace = [
        np.einsum("fkk->", linearise(seen.within(r), *place, MODES.shape, pose=False).information)
        for r in (radii[1] - 1, radii[1], RADIUS)
    ]
    assert trace[0] / trace[2] < 0.92
    assert trace[1] / trace[2] > 0.88


@pytest.mark.parametrize(("value", "message"), [(0.0, "the same value"), (np.nan, "not finite")])
def test_images_that_say_nothing_are_refused(setting, value, message):
    views = views_of(setting, np.full_like(setting.clean, value))
    with pytest.raises(DataError, match=message):
        learn(setting, views)
    with pytest.raises(DataError, match=message):
        noise_of_hidden(views, BEADS, MODES.mean)

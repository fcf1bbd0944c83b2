"""Scale and hand of a molecule, from images at stated poses."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.embed.maps.maps import hand_evidence, mirror, scale_of, scaled
from tempica.embed.quadratic import Disc, Observed, model_waves
from tempica.errors import DataError
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes

N_FRAMES = 120


@pytest.fixture(scope="module")
def modes():
    rng = np.random.default_rng(0)
    mean = rng.normal(0, 1.0, (40, 3)) * [1.6, 1.0, 0.6]
    return Modes(mean - mean.mean(0), 0.1 * rng.normal(size=(2, 40, 3)))


@pytest.fixture(scope="module")
def scatterers():
    return Scatterers(np.random.default_rng(1).uniform(20, 40, (40, 1)), np.full((40, 1), 3.0))


@pytest.fixture(scope="module")
def images(modes, scatterers):
    """Images of moving molecules, their rotations and shifts."""
    rng = np.random.default_rng(2)
    disc = Disc(32, 3.0, 12)
    rotation = Rotation.random(N_FRAMES, rng=rng).as_matrix()
    shift = rng.normal(0, 3, (N_FRAMES, 2))
    place = modes.mean + np.einsum("fk,knj->fnj", rng.normal(size=(N_FRAMES, 2)), modes.shape)
    wave = 0.05 * model_waves(disc, scatterers, place, rotation, shift)
    noise = rng.normal(size=(2, *wave.shape)) * np.where(disc.index[1] > 0, 1.0, np.sqrt(0.5))
    target = wave + noise[0] + 1j * noise[1]
    return Observed(disc, target.astype(np.complex64), np.full(wave.shape, 0.05, np.float32)), rotation, shift


def test_the_scale_comes_back(images, modes, scatterers):
    found = scale_of(images[0], scaled(scatterers, 1 / 7), modes.mean, *images[1:])
    assert found.factor == pytest.approx(7, rel=0.05)
    assert 0 < found.error < 0.2


@pytest.mark.parametrize("precision", [None, np.diag([800.0] * 3 + [4.0] * 2)])
def test_the_hand_is_seen_at_stated_poses(images, modes, scatterers, precision):
    observed, rotation, shift = images
    if precision is not None:
        off = Rotation.from_rotvec(np.radians(2) * np.random.default_rng(3).normal(size=(N_FRAMES, 3)))
        rotation = off.as_matrix() @ rotation
    right = hand_evidence(observed, scatterers, modes, rotation, shift, precision)
    assert not right.is_mirrored
    assert right.sentence.startswith("the molecule explains the images better than its mirror image")
    for axis in range(3):
        wrong = hand_evidence(observed, scatterers, mirror(modes, axis), rotation, shift, precision)
        assert wrong.is_mirrored
        assert wrong.axis == axis
        assert "its hand is the other one" in wrong.sentence


def test_noise_tells_nothing(images, modes, scatterers):
    observed, rotation, shift = images
    rng = np.random.default_rng(4)
    noise = rng.normal(size=(2, *observed.target.shape)) * np.where(observed.disc.index[1] > 0, 1.0, np.sqrt(0.5))
    nothing = Observed(observed.disc, (noise[0] + 1j * noise[1]).astype(np.complex64), 1e-3 * observed.transfer)
    assert "do not tell" in hand_evidence(nothing, scatterers, modes, rotation, shift).sentence
    with pytest.raises(DataError, match="20 frames or more, and there are 19"):
        hand_evidence(observed[:19], scatterers, modes, rotation[:19], shift[:19])


def test_hidden_poses_hide_the_hand(images, modes, scatterers):
    """The mirror image at mirrored poses M R M projects onto the same image."""
    _, rotation, shift = images
    disc, flip = Disc(32, 3.0, 12), np.diag([1.0, 1.0, -1.0])
    for structure, turned in ((modes, rotation), (mirror(modes), flip @ rotation @ flip)):
        place = np.broadcast_to(structure.mean, (N_FRAMES, *modes.mean.shape))
        wave = model_waves(disc, scatterers, place, turned, shift)
        if structure is modes:
            expected = wave
    np.testing.assert_allclose(wave, expected, atol=1e-5 * np.abs(expected).max())

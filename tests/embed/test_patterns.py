"""Embedding of diffraction patterns of a small planted world: amplitudes with honest errors, orientations found."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from tempica.embed.known import embed
from tempica.embed.micrographs import Micrographs
from tempica.embed.patterns import search
from tempica.embed.poses.rotations import logarithm
from tempica.embed.poses.settling import PosePrior
from tempica.embed.posterior import posterior
from tempica.embed.setting import EXACT
from tempica.imaging.diffraction import Beamline
from tempica.imaging.likelihood import Likelihood
from tempica.imaging.modes import Modes
from tempica.imaging.photons import Patterns, patterns_of
from tempica.imaging.xray import scatterers_of

from .toy import BEADS, Setting
from .toy import MODES as TOY

LINE = Beamline(24, 2000.0, 100.0, 6000.0, 2.0, "none", 20.0)
LIGHT, N_BEADS = 3e16, 30


def molecule(seed=0):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(N_BEADS, 3)) * [1.2, 0.9, 0.6]
    return Modes(mean - mean.mean(0), 0.1 * rng.normal(size=(2, N_BEADS, 3)))


def world(n_frames, seed=1, light=LIGHT):
    rng, modes = np.random.default_rng(seed), molecule()
    scatterers = scatterers_of(["C5H8N2O2"] * N_BEADS, np.full(N_BEADS, 0.2))
    amplitude = rng.normal(size=(n_frames, 2))
    rotation = Rotation.random(n_frames, random_state=seed).as_matrix()
    empty = patterns_of(np.zeros((n_frames, 24, 24)), LINE.mask, LINE, scatterers, light, 0.05)
    mean = empty.expected(modes.mean + np.tensordot(amplitude, modes.shape, 1), rotation)
    pulse = rng.gamma(30, 1 / 30, n_frames)[:, None]
    count = rng.poisson(pulse * (mean - 0.05) + 0.05).astype(np.float32)
    seen = Patterns(count, empty.q, empty.factor, empty.variance_A2, empty.scale, 0.05)
    return seen, modes, rotation, amplitude


def standardised(error, covariance):
    return np.einsum("fk,fkl,fl->f", error, np.linalg.inv(covariance), error)


@pytest.mark.parametrize("turn_deg", [0.0, 2.0])
def test_amplitudes_come_with_honest_errors(turn_deg):
    """With orientations that are known, and within an error that is stated."""
    n = 200
    seen, modes, rotation, truth = world(n)
    prior = None
    if turn_deg:
        error = np.radians(turn_deg)
        rotation = Rotation.from_rotvec(error * np.random.default_rng(5).normal(size=(n, 3))).as_matrix() @ rotation
        prior = PosePrior(rotation, np.zeros((n, 2)), np.r_[[error**-2.0] * 3, EXACT[3:] ** -2.0])
    place = rotation, np.zeros((n, 2))
    start = posterior(seen, modes, *place, 10, prior).mean
    found = embed(seen, modes, np.zeros(2), np.arange(n), place, prior, 10, start=start)
    low, high = chi2.ppf([1e-4, 1 - 1e-4], 2 * n) / (2 * n)
    square = standardised(found.latent - truth, found.latent_covariance).mean() / 2
    assert low < square < 1.15 * high  # the likelihood is not quite quadratic
    for k in range(2):
        assert np.corrcoef(found.latent[:, k], truth[:, k])[0, 1] > 0.9


def test_orientations_are_found_up_to_their_errors():
    n = 40
    seen, modes, rotation, _ = world(n, seed=2)
    peaks = search(seen, modes, np.arange(n), 2)
    turn = logarithm(rotation @ peaks.rotation[:, 0].swapaxes(1, 2))
    angle = np.degrees(np.linalg.norm(turn, axis=1))
    assert np.median(angle) < 4
    assert (angle > 15).mean() <= 0.15  # half a turn about the beam looks much alike


def test_a_mirrored_molecule_explains_patterns_as_well():
    """Inversion leaves every intensity as it is: found orientations are those of the hand that one begins with."""
    n = 10
    seen, modes, _, _ = world(n, seed=3)
    other = Modes(-modes.mean, -modes.shape)
    one, two = (search(seen, each, np.arange(n), 1) for each in (modes, other))
    np.testing.assert_allclose(one.log_evidence, two.log_evidence, rtol=1e-3, atol=0.5)
    np.testing.assert_allclose(one.rotation, two.rotation, atol=0.02)


def test_cameras_keep_the_protocol():
    setting = Setting(3)
    images = Micrographs(setting.observe(setting.clean, 1.0), BEADS)
    patterns, modes, rotation, _ = world(3)
    cases: list[tuple[Likelihood, Modes, np.ndarray]] = [(images, TOY, setting.rotation), (patterns, modes, rotation)]
    for camera, known, turn in cases:
        assert len(camera) == 3
        assert len(camera[np.array([0, 2])]) == 2
        position = np.repeat(known.mean[None], 3, 0)
        for seen in (camera, camera.rough(), camera.within(20.0), camera.widened(np.full(len(known.mean), 0.01))):
            found = seen.expand(position, turn, np.zeros((3, 2)), known.shape, pose=True)
            assert found.information.shape == (3, 7, 7)
            assert found.evidence.shape == (3, 7)
            assert np.linalg.eigvalsh(found.information).min() > -1e-6 * found.information.max()
            assert seen.n_values <= camera.n_values

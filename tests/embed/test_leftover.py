"""Motion that modes leave out: in posteriors, and as the width of beads."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.embed.known import embed
from tempica.embed.micrographs import Micrographs, widened
from tempica.embed.modes.leftover import place_variance, rest_scale, rest_shapes, turn_variance
from tempica.embed.poses.rotations import logarithm
from tempica.embed.poses.settling import PosePrior
from tempica.embed.quadratic import Disc, model_waves
from tempica.embed.setting import EXACT, stated_precision
from tempica.imaging.likelihood import without
from tempica.imaging.modes import Modes

from .toy import BEADS, MODES, N_ATOMS, N_PIXELS, PIXEL_A, RADIUS, Setting, standardised

ONE = Modes(MODES.mean, MODES.shape[:1])


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_widened_beads_are_the_mean_over_places(rng):
    """⟨exp(2πi k·u)⟩ = exp(−2π² k² v) for u ~ N(0, v) along each axis."""
    disc, variance = Disc(N_PIXELS, PIXEL_A, RADIUS), 0.004
    place = MODES.mean[None], np.eye(3)[None], np.zeros((1, 2))
    sharp, wide = (model_waves(disc, beads, *place)[0] for beads in (BEADS, widened(BEADS, np.full(N_ATOMS, variance))))
    damping = np.exp(-2 * np.pi**2 * (disc.index[0] ** 2 + disc.index[1] ** 2) / disc.edge_A**2 * 100 * variance)
    np.testing.assert_allclose(wide, sharp * damping, atol=2e-3 * np.abs(sharp).max())


def test_variance_of_places_is_that_of_drawn_structures(rng):
    basis, shape = rng.normal(size=(4, N_ATOMS, 3)), rng.normal(size=(2, N_ATOMS, 3))
    root = rng.normal(size=(2, 2))
    rest = rest_shapes(basis, shape, 0.7)
    drawn = np.tensordot(rng.normal(size=(20_000, 2)) @ root.T, shape, 1)
    drawn += np.tensordot(rng.normal(size=(20_000, len(rest))), rest, 1)
    assert np.abs(np.einsum("lni,kni->lk", rest, shape)).max() < 1e-9  # what modes can do is left to them
    np.testing.assert_allclose(place_variance(basis, shape, root @ root.T, 0.7), drawn.var(0).mean(1), rtol=0.1)


def test_variance_of_turned_beads_is_that_of_drawn_poses(rng):
    deviation = np.array([0.03, 0.02, 0.04, 0.3, 0.2])
    draw = rng.normal(size=(20_000, 5)) * deviation
    view = Rotation.random(20_000, rng=rng).as_matrix()
    seen = np.einsum("fij,nj->fni", view, MODES.mean)
    moved = np.cross(draw[:, None, :3], seen)[..., :2] + draw[:, None, 3:] / 10
    np.testing.assert_allclose(turn_variance(MODES.mean, np.diag(deviation**2)), moved.var(0).mean(1), rtol=0.05)


def test_the_strength_of_the_rest_is_learned(rng):
    half = rng.normal(size=(400, 12, 5))
    information = half.swapaxes(1, 2) @ half
    true, known = 0.4 * rng.normal(size=(400, 5)), rng.normal(size=(400, 5))
    evidence = (information @ (true + known)[..., None])[..., 0] + np.einsum(
        "fmb,fm->fb", half, rng.normal(size=(400, 12))
    )
    assert rest_scale(information, evidence, known) == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize("pose_is_known", [True, False])
def test_latents_allow_for_motion_beyond_the_modes(pose_is_known):
    setting, strength = Setting(300, seed=9), np.array([1.0, 0.4])
    setting.truth *= strength
    setting.clean = np.concatenate([setting.twin(f, setting.truth[[f]]) for f in range(300)])
    variance = 0.1 * setting.signal
    seen = setting.observe(setting.noisy(variance), variance)
    pose, prior = (setting.rotation, setting.shift), None
    if not pose_is_known:
        pose = setting.misplaced(np.deg2rad(2.0), 0.3)
        prior = PosePrior(*pose, np.array([np.deg2rad(2.0) ** -2] * 3 + [0.3**-2] * 2))
    basis = strength[:, None, None] * MODES.shape
    beyond = rest_shapes(basis, ONE.shape, 1.0)
    along = np.einsum("knj,nj->k", MODES.shape, ONE.shape[0]) / (ONE.shape**2).sum()
    truth = setting.truth @ along  # amplitude of the nearest structure that the mode can tell

    def score(rest):
        beads = widened(BEADS, (rest**2).sum((0, 2)) / 3)
        found = embed(Micrographs(seen, beads), ONE, np.zeros(1), np.arange(300), pose, prior, 15, rest)
        return standardised(found.latent - truth[:, None], found.latent_covariance).mean()

    assert score(beyond) == pytest.approx(1, abs=4 * np.sqrt(2 / 300))
    assert score(0 * beyond) > 1.5


def test_marginalising_is_the_schur_complement(rng):
    half = rng.normal(size=(3, 6, 20))
    information, evidence = half @ half.swapaxes(1, 2), rng.normal(size=(3, 6))
    left = without(SimpleNamespace(information=information, evidence=evidence, misfit=np.zeros(3)), slice(2, 5))
    whole = information + np.diag([0, 0, 1, 1, 1, 0])
    kept = [0, 1, 5]
    covariance = np.linalg.inv(whole)
    np.testing.assert_allclose(np.linalg.inv(left.information), covariance[:, kept][:, :, kept], rtol=1e-6)
    step = (covariance @ evidence[..., None])[:, kept, 0]
    np.testing.assert_allclose(np.linalg.solve(left.information, left.evidence[..., None])[..., 0], step, rtol=1e-6)


@pytest.mark.parametrize("exact", ["rotation", "shift"])
def test_what_has_no_error_stays_as_it_is_stated(exact):
    setting = Setting(40, seed=11)
    variance = 0.1 * setting.signal
    turn, shift_A = (0.0, 0.7) if exact == "rotation" else (4.0, 0.0)
    movie = SimpleNamespace(attrs={"pose": "approximate", "pose_error_deg": turn, "pose_error_A": shift_A})
    prior = PosePrior(*setting.misplaced(np.deg2rad(turn), shift_A), stated_precision(movie))
    seen = setting.observe(setting.noisy(variance), variance)
    found = embed(
        Micrographs(seen, BEADS), MODES, np.zeros(2), np.arange(40), (prior.rotation, prior.shift_A), prior, 15
    )
    angle = np.linalg.norm(logarithm(prior.rotation @ found.rotation.swapaxes(1, 2)), axis=1)
    move = np.linalg.norm(prior.shift_A - found.pose_shift_A, axis=1)
    assert (angle.max() < 10 * EXACT[0]) == (exact == "rotation")
    assert (move.max() < 10 * EXACT[-1]) == (exact == "shift")
    free = slice(3, 5) if exact == "rotation" else slice(0, 3)
    stated = np.diagonal(found.pose_covariance, axis1=1, axis2=2) > 0
    assert stated[:, free].all()
    assert stated.sum() == stated[:, free].size  # no covariance of what is exact

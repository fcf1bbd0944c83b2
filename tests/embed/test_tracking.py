"""The smoother of poses and amplitudes on simulated chains without images, and on a short movie with images."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.embed.micrographs import Micrographs
from tempica.embed.poses.motion import Dynamics, Motion, Place, expand_prior, frames_of
from tempica.embed.poses.rotations import exponential, logarithm, turned
from tempica.embed.poses.tracking import smooth_chain, smooth_poses
from tempica.imaging.likelihood import Expansion

from .chains import Chains, displaced, simulate
from .toy import BEADS, MODES, Setting, standardised

DEGREE = np.radians(1.0)


def motion_of(turn_deg: float, shift_A: float, drift: np.ndarray | None = None) -> Motion:
    return Motion((turn_deg * DEGREE) ** 2, shift_A**2, 9.0, np.zeros((1, 2)) if drift is None else drift)


def errors(chains: Chains, place) -> np.ndarray:
    turn = logarithm(chains.truth.rotation @ place.rotation.swapaxes(1, 2))
    return np.concatenate(
        [chains.truth.amplitude - place.amplitude, turn, chains.truth.shift_A - place.shift_A], axis=1
    )


@pytest.mark.parametrize("dynamics", [None, Dynamics(np.array([[0.8, 0.6], [-0.5, 0.9]]), np.array([0.9, 0.3]))])
@pytest.mark.parametrize("motion", [motion_of(40, 1.0, np.array([[0.3, -0.2]])), motion_of(np.inf, np.inf)])
def test_slope_of_the_prior_is_that_of_its_cost(dynamics, motion):
    place = displaced(simulate(2, 5, 40.0, 0.5).truth, 0.3, 0.5)
    place = replace(place, amplitude=np.random.default_rng(0).standard_normal((10, 2)))
    frames, h = frames_of(np.repeat([7, 3], 5)), 1e-5
    prior = expand_prior(place, frames, motion, dynamics)

    def cost(step: np.ndarray) -> float:
        moved = Place(turned(place.rotation, step[:, 2:5]), place.shift_A + step[:, 5:], place.amplitude + step[:, :2])
        return expand_prior(moved, frames, motion, dynamics).cost.sum()

    for f in range(10):
        for p in range(7):
            step = np.zeros((10, 7))
            step[f, p] = h
            assert (cost(step) - cost(-step)) / (2 * h) == pytest.approx(-2 * prior.slope[f, p], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("jitter", [0.0, 0.4])
def test_one_step_is_exact_where_all_is_linear(jitter):
    """Amplitudes and shifts alone, against the dense solution."""
    chains, rho = simulate(1, 30, 0.0, 0.3, n_modes=1, rho=0.8, jitter_A=jitter), 0.8
    motion = replace(motion_of(np.inf, 0.3), jitter_variance=jitter**2)
    tracked = smooth_chain(
        chains.expand, chains.truth, chains.molecule, motion, Dynamics(np.eye(1), np.array([rho])), learn=False
    )
    lag = np.abs(np.subtract.outer(np.arange(30), np.arange(30)))
    start = np.minimum.outer(np.arange(30), np.arange(30))
    tied = np.zeros((180, 180))
    tied[0::6, 0::6] = rho**lag
    for p in (1, 2, 3):
        tied[p::6, p::6] = 1.763 * np.eye(30)
    for p in (4, 5):
        tied[p::6, p::6] = 9.0 + 0.09 * start + jitter**2 * np.eye(30)
    here = chains.expand(np.arange(30), chains.truth)
    precision = np.linalg.inv(tied)
    for t in range(30):
        precision[6 * t : 6 * t + 6, 6 * t : 6 * t + 6] += here.information[t]
    dense = np.linalg.inv(precision).reshape(30, 6, 30, 6)
    assert np.allclose(np.einsum("aiaj->aij", dense), tracked.covariance, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("turn_deg", "shift_step", "pose_sd"),
    [(3.0, 0.1, (0.03, 0.3)), (10.0, None, (0.03, 0.3)), (2.0, 0.3, (0.06, 1.0)), (None, None, (0.03, 0.3))],
)
def test_motion_is_learned_and_posteriors_are_calibrated(turn_deg, shift_step, pose_sd):
    chains = simulate(6, 300, turn_deg, shift_step, pose_sd=pose_sd)
    first = motion_of(np.inf if turn_deg is None else 8.0, np.inf if shift_step is None else 1.0)
    tracked = smooth_chain(chains.expand, displaced(chains.truth, 0.05, 0.5), chains.molecule, first)
    if turn_deg is not None:
        assert np.degrees(np.sqrt(tracked.turn_variance)) == pytest.approx(turn_deg, rel=0.05)
    if shift_step is not None:
        assert np.sqrt(tracked.shift_variance) == pytest.approx(shift_step, rel=0.1)
    error = errors(chains, tracked)
    assert standardised(error, tracked.covariance).mean() == pytest.approx(1, abs=0.07)
    assert standardised(error[:, 2:5], tracked.covariance[:, 2:5, 2:5]).mean() == pytest.approx(1, abs=0.12)
    assert standardised(error[:, :2], tracked.latent_covariance).mean() == pytest.approx(1, abs=0.12)
    assert not tracked.set_aside.any()


@pytest.mark.parametrize(("shift_step", "jitter"), [(0.02, 0.15), (0.1, 0.3), (0.3, 0.0)])
def test_jitter_of_shifts_is_told_from_their_steps(shift_step, jitter):
    chains = simulate(6, 400, 3.0, shift_step, jitter_A=jitter)
    tracked = smooth_chain(chains.expand, displaced(chains.truth, 0.05, 0.5), chains.molecule, motion_of(8, 1.0))
    motion, error = tracked.motion, errors(chains, tracked)
    assert np.sqrt(motion.shift_variance) == pytest.approx(shift_step, rel=0.1, abs=0.015)
    assert np.sqrt(motion.jitter_variance) == pytest.approx(jitter, abs=0.4 * shift_step + 0.01)
    assert standardised(error, tracked.covariance).mean() == pytest.approx(1, abs=0.07)
    assert standardised(error[:, -2:], tracked.covariance[:, -2:, -2:]).mean() == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("drift", [0.0, 0.1])
def test_drift_is_learned_where_there_is_one(drift):
    chains = simulate(5, 150, 3.0, 0.05, drift_A=drift)
    tracked = smooth_chain(chains.expand, displaced(chains.truth, 0.05, 0.5), chains.molecule, motion_of(8, 1.0))
    speed = np.linalg.norm(tracked.motion.drift_A, axis=1)
    assert speed == pytest.approx(np.full(5, drift), abs=0.02 if drift else 0.0)
    assert np.sqrt(tracked.shift_variance) == pytest.approx(0.05, rel=0.3)
    # a molecule apart, with the motion of all
    motion = replace(tracked.motion, drift_A=np.zeros((1, 2)))
    first = smooth_chain(
        chains.expand, Place(*(v[:150] for v in vars(chains.truth).values())), np.zeros(150), motion, learn=False
    )
    assert np.allclose(first.motion.drift_A[0], tracked.motion.drift_A[0], atol=1e-3)


def test_latents_are_independent_in_time_also_with_dynamics():
    """With poses known, the latents are the posteriors of frames alone, whatever the dynamics."""
    mix = Dynamics(np.array([[0.8, 0.6], [-0.6, 0.8]]), np.array([0.95, 0.5]))
    chains = simulate(3, 100, 3.0, 0.1, rho=0.9, pose_sd=(1e-4, 1e-3))
    given = {"start": chains.truth, "molecule": chains.molecule, "motion": motion_of(3, 0.1), "learn": False}
    alone, together = smooth_chain(chains.expand, **given), smooth_chain(chains.expand, dynamics=mix, **given)
    assert np.allclose(alone.latent, alone.amplitude)
    assert np.allclose(together.latent, alone.latent, atol=1e-3)
    assert np.allclose(together.latent_covariance, alone.latent_covariance, atol=1e-4)
    error = [((chains.truth.amplitude - tracked.amplitude) ** 2).mean() for tracked in (together, alone)]
    assert error[0] < 0.9 * error[1]


def test_empty_frames_are_set_aside_and_drag_nobody():
    chains = simulate(2, 100, 3.0, 0.0)
    junk = np.arange(30, 200, 60)
    empty = 400.0 + 10 * np.random.default_rng(0).standard_normal(200)
    empty[junk[0]] = 4000.0  # not only is nothing there, but much of something else

    def expand(which: np.ndarray, place: Place) -> Expansion:
        """Junk says with great certainty that it is a radian off, and yet fits no better than nothing."""
        seen = chains.expand(which, place)
        bad = np.isin(which, junk)
        evidence = np.where(bad[:, None], 1000.0, seen.evidence)
        return Expansion(seen.information, evidence, np.where(bad, 50.0 + empty[which], seen.misfit))

    start = displaced(chains.truth, 0.05, 0.3)
    tracked = smooth_chain(expand, start, chains.molecule, motion_of(3, 0.1), empty=empty)
    clean = smooth_chain(chains.expand, start, chains.molecule, motion_of(3, 0.1), empty=empty)
    assert np.array_equal(np.flatnonzero(tracked.set_aside), junk)
    difference = np.linalg.norm(logarithm(tracked.rotation @ clean.rotation.swapaxes(1, 2)), axis=1)
    assert np.delete(difference, junk).max() < 1 * DEGREE  # they miss what the frame said, no more
    assert np.degrees(np.linalg.norm(errors(chains, tracked)[junk, 2:5], axis=1)).max() < 8
    assert np.degrees(np.sqrt(tracked.turn_variance)) == pytest.approx(3, rel=0.1)


def test_molecules_of_one_frame_and_mixed_lengths():
    chains = simulate(30, 4, 3.0, 0.1)
    molecule = np.where(np.arange(120) < 60, np.arange(120), 200 + chains.molecule)
    tracked = smooth_chain(chains.expand, displaced(chains.truth, 0.02, 0.1), molecule, motion_of(3, 0.1), learn=False)
    alone = smooth_chain(
        lambda which, place: chains.expand(which + 59, place),
        Place(*(value[59:60] for value in (chains.truth.rotation, chains.truth.shift_A, chains.truth.amplitude))),
        np.zeros(1),
        motion_of(3, 0.1),
        learn=False,
    )
    assert np.allclose(tracked.rotation[59], alone.rotation[0], atol=1e-3)
    assert np.allclose(tracked.covariance[59], alone.covariance[0], rtol=1e-3, atol=1e-9)


def movie(n_frames: int, turn_deg: float, seed: int = 0) -> Setting:
    """Two molecules that turn and keep their place, noise-free."""
    setting = Setting(n_frames, seed)
    w = turn_deg * DEGREE * setting.rng.standard_normal((n_frames, 3))
    half = n_frames // 2
    for t in range(n_frames):
        if t % half:
            setting.rotation[t] = exponential(w[t : t + 1])[0] @ setting.rotation[t - 1]
            setting.shift[t] = setting.shift[t - 1]
    setting.clean = np.concatenate([setting.twin(f, setting.truth[[f]]) for f in range(n_frames)])
    return setting


def test_a_movie_with_images():
    setting = movie(120, 4.0)
    noise = setting.clean.var() / 0.3
    image = setting.noisy(noise)
    image[50] = np.sqrt(noise) * setting.rng.standard_normal(image[50].shape)  # nothing there
    start = Place(*setting.misplaced(5 * DEGREE, 0.5), np.zeros((120, 0)))
    start.rotation[20] = Rotation.random(random_state=0).as_matrix()  # lost
    molecule = np.repeat([0, 1], 60)
    seen = Micrographs(setting.observe(image, noise), BEADS)
    tracked = smooth_poses(seen, MODES, start, molecule, motion_of(10, 1.0), empty=seen.empty, n_steps=10)
    turn = logarithm(setting.rotation @ tracked.rotation.swapaxes(1, 2))
    error = np.concatenate([setting.truth - tracked.amplitude, turn, setting.shift - tracked.shift_A], 1)
    assert np.array_equal(np.flatnonzero(tracked.set_aside), [50])
    assert np.degrees(np.linalg.norm(turn, axis=1)).max() < 20
    assert np.degrees(np.sqrt(tracked.turn_variance)) == pytest.approx(4, rel=0.2)
    assert standardised(error, tracked.covariance).mean() == pytest.approx(1, abs=0.3)
    alone = smooth_poses(seen, MODES, start, molecule, motion_of(np.inf, np.inf), empty=seen.empty, n_steps=10)
    before = logarithm(setting.rotation @ alone.rotation.swapaxes(1, 2))
    kept = np.delete(np.arange(120), [20, 50])
    assert np.median((turn[kept] ** 2).sum(1)) < 0.8 * np.median((before[kept] ** 2).sum(1))

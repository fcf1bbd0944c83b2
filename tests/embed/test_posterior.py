"""Posteriors against a slow twin of the image formation, in float64 and pixels instead of Fourier space."""

from itertools import pairwise

import numpy as np
import pytest

from tempica.embed.micrographs import Micrographs
from tempica.embed.poses.rotations import logarithm
from tempica.embed.poses.settling import PosePrior
from tempica.embed.posterior import Posterior, compress, posterior
from tempica.embed.quadratic import linearise
from tempica.imaging.modes import Modes

from .toy import BEADS, MODES, N_PIXELS, RADIUS, Setting, standardised

N_ITERATIONS = 15
TURN, SHIFT_A = np.deg2rad(4.0), 0.7  # errors of poses that are approximate


def embed(setting, image, noise_variance, n_iterations=N_ITERATIONS):
    seen = setting.observe(image, noise_variance)
    return posterior(Micrographs(seen, BEADS), MODES, setting.rotation, setting.shift, n_iterations)


def within_the_disc(image):
    wave = np.fft.rfft2(image)
    wave[..., np.hypot(np.fft.fftfreq(N_PIXELS)[:, None], np.fft.rfftfreq(N_PIXELS)) > RADIUS / N_PIXELS] = 0
    return np.fft.irfft2(wave, image.shape[-2:])


def approximate(setting, turn=TURN, shift_A=SHIFT_A):
    precision = np.array([turn**-2] * 3 + [shift_A**-2] * 2)
    return PosePrior(*setting.misplaced(turn, shift_A), precision)


def test_without_noise_the_amplitudes_are_found():
    setting = Setting(60)
    worst = []
    for fraction in (1e-1, 1e-3, 1e-5):
        variance = fraction * setting.signal
        found = embed(setting, setting.noisy(variance), variance, 30)
        worst.append(np.median(np.abs(found.mean - setting.truth)))
        assert found.residual_variance.mean() == pytest.approx(1, rel=0.05)
    assert worst[1] == pytest.approx(worst[0] / 10, rel=0.5)
    assert worst[2] == pytest.approx(worst[1] / 10, rel=0.5)
    assert (np.abs(found.mean - setting.truth).max(1) < 0.03).mean() > 0.95  # a local minimum is rare


@pytest.mark.parametrize("fraction", [0.3, 3.0])
def test_the_covariance_is_calibrated(fraction):
    setting = Setting(300, seed=1)
    variance = fraction * setting.signal
    found = embed(setting, setting.noisy(variance), variance)
    score = standardised(found.mean - setting.truth, found.covariance)
    assert score.mean() == pytest.approx(1, abs=4 / np.sqrt(len(score)))  # χ² of two degrees over two: variance 1
    assert (score < np.log(4)).mean() == pytest.approx(0.75, abs=4 * np.sqrt(0.25 * 0.75 / len(score)))
    # by the law of total variance, posterior spread and spread of the means make up the prior
    total = found.covariance.mean(0) + np.cov(found.mean.T)
    np.testing.assert_allclose(total, np.eye(2), atol=4.5 * np.sqrt(2 / len(score)))


def test_the_posterior_is_that_of_a_grid_search():
    setting = Setting(12, seed=2)
    variance = 0.3 * setting.signal
    image = setting.noisy(variance)
    found = embed(setting, image, variance)
    axis = np.linspace(-4, 4, 61)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    for frame in range(12):
        misfit = setting.misfit(image, frame, grid, variance)
        weight = np.exp(-0.5 * (misfit - misfit.min()))
        weight /= weight.sum()
        mean = weight @ grid
        deviation = np.sqrt(weight @ (grid - mean) ** 2)
        assert (np.abs(found.mean[frame] - mean) < 0.1 * deviation).all()
        np.testing.assert_allclose(np.sqrt(np.diagonal(found.covariance[frame])), deviation, rtol=0.2)


def test_the_mean_is_a_stationary_point_and_the_covariance_its_curvature():
    setting = Setting(20, seed=3)
    variance = 0.3 * setting.signal
    image = within_the_disc(setting.noisy(variance))
    found = embed(setting, image, variance, 40)
    step = 1e-4 * np.concatenate([np.eye(2), -np.eye(2)])
    for frame in range(20):
        at = found.mean[frame] + step
        value = setting.misfit(image, frame, at, variance)
        gradient = (value[:2] - value[2:]) / 4e-4  # of ½ of it
        deviation = np.sqrt(np.diagonal(found.covariance[frame]))
        assert (np.abs(found.covariance[frame] @ gradient) < 0.03 * deviation).all()
        ahead = setting.twin(frame, at)
        jacobian = ((ahead[:2] - ahead[2:]) / 2e-4).reshape(2, -1)
        precision = jacobian @ jacobian.T / variance + np.eye(2)
        np.testing.assert_allclose(np.linalg.inv(found.covariance[frame]), precision, rtol=0.03, atol=0.3)


def test_hopeless_noise_returns_the_prior():
    setting = Setting(20)
    variance = 1e8 * setting.signal
    found = embed(setting, setting.noisy(variance), variance)
    np.testing.assert_allclose(found.mean, 0, atol=1e-2)
    np.testing.assert_allclose(found.covariance, np.broadcast_to(np.eye(2), (20, 2, 2)), atol=1e-3)


@pytest.mark.parametrize("poses", ["known", "approximate"])
def test_frames_are_independent_of_each_other(poses):
    """So that a movie's latents do not depend on its blocks."""
    setting = Setting(150, seed=4)  # more than go together
    seen = setting.observe(setting.noisy(setting.signal), setting.signal)
    prior = approximate(setting) if poses == "approximate" else None
    place = (setting.rotation, setting.shift) if prior is None else (prior.rotation, prior.shift_A)

    def part(which):
        return posterior(
            Micrographs(seen[which], BEADS),
            MODES,
            *(v[which] for v in place),
            N_ITERATIONS,
            None if prior is None else prior[which],
        )

    together = part(np.arange(150))
    for which in (np.arange(30), np.arange(149, 100, -1), np.array([7])):
        alone = part(which)
        for name in Posterior.__dataclass_fields__:
            np.testing.assert_allclose(
                getattr(alone, name), getattr(together, name)[which], rtol=1e-5, atol=1e-6, err_msg=name
            )


def test_no_frames_have_no_posteriors():
    setting = Setting(3)
    seen, none = setting.observe(setting.clean, 1.0)[:0], slice(0)
    found = posterior(Micrographs(seen, BEADS), MODES, setting.rotation[none], setting.shift[none], 5)
    assert (found.mean.shape, found.covariance.shape) == ((0, 2), (0, 2, 2))
    information, evidence = compress(
        Micrographs(seen, BEADS), MODES, found.mean, setting.rotation[none], setting.shift[none]
    )
    assert (information.shape, evidence.shape) == ((0, 2, 2), (0, 2))


def test_nothing_that_is_given_is_changed():
    setting = Setting(5)
    seen = setting.observe(setting.noisy(0.1), 0.1)
    prior, amplitude = approximate(setting), np.ones((5, 2))
    given = prior.rotation, prior.shift_A, amplitude, seen.target, MODES.mean
    before = [value.copy() for value in given]
    posterior(Micrographs(seen, BEADS), MODES, *given[:2], 5, prior, amplitude=amplitude)
    compress(Micrographs(seen, BEADS), MODES, amplitude, *given[:2], prior)
    for value, old in zip(given, before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_more_iterations_never_make_it_worse():
    setting = Setting(100, seed=5)
    variance = 0.01 * setting.signal
    seen = setting.observe(setting.noisy(variance), variance)
    start = np.zeros((100, 2))

    def cost(n_iterations):
        found = posterior(
            Micrographs(seen, BEADS), MODES, setting.rotation, setting.shift, n_iterations, amplitude=start
        )
        return found.residual_variance * seen.disc.n_values + (found.mean**2).sum(1)

    costs = [cost(n) for n in (1, 2, 4, 8, 30)]
    for fewer, more in pairwise(costs):
        assert (more <= fewer + 0.02).all()  # the last step, which gains little, is not looked at again


@pytest.mark.parametrize("fraction", [0.3, 3.0])
def test_stated_errors_of_poses_are_allowed_for(fraction):
    setting = Setting(300, seed=6)
    variance = fraction * setting.signal
    seen = setting.observe(setting.noisy(variance), variance)
    prior = approximate(setting)
    found = posterior(Micrographs(seen, BEADS), MODES, prior.rotation, prior.shift_A, N_ITERATIONS, prior)
    taken = posterior(Micrographs(seen, BEADS), MODES, prior.rotation, prior.shift_A, N_ITERATIONS)
    error, naive = (np.abs(p.mean - setting.truth).mean() for p in (found, taken))
    assert error < naive
    turn = logarithm(setting.rotation @ found.rotation.swapaxes(1, 2))
    pose = np.concatenate([turn, setting.shift - found.shift_A], 1)
    assert standardised(found.mean - setting.truth, found.covariance).mean() == pytest.approx(1, abs=0.3)
    assert standardised(pose, found.pose_covariance).mean() == pytest.approx(1, abs=0.2)
    assert standardised(taken.mean - setting.truth, taken.covariance).mean() > 1.3


def test_poses_without_error_are_known_poses():
    setting = Setting(20, seed=7)
    seen = setting.observe(setting.noisy(0.1 * setting.signal), 0.1 * setting.signal)
    exact = PosePrior(setting.rotation, setting.shift, np.full(5, 1e10))
    with_columns = posterior(Micrographs(seen, BEADS), MODES, setting.rotation, setting.shift, 30, exact)
    without = posterior(Micrographs(seen, BEADS), MODES, setting.rotation, setting.shift, 30)
    deviation = np.sqrt(np.einsum("fkk->fk", without.covariance))
    assert (np.abs(with_columns.mean - without.mean) < 0.05 * deviation).mean() > 0.97
    assert np.abs(logarithm(with_columns.rotation @ setting.rotation.swapaxes(1, 2))).max() < 1e-3
    assert (without.pose_covariance == 0).all()


@pytest.mark.parametrize("poses", ["known", "approximate"])
def test_compressed_images_give_the_step_that_images_give(poses):
    setting = Setting(30, seed=8)
    seen = setting.observe(setting.noisy(setting.signal), setting.signal)
    prior = approximate(setting) if poses == "approximate" else None
    place = (setting.rotation, setting.shift) if prior is None else (prior.rotation, prior.shift_A)
    rich = Modes(MODES.mean, np.concatenate([MODES.shape, 0.03 * setting.rng.normal(size=(5, *MODES.mean.shape))]))
    amplitude = setting.rng.normal(size=(30, 7))
    information, evidence = compress(Micrographs(seen, BEADS), rich, amplitude, *place, prior)
    found = np.linalg.solve(information + np.eye(7), evidence[..., None])[..., 0]
    position = rich.mean + np.einsum("fk,knj->fnj", amplitude, rich.shape)
    whole = linearise(seen, BEADS, position, *place, rich.shape, pose=prior is not None)
    precision = np.concatenate([np.ones(7), () if prior is None else prior.precision])
    slope = whole.evidence.copy()
    slope[:, :7] -= amplitude
    step = np.linalg.solve(whole.information + np.diag(precision), slope[..., None])[..., 0]
    np.testing.assert_allclose(found, amplitude + step[:, :7], rtol=1e-5, atol=1e-5)

"""Posteriors against a slow twin of the image formation, in float64 and pixels instead of Fourier space.

The toy molecule has 12 beads and two modes, its images 24 pixels along an edge.
"""

from itertools import pairwise

import numpy as np
import pytest

from tempica import imaging
from tempica.embed.atomic import Images, Posterior, Scatterers, estimate_noise, posterior
from tempica.imaging.modes import Modes

N_ATOMS, N_PIXELS, PIXEL_A = 12, 24, 2.0
N_ITERATIONS = 15
OPTICS = imaging.Optics(
    n_pixels=N_PIXELS,
    pixel_size_A=PIXEL_A,
    voltage_kV=300.0,
    spherical_aberration_mm=2.7,
    amplitude_contrast=0.1,
    b_factor_A2=40.0,
    bead_b_factor_A2=20.0,
)


def make_toy():
    rng = np.random.default_rng(12)
    mean = rng.normal(size=(N_ATOMS, 3))
    mean *= 0.9 / np.linalg.norm(mean, axis=1, keepdims=True)
    modes = Modes(mean, 0.07 * rng.normal(size=(2, N_ATOMS, 3)))
    return modes, Scatterers(rng.uniform(10, 30, N_ATOMS), rng.uniform(1.5, 2.5, N_ATOMS))


MODES, BEADS = make_toy()


class Setting:
    """Frames with known views and true amplitudes drawn from the prior, and the slow twin of their images."""

    def __init__(self, n_frames, seed=0):
        self.rng = np.random.default_rng(seed)
        self.truth = self.rng.standard_normal((n_frames, 2))
        quaternion = self.rng.normal(size=(n_frames, 4))
        self.rotation = imaging.rotation_matrix(quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True))
        self.shift = self.rng.normal(size=(n_frames, 2))
        defocus = self.rng.uniform(8_000, 15_000, n_frames)
        self.transfer = OPTICS.transfer(defocus + 100, defocus - 100, self.rng.uniform(0, np.pi, n_frames))
        self.clean = np.concatenate([self.twin(f, self.truth[[f]]) for f in range(n_frames)])
        self.signal = self.clean.var((1, 2)).mean()

    def twin(self, frame, amplitude):
        """Noise-free images (…, y, x) of one frame's view at amplitudes (…, 2)."""
        place = MODES.mean + np.einsum("gk,knj->gnj", amplitude, MODES.shape)
        xy = 10 * place @ self.rotation[frame, :2].T + self.shift[frame]
        grid = (np.arange(N_PIXELS) - N_PIXELS // 2) * PIXEL_A
        bell = np.exp(-((grid - xy[..., None]) ** 2) / (2 * BEADS.width_A[:, None, None] ** 2))
        peak = BEADS.amplitude / (2 * np.pi * BEADS.width_A**2)
        potential = np.einsum("n,gnx,gny->gyx", peak, bell[:, :, 0], bell[:, :, 1], optimize=True)
        return np.fft.irfft2(np.fft.rfft2(potential) * self.transfer[frame], (N_PIXELS, N_PIXELS))

    def images(self, noise_variance):
        noise = np.sqrt(noise_variance) * self.rng.standard_normal(self.clean.shape)
        return Images((self.clean + noise).astype(np.float32), self.rotation, self.shift, self.transfer)

    def misfit(self, images, frame, amplitude, noise_variance):
        """−2 log posterior of one frame at amplitudes (…, 2), up to a constant."""
        residual = images.image[frame] - self.twin(frame, amplitude)
        return (residual**2).sum((1, 2)) / noise_variance + (amplitude**2).sum(-1)


def embed(images, noise_variance, n_iterations=N_ITERATIONS):
    return posterior(images, MODES, BEADS, PIXEL_A, noise_variance, n_iterations)


def standardised(setting, found):
    """Mean over frames and modes of (error in units of the posterior's own)²."""
    error = found.mean - setting.truth
    return np.einsum("fk,fkl,fl->f", error, np.linalg.inv(found.covariance), error) / 2


def test_without_noise_the_amplitudes_are_found():
    setting = Setting(60)
    worst = []
    for fraction in (1e-2, 1e-4, 1e-6):
        variance = fraction * setting.signal
        found = embed(setting.images(variance), variance)
        worst.append(np.median(np.abs(found.mean - setting.truth)))
        assert found.residual_variance.mean() == pytest.approx(variance, rel=0.05)
    assert worst[2] < 1e-3
    assert worst[1] == pytest.approx(worst[0] / 10, rel=0.5)
    assert worst[2] == pytest.approx(worst[1] / 10, rel=0.5)
    assert (np.abs(found.mean - setting.truth).max(1) < 0.02).mean() > 0.95  # a local minimum is rare


@pytest.mark.parametrize("fraction", [0.3, 3.0])
def test_the_covariance_is_calibrated(fraction):
    setting = Setting(300, seed=1)
    variance = fraction * setting.signal
    found = embed(setting.images(variance), variance)
    score = standardised(setting, found)
    assert score.mean() == pytest.approx(1, abs=4 / np.sqrt(len(score)))  # χ² of two degrees over two: variance 1
    assert (score < np.log(4)).mean() == pytest.approx(0.75, abs=4 * np.sqrt(0.25 * 0.75 / len(score)))
    # by the law of total variance, posterior spread and spread of the means make up the prior
    total = found.covariance.mean(0) + np.cov(found.mean.T)
    np.testing.assert_allclose(total, np.eye(2), atol=4.5 * np.sqrt(2 / len(score)))


def test_the_posterior_is_that_of_a_grid_search():
    setting = Setting(12, seed=2)
    variance = 0.3 * setting.signal
    images = setting.images(variance)
    found = embed(images, variance)
    axis = np.linspace(-4, 4, 61)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    for frame in range(12):
        misfit = setting.misfit(images, frame, grid, variance)
        weight = np.exp(-0.5 * (misfit - misfit.min()))
        weight /= weight.sum()
        mean = weight @ grid
        covariance = np.einsum("g,gk,gl->kl", weight, grid - mean, grid - mean)
        deviation = np.sqrt(np.diag(covariance))
        assert (np.abs(found.mean[frame] - mean) < 0.1 * deviation).all()
        np.testing.assert_allclose(np.sqrt(np.diagonal(found.covariance[frame])), deviation, rtol=0.2)


def test_the_mean_is_a_stationary_point_and_the_covariance_its_curvature():
    setting = Setting(20, seed=3)
    variance = 0.3 * setting.signal
    images = setting.images(variance)
    found = embed(images, variance, 40)
    step = 1e-4 * np.concatenate([np.eye(2), -np.eye(2)])
    for frame in range(20):
        at = found.mean[frame] + step
        value = setting.misfit(images, frame, at, variance)
        gradient = (value[:2] - value[2:]) / 4e-4  # of ½ of it
        newton = found.covariance[frame] @ gradient
        assert np.abs(newton).max() < 3e-3
        ahead = setting.twin(frame, at)
        jacobian = ((ahead[:2] - ahead[2:]) / 2e-4).reshape(2, -1)
        precision = jacobian @ jacobian.T / variance + np.eye(2)
        np.testing.assert_allclose(np.linalg.inv(found.covariance[frame]), precision, rtol=2e-3, atol=1e-2)
        residual = images.image[frame] - setting.twin(frame, found.mean[[frame]])[0]
        assert found.residual_variance[frame] == pytest.approx((residual**2).mean(), rel=1e-4)


def test_hopeless_noise_returns_the_prior():
    setting = Setting(20)
    variance = 1e8 * setting.signal
    found = embed(setting.images(variance), variance)
    np.testing.assert_allclose(found.mean, 0, atol=1e-2)
    np.testing.assert_allclose(found.covariance, np.broadcast_to(np.eye(2), (20, 2, 2)), atol=1e-3)


def test_frames_are_independent_of_each_other():
    """So that a movie's latents do not depend on its blocks."""
    setting = Setting(30, seed=4)
    variance = setting.signal
    images = setting.images(variance)
    together = embed(images, variance)

    def part(which):
        return Images(*(value[which] for name, value in vars(images).items() if name != "power"))

    for parts in ([[f] for f in range(30)], [range(13), range(13, 30)], [range(29, -1, -1)]):
        for which in map(list, parts):
            alone = embed(part(which), variance)
            for name in Posterior.__dataclass_fields__:
                np.testing.assert_allclose(
                    getattr(alone, name), getattr(together, name)[which], rtol=1e-6, atol=1e-7, err_msg=name
                )


def test_more_iterations_never_make_it_worse():
    setting = Setting(100, seed=5)
    variance = 0.01 * setting.signal
    images = setting.images(variance)

    def cost(n_iterations):
        found = embed(images, variance, n_iterations)
        return found.residual_variance * N_PIXELS**2 / variance + (found.mean**2).sum(1)

    costs = [cost(n) for n in (1, 2, 4, 8, 30)]
    for fewer, more in pairwise(costs):
        assert (more <= fewer * (1 + 1e-5)).all()
    start = [setting.misfit(images, f, np.zeros((1, 2)), variance)[0] for f in range(100)]
    assert (costs[0] <= np.multiply(start, 1 + 1e-5)).all()


@pytest.mark.parametrize("fraction", [1e-2, 1.0, 10.0])
def test_the_noise_variance_is_learned_from_the_images(fraction):
    setting = Setting(100, seed=6)
    variance = fraction * setting.signal
    images = setting.images(variance)
    found = estimate_noise(images, MODES, BEADS, PIXEL_A, N_ITERATIONS)
    assert found == pytest.approx(variance, rel=0.01)
    # in other units the answer is the same
    louder = Images(3 * images.image, images.rotation, images.shift_A, images.transfer)
    beads = Scatterers(3 * BEADS.amplitude, BEADS.width_A)
    assert estimate_noise(louder, MODES, beads, PIXEL_A, N_ITERATIONS) == pytest.approx(9 * found, rel=2e-3)


def test_what_the_modes_cannot_express_counts_as_noise():
    """Else images without noise would make the posterior overconfident."""
    setting = Setting(60, seed=7)
    one = Modes(MODES.mean, MODES.shape[:1])
    found = estimate_noise(setting.images(0.0), one, BEADS, PIXEL_A, N_ITERATIONS)
    assert found > 0.01 * setting.signal

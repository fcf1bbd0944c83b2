"""The ceiling against a slow twin that sums the likelihood over structures, images in pixels.

The toy molecule has 10 beads. One motion follows a collective variable, with a curvature; another one, random and of
the same kind in every frame, hides it.
"""

from __future__ import annotations

import numpy as np
import pytest

from tempica import imaging
from tempica.embed.micrographs import Micrographs
from tempica.embed.quadratic import observe
from tempica.evaluate import ceilings, temporal
from tempica.imaging.linearise import Scatterers

N_ATOMS, N_PIXELS, PIXEL_A = 10, 24, 2.0
OPTICS = imaging.Optics(
    n_pixels=N_PIXELS,
    pixel_size_A=PIXEL_A,
    voltage_kV=300.0,
    spherical_aberration_mm=2.7,
    amplitude_contrast=0.1,
    b_factor_A2=40.0,
    bead_b_factor_A2=20.0,
)


class Setting:
    """Structures x(c, r) = mean + 0.2 (c d₁ + 0.1 (c² − 1) d₂ + r d₃), seen in random views."""

    def __init__(self, n_library=400, n_frames=12, nuisance=0.7, seed=0):
        self.rng = np.random.default_rng(seed)
        self.mean = self.rng.normal(size=(N_ATOMS, 3))
        self.mean *= 0.9 / np.linalg.norm(self.mean, axis=1, keepdims=True)
        self.direction = np.linalg.qr(self.rng.normal(size=(3 * N_ATOMS, 3)))[0].T.reshape(3, N_ATOMS, 3)
        self.length, self.width = self.rng.uniform(10, 30, N_ATOMS), self.rng.uniform(0.15, 0.25, N_ATOMS)
        scatterers = self.length[:, None], OPTICS.width_A(self.width)[:, None]
        self.camera = imaging.Camera(OPTICS, *scatterers, np.zeros(1), np.ones(1), np.ones(1))
        self.nuisance = nuisance
        self.c = self.rng.standard_normal(n_library)
        r = nuisance * self.rng.standard_normal(n_library)
        self.prior = ceilings.learn_prior(self.structure(self.c, r), self.c[:, None], n_modes=3)
        self.truth = self.rng.standard_normal(n_frames)
        self.position = self.structure(self.truth, nuisance * self.rng.standard_normal(n_frames))
        quaternion = self.rng.normal(size=(n_frames, 4))
        self.quaternion = quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)
        self.shift = self.rng.normal(size=(n_frames, 2))
        self.defocus = (np.full(n_frames, 12_100.0), np.full(n_frames, 11_900.0), np.zeros(n_frames))
        self.transfer = OPTICS.transfer(*self.defocus)
        self.clean = np.stack([self.image(f, self.position[f]) for f in range(n_frames)])

    def structure(self, c, r):
        steps = np.stack([c, 0.1 * (c**2 - 1), r])
        return self.mean + 0.2 * np.einsum("ks,knj->snj", steps, self.direction)

    def image(self, frame, position):
        """The image formula, bead by bead."""
        rotation = imaging.rotation_matrix(self.quaternion[frame])
        xy = 10 * position @ rotation[:2].T + self.shift[frame]
        grid = (np.arange(N_PIXELS) - N_PIXELS // 2) * PIXEL_A
        variance = (10 * self.width) ** 2 + OPTICS.bead_b_factor_A2 / (8 * np.pi**2)
        potential = np.zeros((N_PIXELS, N_PIXELS))
        for n in range(N_ATOMS):
            bell = [np.exp(-((grid - xy[n, axis]) ** 2) / (2 * variance[n])) for axis in (0, 1)]
            potential += self.length[n] / (2 * np.pi * variance[n]) * np.outer(bell[1], bell[0])
        return np.fft.irfft2(np.fft.rfft2(potential) * self.transfer[frame], (N_PIXELS, N_PIXELS))

    def recorded(self, noise_variance):
        noise = np.sqrt(noise_variance) * self.rng.standard_normal(self.clean.shape)
        return (self.clean + noise).astype(np.float32)

    def estimate(self, image, noise_variance, corrected=True):
        frames = ceilings.Frames(
            image,
            self.quaternion,
            self.shift,
            [*self.defocus, np.zeros(len(image))],
            self.position,
            self.truth[:, None],
        )
        dynamics = temporal.learn_dynamics(self.c[:, None], np.zeros(len(self.c)))
        nodes = dynamics.coarse_values() if corrected else np.empty((0, 1))
        found = ceilings.likelihoods(self.prior, self.camera, noise_variance, frames, nodes)
        interpolation = dynamics.interpolation(dynamics.score(self.c[:, None])) if corrected else None
        return ceilings.bayes_estimate(self.prior, found, interpolation)

    def estimate_by_camera(self, image, noise_variance):
        """The same by the likelihood that any camera has."""
        focus = [*self.defocus, np.zeros(len(image))]
        observed = observe(self.camera, image, focus, noise_variance, N_PIXELS // 2 - 1)
        beads = Scatterers(self.camera.scatterer_amplitude_A, self.camera.scatterer_width_A)
        pose = imaging.rotation_matrix(self.quaternion), self.shift
        dynamics = temporal.learn_dynamics(self.c[:, None], np.zeros(len(self.c)))
        told = ceilings.likelihoods_by(
            self.prior,
            Micrographs(observed, beads),
            pose,
            self.position,
            dynamics.coarse_values(),
        )
        return ceilings.bayes_estimate(self.prior, told, dynamics.interpolation(dynamics.score(self.c[:, None])))[0]

    def twin(self, frame, image, noise_variance, n_nodes=10):
        """Posterior mean of c: every c of the library with every r of a quadrature, its own image each."""
        node, weight = np.polynomial.hermite_e.hermegauss(n_nodes)
        total, moment, largest = [], [], -np.inf
        for c in self.c:
            for r, w in zip(self.nuisance * node, weight, strict=True):
                candidate = self.image(frame, self.structure(np.array([c]), np.array([r]))[0])
                log_p = -0.5 * ((image - candidate) ** 2).sum() / noise_variance + np.log(w)
                total.append(log_p)
                moment.append(c)
                largest = max(largest, log_p)
        p = np.exp(np.array(total) - largest)
        return (p * moment).sum() / p.sum()


@pytest.mark.parametrize("noise", [2.0, 15.0])
def test_agrees_with_a_sum_over_structures(noise):
    setting = Setting(n_library=100, n_frames=4)
    noise_variance = noise * setting.clean.var((1, 2)).mean()
    image = setting.recorded(noise_variance)
    found, effective = setting.estimate(image, noise_variance)
    expected = [setting.twin(f, image[f], noise_variance) for f in range(len(image))]
    assert 3 < np.median(effective) < 95  # the images say something, and not everything
    np.testing.assert_allclose(found[:, 0], expected, atol=0.1)
    by_camera = setting.estimate_by_camera(image, noise_variance)[:, 0]
    np.testing.assert_allclose(by_camera, expected, atol=0.15)  # without the corners of Fourier space
    linear, _ = setting.estimate(image, noise_variance, corrected=False)
    assert np.abs(found[:, 0] - expected).mean() < 0.7 * np.abs(linear[:, 0] - expected).mean()
    assert np.ptp(expected) > 0.5


def test_is_best_among_estimates_and_falls_with_noise():
    setting = Setting(n_library=2000, n_frames=150)
    signal = setting.clean.var((1, 2)).mean()
    error, size = [], []
    for factor in (2.0, 20.0, 200.0):
        found, effective = setting.estimate(setting.recorded(factor * signal), factor * signal)
        error.append(np.mean((found[:, 0] - setting.truth) ** 2))
        size.append(np.median(effective))
    assert error[0] < error[1] < error[2] < 1.2 * setting.truth.var()
    assert size[0] < size[1] < size[2]


def test_is_calibrated():
    """A Bayes estimate is the mean of the truth given itself: regressing the truth on it has slope 1."""
    setting = Setting(n_library=2000, n_frames=400)
    noise_variance = 2 * setting.clean.var((1, 2)).mean()
    found, _ = setting.estimate(setting.recorded(noise_variance), noise_variance)
    slope, offset = np.polyfit(found[:, 0], setting.truth, 1)
    assert slope == pytest.approx(1, abs=0.12)
    assert offset == pytest.approx(0, abs=0.12)


def test_without_information_the_prior_remains():
    setting = Setting(n_library=300, n_frames=3)
    found, effective = setting.estimate(setting.recorded(1.0), 1e12)
    np.testing.assert_allclose(found[:, 0], setting.c.mean(), atol=1e-3)
    np.testing.assert_allclose(effective, 300, rtol=1e-3)


def test_the_prior_describes_what_it_learned_from():
    setting = Setting(n_library=3000, nuisance=0.7)
    prior = setting.prior
    r = 0.7 * setting.rng.standard_normal(500)
    c = setting.rng.standard_normal(500)
    position = setting.structure(c, r)
    amplitude = prior.amplitude(position)
    rebuilt = prior.mean + np.einsum("sk,knj->snj", amplitude, prior.shape)
    np.testing.assert_allclose(rebuilt, position, atol=1e-9)  # three modes span the three motions
    np.testing.assert_allclose(prior.amplitude(setting.structure(setting.c, 0 * setting.c)).std(0)[0], 1, atol=0.1)
    # R is what c leaves open: one direction, of the nuisance's variance
    metric = np.einsum("knj,lnj->kl", prior.shape, prior.shape)
    np.testing.assert_allclose(metric, np.diag(np.diagonal(metric)), atol=1e-12)  # where rounding may be below zero
    root = np.diag(np.sqrt(np.diagonal(metric)))
    values = np.linalg.eigvalsh(root @ prior.spread @ root)
    assert values[-1] == pytest.approx((0.2 * 0.7) ** 2, rel=0.1)
    assert np.abs(values[:-1]).max() < 1e-4 * values[-1]

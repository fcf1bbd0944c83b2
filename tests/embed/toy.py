"""A toy molecule of 12 beads and two modes in images of 24 pixels, and the slow twin of those images."""

import numpy as np

from tempica import imaging
from tempica.embed.poses.rotations import turned
from tempica.embed.quadratic import observe
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes

N_ATOMS, N_PIXELS, PIXEL_A, RADIUS = 12, 24, 2.0, 11
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
    return modes, Scatterers(rng.uniform(10, 30, N_ATOMS), rng.uniform(1.8, 2.5, N_ATOMS))


MODES, BEADS = make_toy()
CAMERA = imaging.Camera(
    OPTICS, BEADS.amplitude[:, None], BEADS.width_A[:, None], np.array([0.0, 0.3]), np.ones(2), np.ones(2)
)


class Setting:
    """Frames with true views and true amplitudes drawn from the prior, and the slow twin of their images."""

    def __init__(self, n_frames, seed=0):
        self.rng = np.random.default_rng(seed)
        self.truth = self.rng.standard_normal((n_frames, 2))
        quaternion = self.rng.normal(size=(n_frames, 4))
        self.rotation = imaging.rotation_matrix(quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True))
        self.shift = self.rng.normal(size=(n_frames, 2))
        defocus = self.rng.uniform(8_000, 15_000, n_frames)
        self.focus = [defocus + 100, defocus - 100, self.rng.uniform(0, np.pi, n_frames), np.zeros(n_frames)]
        self.transfer = CAMERA.transfer(*self.focus)
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

    def noisy(self, noise_variance):
        return self.clean + np.sqrt(noise_variance) * self.rng.standard_normal(self.clean.shape)

    def observe(self, image, noise_variance):
        return observe(CAMERA, image.astype(np.float32), self.focus, noise_variance, RADIUS)

    def misfit(self, image, frame, amplitude, noise_variance):
        """−2 log posterior of one frame at amplitudes (…, 2), up to a constant."""
        residual = image[frame] - self.twin(frame, amplitude)
        return (residual**2).sum((1, 2)) / noise_variance + (amplitude**2).sum(-1)

    def misplaced(self, turn, shift_A):
        """Rotations and shifts with normal errors of those standard deviations (rad, Å)."""
        n = len(self.shift)
        rotation = turned(self.rotation, turn * self.rng.standard_normal((n, 3)))
        return rotation, self.shift + shift_A * self.rng.standard_normal((n, 2))


def standardised(error, covariance):
    """Squared error (F,) in units of the posterior's own; 1 on average where that is right."""
    return np.einsum("fk,fkl,fl->f", error, np.linalg.inv(covariance), error) / error.shape[1]

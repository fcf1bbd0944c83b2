"""Whitened residual and Jacobian of images: what a least-squares step or a likelihood of their structures needs.

Model of an image: y = C ⊛ P(A x + t) + ε, with known pose (A, t) and transfer function C, for a structure x that varies
along modes, x = x₀ + Σ_k a_k m_k; ε has known colour, each pixel the variance σ². In whitened Fourier coefficients ε is
white and has variance 1.

Shape legend: F frame, K mode, N atom, D pixels along an edge, H half plane of a real FFT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from tempica.imaging.geometry import to_pixels
from tempica.imaging.optics import plane_weights
from tempica.imaging.poses import pose_velocities
from tempica.imaging.projection import project, project_with_jacobian


@dataclass(frozen=True)
class Images:
    """Images with what is known about each."""

    image: np.ndarray  # (frame, y, x) 1/Å
    rotation: np.ndarray  # (frame, 3, 3)
    shift_A: np.ndarray  # (frame, 2)
    transfer: np.ndarray  # (frame, D, D//2 + 1)
    power: np.ndarray | float = 1.0  # (D, D//2 + 1) of the noise, relative to white noise


@dataclass(frozen=True)
class Scatterers:
    amplitude: np.ndarray  # (atom, gaussian) Å
    width_A: np.ndarray  # (atom, gaussian)


class Whitened:
    """Images in whitened Fourier coefficients, and their model in the same.

    Parameters:
        images: the images and what is known about each.
        mode_shape: displacements (K, N, space) in nm, along which the structures may vary.
        scatterers: of the N atoms or beads.
        pixel_A: edge of a pixel in Å.
        noise_variance: σ² of a pixel's noise.
        dtype: of everything after the projection, np.float32 or np.float64.
        pose: whether columns of the pose follow those of the modes: rotation about x, y, z of the view in rad, then
            shift along x, y in Å.
    """

    def __init__(
        self,
        images: Images,
        mode_shape: np.ndarray,
        scatterers: Scatterers,
        pixel_A: float,
        noise_variance: float,
        dtype: type[np.floating],
        *,
        pose: bool = False,
    ) -> None:
        self._images, self._scatterers, self._pixel_A, self._pose = images, scatterers, pixel_A, pose
        self._n_pixels = images.image.shape[-1]
        self._velocity = 10.0 / pixel_A * np.einsum("fij,knj->fkni", images.rotation[:, :2], mode_shape)
        # filtering, weighting by Parseval, whitening and dividing by σ all in one factor per Fourier coefficient
        weight = np.sqrt(plane_weights(self._n_pixels) / (images.power * noise_variance)).astype(dtype)
        self._factor = images.transfer * weight
        self._target = fft.rfft2(images.image.astype(dtype)) * weight

    def linearise(self, position: np.ndarray, frames: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Residual (F, D, H) and Jacobian (F, K, D, H), complex, of those frames at their structures (F, N, 3) in nm.

        K counts the pose's five columns too, where they are wanted. The real parts of inner products are those of the
        whitened images' pixels.
        """
        images, scatterers = self._images, self._scatterers
        xy = to_pixels(position, images.rotation[frames], images.shift_A[frames], self._n_pixels, self._pixel_A)
        velocity = self._velocity[frames]
        if self._pose:
            view_A = 10.0 * np.einsum("fij,fnj->fni", images.rotation[frames], position)
            velocity = np.concatenate([velocity, pose_velocities(view_A, self._pixel_A)], 1)
        columns = project_with_jacobian(
            xy, velocity, scatterers.amplitude, scatterers.width_A, self._n_pixels, self._pixel_A
        )
        wave = fft.rfft2(columns) * self._factor[frames, None]
        return self._target[frames] - wave[:, 0], wave[:, 1:]

    def residuals(self, position: np.ndarray, frame: int) -> np.ndarray:
        """Residuals (S, P), real, of one frame at many structures (S, N, 3) in nm: P = 2 D H."""
        images, scatterers, n = self._images, self._scatterers, len(position)
        rotation, shift_A = (
            np.broadcast_to(each[frame], (n, *each[frame].shape)) for each in (images.rotation, images.shift_A)
        )
        xy = to_pixels(position, rotation, shift_A, self._n_pixels, self._pixel_A)
        image = project(xy, scatterers.amplitude, scatterers.width_A, self._n_pixels, self._pixel_A)
        wave = self._target[frame] - fft.rfft2(image) * self._factor[frame]
        return np.ascontiguousarray(wave.reshape(n, -1)).view(wave.real.dtype)

"""The whole deterministic camera: what scatters, the optics, and what weakens the signal at each frequency.

Shape legend: F frame, N atom, K Gaussian of an atom, D pixels along an edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tempica.imaging.geometry import rotation_matrix, to_pixels
from tempica.imaging.optics import Optics, contrast_in_parts, optics_of, through_optics
from tempica.imaging.projection import project
from tempica.imaging.radial import damage_filter, frequency_grid, noise_power

if TYPE_CHECKING:
    import xarray

FOCUS = ("defocus_u_A", "defocus_v_A", "defocus_angle", "damage_dose")  # what `Camera.transfer` needs of each frame
AT_ONCE = 2**22  # pixels of images that are made together: what they pass through takes tens of bytes each
PARTS = ("scatterer_amplitude_A", "scatterer_width_A", "frequency", "noise_power", "dqe")  # a movie's variables


@dataclass(frozen=True, eq=False)
class Camera:
    """What is the same for all images of a movie."""

    optics: Optics
    scatterer_amplitude_A: np.ndarray  # (N, K) Å
    scatterer_width_A: np.ndarray  # (N, K) Å
    frequency: np.ndarray  # (node,) 1/Å, of the two tables below
    noise_power: np.ndarray  # (node,) relative
    dqe: np.ndarray  # (node,)

    def transfer(
        self, defocus_u_A: np.ndarray, defocus_v_A: np.ndarray, defocus_angle: np.ndarray, damage_dose: np.ndarray
    ) -> np.ndarray:
        """What the signal's Fourier coefficients are multiplied by, (F, D, D//2 + 1) float32.

        The contrast transfer function, √DQE, and the damage of a dose (F,) in e/Å².
        """
        transfer = self.optics.transfer(defocus_u_A, defocus_v_A, defocus_angle)
        k = frequency_grid(self.optics.n_pixels, self.optics.pixel_size_A)
        if (self.dqe != 1).any():
            transfer *= np.sqrt(np.interp(k, self.frequency, self.dqe)).astype(np.float32)
        if np.any(damage_dose):
            transfer *= damage_filter(k, damage_dose, self.optics.voltage_kV).astype(np.float32)
        return transfer

    def transfer_at(self, ky: np.ndarray, kx: np.ndarray, focus: Sequence[np.ndarray]) -> np.ndarray:
        """`transfer` at M coefficients alone, (F, M) float32: (ky, kx) in steps of the image's Fourier grid.

        They must lie below the Nyquist frequency along x. The phase is computed in float32: off by some 1e-5.
        """
        optics = self.optics
        edge_A = optics.n_pixels * optics.pixel_size_A
        k = np.hypot(ky, kx) / edge_A
        bases, phase, envelope = contrast_in_parts(k, np.arctan2(ky, kx), optics)
        u, v, angle, dose = (np.asarray(value, dtype=np.float64) for value in focus)
        weights = np.stack([u + v, (u - v) * np.cos(2 * angle), (u - v) * np.sin(2 * angle), np.ones_like(u)], 1)
        if (self.dqe != 1).any():
            envelope = envelope * np.sqrt(np.interp(k, self.frequency, self.dqe))
        transfer = weights.astype(np.float32) @ np.vstack([bases, phase]).astype(np.float32)
        np.sin(transfer, out=transfer)
        transfer *= envelope.astype(np.float32)
        if np.any(dose):
            transfer *= damage_filter(k, dose, optics.voltage_kV).astype(np.float32)
        return transfer

    def power(self) -> np.ndarray:
        """Power spectrum (D, D//2 + 1) of the noise, relative to white noise of the same variance."""
        return noise_power(self.optics.n_pixels, self.optics.pixel_size_A, self.frequency, self.noise_power)

    def clean_images(
        self,
        position: np.ndarray,
        pose_quaternion: np.ndarray,
        pose_shift_A: np.ndarray,
        *focus: np.ndarray,
        device: str = "cpu",
    ) -> np.ndarray:
        """Noise-free images (F, D, D), float32, in 1/Å, of positions (F, N, 3) in nm: projection, then `transfer`.

        Each frame is the same whichever others are made with it.
        """
        optics = self.optics
        rotation = rotation_matrix(pose_quaternion)
        xy = to_pixels(position, rotation, pose_shift_A, optics.n_pixels, optics.pixel_size_A)
        image = project(
            xy, self.scatterer_amplitude_A, self.scatterer_width_A, optics.n_pixels, optics.pixel_size_A, device=device
        )
        step = max(1, AT_ONCE // optics.n_pixels**2)
        for first in range(0, len(image), step):
            part = slice(first, first + step)
            image[part] = through_optics(image[part], self.transfer(*(np.asarray(value)[part] for value in focus)))
        return image


def camera_of(movie: xarray.Dataset) -> Camera:
    """The camera that a movie store describes."""
    return Camera(optics_of(movie), *(movie[name].values for name in PARTS))

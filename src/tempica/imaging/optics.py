"""The electron microscope's optics: contrast transfer of projections.

Shape legend: F frame, D pixels along an edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    import xarray


def contrast_transfer(
    n_pixels: int,
    pixel_A: float,
    *,
    voltage_kV: float,
    spherical_aberration_mm: float,
    amplitude_contrast: float,
    b_factor_A2: float,
    phase_shift: float = 0.0,
    defocus_u_A: np.ndarray,
    defocus_v_A: np.ndarray,
    defocus_angle: np.ndarray,
) -> np.ndarray:
    """Contrast transfer function (F, D, D//2 + 1), float32, in the layout of a real FFT; protein is positive.

    `contrast_at` of the grid's frequencies; defocus (F,) in Å, angle (F,) in radians. Where D is even, the
    column of kx = Nyquist holds the mean of the values at ±kx, all that can act on a real image.
    """
    ky = fft.fftfreq(n_pixels, pixel_A)[:, None]
    kx = fft.rfftfreq(n_pixels, pixel_A)[None, :]
    per_frame = (defocus_u_A, defocus_v_A, defocus_angle)
    u, v, a = (np.asarray(x, dtype=np.float64)[:, None, None] for x in per_frame)
    transfer = contrast_at(
        np.hypot(kx, ky),
        np.arctan2(ky, kx),
        voltage_kV=voltage_kV,
        spherical_aberration_mm=spherical_aberration_mm,
        amplitude_contrast=amplitude_contrast,
        b_factor_A2=b_factor_A2,
        phase_shift=phase_shift,
        defocus_u_A=u,
        defocus_v_A=v,
        defocus_angle=a,
    )
    if n_pixels % 2 == 0:
        # kx = ±Nyquist share a column: a real image keeps their mean, and half-plane sums must see the same
        transfer[..., -1] = 0.5 * (transfer[..., -1] + np.roll(transfer[:, ::-1, -1], 1, axis=1))
    return transfer.astype(np.float32)


def contrast_at(
    k: np.ndarray,
    angle: np.ndarray,
    *,
    defocus_u_A: np.ndarray,
    defocus_v_A: np.ndarray,
    defocus_angle: np.ndarray,
    voltage_kV: float,
    spherical_aberration_mm: float,
    amplitude_contrast: float,
    phase_shift: float = 0.0,
    b_factor_A2: float,
) -> np.ndarray:
    """Contrast transfer function at spatial frequency k (1/Å) in the direction α = `angle` (rad, from +x).

    CTF = sin γ · exp(−B k²/4), γ = π λ df k² − (π/2) Cs λ³ k⁴ + arcsin w + `phase_shift` (rad, of a phase plate),
    df(α) = ½ [u + v + (u − v) cos 2(α − defocus_angle)]; all arrays broadcast, defocus in Å.
    Source: Rohou & Grigorieff, J. Struct. Biol. 192, 216 (2015), equations 2 to 5, with the sign turned.
    """
    wavelength = electron_wavelength_A(voltage_kV)
    u, v, k2 = defocus_u_A, defocus_v_A, np.square(k)
    defocus = 0.5 * (u + v + (u - v) * np.cos(2 * (angle - defocus_angle)))
    gamma = (
        np.pi * wavelength * defocus * k2
        - 0.5 * np.pi * spherical_aberration_mm * 1e7 * wavelength**3 * k2**2
        + (np.arcsin(amplitude_contrast) + phase_shift)
    )
    return np.sin(gamma) * np.exp(-0.25 * b_factor_A2 * k2)


def contrast_in_parts(k: np.ndarray, angle: np.ndarray, optics: Optics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `contrast_at` needs of M spatial frequencies for many frames: bases (3, M), phase and envelope (M,).

    γ = [u + v, (u − v) cos 2φ, (u − v) sin 2φ] · bases + phase, with φ the `defocus_angle`; CTF = sin γ · envelope.
    """
    k2 = np.square(k)
    wavelength = electron_wavelength_A(optics.voltage_kV)
    bases = 0.5 * np.pi * wavelength * k2 * np.stack([np.ones_like(k), np.cos(2 * angle), np.sin(2 * angle)])
    phase = np.arcsin(optics.amplitude_contrast) + optics.phase_shift
    phase = phase - 0.5 * np.pi * optics.spherical_aberration_mm * 1e7 * wavelength**3 * k2**2
    return bases, phase, np.exp(-0.25 * optics.b_factor_A2 * k2)


def electron_wavelength_A(voltage_kV: float) -> float:
    """Relativistic de Broglie wavelength of an electron in Å: λ = h / √(2 m e V (1 + e V / 2 m c²))."""
    volts = 1e3 * voltage_kV
    return 12.2642595 / math.sqrt(volts * (1 + 0.978475598e-6 * volts))


def interaction_A(voltage_kV: float) -> float:
    """Phase (rad) that an electron gains for each 1/Å of projected potential: σ = λ γ, γ = 1 + E / 511 keV, in Å."""
    return electron_wavelength_A(voltage_kV) * (1 + voltage_kV / 510.99895)


def through_optics(image: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    """Images (…, D, D) filtered by a transfer function (…, D, D//2 + 1): F⁻¹[CTF · F(image)]."""
    return fft.irfft2(fft.rfft2(image) * transfer, s=image.shape[-2:])


@dataclass(frozen=True)
class Optics:
    """What is the same for all images of a movie."""

    n_pixels: int
    pixel_size_A: float
    voltage_kV: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    b_factor_A2: float
    bead_b_factor_A2: float
    phase_shift: float = 0.0  # rad

    def width_A(self, bead_width: np.ndarray) -> np.ndarray:
        """Standard deviation (Å) of a bead's Gaussian: own mass (nm) and thermal motion, s² = w² + B/8π²."""
        return np.sqrt((10 * bead_width) ** 2 + self.bead_b_factor_A2 / (8 * np.pi**2))

    def transfer(self, defocus_u_A: np.ndarray, defocus_v_A: np.ndarray, defocus_angle: np.ndarray) -> np.ndarray:
        """`contrast_transfer` of frames."""
        return contrast_transfer(
            self.n_pixels,
            self.pixel_size_A,
            voltage_kV=self.voltage_kV,
            spherical_aberration_mm=self.spherical_aberration_mm,
            amplitude_contrast=self.amplitude_contrast,
            b_factor_A2=self.b_factor_A2,
            phase_shift=self.phase_shift,
            defocus_u_A=defocus_u_A,
            defocus_v_A=defocus_v_A,
            defocus_angle=defocus_angle,
        )


def optics_of(movie: xarray.Dataset) -> Optics:
    """The optics that a movie store's attributes state."""
    names = [name for name in Optics.__dataclass_fields__ if name != "n_pixels"]
    n_pixels = movie.sizes.get("x") or movie.attrs["lazy"]["n_pixels"]
    return Optics(n_pixels, **{name: float(movie.attrs[name]) for name in names})


def plane_weights(n_pixels: int) -> np.ndarray:
    """Weights (D//2 + 1,) with which half-plane sums give Σ_pixels a b = Σ_k w Re(â* b̂) (Parseval)."""
    weight = np.full(n_pixels // 2 + 1, 2.0)
    weight[0] = 1.0
    if n_pixels % 2 == 0:
        weight[-1] = 1.0
    return weight / n_pixels**2

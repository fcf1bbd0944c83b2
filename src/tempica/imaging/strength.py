"""How strongly images show a molecule whose poses are not known: from the power of their Fourier coefficients.

E |Y(k)|² = s² C²(k) A(k) / p⁴ + D² σ² N(k), with the images' strength s, transfer C, pixel p, noise σ² N, and A the
molecule's power averaged over all views, by Debye's formula. Signs and poses drop out, so that the sign of s remains
unknown.

Source: Debye, Ann. Phys. 351, 809 (1915).

Shape legend: F frame, N atom, K Gaussian of an atom, R ring of Fourier space, D pixels along an edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.interpolate import CubicSpline

from tempica.imaging.linearise import Scatterers
from tempica.imaging.optics import plane_weights

FIRST_RING = 2  # below it, backgrounds and their removal hide the molecule
ROUNDS = 20
MOST_PAIRS = 2**22  # of distances at once


@dataclass(frozen=True)
class Rings:
    """Sums over images, ring by ring; those of blocks may be added."""

    power: np.ndarray  # (R,) of |Y|²
    model: np.ndarray  # (R,) of what it is expected to be without noise, C² A / p⁴
    count: np.ndarray  # (R,) coefficients, each of the half plane's counted with its mate

    def __add__(self, other: Rings) -> Rings:
        return Rings(self.power + other.power, self.model + other.model, self.count + other.count)


@dataclass(frozen=True)
class Strength:
    strength: float  # |s| of image = s × model + noise
    error: float  # its standard error
    noise_variance: float  # σ² of a pixel


def rings_of(image: np.ndarray, transfer: np.ndarray, power: np.ndarray) -> Rings:
    """Sums over rings |k| = 0 … D/2 − 1 of images (F, D, D) and their transfer functions (F, D, D//2 + 1).

    `power` (D, D//2 + 1) is `power_on_plane` of the molecule.
    """
    return _rings(image, power * np.square(transfer).sum(0, dtype=np.float64))


def rings_of_models(image: np.ndarray, model: np.ndarray) -> Rings:
    """The same of images and what a model shows in each of them (F, D, D), without noise, at whatever poses."""
    return _rings(image, _power(model))


def _power(image: np.ndarray) -> np.ndarray:
    return np.square(np.abs(fft.rfft2(image.astype(np.float32)))).sum(0, dtype=np.float64)


def _rings(image: np.ndarray, model: np.ndarray) -> Rings:
    n = image.shape[-1]
    ring = ring_numbers(n).ravel()
    weight = np.broadcast_to(plane_weights(n) * n**2, (n, n // 2 + 1)).ravel()
    sums = [np.bincount(ring, weight * x, n // 2 + 1)[: n // 2] for x in (_power(image).ravel(), model.ravel(), 1.0)]
    return Rings(sums[0], sums[1], len(image) * sums[2])


def ring_numbers(n_pixels: int) -> np.ndarray:
    """|k| (D, D//2 + 1) of a real FFT's coefficients, rounded, in steps of 1 / box; D/2 for all beyond."""
    ky, kx = fft.fftfreq(n_pixels)[:, None] * n_pixels, np.arange(n_pixels // 2 + 1)
    return np.minimum(np.rint(np.hypot(kx, ky)).astype(int), n_pixels // 2)


def scattering_power(position: np.ndarray, scatterers: Scatterers, k: np.ndarray) -> np.ndarray:
    """Mean over all views of |∫ projection e^{−2πi k·r}|² (R,), Å², of a structure (N, 3) in nm, at k (R,) in 1/Å.

    A(k) = Σ_nm f_n(k) f_m(k) sinc(2 k |r_n − r_m|), f_n(k) = Σ_K a e^{−2π² s² k²}, sinc x = sin πx / πx.
    """
    place = 10.0 * np.asarray(position, dtype=np.float64)
    amplitude, width = scatterers.amplitude, scatterers.width_A
    factor = np.stack([(amplitude * np.exp(-2 * np.square(np.pi * width * one))).sum(1) for one in k])
    power = np.zeros(len(k))
    step = max(1, MOST_PAIRS // len(place))
    for first in range(0, len(place), step):
        part = slice(first, first + step)
        distance = np.sqrt(np.square(place[part, None] - place).sum(-1))
        for i, one in enumerate(k):
            power[i] += factor[i, part] @ (np.sinc(2 * one * distance) @ factor[i])
    return power


def power_on_plane(position: np.ndarray, scatterers: Scatterers, n_pixels: int, pixel_A: float) -> np.ndarray:
    """Mean over all views of |Y|² (D, D//2 + 1) of the molecule's projections on pixels: `scattering_power` / p⁴."""
    k = np.hypot(fft.fftfreq(n_pixels, pixel_A)[:, None], fft.rfftfreq(n_pixels, pixel_A))
    at = np.linspace(0, 0.5 / pixel_A, 3 * n_pixels // 2)  # beyond, no ring is used
    spline = CubicSpline(at, scattering_power(position, scatterers, at) / pixel_A**4)
    return np.maximum(spline(np.minimum(k, at[-1])), 0.0)


def strength_of(rings: Rings, noise: np.ndarray | float = 1.0) -> Strength:
    """Strength of the molecule in images, and their noise, by weighted least squares over rings.

    `noise` (R,) is the spectrum of the noise relative to white noise.
    """
    n_rings = len(rings.power)
    used = slice(FIRST_RING, n_rings)
    count = rings.count[used]
    measured = rings.power[used] / count
    flat = np.broadcast_to(noise, n_rings)[used] * (2 * n_rings) ** 2
    columns = np.stack([rings.model[used] / count, flat], 1)
    expected = np.maximum(measured, 1e-12 * measured.max())
    for _ in range(ROUNDS):
        weight = np.sqrt(count) / expected  # |Y|² of a ring varies by itself from coefficient to coefficient
        left = columns * weight[:, None]
        found = np.linalg.lstsq(left, measured * weight)[0]
        before, expected = expected, np.maximum(columns @ found, 1e-3 * measured)
        if np.abs(expected / before - 1).max() < 1e-8:
            break
    inverse = np.linalg.inv(left.T @ left)
    # rings disagree by more than chance where molecules differ from the model
    chance = max(1.0, float(np.square((measured - columns @ found) * weight).mean()))
    squared, error = float(found[0]), float(np.sqrt(chance * inverse[0, 0]))
    strength = np.sqrt(max(squared, 0.0))
    return Strength(float(strength), float(error / (2 * strength)) if strength else float("inf"), float(found[1]))

"""Noise and digitisation. The signal is computed apart from them, so that clean images are available."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from tempica import seeds
from tempica.imaging.camera import Camera
from tempica.imaging.counting import poisson
from tempica.imaging.optics import interaction_A

if TYPE_CHECKING:
    import xarray

LEVELS = 255
FINE_LEVELS = 65_535
COARSE = 0.25  # share of the noise that a level may be: rounding then adds 0.5 % to its variance
HEADROOM = 5.0  # standard deviations of noise beyond the extremes of the signal before a pixel saturates


def noise_deviation(signal_variance: float, snr: float) -> float:
    """σ of the noise: SNR = (variance of the clean image over the box, averaged over the movie) / σ²."""
    return 0.0 if math.isinf(snr) else math.sqrt(signal_variance / snr)


def white_noise(deviation: float, seed: int, replica: int, frame: int, n_pixels: int) -> np.ndarray:
    """Normal noise (D, D), float32, of one frame; it depends on nothing but seed, replica and frame."""
    rng = seeds.generator(seed, "noise", replica, frame)
    return np.float32(deviation) * rng.standard_normal((n_pixels, n_pixels), dtype=np.float32)


def coloured(noise: np.ndarray, power: np.ndarray) -> np.ndarray:
    """White noise (D, D) with another power spectrum (D, D//2 + 1), relative to its own."""
    return fft.irfft2(fft.rfft2(noise) * np.sqrt(power).astype(noise.dtype), s=noise.shape)


def counted(clean: np.ndarray, electrons: float, contrast_A: float, key: int) -> np.ndarray:
    """An image (D, D) in 1/Å as counted electrons show it, float32.

    N ~ Poisson(N₀ (1 − c y)), c = 2 σ_e, for the clean image y and N₀ electrons a pixel, given back as the y that
    would have that mean: (1 − N / N₀) / c. Its noise has variance (1 − c y) / (c² N₀).
    """
    count = poisson(electrons * (1 - contrast_A * clean.astype(np.float64)), key)
    return ((1 - count / electrons) / contrast_A).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Detector:
    """How a clean image becomes a recorded one."""

    noise: str  # none, white, coloured or poisson
    deviation: float  # of a pixel, 1/Å
    power: np.ndarray | None = None  # (D, D//2 + 1) of coloured noise
    electrons: float = 0.0  # a pixel, where they are counted
    contrast_A: float = 0.0  # 2 σ_e

    def record(self, clean: np.ndarray, seed: int, replica: int, frame: int) -> np.ndarray:
        """A clean image (D, D) with the noise of its frame, float32; nothing else decides what that is."""
        if self.noise == "none":
            return clean
        if self.noise == "poisson":
            return counted(clean, self.electrons, self.contrast_A, seeds.key(seed, "electrons", replica, frame))
        noise = white_noise(self.deviation, seed, replica, frame, clean.shape[-1])
        return clean + (coloured(noise, self.power) if self.power is not None else noise)


def detector_of(movie: xarray.Dataset, camera: Camera) -> Detector:
    """The detector that a movie store describes."""
    noise, deviation = str(movie.attrs["noise"]), float(movie.attrs["noise_std"])
    return Detector(
        noise,
        deviation,
        camera.power() if noise == "coloured" else None,
        float(movie.attrs["electrons_per_pixel"]),
        2 * interaction_A(camera.optics.voltage_kV),
    )


@dataclass(frozen=True)
class Scale:
    """Digital levels of images: value = level × factor + offset, level 0 … `levels`.

    255 of them where those are fine beside the noise, 65,535 where rounding would drown it.
    """

    factor: float
    offset: float
    levels: int = LEVELS

    @classmethod
    def covering(cls, low: float, high: float, deviation: float) -> Scale:
        low, high = low - HEADROOM * deviation, high + HEADROOM * deviation
        levels = LEVELS if deviation == 0 or high - low <= COARSE * LEVELS * deviation else FINE_LEVELS
        return cls((high - low) / levels if high > low else 1.0, low, levels)

    @classmethod
    def counting(cls, low: float, high: float, electrons: float, contrast_A: float) -> Scale:
        """Levels of whole electrons for `counted` images whose clean ones lie in low … high; one each if 256 do."""
        few, many = (electrons * (1 - contrast_A * value) for value in (high, low))
        first = max(0, math.floor(few - HEADROOM * math.sqrt(few)))
        last = math.ceil(many + HEADROOM * math.sqrt(many) + HEADROOM)  # few electrons are skewed
        step, levels = -(-(last - first) // LEVELS), LEVELS
        if step > max(1, COARSE * math.sqrt(electrons)):
            step, levels = -(-(last - first) // FINE_LEVELS), FINE_LEVELS
        return cls(step / (electrons * contrast_A), (1 - (first + step * levels) / electrons) / contrast_A, levels)

    def digitise(self, image: np.ndarray) -> np.ndarray:
        """Levels (…, y, x) as `dtype`; what lies outside saturates."""
        return np.clip(np.rint((image - self.offset) / self.factor), 0, self.levels).astype(self.dtype)

    @property
    def dtype(self) -> str:
        return "uint8" if self.levels <= LEVELS else "uint16"

"""Noise and digitisation. The signal is made elsewhere, so that the clean image can always be had."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tempica import seeds

LEVELS = 255
HEADROOM = 5.0  # standard deviations of noise beyond the extremes of the signal before a pixel saturates


def noise_deviation(signal_variance: float, snr: float) -> float:
    """σ of white noise: SNR = (variance of the clean image over the box, averaged over the movie) / σ²."""
    return 0.0 if math.isinf(snr) else math.sqrt(signal_variance / snr)


def white_noise(deviation: float, seed: int, replica: int, frame: int, n_pixels: int) -> np.ndarray:
    """Normal noise (D, D), float32, of one frame; it depends on nothing but seed, replica and frame."""
    rng = seeds.generator(seed, "noise", replica, frame)
    return np.float32(deviation) * rng.standard_normal((n_pixels, n_pixels), dtype=np.float32)


@dataclass(frozen=True)
class Scale:
    """Digital levels of images: value = level × factor + offset, level 0 … 255."""

    factor: float
    offset: float

    @classmethod
    def covering(cls, low: float, high: float, deviation: float) -> Scale:
        low, high = low - HEADROOM * deviation, high + HEADROOM * deviation
        return cls((high - low) / LEVELS if high > low else 1.0, low)

    def digitise(self, image: np.ndarray) -> np.ndarray:
        """Levels (…, y, x) as uint8; what lies outside saturates."""
        return np.clip(np.rint((image - self.offset) / self.factor), 0, LEVELS).astype(np.uint8)

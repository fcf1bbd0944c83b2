"""What depends on the spatial frequency alone: radiation damage, the detector's efficiency, the colour of noise.

Shape legend: F frame, D pixels along an edge.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from tempica.imaging.optics import plane_weights


def frequency_grid(n_pixels: int, pixel_A: float) -> np.ndarray:
    """Spatial frequency |k| in 1/Å, (D, D//2 + 1), in the layout of a real FFT."""
    return np.hypot(fft.fftfreq(n_pixels, pixel_A)[:, None], fft.rfftfreq(n_pixels, pixel_A)[None, :])


def critical_exposure_e_A2(k: np.ndarray, voltage_kV: float) -> np.ndarray:
    """Dose (e/Å²) after which the signal at spatial frequency k (1/Å) has fallen to 1/√e in amplitude.

    Nc(k) = 0.24499 k^−1.6649 + 2.8141 at 300 kV, three quarters of it at 200 kV.
    Source: Grant & Grigorieff, eLife 4, e06980 (2015), equation 3.
    """
    with np.errstate(divide="ignore"):
        return (0.75 if voltage_kV == 200 else 1.0) * (0.24499 * np.asarray(k) ** -1.6649 + 2.8141)


def damage_filter(k: np.ndarray, dose_e_A2: np.ndarray, voltage_kV: float) -> np.ndarray:
    """Amplitude exp(−N / 2 Nc(k)) left after a dose N; (F, …) for k (…) and N (F,)."""
    dose = np.asarray(dose_e_A2).reshape(-1, *(1 for _ in np.shape(k)))
    return np.exp(-0.5 * dose / critical_exposure_e_A2(k, voltage_kV))


def noise_power(n_pixels: int, pixel_A: float, frequency: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Power spectrum (D, D//2 + 1) of noise whose pixels have variance 1, from a radial table.

    The table's relative `power` at `frequency` (1/Å, rising) is linear in between and constant beyond.
    """
    plane = np.interp(frequency_grid(n_pixels, pixel_A), frequency, power)
    return plane / (plane @ plane_weights(n_pixels)).sum()

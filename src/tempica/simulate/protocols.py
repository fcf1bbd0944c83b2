"""What drives the sources: stochastic target series, one value a frame."""

from __future__ import annotations

import numpy as np

LONGEST_BURN_IN = 100_000  # frames; a coefficient of 0.9998 needs as many


def ar1(n_frames: int, coefficient: float, innovation: str, rng: np.random.Generator) -> np.ndarray:
    """Stationary autoregressive series (frame,) of zero mean and unit variance.

    s_t = ρ s_{t−1} + √(1 − ρ²) e_t, with e independent, of unit variance, Laplace or Gaussian.
    With Laplace innovations it is uniformly dependent and not quasi-Gaussian, so permutation-contrastive
    learning identifies it pointwise (Hyvärinen & Morioka 2017, theorem 1); with Gaussian ones only up to a
    linear mixture, which second-order statistics resolve when the coefficients differ.
    """
    # the burn-in forgets the shape of the first value's distribution; its variance is right from the start, so that
    # the bound, which keeps coefficients next to 1 affordable, costs nothing else
    burn_in = int(min(np.ceil(20 / -np.log(max(coefficient, 0.05))), LONGEST_BURN_IN))
    n = burn_in + n_frames
    noise = rng.laplace(scale=np.sqrt(0.5), size=n) if innovation == "laplace" else rng.standard_normal(n)
    series = np.empty(n)
    series[0] = noise[0]
    gain = np.sqrt(1 - coefficient**2)
    for t in range(1, n):
        series[t] = coefficient * series[t - 1] + gain * noise[t]
    return series[burn_in:]

"""Poisson numbers, fast: of each pixel from its own counter."""

from __future__ import annotations

import math

import numba
import numpy as np

from tempica.errors import DataError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_DRAWS = np.uint64(1) << np.uint64(20)  # counters of a pixel; a rejection is a draw more, and none ever needs so many
_LOG_FACTORIAL = np.array([math.lgamma(k + 1) for k in range(2048)])
_SMALL = 10.0  # mean below which counting up is faster than rejection


def poisson(mean: np.ndarray, key: int) -> np.ndarray:
    """Independent Poisson numbers, int64, of an array of means; a pixel's depends on `key`, its place and its mean.

    Means of 10 and more by transformed rejection with squeeze (Hörmann, Insurance: Math. Econ. 12, 39 (1993),
    algorithm PTRS), smaller ones by inversion, from SplitMix64 (Steele, Lea & Flood 2014) run as a counter.
    Raises DataError for a mean that is negative, not finite or above 1e9.
    """
    flat = np.ascontiguousarray(mean, dtype=np.float64).ravel()
    if flat.size and not (flat.min() >= 0 and flat.max() <= 1e9):
        raise DataError(f"Means of counts are {flat.min():g} … {flat.max():g}; they must be from 0 to 1e9.")
    count = np.empty(flat.size, dtype=np.int64)
    _poisson(flat, np.uint64(key), count)
    return count.reshape(np.shape(mean))


@numba.njit(cache=True, inline="always")
def _mixed(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True, inline="always")
def _uniform(start, counter):
    """In 0 … 1, ends left out."""
    bits = _mixed(start + counter * _GOLDEN) >> np.uint64(12)
    return (float(bits) + 0.5) * (1.0 / 4503599627370496.0)


@numba.njit(cache=True, nogil=True)
def _poisson(mean, key, count):
    start = _mixed(key * _GOLDEN)
    for i in range(mean.size):
        counter = np.uint64(i) * _DRAWS
        if mean[i] >= _SMALL:
            count[i] = _by_rejection(mean[i], start, counter)
        else:
            count[i] = _by_inversion(mean[i], start, counter)


@numba.njit(cache=True, inline="always")
def _by_inversion(mean, start, counter):
    left = _uniform(start, counter)
    term = math.exp(-mean)
    k = 0
    while left > term and k < 200:  # beyond, terms are below the last bit of 1
        left -= term
        k += 1
        term *= mean / k
    return k


@numba.njit(cache=True, inline="always")
def _by_rejection(mean, start, counter):
    root = math.sqrt(mean)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    squeeze = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = _uniform(start, counter) - 0.5
        v = _uniform(start, counter + np.uint64(1))
        counter += np.uint64(2)
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= squeeze:
            return int(k)
        if k < 0 or (us < 0.013 and v > us):
            continue
        inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
        n = int(k)
        log_factorial = _LOG_FACTORIAL[n] if n < 2048 else math.lgamma(k + 1)
        if math.log(v * inverse_alpha / (a / (us * us) + b)) <= k * math.log(mean) - mean - log_factorial:
            return n

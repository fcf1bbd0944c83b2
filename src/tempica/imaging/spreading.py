"""The grid on which Gaussians are spread for the coefficients of a disc: how coarse, and how much wider than they are.

A bead of width s is spread with the width s' > s, s'² = s² + e², and the coefficients are multiplied by exp(2π² e² k²),
so that what the grid folds onto the disc from frequencies beyond it is small (Gaussian gridding).

Source: Greengard & Lee, SIAM Rev. 46, 443 (2004), with beads that are Gaussians already.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tempica.imaging.kernels_fourier import good_size
from tempica.imaging.kernels_quadratic import Spreading

ALIASED = 5e-4  # of the derivatives' L2 norm over the disc that the grid may fold onto it
OWN = 1.5  # times the cost of the cheapest grid that the images' own may have
REACH = 4.25  # half windows, in standard deviations: what is cut off is 2e-4 of a derivative's L2 norm
_EXTRA = np.linspace(0, 1.6, 81) ** 2  # e², pixel² of the grid


@dataclass(frozen=True, eq=False)
class Grid:
    """A periodic grid over the image's box."""

    n: int  # pixels along an edge
    pixel_A: float
    extra_A2: float  # e²
    spreading: Spreading


def grid_of(amplitude_A: np.ndarray, width_A: np.ndarray, n_pixels: int, pixel_A: float, radius: int) -> Grid:
    """The cheapest grid over a box of `n_pixels` for coefficients within `radius` steps of 1 / (n_pixels pixel_A).

    Where that costs little more, it is the images' own, without wider Gaussians: then the model holds the same aliases
    as images that were sampled at pixel centres.

    Parameters: amplitudes a in Å and widths s in Å of Gaussians, (N,) or (N, C). What was found for the last few
    molecules is kept.
    """
    amplitude, width = (np.ascontiguousarray(v, dtype=np.float64).reshape(len(v), -1) for v in (amplitude_A, width_A))
    return _grid_of(amplitude.tobytes(), width.tobytes(), width.shape, int(n_pixels), float(pixel_A), int(radius))


@lru_cache(maxsize=16)
def _grid_of(
    amplitude_bytes: bytes, width_bytes: bytes, size: tuple[int, int], n_pixels: int, pixel_A: float, radius: int
) -> Grid:
    amplitude, width = (np.frombuffer(v).reshape(size) for v in (amplitude_bytes, width_bytes))
    edge_A = n_pixels * pixel_A
    found: list[tuple[float, Grid]] = []
    n = good_size(2 * radius + 2)
    while not found or n <= 4 * radius + 8:
        extra = _least_extra(amplitude.ravel(), width.ravel(), edge_A / n, n, radius)
        if extra is not None:
            found.append(_grid(amplitude, width, edge_A, n, extra, radius))
        n = good_size(n + 2)
    least, grid = min(found, key=lambda item: item[0])
    if good_size(n_pixels) == n_pixels:
        cost, own = _grid(amplitude, width, edge_A, n_pixels, 0.0, radius)
        grid = own if cost <= OWN * least else grid
    return grid


def _grid(
    amplitude: np.ndarray, width_A: np.ndarray, edge_A: float, n: int, extra_A2: float, radius: int
) -> tuple[float, Grid]:
    """Processor cycles of eight columns, and the grid of n pixels along an edge."""
    pixel_A, wide_A = edge_A / n, np.sqrt(width_A**2 + extra_A2)
    window = np.minimum(np.ceil(2 * REACH * wide_A / pixel_A), n).astype(np.int64)
    # pixels of windows, lines of transforms, pixels cleared
    cost = (2 * window**2 + 60).sum() + 13 * n * (n / 2 + radius + 1) + 3 * n**2
    peak, h = amplitude / (2 * np.pi * wide_A**2), 0.5 * (pixel_A / wide_A) ** 2
    spreading = Spreading(peak.astype(np.float32), h.astype(np.float32), window)
    return float(cost), Grid(n, pixel_A, extra_A2, spreading)


def _least_extra(amplitude: np.ndarray, width_A: np.ndarray, pixel_A: float, n: int, radius: int) -> float | None:
    """The least e² in Å² with which the aliases of all Gaussians together are below `ALIASED`; None if none is."""
    step = 1 / (n * pixel_A)
    k = np.arange(0.0, radius + 1)[:, None] * np.array([[1.0, 0.0], [np.sqrt(0.5), np.sqrt(0.5)]])[:, None]
    k = k.reshape(-1, 2) * step  # along an edge and a diagonal
    measure = np.hypot(*k.T)
    other = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]) / pixel_A
    kept, folded = (k**2).sum(-1), ((k[:, None] + other) ** 2).sum(-1)
    # few widths stand for all
    s, strength = np.quantile(width_A, np.linspace(0, 1, 9)) ** 2, (amplitude**2).mean()
    signal = strength * (measure[:, None] * kept[:, None] * np.exp(-4 * np.pi**2 * s * kept[:, None])).sum()
    for extra in _EXTRA * pixel_A**2:
        alias = folded[..., None] * np.exp(
            -4 * np.pi**2 * (s * folded[..., None] + extra * (folded - kept[:, None])[..., None])
        )
        if strength * (measure[:, None] * alias.sum(1)).sum() <= ALIASED**2 * signal:
            return float(extra)
    return None

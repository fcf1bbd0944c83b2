"""Which pixels each Gaussian reaches: the part that the kernels of all devices share.

Shape legend: N atom, K Gaussian of an atom, C pair of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

CUTOFF = 4.75  # standard deviations; what lies beyond is 6e-6 of a Gaussian in L2 norm, 3e-5 of its gradient
BLOCK = 8  # columns of a window are a multiple of it


class Pairs(NamedTuple):
    """The Gaussians of each atom, two by two, in pixels: peak · exp(−h d²) at a distance d from the atom.

    A pair at (x, y) is summed over `columns` columns from ⌊x⌋ + 1 − columns/2 on, and over `rows` rows from ⌈y − half⌉
    on; over 8 rows from ⌊y⌋ − 3 on where there are 8 columns. These are all pixels nearer than `half` along each axis,
    at least.
    """

    peak_NC2: np.ndarray  # float32, 1/Å; the second of an odd number is 0
    h_NC2: np.ndarray  # float32, 1/pixel²
    half_NC: np.ndarray  # float64, pixels; −inf where there is nothing to add
    rows_NC: np.ndarray  # int64
    columns_NC: np.ndarray  # int64


def pairs_of(amplitude_NK: np.ndarray, width_NK: np.ndarray, pixel_A: float) -> Pairs:
    """Pairs of Gaussians of amplitude a and standard deviation s in Å, peak a / (2π s²), narrow ones together.

    A Gaussian reaches to s √(c² + 2 ln(‖g‖ / ‖pair‖)), c the `CUTOFF`, where the share of the pair's L2 norm that
    lies beyond is what it would be beyond c s for one alone: a weak Gaussian need not be followed as far. What was
    found for the last few molecules is kept: of a small one, an image takes a tenth of the time.
    """
    return _pairs_of(amplitude_NK.tobytes(), width_NK.tobytes(), amplitude_NK.shape, float(pixel_A))


@lru_cache(maxsize=4)
def _pairs_of(amplitude_bytes: bytes, width_bytes: bytes, size: tuple[int, int], pixel_A: float) -> Pairs:
    amplitude_NK, width_NK = (np.frombuffer(v).reshape(size) for v in (amplitude_bytes, width_bytes))
    n_atoms, n_terms = amplitude_NK.shape
    order = np.argsort(width_NK, axis=1, kind="stable")
    amplitude, width = (np.take_along_axis(v, order, 1) for v in (amplitude_NK, width_NK))
    if n_terms % 2:
        amplitude = np.concatenate([amplitude, np.zeros((n_atoms, 1))], 1)
        width = np.concatenate([width, width[:, -1:]], 1)
    shape = n_atoms, (n_terms + 1) // 2, 2
    amplitude, width = amplitude.reshape(shape), width.reshape(shape) / pixel_A
    square = amplitude**2 / (2 * width**2)  # ‖g‖² but for a constant
    whole = square.sum(2) + 2 * amplitude.prod(2) / (width**2).sum(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = width * np.sqrt(CUTOFF**2 + np.log(square / whole[..., None]))
    half = np.where(np.isnan(reach), -np.inf, reach).max(2)
    half = np.minimum(half, 1e6)
    rows = np.floor(2 * np.maximum(half, 0)).astype(np.int64) + 1
    columns = BLOCK * np.maximum(1, np.ceil(2 * np.maximum(half, 0) / BLOCK)).astype(np.int64)
    rows[columns == BLOCK] = BLOCK
    peak = amplitude / (2 * np.pi * (width * pixel_A) ** 2)
    return Pairs(peak.astype(np.float32), (0.5 / width**2).astype(np.float32), half, rows, columns)

"""Sums of equal Gaussians on a grid of voxels, and their derivatives.

Shape legend: N point, Z Y X voxel.
"""

# what numba compiles has types of its own
# mypy: ignore-errors

from __future__ import annotations

import math

import numba
import numpy as np

CUTOFF = 4.0  # standard deviations at which a Gaussian ends
_COMPILED = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "reassoc"}}


@numba.njit(**_COMPILED)
def _window(centre, width, size, value, slope):
    """First and last voxel of a window along one axis, with the Gaussian there and its offsets."""
    first = max(0, math.ceil(centre - CUTOFF * width))
    last = min(size - 1, math.floor(centre + CUTOFF * width))
    for i in range(first, last + 1):
        offset = (i - centre) / width
        value[i - first] = math.exp(-0.5 * offset * offset) / (math.sqrt(2 * math.pi) * width)
        slope[i - first] = offset
    return first, last + 1


@numba.njit(**_COMPILED)
def add_gaussians(centre_N3, amplitude_N, width, volume_ZYX):
    """Add Gaussians at (x, y, z), in voxels, of one width in voxels and of these integrals."""
    room = int(2 * CUTOFF * width) + 3
    value, slope = np.empty((3, room)), np.empty((3, room))
    size = volume_ZYX.shape
    for n in range(len(centre_N3)):
        x0, x1 = _window(centre_N3[n, 0], width, size[2], value[0], slope[0])
        y0, y1 = _window(centre_N3[n, 1], width, size[1], value[1], slope[1])
        z0, z1 = _window(centre_N3[n, 2], width, size[0], value[2], slope[2])
        for z in range(z0, z1):
            for y in range(y0, y1):
                factor = amplitude_N[n] * value[2, z - z0] * value[1, y - y0]
                for x in range(x0, x1):
                    volume_ZYX[z, y, x] += factor * value[0, x - x0]


@numba.njit(**_COMPILED)
def pull(centre_N3, amplitude_N, width, force_ZYX, by_centre_N3, by_amplitude_N):
    """Derivatives of Σ force · Gaussians by centres (voxels) and amplitudes; returns that by the width (voxels)."""
    room = int(2 * CUTOFF * width) + 3
    value, slope = np.empty((3, room)), np.empty((3, room))
    size = force_ZYX.shape
    by_width = 0.0
    for n in range(len(centre_N3)):
        x0, x1 = _window(centre_N3[n, 0], width, size[2], value[0], slope[0])
        y0, y1 = _window(centre_N3[n, 1], width, size[1], value[1], slope[1])
        z0, z1 = _window(centre_N3[n, 2], width, size[0], value[2], slope[2])
        whole, along_x, along_y, along_z, radial = 0.0, 0.0, 0.0, 0.0, 0.0
        for z in range(z0, z1):
            for y in range(y0, y1):
                row, row_x, row_xx = 0.0, 0.0, 0.0
                for x in range(x0, x1):
                    part = force_ZYX[z, y, x] * value[0, x - x0]
                    row += part
                    row_x += part * slope[0, x - x0]
                    row_xx += part * slope[0, x - x0] ** 2
                factor = value[2, z - z0] * value[1, y - y0]
                whole += factor * row
                along_x += factor * row_x
                along_y += factor * row * slope[1, y - y0]
                along_z += factor * row * slope[2, z - z0]
                radial += factor * (row_xx + row * (slope[1, y - y0] ** 2 + slope[2, z - z0] ** 2))
        by_amplitude_N[n] = whole
        by_centre_N3[n, 0] = amplitude_N[n] * along_x / width
        by_centre_N3[n, 1] = amplitude_N[n] * along_y / width
        by_centre_N3[n, 2] = amplitude_N[n] * along_z / width
        by_width += amplitude_N[n] * (radial - 3 * whole) / width
    return by_width

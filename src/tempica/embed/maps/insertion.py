"""Slices of Fourier space, added to a grid by trilinear weights.

Shape legend: F frame, M coefficient of a slice, C cube of the grid, its zero frequency in the middle.
"""

# what numba compiles has types of its own
# mypy: ignore-errors

from __future__ import annotations

import numba


@numba.njit(cache=True, nogil=True, error_model="numpy")
def insert(value_FM, square_FM, ky_M, kx_M, rotation_F33, step, sum_CCC, weight_CCC):
    """Add slices at R_fᵀ (kx, ky, 0) · step, in cells of the grid: values and their weights."""
    middle, last = len(sum_CCC) // 2, len(sum_CCC) - 1
    for f in range(len(value_FM)):
        r = rotation_F33[f]
        for m in range(len(kx_M)):
            u, v = step * kx_M[m], step * ky_M[m]
            x = middle + u * r[0, 0] + v * r[1, 0]
            y = middle + u * r[0, 1] + v * r[1, 1]
            z = middle + u * r[0, 2] + v * r[1, 2]
            i, j, k = int(x), int(y), int(z)
            if i < 0 or j < 0 or k < 0 or i >= last or j >= last or k >= last:
                continue
            x, y, z = x - i, y - j, z - k
            for dk in range(2):
                wz = z if dk else 1 - z
                for dj in range(2):
                    wyz = wz * (y if dj else 1 - y)
                    for di in range(2):
                        w = wyz * (x if di else 1 - x)
                        sum_CCC[k + dk, j + dj, i + di] += w * value_FM[f, m]
                        weight_CCC[k + dk, j + dj, i + di] += w * square_FM[f, m]

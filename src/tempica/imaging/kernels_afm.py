"""Dilation of spheres by a conical tip with a spherical end, on the CPU; frames side by side in threads.

Where the tip of apex radius R and half-angle α comes down on an atom of radius r at lateral distance d and height z,
its apex stands at z + √(A² − d²) − R for d ≤ A cos α, and on the tangent of slope −cot α beyond, A = R + r. An image is
the largest of these over all atoms, and of the support at 0. An atom is looked at only as far as it rises above 0.

Atoms move while a frame is scanned: their places are given at S times evenly spaced from the start of the first line
to the end of the last, straight in between; the trace takes the first half of the time of a line.

Shape legend: F frame, S time within a frame, N atom, D pixels along an edge.
"""

# what numba compiles has types of its own
# mypy: ignore-errors

from __future__ import annotations

import math
from collections.abc import Callable

import numba
import numpy as np

from tempica import kernel_cache  # noqa: F401  # first: it must be there before any kernel is declared
from tempica.imaging.kernels_cpu import in_threads

STEEPEST = np.float32(1e6)  # slope that stands for an upright wall
LANES = 8  # pixels of a line that are computed at once
COMPILED = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "nnan", "ninf"}}


def heights(xyz_FSN3: np.ndarray, radius_N: np.ndarray, probe: np.ndarray, fall: float, image_FDD: np.ndarray) -> None:
    """Fill the images. `probe`: see `probe_of`; `fall`: height that the tip can lose from pixel to pixel, nm."""

    def prepare() -> Callable[[slice], None]:
        height = np.empty(image_FDD.shape[1] + LANES, np.float32)
        return lambda frames: _heights(xyz_FSN3[frames], radius_N, probe, np.float32(fall), height, image_FDD[frames])

    in_threads(prepare, len(xyz_FSN3), radius_N.size * 16)


def probe_of(radius_nm: float, half_angle: float, pixel_nm: float) -> np.ndarray:
    """What the kernels know of tip and pixels: R, sin α, cos α, cot α, and the pixel's edge in nm."""
    sine, cosine = math.sin(half_angle), math.cos(half_angle)
    slope = min(cosine / sine, STEEPEST) if sine > 0 else STEEPEST
    return np.array([radius_nm, sine, cosine, slope, pixel_nm], dtype=np.float32)


@numba.njit(**COMPILED)
def _reach(top, arm, probe):
    """Lateral distance to which an atom stands out; 0 where it does not. top: z − R above the floor; arm: A."""
    edge = top + arm * probe[1]  # height at the seam of sphere and cone
    if edge > 0:
        return arm * probe[2] + edge / probe[3]
    return math.sqrt(max(arm * arm - top * top, np.float32(0))) if top + arm > 0 else np.float32(0)


@numba.njit(**COMPILED)
def place(xyz_SN3, n, line, n_pixels):
    """Place of an atom at the start of a line, and its change from pixel to pixel."""
    n_times = xyz_SN3.shape[0]
    if n_times == 1:
        zero = np.float32(0)
        return xyz_SN3[0, n, 0], xyz_SN3[0, n, 1], xyz_SN3[0, n, 2], zero, zero, zero
    at = np.float32(line) / np.float32(n_pixels) * np.float32(n_times - 1)
    s = min(int(at), n_times - 2)
    part, step = at - np.float32(s), np.float32(n_times - 1) / np.float32(2 * n_pixels * n_pixels)
    dx, dy, dz = (
        xyz_SN3[s + 1, n, 0] - xyz_SN3[s, n, 0],
        xyz_SN3[s + 1, n, 1] - xyz_SN3[s, n, 1],
        xyz_SN3[s + 1, n, 2] - xyz_SN3[s, n, 2],
    )
    x, y, z = xyz_SN3[s, n, 0] + part * dx, xyz_SN3[s, n, 1] + part * dy, xyz_SN3[s, n, 2] + part * dz
    return x, y, z, dx * step, dy * step, dz * step


@numba.njit(**COMPILED)
def bounds(xyz_SN3, n, radius, probe, n_pixels, floor):
    """First line and column where an atom can rise above the floor, the ones after the last, its arm A."""
    arm, tip, pixel = radius + probe[0], probe[0], probe[4]
    low_x = low_y = np.float32(1e30)
    high_x = high_y = top = np.float32(-1e30)
    for s in range(xyz_SN3.shape[0]):
        x, y = xyz_SN3[s, n, 0], xyz_SN3[s, n, 1]
        low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
        top = max(top, xyz_SN3[s, n, 2] - tip)
    reach, half = _reach(top - floor, arm, probe), n_pixels // 2
    i0, i1 = math.ceil((low_y - reach) / pixel) + half, math.floor((high_y + reach) / pixel) + half + 1
    j0, j1 = math.ceil((low_x - reach) / pixel) + half, math.floor((high_x + reach) / pixel) + half + 1
    if reach <= 0:
        i1 = i0
    return max(i0, 0), min(i1, n_pixels), max(j0, 0), min(j1, n_pixels), arm


@numba.njit(**COMPILED)
def row(xyz_SN3, n, i, j0, j1, arm, probe, n_pixels, height):
    """Fill `height` from column j0 on, in whole vectors, with what an atom alone would raise line i to.

    Returns the lateral place (x, y) of the line's first pixel as the atom sees it, and its change from pixel to pixel.
    """
    x, y, z, vx, vy, vz = place(xyz_SN3, n, i, n_pixels)
    pixel, slope, seam = probe[4], probe[3], arm * probe[2]
    y = pixel * np.float32(i - n_pixels // 2) - y
    x = -pixel * np.float32(n_pixels // 2) - x
    step, square, edge = pixel - vx, arm * arm, seam * seam
    z -= probe[0]
    cone = arm * probe[1] + seam * slope
    for j in range(j0, j0 + (j1 - j0 + LANES - 1) // LANES * LANES):
        t = np.float32(j)
        dx, dy = x + t * step, y - t * vy
        d2 = dx * dx + dy * dy
        root = math.sqrt(square - d2 if d2 <= edge else d2)
        height[j] = z + t * vz + (root if d2 <= edge else cone - root * slope)
    return x, y, step, vy


@numba.njit(**COMPILED)
def highest_of(xyz_SN3, radius_N, probe, height, image):
    """The largest over atoms and the support."""
    n_pixels = image.shape[0]
    image[:] = np.float32(0)
    for n in range(len(radius_N)):
        i0, i1, j0, j1, arm = bounds(xyz_SN3, n, radius_N[n], probe, n_pixels, np.float32(0))
        for i in range(i0, i1):
            row(xyz_SN3, n, i, j0, j1, arm, probe, n_pixels, height)
            for j in range(j0, j1):
                image[i, j] = max(image[i, j], height[j])


@numba.njit(**COMPILED)
def _heights(xyz_FSN3, radius_N, probe, fall, height, image_FDD):
    for f in range(xyz_FSN3.shape[0]):
        image = image_FDD[f]
        highest_of(xyz_FSN3[f], radius_N, probe, height, image)
        for i in range(image.shape[0]):
            for j in range(1, image.shape[1]):
                image[i, j] = max(image[i, j], image[i, j - 1] - fall)

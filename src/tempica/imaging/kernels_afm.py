"""Dilation of spheres by a conical tip with a spherical end, on the CPU; frames side by side in threads.

Where the tip of apex radius R and half-angle α comes down on an atom of radius r at lateral distance d and height z,
its apex stands at z + √(A² − d²) − R for d ≤ A cos α, and on the tangent of slope −cot α beyond, A = R + r. An image is
the largest of these over all atoms, and of the support at 0. An atom is looked at only as far as it rises above 0.

Atoms move while a frame is scanned: their places are given at S times evenly spaced from the start of the first line
to the end of the last, straight in between; the trace takes the first half of the time of a line.

Shape legend: F frame, S time within a frame, N atom, P parameter, D pixels along an edge.
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
IGNORED = np.float32(10)  # an atom that is so many 1/β below the highest has a share of 5e-5 at most
_COMPILED = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "nnan", "ninf"}}


def heights(xyz_FSN3: np.ndarray, radius_N: np.ndarray, probe: np.ndarray, fall: float, image_FDD: np.ndarray) -> None:
    """Fill the images. `probe`: see `probe_of`; `fall`: height that the tip can lose from pixel to pixel, nm."""

    def prepare() -> Callable[[slice], None]:
        room = np.empty(len(radius_N), np.int64), np.empty(len(radius_N), np.float32)
        return lambda frames: _heights(xyz_FSN3[frames], radius_N, probe, np.float32(fall), *room, image_FDD[frames])

    in_threads(prepare, len(xyz_FSN3), radius_N.size * 16)


def soft_heights(
    xyz_FSN3: np.ndarray,
    velocity_FN3P: np.ndarray,
    radius_N: np.ndarray,
    probe: np.ndarray,
    fall: float,
    sharpness: float,
    exact: bool,
    image_FDD: np.ndarray,
    column_FDDP: np.ndarray,
) -> None:
    """Fill images, of the soft maximum or of the exact one, and derivatives of the soft one: P columns of the
    velocities, then that of the radius R."""

    def prepare() -> Callable[[slice], None]:
        n_pixels = image_FDD.shape[1]
        order = np.empty(len(radius_N), np.int64), np.empty(len(radius_N), np.float32)
        room = *order, np.empty((2, n_pixels, n_pixels), np.float32)
        return lambda frames: _soft_heights(
            xyz_FSN3[frames],
            velocity_FN3P[frames],
            radius_N,
            probe,
            np.float32(fall),
            np.float32(sharpness),
            exact,
            *room,
            image_FDD[frames],
            column_FDDP[frames],
        )

    in_threads(prepare, len(xyz_FSN3), radius_N.size * 64)


def probe_of(radius_nm: float, half_angle: float, pixel_nm: float) -> np.ndarray:
    """What the kernels know of tip and pixels: R, sin α, cos α, cot α, and the pixel's edge in nm."""
    sine, cosine = math.sin(half_angle), math.cos(half_angle)
    slope = min(cosine / sine, STEEPEST) if sine > 0 else STEEPEST
    return np.array([radius_nm, sine, cosine, slope, pixel_nm], dtype=np.float32)


@numba.njit(**_COMPILED)
def _reach(top, arm, probe):
    """Lateral distance to which an atom stands out; 0 where it does not. top: z − R above the floor; arm: A."""
    edge = top + arm * probe[1]  # height at the seam of sphere and cone
    if edge > 0:
        return arm * probe[2] + edge / probe[3]
    return math.sqrt(max(arm * arm - top * top, np.float32(0))) if top + arm > 0 else np.float32(0)


@numba.njit(**_COMPILED)
def _place(xyz_SN3, n, line, n_pixels):
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


@numba.njit(**_COMPILED)
def _bounds(xyz_SN3, n, radius, probe, n_pixels, floor):
    """First line and column where an atom can rise above the floor, the ones after the last, its arm A and its top."""
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
    return max(i0, 0), min(i1, n_pixels), max(j0, 0), min(j1, n_pixels), arm, top + arm


@numba.njit(**_COMPILED)
def _from_the_top(xyz_SN3, radius_N, order, key):
    """Fill `order` with the atoms from the highest to the lowest: buried ones then cost little (Shell's sort)."""
    n_atoms = len(order)
    for n in range(n_atoms):
        order[n] = n
        key[n] = xyz_SN3[0, n, 2] + radius_N[n]
    gap = n_atoms // 2
    while gap > 0:
        for n in range(gap, n_atoms):
            moving, at = order[n], n
            while at >= gap and key[order[at - gap]] < key[moving]:
                order[at] = order[at - gap]
                at -= gap
            order[at] = moving
        gap //= 2


@numba.njit(**_COMPILED)
def _raise(xyz_SN3, radius_N, probe, order, image):
    """The largest over atoms and the support."""
    n_pixels, pixel = image.shape[0], probe[4]
    image[:] = np.float32(0)
    for n in order:
        i0, i1, j0, j1, arm, top = _bounds(xyz_SN3, n, radius_N[n], probe, n_pixels, np.float32(0))
        seam, lift = arm * probe[2], arm * probe[1]
        for i in range(i0, i1):
            x, y, z, vx, vy, vz = _place(xyz_SN3, n, i, n_pixels)
            y = pixel * np.float32(i - n_pixels // 2) - y
            x = -pixel * np.float32(n_pixels // 2) - x
            for j in range(j0, j1):
                if image[i, j] >= top:
                    continue
                t = np.float32(j)
                dx, dy = x + t * (pixel - vx), y - t * vy
                d2 = dx * dx + dy * dy
                h = z + t * vz - probe[0]
                if d2 <= seam * seam:
                    h += math.sqrt(arm * arm - d2)
                else:
                    h += lift - (math.sqrt(d2) - seam) * probe[3]
                image[i, j] = max(image[i, j], h)


@numba.njit(**_COMPILED)
def _heights(xyz_FSN3, radius_N, probe, fall, order, key, image_FDD):
    for f in range(xyz_FSN3.shape[0]):
        image = image_FDD[f]
        _from_the_top(xyz_FSN3[f], radius_N, order, key)
        _raise(xyz_FSN3[f], radius_N, probe, order, image)
        for i in range(image.shape[0]):
            for j in range(1, image.shape[1]):
                image[i, j] = max(image[i, j], image[i, j - 1] - fall)


# long: a loop over atoms and pixels, whose many small arguments a function of its own would have to be handed
@numba.njit(**_COMPILED)
def _soft_heights(
    xyz_FSN3, velocity_FN3P, radius_N, probe, fall, sharpness, exact, order, key, sheet, image_FDD, column_FDDP
):  # fmt: skip
    n_pixels, pixel, n_columns = image_FDD.shape[1], probe[4], velocity_FN3P.shape[3]
    highest, total = sheet[0], sheet[1]
    ignored = IGNORED / sharpness
    for f in range(xyz_FSN3.shape[0]):
        xyz, column = xyz_FSN3[f], column_FDDP[f]
        _from_the_top(xyz, radius_N, order, key)
        _raise(xyz, radius_N, probe, order, highest)
        column[:] = np.float32(0)
        for i in range(n_pixels):
            for j in range(n_pixels):
                total[i, j] = math.exp(-sharpness * highest[i, j])
        for n in order:
            i0, i1, j0, j1, arm, top = _bounds(xyz, n, radius_N[n], probe, n_pixels, -ignored)
            seam, lift = arm * probe[2], arm * probe[1]
            for i in range(i0, i1):
                x, y, z, vx, vy, vz = _place(xyz, n, i, n_pixels)
                y = pixel * np.float32(i - n_pixels // 2) - y
                x = -pixel * np.float32(n_pixels // 2) - x
                for j in range(j0, j1):
                    if top < highest[i, j] - ignored:
                        continue
                    t = np.float32(j)
                    dx, dy = x + t * (pixel - vx), y - t * vy
                    d2 = dx * dx + dy * dy
                    h = z + t * vz - probe[0] - highest[i, j]
                    if d2 <= seam * seam:
                        ball = math.sqrt(arm * arm - d2)
                        h += ball
                        per = np.float32(1) / ball
                        blunt = arm * per - np.float32(1)
                    else:
                        d = math.sqrt(d2)
                        h += lift - (d - seam) * probe[3]
                        per = probe[3] / d
                        blunt = np.float32(1) / max(probe[1], np.float32(1e-6)) - np.float32(1)
                    if h < -ignored:
                        continue
                    weight = math.exp(sharpness * h)
                    total[i, j] += weight
                    gx, gy = weight * per * dx, weight * per * dy
                    speed, pixel_column = velocity_FN3P[f, n], column[i, j]
                    for p in range(n_columns):
                        pixel_column[p] += gx * speed[0, p] + gy * speed[1, p] + weight * speed[2, p]
                    pixel_column[n_columns] += weight * blunt
        for i in range(n_pixels):
            for j in range(n_pixels):
                image_FDD[f, i, j] = highest[i, j]
                if not exact:
                    image_FDD[f, i, j] += math.log(total[i, j]) / sharpness
                per = np.float32(1) / total[i, j]
                for p in range(n_columns + 1):
                    column[i, j, p] *= per
                if j > 0 and image_FDD[f, i, j - 1] - fall > image_FDD[f, i, j]:
                    image_FDD[f, i, j] = image_FDD[f, i, j - 1] - fall
                    column[i, j] = column[i, j - 1]

"""What heights under a tip make of images, with derivatives of the maximum itself: of the atom that the tip touches.

A pixel has one atom, so that derivatives take half the time of those of the soft maximum (`kernels_afm_soft`). They
jump where the tip goes over to another atom, which steps towards a maximum of the likelihood do not mind.

Shape legend: F frame, S time within a frame, N atom, P parameter, C column, D pixels along an edge.
"""

# what numba compiles has types of its own
# mypy: ignore-errors

from __future__ import annotations

import math
from collections.abc import Callable

import numba
import numpy as np

from tempica import kernel_cache  # noqa: F401  # first: it must be there before any kernel is declared
from tempica.imaging.kernels_afm import COMPILED, LANES, bounds, place, row
from tempica.imaging.kernels_afm_soft import Motion, Tip, planes, rates, rates_at_rest, sums
from tempica.imaging.kernels_cpu import in_threads


def expansions(
    xyz_FSN3: np.ndarray,
    motion: Motion,
    tip: Tip,
    seen_FDD: np.ndarray,
    share: float,
    information_FCC: np.ndarray,
    evidence_FC: np.ndarray,
    misfit_F: np.ndarray,
) -> None:
    """As `kernels_afm_soft.expansions`, whatever the sharpness."""
    n_pixels, n_columns = seen_FDD.shape[1], information_FCC.shape[1]

    def prepare() -> Callable[[slice], None]:
        room = (
            np.empty(n_pixels + LANES, np.float32),
            np.empty((n_pixels, n_pixels), np.int32),
            np.empty(len(tip.radius_N), np.bool_),
            np.empty((len(tip.radius_N), 4, n_columns), np.float32),
            np.empty((n_pixels, n_pixels, n_columns), np.float32),
            np.empty(n_columns, np.float32),
        )
        return lambda frames: _expansions(
            xyz_FSN3[frames],
            *motion.of(frames),
            *tip[:3],
            seen_FDD[frames],
            np.float32(share),
            *room,
            information_FCC[frames],
            evidence_FC[frames],
            misfit_F[frames],
        )

    in_threads(prepare, len(xyz_FSN3), tip.radius_N.size * 32)


@numba.njit(**COMPILED)
def _touched(xyz_SN3, radius_N, probe, height, image, who):
    """Fill the image, and which atom each pixel has: −1 for the support."""
    n_pixels = image.shape[0]
    image[:], who[:] = np.float32(0), np.int32(-1)
    for n in range(len(radius_N)):
        i0, i1, j0, j1, arm = bounds(xyz_SN3, n, radius_N[n], probe, n_pixels, np.float32(0))
        one = np.int32(n)
        for i in range(i0, i1):
            row(xyz_SN3, n, i, j0, j1, arm, probe, n_pixels, height)
            for j in range(j0, j1):
                higher = height[j] > image[i, j]
                image[i, j] = height[j] if higher else image[i, j]
                who[i, j] = one if higher else who[i, j]


@numba.njit(**COMPILED)
def _hard_frame(
    xyz, shape_NK3, rotation_33, turned_N3, lowest, pose, swapped, radius_N, probe, fall,
    height, who, known, rate_N4P, image, column
):  # fmt: skip
    n_pixels = image.shape[0]
    steep = np.float32(1) / max(probe[1], np.float32(1e-6)) - np.float32(1)
    _touched(xyz, radius_N, probe, height, image, who)
    rest = rate_N4P[0]
    n_columns = rates_at_rest(shape_NK3, rotation_33, turned_N3, lowest, pose, swapped, rest)
    for n in range(len(radius_N)):
        rate_N4P[n, 3], known[n] = rest[3], False
    for i in range(n_pixels):
        for j in range(n_pixels):
            n = who[i, j]
            if n >= 0:
                rate = rate_N4P[n]
                if not known[n]:
                    known[n] = True
                    rates(shape_NK3, rotation_33, turned_N3, n, lowest, pose, swapped, rate)
                x, y, _, vx, vy, _ = place(xyz, n, i, n_pixels)
                t = np.float32(j)
                dx = probe[4] * np.float32(j - n_pixels // 2) - x - t * vx
                dy = probe[4] * np.float32(i - n_pixels // 2) - y - t * vy
                d2, arm = dx * dx + dy * dy, radius_N[n] + probe[0]
                seam = arm * probe[2]
                if d2 <= seam * seam:
                    per = np.float32(1) / math.sqrt(arm * arm - d2)
                    column[i, j, 0] = arm * per - np.float32(1)
                else:
                    per = probe[3] / math.sqrt(d2)
                    column[i, j, 0] = steep
                gx, gy = per * dx, per * dy
                for p in range(n_columns):
                    column[i, j, p + 1] = gx * rate[0, p] + gy * rate[1, p] + rate[2, p]
            if j > 0 and image[i, j - 1] - fall > image[i, j]:
                image[i, j] = image[i, j - 1] - fall
                for p in range(n_columns + 1):
                    column[i, j, p] = column[i, j - 1, p]


@numba.njit(**COMPILED)
def _expansions(
    xyz_FSN3, shape_FNK3, rotation_F33, turned_FN3, lowest_F, pose, swapped, radius_N, probe, fall, seen_FDD, share,
    height, who, known, rate_N4P, column, line_C, information_FCC, evidence_FC, misfit_F
):  # fmt: skip
    n_pixels, n_columns = seen_FDD.shape[1], information_FCC.shape[1]
    image, n_all = np.empty((n_pixels, n_pixels), np.float32), n_pixels * n_pixels
    room = np.empty_like(image), np.empty(n_all, np.float32), np.empty((n_all, n_columns), np.float32)
    total = np.ones_like(image)
    planes(column)
    for f in range(xyz_FSN3.shape[0]):
        shape = shape_FNK3[f if shape_FNK3.shape[0] > 1 else 0]
        _hard_frame(
            xyz_FSN3[f], shape, rotation_F33[f], turned_FN3[f], lowest_F[f], pose, swapped, radius_N, probe, fall,
            height, who, known, rate_N4P, image, column
        )  # fmt: skip
        misfit_F[f] = sums(seen_FDD[f], share, image, total, column, room, line_C, information_FCC[f], evidence_FC[f])

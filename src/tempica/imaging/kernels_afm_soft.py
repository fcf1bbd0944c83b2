"""Heights under a tip, softened, with derivatives, and what they make of images: on the CPU, frames side by side.

The maximum over atoms (`kernels_afm`) becomes (1/β) ln(1 + Σ exp(β h)): each atom has its share of a pixel. How an atom
moves with the parameters is worked out where it has a share of any pixel, and sums over pixels are taken at once.

Shape legend: F frame, S time within a frame, N atom, K displacement, P parameter, C column, D pixels along an edge.
"""

# what numba compiles has types of its own
# mypy: ignore-errors

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from tempica import kernel_cache  # noqa: F401  # first: it must be there before any kernel is declared
from tempica.imaging.kernels_afm import COMPILED, LANES, bounds, highest_of, row
from tempica.imaging.kernels_cpu import in_threads

IGNORED = np.float32(7)  # an atom that is so many 1/β below the highest has a share of 1e-3 at most


def soft_heights(
    xyz_FSN3: np.ndarray, motion: Motion, tip: Tip, exact: bool, image_FDD: np.ndarray, column_FDDP: np.ndarray
) -> None:
    """Fill images, of the soft maximum or of the exact one, and derivatives of the soft one: a column of the radius R,
    then those of the motion."""

    def prepare() -> Callable[[slice], None]:
        room = _room(image_FDD.shape[1], column_FDDP.shape[3])[:3]
        return lambda frames: _soft_heights(
            xyz_FSN3[frames], *motion.of(frames), *tip, exact, *room, image_FDD[frames], column_FDDP[frames]
        )

    in_threads(prepare, len(xyz_FSN3), tip.radius_N.size * 64)


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
    """Fill JᵀJ, Jᵀr and |r|² of images that were seen, with residuals r of the exact maximum.

    C columns: the radius R, those of the motion, an offset, and slopes along the lines and across them. `share` of the
    mean of a line of r and J remains.
    """

    def prepare() -> Callable[[slice], None]:
        room = _room(seen_FDD.shape[1], information_FCC.shape[1])
        return lambda frames: _expansions(
            xyz_FSN3[frames],
            *motion.of(frames),
            *tip,
            seen_FDD[frames],
            np.float32(share),
            *room,
            information_FCC[frames],
            evidence_FC[frames],
            misfit_F[frames],
        )

    in_threads(prepare, len(xyz_FSN3), tip.radius_N.size * 64)


class Tip(NamedTuple):
    """What comes down on the atoms."""

    radius_N: np.ndarray  # of the atoms
    probe: np.ndarray  # see `probe_of`
    fall: np.float32  # height that the tip can lose from pixel to pixel, nm
    sharpness: np.float32  # per nm


class Motion(NamedTuple):
    """What atoms do with the parameters: K displacements that turn with the molecule, five of the pose, a lift.

    With a lowest atom, on which the molecule rests, its own change of height is taken from those of all others, and
    the lift is the last column; with −1 there is none.
    """

    shape_FNK3: np.ndarray  # or of one frame for all
    rotation_F33: np.ndarray
    turned_FN3: np.ndarray  # atoms about the centre of rotation
    lowest_F: np.ndarray
    pose: bool
    swapped: bool  # whether lines run along y: x and y have changed places in images and atoms, not here

    def of(self, frames: slice) -> tuple[Any, ...]:
        shape = self.shape_FNK3 if len(self.shape_FNK3) == 1 else self.shape_FNK3[frames]
        return shape, self.rotation_F33[frames], self.turned_FN3[frames], self.lowest_F[frames], *self[4:]


def _room(n_pixels: int, n_columns: int) -> tuple[np.ndarray, ...]:
    """A line's heights, two sheets, rates of an atom, then columns of a frame and of a line."""
    shapes = (n_pixels + LANES,), (2, n_pixels, n_pixels), (4, n_columns), (n_pixels, n_pixels, n_columns), (n_columns,)
    return tuple(np.empty(shape, np.float32) for shape in shapes)


@numba.njit(**COMPILED)
def rates(shape_NK3, rotation_33, turned_N3, n, lowest, pose, swapped, rate_4P):
    """Fill the changes (3, P) of an atom's place, without those of height that row 3 holds."""
    n_modes = shape_NK3.shape[1]
    for k in range(n_modes):
        x, y, z = shape_NK3[n, k, 0], shape_NK3[n, k, 1], shape_NK3[n, k, 2]
        for a in range(3):
            rate_4P[a, k] = rotation_33[a, 0] * x + rotation_33[a, 1] * y + rotation_33[a, 2] * z
    p = n_modes
    if pose:
        x, y, z = turned_N3[n, 0], turned_N3[n, 1], turned_N3[n, 2]
        rate_4P[:3, p : p + 5] = np.float32(0)
        rate_4P[1, p], rate_4P[2, p] = -z, y
        rate_4P[0, p + 1], rate_4P[2, p + 1] = z, -x
        rate_4P[0, p + 2], rate_4P[1, p + 2] = -y, x
        rate_4P[0, p + 3] = rate_4P[1, p + 4] = np.float32(0.1)  # a shift is in Å
        p += 5
    if lowest >= 0:
        rate_4P[0, p] = rate_4P[1, p] = np.float32(0)
        rate_4P[2, p] = np.float32(1)
        p += 1
    for k in range(p):
        rate_4P[2, k] -= rate_4P[3, k]
        if swapped:
            rate_4P[0, k], rate_4P[1, k] = rate_4P[1, k], rate_4P[0, k]
    return p


@numba.njit(**COMPILED)
def rates_at_rest(shape_NK3, rotation_33, turned_N3, lowest, pose, swapped, rate_4P):
    """Fill row 3 with the changes of height of the atom that the molecule rests on; the number of parameters."""
    rate_4P[3] = np.float32(0)
    p = rates(shape_NK3, rotation_33, turned_N3, max(lowest, 0), lowest, pose, swapped, rate_4P)
    if lowest >= 0:
        rate_4P[3, : p - 1] = rate_4P[2, : p - 1]
    return p


# long: a loop over atoms and pixels, whose many small arguments a function of its own would have to be handed
@numba.njit(**COMPILED)
def _soft_frame(
    xyz, shape_NK3, rotation_33, turned_N3, lowest, pose, swapped, radius_N, probe, fall, sharpness, exact,
    height, sheet, rate_4P, image, column
):  # fmt: skip
    n_pixels = image.shape[0]
    highest, total = sheet[0], sheet[1]
    ignored = IGNORED / sharpness
    steep = np.float32(1) / max(probe[1], np.float32(1e-6)) - np.float32(1)
    n_columns = rates_at_rest(shape_NK3, rotation_33, turned_N3, lowest, pose, swapped, rate_4P)
    highest_of(xyz, radius_N, probe, height, highest)
    for i in range(n_pixels):
        for j in range(n_pixels):
            total[i, j] = math.exp(-sharpness * highest[i, j])
            column[i, j, : n_columns + 1] = np.float32(0)
    for n in range(len(radius_N)):
        i0, i1, j0, j1, arm = bounds(xyz, n, radius_N[n], probe, n_pixels, -ignored)
        seam, hidden = arm * probe[2], True
        for i in range(i0, i1):
            x, y, step, vy = row(xyz, n, i, j0, j1, arm, probe, n_pixels, height)
            for j in range(j0, j1):
                h = height[j] - highest[i, j]
                if h < -ignored:
                    continue
                if hidden:
                    rates(shape_NK3, rotation_33, turned_N3, n, lowest, pose, swapped, rate_4P)
                    hidden = False
                t = np.float32(j)
                dx, dy = x + t * step, y - t * vy
                d2 = dx * dx + dy * dy
                if d2 <= seam * seam:
                    per = np.float32(1) / math.sqrt(arm * arm - d2)
                    blunt = arm * per - np.float32(1)
                else:
                    per, blunt = probe[3] / math.sqrt(d2), steep
                weight = math.exp(sharpness * h)
                total[i, j] += weight
                gx, gy = weight * per * dx, weight * per * dy
                column[i, j, 0] += weight * blunt
                for p in range(n_columns):
                    column[i, j, p + 1] += gx * rate_4P[0, p] + gy * rate_4P[1, p] + weight * rate_4P[2, p]
    for i in range(n_pixels):
        for j in range(n_pixels):
            image[i, j] = highest[i, j]
            if not exact:
                image[i, j] += math.log(total[i, j]) / sharpness
            per = np.float32(1) / total[i, j]
            for p in range(n_columns + 1):
                column[i, j, p] *= per
            if j > 0 and image[i, j - 1] - fall > image[i, j]:
                image[i, j] = image[i, j - 1] - fall
                total[i, j] = total[i, j - 1]
                for p in range(n_columns + 1):
                    column[i, j, p] = column[i, j - 1, p]


@numba.njit(**COMPILED)
def _soft_heights(
    xyz_FSN3, shape_FNK3, rotation_F33, turned_FN3, lowest_F, pose, swapped, radius_N, probe, fall, sharpness, exact,
    height, sheet, rate_4P, image_FDD, column_FDDP
):  # fmt: skip
    for f in range(xyz_FSN3.shape[0]):
        shape = shape_FNK3[f if shape_FNK3.shape[0] > 1 else 0]
        _soft_frame(
            xyz_FSN3[f], shape, rotation_F33[f], turned_FN3[f], lowest_F[f], pose, swapped, radius_N, probe, fall,
            sharpness, exact, height, sheet, rate_4P, image_FDD[f], column_FDDP[f]
        )  # fmt: skip


@numba.njit(**COMPILED)
def planes(column):
    """Fill the last three columns: an offset, and slopes along the lines and across them."""
    n_pixels, n, one = column.shape[0], column.shape[2], np.float32(1)
    per = np.float32(2) / np.float32(n_pixels)
    for i in range(n_pixels):
        for j in range(n_pixels):
            column[i, j, n - 3] = one
            column[i, j, n - 2] = per * np.float32(j) - one
            column[i, j, n - 1] = per * np.float32(i) - one


@numba.njit(**COMPILED)
def sums(seen, share, image, total, column, room, line_C, information, evidence):
    """Fill JᵀJ and Jᵀr; |r|². Pixels that see no more than the plane are many, and have three columns only."""
    n_pixels, n_columns = image.shape[0], len(evidence)
    flat, n, misfit = n_columns - 3, 0, 0.0
    rest, residual, many = room
    for i in range(n_pixels):
        for j in range(n_pixels):
            r = seen[i, j] - image[i, j]
            rest[i, j] = r
            misfit += r * r
            if image[i, j] > 0 or total[i, j] > 1:
                residual[n] = r
                for a in range(n_columns):
                    many[n, a] = column[i, j, a]
                n += 1
    np.dot(many[:n].T, many[:n], information)
    np.dot(residual[:n], many[:n], evidence)
    for i in range(n_pixels):
        for j in range(n_pixels):
            if image[i, j] > 0 or total[i, j] > 1:
                continue
            for a in range(flat):
                column[i, j, a] = np.float32(0)
            for a in range(flat, n_columns):
                evidence[a] += rest[i, j] * column[i, j, a]
                for b in range(flat, n_columns):
                    information[a, b] += column[i, j, a] * column[i, j, b]
    if share < 1:
        misfit -= _lines(share, rest, column, line_C, information, evidence)
    return misfit


@numba.njit(**COMPILED)
def _lines(share, rest, column, line_C, information, evidence):
    """Take from the sums what means of lines lose; what |r|² loses."""
    n_pixels, n_columns = rest.shape[0], len(evidence)
    lost, less = (np.float32(1) - share) / np.float32(n_pixels), 0.0
    for i in range(n_pixels):
        line_C[:] = np.float32(0)
        total = np.float32(0)
        for j in range(n_pixels):
            total += rest[i, j]
            for a in range(n_columns):
                line_C[a] += column[i, j, a]
        less += lost * total * total
        for a in range(n_columns):
            evidence[a] -= lost * total * line_C[a]
            for b in range(n_columns):
                information[a, b] -= lost * line_C[a] * line_C[b]
    return less


@numba.njit(**COMPILED)
def _expansions(
    xyz_FSN3, shape_FNK3, rotation_F33, turned_FN3, lowest_F, pose, swapped, radius_N, probe, fall, sharpness, seen_FDD,
    share, height, sheet, rate_4P, column, line_C, information_FCC, evidence_FC, misfit_F
):  # fmt: skip
    n_pixels, n_columns = seen_FDD.shape[1], information_FCC.shape[1]
    image, n_all = np.empty((n_pixels, n_pixels), np.float32), n_pixels * n_pixels
    room = np.empty_like(image), np.empty(n_all, np.float32), np.empty((n_all, n_columns), np.float32)
    planes(column)
    for f in range(xyz_FSN3.shape[0]):
        shape = shape_FNK3[f if shape_FNK3.shape[0] > 1 else 0]
        _soft_frame(
            xyz_FSN3[f], shape, rotation_F33[f], turned_FN3[f], lowest_F[f], pose, swapped, radius_N, probe, fall,
            sharpness, True, height, sheet, rate_4P, image, column
        )  # fmt: skip
        misfit_F[f] = sums(
            seen_FDD[f], share, image, sheet[1], column, room, line_C, information_FCC[f], evidence_FC[f]
        )

"""Whitened Fourier coefficients of a molecule's image and of its derivatives, and their inner products, on the CPU.

All columns of a frame lie side by side in lanes: a Gaussian is spread onto eight columns at once, and each pixel of its
window costs two multiply-adds for eight. Shifts of the image cost nothing: their columns are those of the image times
−i k. Nothing is allocated inside the kernel and each frame is computed alone, so that the result depends neither on the
number of threads nor on which frames come together.

Order of the columns in lanes: K modes, 3 rotations, then the image, then 2 shifts (rotations and shifts with a pose
alone).

Shape legend: F frame, N atom, C Gaussian of an atom, K mode, P parameter, M coefficient of the disc, L lanes (all
columns, a multiple of 8).
"""

# what numba compiles has types of its own
# mypy: ignore-errors

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from tempica.imaging.kernels_cpu import _exp_minus, in_threads
from tempica.imaging.kernels_fourier import Passes, plane_stride, transform_line, transform_rows
from tempica.imaging.lanes import WIDTH, add, fma, iota, load, mul, splat, store

_COMPILED = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
_INLINE = {"cache": True, "error_model": "numpy"}
_FLUSH = 64  # coefficients that are summed in float32 before the sum goes on in float64


class Spreading(NamedTuple):
    """Gaussians on a periodic grid of n by n pixels: peak · exp(−h d²) over a square of `window` pixels."""

    peak_NC: np.ndarray  # float32
    h_NC: np.ndarray  # float32, 1/pixel²
    window_NC: np.ndarray  # int64


class Places(NamedTuple):
    """Coefficients in the order of kx; where each lies on the grid, and in the frames' arrays."""

    first: np.ndarray  # (n_columns + 1,) int64, where each kx begins
    row_M: np.ndarray  # int64
    place_M: np.ndarray  # int64
    weight_M: np.ndarray  # float32, what the grid's coefficients are multiplied by
    turn_M2: np.ndarray  # float32, phase (rad) of a unit of the shifts


def expand(
    view: tuple[np.ndarray, np.ndarray, np.ndarray],
    shape_LN: np.ndarray,
    spreading: Spreading,
    passes: Passes,
    places: Places,
    observed: tuple[np.ndarray, np.ndarray],
    unit_4L: np.ndarray,
    order_P: np.ndarray,
    out: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Fill information (F, P, P), evidence (F, P), misfit (F,), and the residual (F, 2 M) unless it is (F, 0).

    Parameters:
        view: positions (F, N, 3), rotations (F, 3, 3), and shifts (F, 2) with the grid's centre, in pixels of the grid.
        shape_LN: (F or 1, N, 3, L) float32, displacements of the modes in pixels of the grid; 0 elsewhere.
        observed: target (F, 2 M) and transfer (F, M), float32.
        unit_4L: float32, 1 at the lane of each rotation and of the image.
        order_P: int64, the lane of each parameter.
    """
    n_atoms, n_gaussians = spreading.peak_NC.shape
    n, n_coefficients = grid_size(passes), len(places.row_M)
    widest = WIDTH * -(-int(spreading.window_NC.max()) // WIDTH)
    lanes_all = WIDTH * -(-(1 + max(int(order_P.max(initial=0)), int(unit_4L[3].argmax()))) // WIDTH)
    lengths = (
        WIDTH * (n + widest) ** 2,  # the sheet: the grid, and margins for what its edges cut off
        2 * WIDTH * (n + 1) * (len(places.first) - 1),
        2 * WIDTH * n,
        2 * WIDTH * n,
        n_atoms * n_gaussians * 4 * widest,
        n_coefficients * 2 * lanes_all,
        WIDTH * WIDTH,
    )
    offset = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)

    def prepare():
        room = np.zeros(int(offset[-1]), dtype=np.float32)
        body = np.zeros((n_atoms, 3))
        corner = np.zeros((n_atoms, n_gaussians), dtype=np.int64)
        gram = np.zeros((lanes_all, lanes_all))

        def compute(frames: slice) -> None:
            shape = shape_LN[frames] if len(shape_LN) > 1 else shape_LN
            _expand(
                *(v[frames] for v in view), shape, *spreading, n, widest, *passes, *places,
                *(v[frames] for v in observed), unit_4L, order_P, *(v[frames] for v in out),
                room, offset, body, corner, gram,
            )  # fmt: skip

        return compute

    in_threads(prepare, len(view[0]), n_atoms * n_gaussians * (len(order_P) + 1))


def grid_size(passes: Passes) -> int:
    return int(np.prod(passes.radix))


@numba.njit(**_INLINE)
def _bell(room, at, window, widest, x, first, peak, h):
    """A Gaussian and its derivative with the atom's place, at first, first + 1, …"""
    for i in range(0, window, WIDTH):
        d = add(splat(np.float32(first + i - x)), iota())
        g = mul(splat(peak), _exp_minus(mul(splat(h), mul(d, d))))
        store(room, at + np.uint64(i), g)
        store(room, at + np.uint64(widest + i), mul(g, mul(d, splat(np.float32(2) * h))))


@numba.njit(**_COMPILED)
def _prepare(position_N3, rotation, shift, peak_NC, h_NC, window_NC, n, widest, room, table, body_N3, corner_NC):
    """Places of the atoms in the view, and factors of their Gaussians; the corner is −1 outside the box.

    Returns the first row of the sheet that any window reaches, and the one after the last, both made even.
    """
    low, high = n, 0
    for a in range(position_N3.shape[0]):
        for i in range(3):
            body_N3[a, i] = (
                rotation[i, 0] * position_N3[a, 0]
                + rotation[i, 1] * position_N3[a, 1]
                + rotation[i, 2] * position_N3[a, 2]
            )
        x, y = body_N3[a, 0] + shift[0], body_N3[a, 1] + shift[1]
        inside = -0.5 <= x < n - 0.5 and -0.5 <= y < n - 0.5
        for c in range(peak_NC.shape[1]):
            corner_NC[a, c] = -1
            if inside:
                m = window_NC[a, c]
                i0, j0 = math.ceil(x - 0.5 * m), math.ceil(y - 0.5 * m)
                at = table + np.uint64(4 * widest * (a * peak_NC.shape[1] + c))
                _bell(room, at, m, widest, x, i0, np.float32(1), h_NC[a, c])
                _bell(room, at + np.uint64(2 * widest), m, widest, y, j0, peak_NC[a, c], h_NC[a, c])
                i0, j0 = i0 + n if i0 < 0 else i0, j0 + n if j0 < 0 else j0
                corner_NC[a, c] = j0 * (n + widest) + i0
                low, high = min(low, j0), max(high, j0 + m)
    return low - low % 2, high + high % 2


@numba.njit(**_COMPILED)
def _spread(rotation, body_N3, shape_N3L, unit_4L, group, window_NC, n, widest, room, table, corner_NC, low, high):
    """Eight columns of all atoms onto the sheet, which begins at 0 of `room`."""
    step, row, lane = np.uint64(WIDTH), np.uint64(WIDTH * (n + widest)), np.uint64(WIDTH * group)
    n_lanes, wide = np.uint64(shape_N3L.shape[2]), np.uint64(widest)
    shape, unit = shape_N3L.reshape(-1), unit_4L.reshape(-1)
    for at in range(row * np.uint64(low), row * np.uint64(high), step):
        store(room, at, splat(np.float32(0)))
    r00, r01, r02 = np.float32(rotation[0, 0]), np.float32(rotation[0, 1]), np.float32(rotation[0, 2])
    r10, r11, r12 = np.float32(rotation[1, 0]), np.float32(rotation[1, 1]), np.float32(rotation[1, 2])
    wx, wy = load(unit, lane), load(unit, n_lanes + lane)
    wz, one = load(unit, np.uint64(2) * n_lanes + lane), load(unit, np.uint64(3) * n_lanes + lane)
    for a in range(np.uint64(body_N3.shape[0])):
        here = np.uint64(3) * n_lanes * a + lane
        sx, sy, sz = load(shape, here), load(shape, here + n_lanes), load(shape, here + n_lanes + n_lanes)
        x, y, z = np.float32(body_N3[a, 0]), np.float32(body_N3[a, 1]), np.float32(body_N3[a, 2])
        vx = fma(splat(r00), sx, fma(splat(r01), sy, fma(splat(r02), sz, fma(splat(z), wy, mul(splat(-y), wz)))))
        vy = fma(splat(r10), sx, fma(splat(r11), sy, fma(splat(r12), sz, fma(splat(-z), wx, mul(splat(x), wz)))))
        for c in range(np.uint64(corner_NC.shape[1])):
            if corner_NC[a, c] < 0:
                continue
            m, at = np.uint64(window_NC[a, c]), step * np.uint64(corner_NC[a, c])
            gx = table + np.uint64(4) * wide * (a * np.uint64(corner_NC.shape[1]) + c)
            dx, gy, dy = gx + wide, gx + wide + wide, gx + np.uint64(3) * wide
            for j in range(m):
                g = splat(room[gy + j])
                p, q = fma(vy, splat(room[dy + j]), mul(one, g)), mul(vx, g)
                to = at
                for i in range(m):
                    v = fma(splat(room[gx + i]), p, load(room, to))
                    store(room, to, fma(splat(room[dx + i]), q, v))
                    to += step
                at += row


@numba.njit(**_COMPILED)
def _fold(n, widest, room, low, high):
    """Adds the margins of the sheet to the sides that they continue; returns the rows that then hold something."""
    step, row, edge = np.uint64(WIDTH), np.uint64(WIDTH * (n + widest)), np.uint64(WIDTH * n)
    for j in range(np.uint64(low), np.uint64(high)):
        for at in range(j * row, j * row + step * np.uint64(widest), step):
            store(room, at, add(load(room, at), load(room, at + edge)))
    if high <= n:
        return low, high
    for at in range(np.uint64(0), row * np.uint64(low), step):
        store(room, at, splat(np.float32(0)))
    for at in range(np.uint64(0), row * np.uint64(high - n), step):
        store(room, at, add(load(room, at), load(room, at + np.uint64(n) * row)))
    return 0, n


@numba.njit(**_COMPILED)
def _finish(target, transfer, place_M, turn_M2, room, jacobian, n_lanes, image, pose, residual):
    """The image's column becomes the residual, after which come those of shifts."""
    for e in range(place_M.shape[0]):
        at = jacobian + np.uint64(e) * np.uint64(2) * n_lanes + image
        under, place = at + n_lanes, place_M[e]
        re, im = room[at], room[under]
        if pose:
            tx, ty, one, two = turn_M2[e, 0], turn_M2[e, 1], np.uint64(1), np.uint64(2)
            room[at + one], room[under + one] = tx * im, -tx * re
            room[at + two], room[under + two] = ty * im, -ty * re
        re, im = target[2 * place] - re, target[2 * place + 1] - im
        room[at], room[under] = re, im
        if residual.shape[0] > 0:
            residual[2 * place], residual[2 * place + 1] = re, im


@numba.njit(**_COMPILED)
def _gram(room, jacobian, n_rows, n_lanes, tile, gram_LL):
    """Inner products of all columns, of each pair of groups of eight once."""
    gram_LL[:] = 0
    step, one, eight = np.uint64(WIDTH), np.uint64(1), np.uint64(WIDTH)
    for first in range(np.uint64(0), n_rows, np.uint64(2 * _FLUSH)):
        last = min(first + np.uint64(2 * _FLUSH), n_rows)
        for p in range(np.uint64(0), n_lanes, step):
            for q in range(p, n_lanes, step):
                a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = splat(np.float32(0))
                for e in range(first, last):
                    at = jacobian + e * n_lanes
                    v, s = load(room, at + q), at + p
                    a0, a1 = fma(splat(room[s]), v, a0), fma(splat(room[s + one]), v, a1)
                    a2, a3 = fma(splat(room[s + np.uint64(2)]), v, a2), fma(splat(room[s + np.uint64(3)]), v, a3)
                    a4, a5 = fma(splat(room[s + np.uint64(4)]), v, a4), fma(splat(room[s + np.uint64(5)]), v, a5)
                    a6, a7 = fma(splat(room[s + np.uint64(6)]), v, a6), fma(splat(room[s + np.uint64(7)]), v, a7)
                k = tile
                for a in (a0, a1, a2, a3, a4, a5, a6, a7):
                    store(room, k, a)
                    k += eight
                for i in range(eight):
                    for j in range(eight):
                        gram_LL[p + i, q + j] += room[tile + eight * i + j]


# long: the steps of one frame, in their order
@numba.njit(**_COMPILED)
def _expand(
    position_FN3, rotation_F33, shift_F2, shape_LN, peak_NC, h_NC, window_NC, n, widest, radix_P, start_P, factor,
    first, row_M, place_M, weight_M, turn_M2, target_F2M, transfer_FM, unit_4L, order_P,
    information_FPP, evidence_FP, misfit_F, residual_F2M, room, offset, body_N3, corner_NC, gram_LL,
):  # fmt: skip
    plane, line, other, table, jacobian, tile = offset[1], offset[2], offset[3], offset[4], offset[5], offset[6]
    n_lanes, n_columns, pair = np.uint64(gram_LL.shape[0]), first.shape[0] - 1, np.uint64(2 * WIDTH)
    n_parameters = order_P.shape[0]
    length, lane = plane_stride(n), np.uint64(WIDTH)
    image = np.uint64(0)
    for q in range(unit_4L.shape[1]):
        if unit_4L[3, q] != 0:
            image = np.uint64(q)
    pose = unit_4L[:3].sum() > 0
    for f in range(position_FN3.shape[0]):
        rotation, shape = rotation_F33[f], shape_LN[f if shape_LN.shape[0] > 1 else 0]
        low, high = _prepare(
            position_FN3[f], rotation, shift_F2[f], peak_NC, h_NC, window_NC, n, widest, room, table, body_N3, corner_NC
        )
        for group in range(unit_4L.shape[1] // WIDTH):
            _spread(rotation, body_N3, shape, unit_4L, group, window_NC, n, widest, room, table, corner_NC, low, high)
            j0, j1 = _fold(n, widest, room, low, high)
            transform_rows(room, n, widest, j0, j1, n_columns, radix_P, start_P, factor, line, other, plane)
            for k in range(n_columns):
                at = plane + length * np.uint64(k)
                done = transform_line(room, at, at + lane, pair, n, radix_P, start_P, factor, line, other)
                for e in range(first[k], first[k + 1]):
                    here = done + pair * np.uint64(row_M[e])
                    to = jacobian + np.uint64(2 * e) * n_lanes + np.uint64(WIDTH * group)
                    w = splat(transfer_FM[f, place_M[e]] * weight_M[e])
                    store(room, to, mul(w, load(room, here)))
                    store(room, to + n_lanes, mul(w, load(room, here + lane)))
        _finish(
            target_F2M[f], transfer_FM[f], place_M, turn_M2, room, jacobian, n_lanes, image, pose,
            residual_F2M[f],
        )  # fmt: skip
        _gram(room, jacobian, np.uint64(2 * place_M.shape[0]), n_lanes, tile, gram_LL)
        for p in range(n_parameters):
            for q in range(n_parameters):
                a, b = min(order_P[p], order_P[q]), max(order_P[p], order_P[q])
                information_FPP[f, p, q] = gram_LL[a, b]
            a, b = min(order_P[p], np.int64(image)), max(order_P[p], np.int64(image))
            evidence_FP[f, p] = gram_LL[a, b]
        misfit_F[f] = gram_LL[image, image]

"""Sums of separable Gaussians on the CPU: eight pixels of a row at once, frames side by side in threads.

A frame is summed in a work image with a margin of eight pixels, so that rows of a window are whole vectors; Gaussians
of one atom are taken in pairs, which share their window and its loads and stores. Nothing is allocated inside the
kernels, and each frame is computed alone, in the order of the atoms: the result does not depend on the number of
threads or frames.

Shape legend: F frame, N atom, C pair of Gaussians, P parameter, D pixels along an edge.
"""

# what numba compiles has types of its own
# mypy: ignore-errors

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numba
import numpy as np

from tempica.imaging.lanes import WIDTH, add, fma, iota, load, lowered, minimum, mul, splat, store, sub
from tempica.imaging.windows import Pairs

THREAD_WORK = 20_000  # Gaussian pairs below which a further thread does not pay
PIECES = 16  # of the frames, for each thread

# no `nnan` or `ninf`: what is not a number stays so
_COMPILED = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
_INLINE = {"cache": True, "error_model": "numpy"}


def project(xy_FN2: np.ndarray, pairs: Pairs, image_FDD: np.ndarray) -> None:
    """Fill the images."""
    n_pixels = image_FDD.shape[1]

    def prepare() -> Callable[[slice], None]:
        sheet = np.zeros((n_pixels + 2 * WIDTH, n_pixels + 2 * WIDTH), dtype=np.float32)
        factor = np.zeros(2 * (n_pixels + WIDTH), dtype=np.float32)
        return lambda frames: _project(xy_FN2[frames], *pairs, sheet, factor, image_FDD[frames])

    in_threads(prepare, len(xy_FN2), pairs.half_NC.size)


def project_with_jacobian(xy_FN2: np.ndarray, velocity_FPN2: np.ndarray, pairs: Pairs, column_FPDD: np.ndarray) -> None:
    """Fill images and Jacobian columns."""
    n_columns, n_pixels = column_FPDD.shape[1:3]

    def prepare() -> Callable[[slice], None]:
        # a row of all columns side by side
        sheet = np.zeros((n_pixels + 2 * WIDTH, n_columns, n_pixels + 2 * WIDTH), dtype=np.float32)
        factor = np.zeros(4 * (n_pixels + 2 * WIDTH), dtype=np.float32)
        speed = np.zeros(2 * n_columns, dtype=np.float32)
        room = sheet, factor, speed
        return lambda frames: _project_with_jacobian(
            xy_FN2[frames], velocity_FPN2[frames], *pairs, *room, column_FPDD[frames]
        )

    in_threads(prepare, len(xy_FN2), pairs.half_NC.size * n_columns)


def in_threads(prepare: Callable[[], Callable[[slice], None]], n_frames: int, frame_work: int) -> None:
    """All frames, in pieces that threads take as they get done: one that others hold up takes fewer.

    `prepare()` makes a thread's own room, and returns what computes a piece in it. The caller is one of the threads.
    """
    n_threads = max(1, min(_threads(), n_frames, n_frames * frame_work // THREAD_WORK))
    if n_threads == 1:
        return prepare()(slice(None))
    edges = np.linspace(0, n_frames, min(n_frames, PIECES * n_threads) + 1).astype(int)
    pieces = iter([slice(a, b) for a, b in pairwise(edges)])  # a list's iterator gives each item once, to one thread

    def work() -> None:
        compute = prepare()
        for piece in pieces:
            compute(piece)

    others = [_team(os.getpid()).submit(work) for _ in range(n_threads - 1)]
    try:
        work()
    finally:
        for other in others:
            other.result()


@cache
def _team(process: int) -> ThreadPoolExecutor:
    """Threads that are kept: to start one takes as long as many frames. A forked process has none of its parent's."""
    return ThreadPoolExecutor(max(1, numba.config.NUMBA_NUM_THREADS))


def _threads() -> int:
    """Numba's number of threads, without starting its own."""
    try:
        numba.threading_layer()
    except ValueError:
        return numba.config.NUMBA_NUM_THREADS
    return numba.get_num_threads()


@numba.njit(**_INLINE)
def _exp_minus(z):
    """exp(−z) to 3e-7 of its value, z ≥ 0 (from 80 on exp(−80)): 2^−(i + r), i a whole number and |r| ≤ ½."""
    z = minimum(z, splat(np.float32(80)))
    n = fma(z, splat(np.float32(1.4426950408889634)), splat(np.float32(1.5 * 2**23)))
    i = sub(n, splat(np.float32(1.5 * 2**23)))
    r = fma(z, splat(np.float32(1.4426950408889634)), mul(i, splat(np.float32(-1))))
    p = fma(r, splat(np.float32(-0.001326472614891827)), splat(np.float32(0.009671512991189957)))  # minimax of 2^−r
    p = fma(r, p, splat(np.float32(-0.05550733581185341)))
    p = fma(r, p, splat(np.float32(0.24022242426872253)))
    p = fma(r, p, splat(np.float32(-0.6931470036506653)))
    return lowered(fma(r, p, splat(np.float32(1))), n)


@numba.njit(**_INLINE)
def _from(first):
    """first, first + 1, … first + 7."""
    return add(splat(np.float32(first)), iota())


@numba.njit(**_INLINE)
def _gaussian(d, h, peak):
    return mul(splat(peak), _exp_minus(mul(splat(h), mul(d, d))))


@numba.njit(**_INLINE)
def _reaches(v, half, n_pixels):
    return v > -half and v < n_pixels - 1 + half


@numba.njit(**_INLINE)
def _columns(x, n_columns, n_pixels):
    """First column and the one after the last: whole vectors, of which at least one column lies in the box."""
    first = math.floor(x) + 1 - n_columns // 2
    last = min(first + n_columns, n_pixels)
    if first < 1 - WIDTH:
        first += WIDTH * (-first // WIDTH)
    return first, last


@numba.njit(**_INLINE)
def _first_row(y, half, n_columns):
    return math.floor(y) + 1 - WIDTH // 2 if n_columns == WIDTH else math.ceil(y - half)


@numba.njit(**_COMPILED)
def _project(xy_FN2, peak_NC2, h_NC2, half_NC, rows_NC, columns_NC, sheet, factor, image_FDD):
    n_pixels = image_FDD.shape[1]
    pixel = sheet.reshape(-1)
    stride, block, second = np.uint64(sheet.shape[1]), np.uint64(WIDTH), np.uint64(n_pixels + WIDTH)
    for f in range(xy_FN2.shape[0]):
        pixel[:] = np.float32(0)
        for n in range(xy_FN2.shape[1]):
            x, y = xy_FN2[f, n, 0], xy_FN2[f, n, 1]
            for c in range(half_NC.shape[1]):
                half = half_NC[n, c]
                if not (_reaches(x, half, n_pixels) and _reaches(y, half, n_pixels)):
                    continue
                ha, hb, pa, pb = h_NC2[n, c, 0], h_NC2[n, c, 1], peak_NC2[n, c, 0], peak_NC2[n, c, 1]
                if columns_NC[n, c] == WIDTH:  # eight by eight pixels, without a loop or a branch on the place
                    i0, j0 = math.floor(x) + 1 - WIDTH // 2, math.floor(y) + 1 - WIDTH // 2
                    at = np.uint64(j0 + WIDTH) * stride + np.uint64(i0 + WIDTH)
                    d = _from(j0 - y)
                    store(factor, np.uint64(0), _gaussian(d, ha, pa))
                    if pb != 0:
                        store(factor, block, _gaussian(d, hb, pb))
                    d = _from(i0 - x)
                    a = _gaussian(d, ha, np.float32(1))
                    if pb == 0:
                        for j in range(block):
                            store(pixel, at, fma(splat(factor[j]), a, load(pixel, at)))
                            at += stride
                    else:
                        b = _gaussian(d, hb, np.float32(1))
                        for j in range(block):
                            v = fma(splat(factor[j]), a, load(pixel, at))
                            store(pixel, at, fma(splat(factor[block + j]), b, v))
                            at += stride
                    continue
                first = math.ceil(y - half)
                j0, j1 = max(first, 0), min(first + rows_NC[n, c], n_pixels)
                i0, i1 = _columns(x, columns_NC[n, c], n_pixels)
                n_rows = np.uint64(j1 - j0)
                corner = np.uint64(j0 + WIDTH) * stride + np.uint64(i0 + WIDTH)
                for j in range(0, j1 - j0, WIDTH):
                    d = _from(j0 + j - y)
                    store(factor, np.uint64(j), _gaussian(d, ha, pa))
                    if pb != 0:
                        store(factor, second + np.uint64(j), _gaussian(d, hb, pb))
                for i in range(i0, i1, WIDTH):
                    d = _from(i - x)
                    a, at = _gaussian(d, ha, np.float32(1)), corner
                    if pb == 0:
                        for j in range(n_rows):
                            store(pixel, at, fma(splat(factor[j]), a, load(pixel, at)))
                            at += stride
                    else:
                        b = _gaussian(d, hb, np.float32(1))
                        for j in range(n_rows):
                            v = fma(splat(factor[j]), a, load(pixel, at))
                            store(pixel, at, fma(splat(factor[second + j]), b, v))
                            at += stride
                    corner += block
        for j in range(n_pixels):
            for i in range(n_pixels):
                image_FDD[f, j, i] = sheet[j + WIDTH, i + WIDTH]


# long: all columns come from one pass over the atoms, whose factors stay in registers and the cache
@numba.njit(**_COMPILED)
def _project_with_jacobian(
    xy_FN2, velocity_FPN2, peak_NC2, h_NC2, half_NC, rows_NC, columns_NC, sheet, factor, speed, column_FPDD
):
    n_columns, n_pixels = column_FPDD.shape[1:3]
    pixel = sheet.reshape(-1)
    stride, block = np.uint64(sheet.shape[2]), np.uint64(WIDTH)
    row = stride * np.uint64(n_columns)
    size = np.uint64(n_pixels + 2 * WIDTH)
    for f in range(xy_FN2.shape[0]):
        pixel[:] = np.float32(0)
        for n in range(xy_FN2.shape[1]):
            x, y = xy_FN2[f, n, 0], xy_FN2[f, n, 1]
            for p in range(n_columns - 1):
                speed[2 * p], speed[2 * p + 1] = velocity_FPN2[f, p, n, 0], velocity_FPN2[f, p, n, 1]
            for c in range(half_NC.shape[1]):
                half = half_NC[n, c]
                if not (_reaches(x, half, n_pixels) and _reaches(y, half, n_pixels)):
                    continue
                first = _first_row(y, half, columns_NC[n, c])
                j0, j1 = first, first + rows_NC[n, c]
                if columns_NC[n, c] != WIDTH:
                    j0, j1 = max(j0, 0), min(j1, n_pixels)
                i0, i1 = _columns(x, columns_NC[n, c], n_pixels)
                corner = np.uint64(j0 + WIDTH) * row + np.uint64(i0 + WIDTH)
                ha, hb, pa, pb = h_NC2[n, c, 0], h_NC2[n, c, 1], peak_NC2[n, c, 0], peak_NC2[n, c, 1]
                for j in range(0, j1 - j0 + 1, WIDTH):
                    d, at = _from(j0 + j - y), np.uint64(j)
                    a = _gaussian(d, ha, pa)
                    store(factor, at, a)
                    store(factor, size + at, mul(a, mul(d, splat(np.float32(2) * ha))))
                    if pb != 0:
                        b = _gaussian(d, hb, pb)
                        store(factor, np.uint64(2) * size + at, b)
                        store(factor, np.uint64(3) * size + at, mul(b, mul(d, splat(np.float32(2) * hb))))
                for k in range(4):
                    factor[np.uint64(k) * size + np.uint64(j1 - j0)] = 0  # where rows are odd, one more is added
                for i in range(i0, i1, WIDTH):
                    d = _from(i - x)
                    a = _gaussian(d, ha, np.float32(1))
                    da = mul(a, mul(d, splat(np.float32(2) * ha)))
                    b, db = a, da
                    if pb != 0:
                        b = _gaussian(d, hb, np.float32(1))
                        db = mul(b, mul(d, splat(np.float32(2) * hb)))
                    at = corner
                    for j in range(np.uint64(0), np.uint64(j1 - j0), np.uint64(2)):
                        # two rows: U, ∂U/∂x and ∂U/∂y of the pair, then along each parameter
                        k = j + np.uint64(1)
                        u = fma(splat(factor[j]), a, load(pixel, at))
                        uk = fma(splat(factor[k]), a, load(pixel, at + row))
                        ux, uxk = mul(splat(factor[j]), da), mul(splat(factor[k]), da)
                        uy, uyk = mul(splat(factor[size + j]), a), mul(splat(factor[size + k]), a)
                        if pb != 0:
                            g, gk = splat(factor[np.uint64(2) * size + j]), splat(factor[np.uint64(2) * size + k])
                            u, uk, ux, uxk = fma(g, b, u), fma(gk, b, uk), fma(g, db, ux), fma(gk, db, uxk)
                            g, gk = splat(factor[np.uint64(3) * size + j]), splat(factor[np.uint64(3) * size + k])
                            uy, uyk = fma(g, b, uy), fma(gk, b, uyk)
                        store(pixel, at, u)
                        store(pixel, at + row, uk)
                        to = at + stride
                        for p in range(np.uint64(0), np.uint64(2 * (n_columns - 1)), np.uint64(2)):
                            vx, vy = splat(speed[p]), splat(speed[p + np.uint64(1)])
                            store(pixel, to, fma(vy, uy, fma(vx, ux, load(pixel, to))))
                            under = to + row
                            store(pixel, under, fma(vy, uyk, fma(vx, uxk, load(pixel, under))))
                            to += stride
                        at += np.uint64(2) * row
                    corner += block
        for p in range(n_columns):
            for j in range(n_pixels):
                for i in range(n_pixels):
                    column_FPDD[f, p, j, i] = sheet[j + WIDTH, p, i + WIDTH]

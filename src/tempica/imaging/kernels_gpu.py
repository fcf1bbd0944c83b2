"""Sums of separable Gaussians on a GPU, with the signatures and windows of `kernels_cpu`.

A block of threads owns a tile of an image, a thread a pixel. The block goes through the atoms in order, keeps those
whose window meets the tile, and adds them in that order: no two threads write to one place, so that a kind of device
gives the same image every time. Only what the simulator (NUMBA_ENABLE_CUDASIM=1) has as well is used.

Shape legend: F frame, N atom, C pair of Gaussians, P parameter, D pixels along an edge.
"""

# what numba compiles has types of its own
# mypy: ignore-errors

from __future__ import annotations

import math

import numpy as np
from numba import config, cuda, float32, int32

from tempica.errors import DeviceError
from tempica.imaging.windows import BLOCK, Pairs

# the simulator runs every thread in Python; a smaller tile takes it through the same branches
TILE = 4 if config.ENABLE_CUDASIM else 16  # pixels along the edge of a block's tile, a power of two
THREADS = TILE * TILE
ROUND = 4 if config.ENABLE_CUDASIM else 16  # atoms whose factors are in shared memory at a time
COLUMNS = 8  # columns of a Jacobian that a thread adds up at a time
DEVICE_BYTES = 2**28  # of images on the device at a time


def check() -> None:
    """Raise DeviceError where there is no CUDA device."""
    if not cuda.is_available():
        reason = " ".join(str(cuda.cuda_error() or "no device found").split())
        raise DeviceError(
            f"device = 'cuda' needs an NVIDIA GPU and its driver, and numba sees none ({reason.rstrip('.')})."
            " Take device = 'cpu'."
        )


def project(xy_FN2: np.ndarray, pairs: Pairs, image_FDD: np.ndarray) -> None:
    """Fill the images."""
    nothing = np.zeros((len(xy_FN2), 0, xy_FN2.shape[1], 2))
    project_with_jacobian(xy_FN2, nothing, pairs, image_FDD[:, None])


def project_with_jacobian(xy_FN2: np.ndarray, velocity_FPN2: np.ndarray, pairs: Pairs, column_FPDD: np.ndarray) -> None:
    """Fill images and Jacobian columns."""
    n_frames, n_columns, n_pixels, _ = column_FPDD.shape
    if column_FPDD.size == 0:
        return
    gaussians = [cuda.to_device(np.ascontiguousarray(part)) for part in pairs]
    at_once = max(1, DEVICE_BYTES // (4 * n_columns * n_pixels**2))
    tiles, passes = -(-n_pixels // TILE), -(-n_columns // COLUMNS)
    for first in range(0, n_frames, at_once):
        frames = slice(first, first + at_once)
        xy = cuda.to_device(np.ascontiguousarray(xy_FN2[frames]))
        velocity = np.ascontiguousarray(velocity_FPN2[frames], dtype=np.float32)
        if velocity.size == 0:
            velocity = np.zeros((1, 1, 1, 2), dtype=np.float32)  # a device array is never empty
        column = cuda.device_array(column_FPDD[frames].shape, np.float32)
        grid = (tiles * tiles, len(xy_FN2[frames]), passes)
        if n_columns == 1:
            _project[grid[:2], THREADS](xy, *gaussians, column)
        else:
            _project_with_jacobian[grid, THREADS](xy, cuda.to_device(velocity), *gaussians, column)
        column_FPDD[frames] = column.copy_to_host()


@cuda.jit(device=True)
def _first_row(y, half, columns):
    return math.floor(y) + 1 - columns // 2 if columns == BLOCK else math.ceil(y - half)


@cuda.jit(device=True)
def _meets(x, y, half, rows, columns, i0, j0, n_pixels):
    """Whether a pair's window meets the tile whose first pixel is (i0, j0), by the rule of `windows.Pairs`."""
    if not (x > -half and x < n_pixels - 1 + half and y > -half and y < n_pixels - 1 + half):
        return False
    left, top = math.floor(x) + 1 - columns // 2, _first_row(y, half, columns)
    return left < i0 + TILE and left + columns > i0 and top < j0 + TILE and top + rows > j0


@cuda.jit(device=True)
def _collect(start, f, xy_FN2, half_NC, rows_NC, columns_NC, i0, j0, n_pixels, counts, hits):
    """Numbers of the pairs start … start + THREADS − 1 that meet the tile, in order, into `hits`; how many."""
    thread = cuda.threadIdx.x
    pair, hit = start + thread, 0
    if pair < half_NC.size:
        n, c = pair // half_NC.shape[1], pair % half_NC.shape[1]
        x, y = xy_FN2[f, n, 0], xy_FN2[f, n, 1]
        if _meets(x, y, half_NC[n, c], rows_NC[n, c], columns_NC[n, c], i0, j0, n_pixels):
            hit = 1
    counts[thread] = hit
    cuda.syncthreads()
    step = 1
    while step < THREADS:  # running sums of the flags, by doubling
        before = 0
        if thread >= step:
            before = counts[thread - step]
        cuda.syncthreads()
        counts[thread] += before
        cuda.syncthreads()
        step *= 2
    if hit == 1:
        hits[counts[thread] - 1] = pair
    cuda.syncthreads()
    n_hits = counts[THREADS - 1]
    cuda.syncthreads()  # before the next call changes it
    return n_hits


@cuda.jit(device=True)
def _factors(begin, n_hits, hits, f, xy_FN2, peak_NC2, h_NC2, half_NC, rows_NC, columns_NC, i0, j0, factor, away):
    """Factors of ROUND pairs over the tile: `factor` (pair, axis, Gaussian, pixel), x with the peak; `away` d."""
    task = cuda.threadIdx.x
    while task < ROUND * 2 * TILE:
        slot, axis, pixel = task // (2 * TILE), task // TILE % 2, task % TILE
        if begin + slot < n_hits:
            n, c = hits[begin + slot] // half_NC.shape[1], hits[begin + slot] % half_NC.shape[1]
            centre = xy_FN2[f, n, axis]
            if axis == 0:
                at, first, length = i0 + pixel, math.floor(centre) + 1 - columns_NC[n, c] // 2, columns_NC[n, c]
            else:
                at, first = j0 + pixel, _first_row(centre, half_NC[n, c], columns_NC[n, c])
                length = rows_NC[n, c]
            d = float32(at - centre)
            away[slot, axis, pixel] = d
            for k in range(2):
                g = float32(0)
                if at >= first and at < first + length:
                    g = math.exp(-h_NC2[n, c, k] * d * d)
                    if axis == 0:
                        g *= peak_NC2[n, c, k]
                factor[slot, axis, k, pixel] = g
        task += THREADS


@cuda.jit
def _project(xy_FN2, peak_NC2, h_NC2, half_NC, rows_NC, columns_NC, column_FPDD):
    n_pixels = column_FPDD.shape[3]
    counts = cuda.shared.array(THREADS, int32)  # the simulator knows shared arrays by their line
    hits = cuda.shared.array(THREADS, int32)
    factor = cuda.shared.array((ROUND, 2, 2, TILE), float32)
    away = cuda.shared.array((ROUND, 2, TILE), float32)
    f, tiles = cuda.blockIdx.y, (n_pixels + TILE - 1) // TILE
    i0, j0 = cuda.blockIdx.x % tiles * TILE, cuda.blockIdx.x // tiles * TILE
    i, j = cuda.threadIdx.x % TILE, cuda.threadIdx.x // TILE
    total = float32(0)
    for start in range(0, half_NC.size, THREADS):
        n_hits = _collect(start, f, xy_FN2, half_NC, rows_NC, columns_NC, i0, j0, n_pixels, counts, hits)
        for begin in range(0, n_hits, ROUND):
            _factors(
                begin, n_hits, hits, f, xy_FN2, peak_NC2, h_NC2, half_NC, rows_NC, columns_NC, i0, j0, factor, away
            )
            cuda.syncthreads()
            for slot in range(min(ROUND, n_hits - begin)):
                total += factor[slot, 0, 0, i] * factor[slot, 1, 0, j] + factor[slot, 0, 1, i] * factor[slot, 1, 1, j]
            cuda.syncthreads()
    if i0 + i < n_pixels and j0 + j < n_pixels:
        column_FPDD[f, 0, j0 + j, i0 + i] = total


@cuda.jit
def _project_with_jacobian(xy_FN2, velocity_FPN2, peak_NC2, h_NC2, half_NC, rows_NC, columns_NC, column_FPDD):
    n_columns, n_pixels = column_FPDD.shape[1], column_FPDD.shape[3]
    counts = cuda.shared.array(THREADS, int32)  # the simulator knows shared arrays by their line
    hits = cuda.shared.array(THREADS, int32)
    factor = cuda.shared.array((ROUND, 2, 2, TILE), float32)
    away = cuda.shared.array((ROUND, 2, TILE), float32)
    speed = cuda.shared.array((ROUND, COLUMNS, 2), float32)
    total = cuda.local.array(COLUMNS, float32)
    f, first_column, tiles = cuda.blockIdx.y, cuda.blockIdx.z * COLUMNS, (n_pixels + TILE - 1) // TILE
    i0, j0 = cuda.blockIdx.x % tiles * TILE, cuda.blockIdx.x // tiles * TILE
    i, j = cuda.threadIdx.x % TILE, cuda.threadIdx.x // TILE
    for p in range(COLUMNS):
        total[p] = float32(0)
    for start in range(0, half_NC.size, THREADS):
        n_hits = _collect(start, f, xy_FN2, half_NC, rows_NC, columns_NC, i0, j0, n_pixels, counts, hits)
        for begin in range(0, n_hits, ROUND):
            _factors(
                begin, n_hits, hits, f, xy_FN2, peak_NC2, h_NC2, half_NC, rows_NC, columns_NC, i0, j0, factor, away
            )
            task = cuda.threadIdx.x
            while task < ROUND * COLUMNS:
                slot, column = task // COLUMNS, first_column + task % COLUMNS
                for axis in range(2):
                    v = float32(0)
                    if begin + slot < n_hits and column > 0 and column < n_columns:
                        v = velocity_FPN2[f, column - 1, hits[begin + slot] // half_NC.shape[1], axis]
                    speed[slot, task % COLUMNS, axis] = v
                task += THREADS
            cuda.syncthreads()
            for slot in range(min(ROUND, n_hits - begin)):
                pair = hits[begin + slot]
                n, c = pair // half_NC.shape[1], pair % half_NC.shape[1]
                a = factor[slot, 0, 0, i] * factor[slot, 1, 0, j]
                b = factor[slot, 0, 1, i] * factor[slot, 1, 1, j]
                slope = float32(2) * (h_NC2[n, c, 0] * a + h_NC2[n, c, 1] * b)
                along, across = slope * away[slot, 0, i], slope * away[slot, 1, j]
                if first_column == 0:
                    total[0] += a + b
                for p in range(COLUMNS):
                    total[p] += speed[slot, p, 0] * along + speed[slot, p, 1] * across
            cuda.syncthreads()
    if i0 + i < n_pixels and j0 + j < n_pixels:
        for p in range(COLUMNS):
            if first_column + p < n_columns:
                column_FPDD[f, first_column + p, j0 + j, i0 + i] = total[p]

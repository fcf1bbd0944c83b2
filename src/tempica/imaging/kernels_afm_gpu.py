"""Dilation by a tip on a GPU, with the signature and the formulas of `kernels_afm.heights`.

A thread owns a pixel and goes through the atoms; where the tip can lose only so much height from one pixel to the next,
a thread then goes along each line. No two threads write to one place. Only what the simulator has as well is used.

Shape legend: F frame, S time within a frame, N atom, D pixels along an edge.
"""

# what numba compiles has types of its own
# mypy: ignore-errors

from __future__ import annotations

import math

import numpy as np
from numba import cuda, float32, int32

from tempica.imaging.kernels_gpu import DEVICE_BYTES, THREADS

__all__ = ["heights"]


def heights(xyz_FSN3: np.ndarray, radius_N: np.ndarray, probe: np.ndarray, fall: float, image_FDD: np.ndarray) -> None:
    """Fill the images."""
    n_frames, n_pixels, _ = image_FDD.shape
    if image_FDD.size == 0:
        return
    radius, tip = cuda.to_device(radius_N), cuda.to_device(probe)
    at_once = max(1, DEVICE_BYTES // (4 * n_pixels**2 + 12 * xyz_FSN3[0].size))
    for first in range(0, n_frames, at_once):
        xyz = cuda.to_device(np.ascontiguousarray(xyz_FSN3[first : first + at_once], dtype=np.float32))
        image = cuda.device_array((len(xyz), n_pixels, n_pixels), np.float32)
        _touch[(-(-n_pixels * n_pixels // THREADS), len(xyz)), THREADS](xyz, radius, tip, image)
        if math.isfinite(fall):
            _fall[(-(-n_pixels // THREADS), len(xyz)), THREADS](np.float32(fall), image)
        image_FDD[first : first + at_once] = image.copy_to_host()


@cuda.jit
def _touch(xyz, radius, probe, image):
    f, p, n_pixels = cuda.blockIdx.y, cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x, image.shape[1]
    if p >= n_pixels * n_pixels:
        return
    i, j, n_times = p // n_pixels, p % n_pixels, xyz.shape[1]
    tip, sine, cosine, slope, pixel = probe[0], probe[1], probe[2], probe[3], probe[4]
    # time since the start of the first line, in steps between the given places; the trace takes half of a line's
    at = float32(i) / float32(n_pixels) * float32(n_times - 1)
    s = min(int32(at), max(n_times - 2, 0))
    part = at - float32(s) + float32(j) * float32(n_times - 1) / float32(2 * n_pixels * n_pixels)
    later = min(s + 1, n_times - 1)
    x_pixel, y_pixel = pixel * float32(j - n_pixels // 2), pixel * float32(i - n_pixels // 2)
    highest = float32(0)
    for n in range(xyz.shape[2]):
        x, y, z = xyz[f, s, n, 0], xyz[f, s, n, 1], xyz[f, s, n, 2]
        dx = x_pixel - (x + part * (xyz[f, later, n, 0] - x))
        dy = y_pixel - (y + part * (xyz[f, later, n, 1] - y))
        top = z + part * (xyz[f, later, n, 2] - z) - tip
        arm = radius[n] + tip
        seam, d2 = arm * cosine, dx * dx + dy * dy
        if d2 <= seam * seam:
            top += math.sqrt(arm * arm - d2)
        else:
            top += arm * sine + (seam - math.sqrt(d2)) * slope
        highest = max(highest, top)
    image[f, i, j] = highest


@cuda.jit
def _fall(fall, image):
    f, i = cuda.blockIdx.y, cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < image.shape[1]:
        for j in range(1, image.shape[2]):
            image[f, i, j] = max(image[f, i, j], image[f, i, j - 1] - fall)

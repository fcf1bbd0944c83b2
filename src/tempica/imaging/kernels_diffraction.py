"""Expansion of counted diffraction patterns, pattern by pixel; see `photons`.

A bead that moves by dr changes |F|² by 4π q·dr g, g = Im(F) Re(E) − Re(F) Im(E), E = f exp(2πi q·r) its own wave.
So the sum over beads goes first through E, then through the real g alone, by one matrix product for all derivatives.
Loops over pixels run along slices: with an offset in their subscripts they would not compile to vector instructions.

Shape legend: F frame, N bead, P pixel, C column of sums (x y z of each displacement, then of the bead's own place),
Q derivative (K displacements, then 3 rotations), X component.
"""

from __future__ import annotations

import numba
import numpy as np

from tempica.imaging.diffraction import _turn

CHUNK = 256  # pixels whose waves are kept at hand
TWO_PI = np.float32(2 * np.pi)
_FAST = {"contract", "reassoc"}


@numba.njit(cache=True, nogil=True, parallel=True)
def expand_patterns(
    view_FNX, rotation_FXX, displacement_gNXK, pose, q_XP, factor_NP, diffuse_P, scale_P, background, count_FP, out
):
    """Fills `out` with information (F, Q, Q), evidence (F, Q), misfit (F,) and fluence (F,).

    Lengths are in Å and 1/Å. `displacement_gNXK` is that of all frames (g = 1) or of each (g = F), in the molecule's
    frame.
    """
    information, evidence, misfit, fluence = out
    for f in numba.prange(view_FNX.shape[0]):
        column = _columns(
            view_FNX[f], rotation_FXX[f], displacement_gNXK[np.int64(f) % displacement_gNXK.shape[0]], pose
        )
        n_modes, n_pixels = displacement_gNXK.shape[3], q_XP.shape[1]
        strength = np.empty(n_pixels, dtype=np.float32)
        slope = np.empty((n_modes + (4 if pose else 1), n_pixels), dtype=np.float32)  # the last is the fluence's
        width = _width(n_pixels)
        beat = np.zeros((view_FNX.shape[1], width), dtype=np.float32)
        room = np.empty((view_FNX.shape[1] + 2, width), dtype=np.float32)
        for first in range(0, n_pixels, width):
            last = min(first + width, n_pixels)
            _beats(view_FNX[f], q_XP, factor_NP, first, last, strength, beat, room)
            _slopes(np.dot(column, beat), q_XP, first, last, n_modes, pose, slope)
        for p in range(n_pixels):
            strength[p] = scale_P[p] * (strength[p] + diffuse_P[p])
            for k in range(slope.shape[0] - 1):
                slope[k, p] *= scale_P[p]
        light = fit_fluence(strength, background, count_FP[f])
        fluence[f] = light
        misfit[f] = _deviance(strength, background, light, count_FP[f])
        _sums(strength, slope, background, light, count_FP[f], information[f], evidence[f])


@numba.njit(cache=True, nogil=True, parallel=True)
def intensities(view_FNX, q_XP, factor_NP, intensity_FP):
    """|F|² of structures."""
    for f in numba.prange(view_FNX.shape[0]):
        n_pixels = q_XP.shape[1]
        width = _width(n_pixels)
        sums = np.empty((2, width), dtype=np.float32)
        for first in range(0, n_pixels, width):
            _intensity(view_FNX[f], q_XP, factor_NP, first, min(first + width, n_pixels), intensity_FP[f], sums)


@numba.njit(cache=True, nogil=True)
def _width(n_pixels):
    """Pixels of a chunk: at most CHUNK, about as many in each."""
    return -(-n_pixels // -(-n_pixels // CHUNK))


@numba.njit(cache=True, nogil=True)
def _columns(view_NX, rotation_XX, displacement_NXK, pose):
    """Weights (C, N) of the sums over beads: displacements in the view's frame, and the bead's place for turns."""
    n_beads, n_modes = view_NX.shape[0], displacement_NXK.shape[2]
    column = np.empty((3 * n_modes + (3 if pose else 0), n_beads), dtype=np.float32)
    for a in range(n_beads):
        for i in range(3):
            for k in range(n_modes):
                column[3 * k + i, a] = (
                    rotation_XX[i, 0] * displacement_NXK[a, 0, k]
                    + rotation_XX[i, 1] * displacement_NXK[a, 1, k]
                    + rotation_XX[i, 2] * displacement_NXK[a, 2, k]
                )
            if pose:
                column[3 * n_modes + i, a] = view_NX[a, i]
    return column


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _beats(view_NX, q_XP, factor_NP, first, last, strength_P, beat, room):
    """|F|² and each bead's g (N, width) at pixels first … last − 1; `room` is (N + 2, width)."""
    n_beads, n_pixels = len(view_NX), last - first
    qx, qy, qz = q_XP[0, first:last], q_XP[1, first:last], q_XP[2, first:last]
    re, im = room[n_beads], room[n_beads + 1]
    re[:] = 0
    im[:] = 0
    for a in range(n_beads):
        x, y, z = view_NX[a, 0], view_NX[a, 1], view_NX[a, 2]
        factor, real, imaginary = factor_NP[a, first:last], beat[a], room[a]
        for p in range(n_pixels):
            c, s = _turn(x * qx[p] + y * qy[p] + z * qz[p])
            c *= factor[p]
            s *= factor[p]
            real[p] = c
            imaginary[p] = s
            re[p] += c
            im[p] += s
    for p in range(n_pixels):
        strength_P[first + p] = re[p] * re[p] + im[p] * im[p]
    for a in range(n_beads):
        real, imaginary = beat[a], room[a]
        for p in range(n_pixels):
            real[p] = im[p] * real[p] - re[p] * imaginary[p]


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _intensity(view_NX, q_XP, factor_NP, first, last, intensity_P, sums):
    """|F|² at pixels first … last − 1; `sums` is (2, width)."""
    n_beads, n_pixels = len(view_NX), last - first
    qx, qy, qz = q_XP[0, first:last], q_XP[1, first:last], q_XP[2, first:last]
    re, im = sums[0], sums[1]
    re[:] = 0
    im[:] = 0
    for a in range(n_beads):
        x, y, z = view_NX[a, 0], view_NX[a, 1], view_NX[a, 2]
        factor = factor_NP[a, first:last]
        for p in range(n_pixels):
            c, s = _turn(x * qx[p] + y * qy[p] + z * qz[p])
            re[p] += factor[p] * c
            im[p] += factor[p] * s
    for p in range(n_pixels):
        intensity_P[first + p] = re[p] * re[p] + im[p] * im[p]


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _slopes(sum_CP, q_XP, first, last, n_modes, pose, slope_QP):
    """Derivatives of |F|² at pixels first … last − 1, of sums Σ_n g_n column_n."""
    n_pixels = last - first
    qx, qy, qz = q_XP[0, first:last], q_XP[1, first:last], q_XP[2, first:last]
    twice = 2 * TWO_PI
    for k in range(n_modes):
        x, y, z, slope = sum_CP[3 * k], sum_CP[3 * k + 1], sum_CP[3 * k + 2], slope_QP[k, first:last]
        for p in range(n_pixels):
            slope[p] = twice * (qx[p] * x[p] + qy[p] * y[p] + qz[p] * z[p])
    if pose:
        c = 3 * n_modes
        u, v, w = sum_CP[c], sum_CP[c + 1], sum_CP[c + 2]
        about_x, about_y, about_z = (
            slope_QP[n_modes, first:last],
            slope_QP[n_modes + 1, first:last],
            slope_QP[n_modes + 2, first:last],
        )
        for p in range(n_pixels):  # q·(e × r) = (r × q)_e
            about_x[p] = twice * (v[p] * qz[p] - w[p] * qy[p])
            about_y[p] = twice * (w[p] * qx[p] - u[p] * qz[p])
            about_z[p] = twice * (u[p] * qy[p] - v[p] * qx[p])


@numba.njit(cache=True, nogil=True)
def fit_fluence(strength_P, background, count_P):
    """φ ≥ 0 that maximises Σ n ln(φ s + b) − φ s: by Newton from below its maximum, on which side it converges."""
    counted, expected = 0.0, 0.0
    for p in range(len(strength_P)):
        counted += count_P[p]
        expected += strength_P[p]
    if background <= 0 or counted == 0:
        return counted / expected
    fluence = max(counted - background * len(strength_P), 1e-3 * counted) / expected
    for _ in range(30):
        rise, bend = -expected, 0.0
        for p in range(len(strength_P)):
            if count_P[p] > 0:
                ratio = strength_P[p] / (fluence * strength_P[p] + background)
                rise += count_P[p] * ratio
                bend += count_P[p] * ratio * ratio
        step = rise / bend
        fluence = max(fluence + step, 0.1 * fluence)
        if abs(step) < 1e-6 * fluence or fluence < 1e-9 * counted / expected:
            break
    return fluence


@numba.njit(cache=True, nogil=True)
def _deviance(strength_P, background, fluence, count_P):
    """2 Σ [λ − n + n ln(n/λ)], λ = φ s + b."""
    total = 0.0
    for p in range(len(strength_P)):
        mean = max(fluence * strength_P[p] + background, 1e-30)
        total += mean - count_P[p]
        if count_P[p] > 0:
            total += count_P[p] * np.log(count_P[p] / mean)
    return 2 * total


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _sums(strength_P, slope_QP, background, fluence, count_P, information_QQ, evidence_Q):
    """Fisher information and score with the fluence eliminated.

    Σ J Jᵀ/λ and Σ J (n − λ)/λ, J = ∂λ/∂θ and λ = φ s + b.
    """
    n, n_pixels = len(evidence_Q), len(strength_P)
    residual = np.empty(n_pixels, dtype=np.float32)
    for p in range(n_pixels):
        slope_QP[n, p] = strength_P[p]
        root = np.sqrt(max(fluence * strength_P[p] + background, 1e-30))
        residual[p] = (count_P[p] - root * root) / root
        for k in range(n + 1):
            slope_QP[k, p] *= fluence / root
    square = np.dot(slope_QP, slope_QP.T)
    pull = np.dot(slope_QP, residual)
    own = max(square[n, n], np.float32(1e-20))
    for k in range(n):
        share = square[k, n] / own
        evidence_Q[k] = pull[k] - share * pull[n]
        for m in range(n):
            information_QQ[k, m] = square[k, m] - share * square[m, n]

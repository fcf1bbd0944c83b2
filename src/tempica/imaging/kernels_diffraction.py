"""Expansion of counted diffraction patterns, pattern by pixel; see `photons`.

Shape legend: F frame, N bead, P pixel, C column of sums (1, then x y z of each displacement, then of the bead's own
place), Q derivative (K displacements, then 3 rotations), X component.
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
        real_wave = np.empty((view_FNX.shape[1], CHUNK), dtype=np.float32)
        imaginary_wave = np.empty((view_FNX.shape[1], CHUNK), dtype=np.float32)
        for number in range((n_pixels + CHUNK - 1) // CHUNK):
            first, last = CHUNK * number, min(CHUNK * (number + 1), n_pixels)
            _waves(view_FNX[f], q_XP, factor_NP, first, last, real_wave, imaginary_wave)
            real, imaginary = np.dot(column, real_wave), np.dot(column, imaginary_wave)
            _slopes(real, imaginary, q_XP, first, last, n_modes, pose, strength, slope)
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
        real = np.empty((view_FNX.shape[1], CHUNK), dtype=np.float32)
        imaginary = np.empty((view_FNX.shape[1], CHUNK), dtype=np.float32)
        n_pixels = q_XP.shape[1]
        for number in range((n_pixels + CHUNK - 1) // CHUNK):
            first, last = CHUNK * number, min(CHUNK * (number + 1), n_pixels)
            _waves(view_FNX[f], q_XP, factor_NP, first, last, real, imaginary)
            for p in range(last - first):
                re, im = np.float32(0), np.float32(0)
                for a in range(view_FNX.shape[1]):
                    re += real[a, p]
                    im += imaginary[a, p]
                intensity_FP[f, first + p] = re * re + im * im


@numba.njit(cache=True, nogil=True)
def _columns(view_NX, rotation_XX, displacement_NXK, pose):
    """Weights (C, N) of the sums over beads: 1, displacements in the view's frame, and the bead's place for turns."""
    n_beads, n_modes = view_NX.shape[0], displacement_NXK.shape[2]
    column = np.ones((1 + 3 * n_modes + (3 if pose else 0), n_beads), dtype=np.float32)
    for k in range(n_modes):
        for i in range(3):
            for a in range(n_beads):
                total = np.float32(0)
                for j in range(3):
                    total += rotation_XX[i, j] * displacement_NXK[a, j, k]
                column[1 + 3 * k + i, a] = total
    if pose:
        for i in range(3):
            for a in range(n_beads):
                column[1 + 3 * n_modes + i, a] = view_NX[a, i]
    return column


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _waves(view_NX, q_XP, factor_NP, first, last, real, imaginary):
    """f exp(2πi q·r) of every bead, at pixels first … last − 1."""
    for a in range(view_NX.shape[0]):
        x, y, z = view_NX[a, 0], view_NX[a, 1], view_NX[a, 2]
        for p in range(last - first):
            at = first + p
            c, s = _turn(x * q_XP[0, at] + y * q_XP[1, at] + z * q_XP[2, at])
            real[a, p] = factor_NP[a, at] * c
            imaginary[a, p] = factor_NP[a, at] * s


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _slopes(real_CP, imaginary_CP, q_XP, first, last, n_modes, pose, strength_P, slope_QP):
    """|F|² and its derivatives 2 Re(F* dF); dF = 2πi Σ_n f_n q·dr_n exp(2πi q·r_n)."""
    for p in range(last - first):
        at = first + p
        re, im = real_CP[0, p], imaginary_CP[0, p]
        x, y, z = q_XP[0, at], q_XP[1, at], q_XP[2, at]
        strength_P[at] = re * re + im * im
        twice = 2 * TWO_PI
        for k in range(n_modes):
            c = 1 + 3 * k
            a = x * real_CP[c, p] + y * real_CP[c + 1, p] + z * real_CP[c + 2, p]
            b = x * imaginary_CP[c, p] + y * imaginary_CP[c + 1, p] + z * imaginary_CP[c + 2, p]
            slope_QP[k, at] = twice * (im * a - re * b)
        if pose:
            c = 1 + 3 * n_modes
            u = im * real_CP[c, p] - re * imaginary_CP[c, p]
            v = im * real_CP[c + 1, p] - re * imaginary_CP[c + 1, p]
            w = im * real_CP[c + 2, p] - re * imaginary_CP[c + 2, p]
            slope_QP[n_modes, at] = twice * (v * z - w * y)  # q·(e × r) = (r × q)_e
            slope_QP[n_modes + 1, at] = twice * (w * x - u * z)
            slope_QP[n_modes + 2, at] = twice * (u * y - v * x)


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

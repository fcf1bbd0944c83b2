"""Sums and maxima over the candidate poses of chains of frames, compiled; `following` says what they are for.

Shapes: quaternion (F, C, 4), shift (F, C, 2), weight (F, C), follows (F,); law = (κ, c, 1/v_s, σ²/v_s, 1/σ², ε), with
κ = 0, c = 1 for rotations and (0, 1, 0) for shifts that are new in each frame.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

NEGLIGIBLE = 1e-9  # probability of a candidate whose steps are left out

_compiled: Any = numba.njit(cache=True)


@_compiled
def _density(from_turn, from_shift, to_turn, to_shift, law):
    """Density of a step without jumps, 1 − cos of its angle, and half the square of its shift."""
    dot = 0.0
    for i in range(4):
        dot += from_turn[i] * to_turn[i]
    bend = 2.0 * (1.0 - dot * dot)
    way = 0.5 * ((to_shift[0] - from_shift[0]) ** 2 + (to_shift[1] - from_shift[1]) ** 2)
    alone = 0.5 * (to_shift[0] ** 2 + to_shift[1] ** 2)
    return law[1] * law[3] * np.exp(alone * law[4] - law[0] * bend - law[2] * way), bend, way


@_compiled
def forward(quaternion, shift, weight, follows, law):
    """Probability (F, C) of each candidate given its frame and those before, and ln of the likelihood."""
    n_frames, n = weight.shape
    share, total = np.zeros((n_frames, n)), 0.0
    for t in range(n_frames):
        for j in range(n):
            if weight[t, j] > 0.0:
                reached = 1.0
                if follows[t]:
                    reached = law[5]
                    for i in range(n):
                        if share[t - 1, i] > NEGLIGIBLE:
                            density, _, _ = _density(
                                quaternion[t - 1, i], shift[t - 1, i], quaternion[t, j], shift[t, j], law
                            )
                            reached += share[t - 1, i] * (1.0 - law[5]) * density
                share[t, j] = weight[t, j] * reached
        scale = share[t].sum()
        share[t] /= scale
        total += np.log(scale)
    return share, total


@_compiled
def backward(quaternion, shift, weight, follows, law, share):
    """Probability (F, C) of each candidate given all frames of its chain; and sums over steps without a jump.

    The sums are how many such steps there are, their 1 − cos ω, and half their squared shifts.
    """
    n_frames, n = weight.shape
    sums, later, now, found = np.zeros(3), np.ones(n), np.ones(n), np.zeros(3)
    posterior = share.copy()
    for t in range(n_frames - 1, 0, -1):
        if not follows[t]:
            later[:] = 1.0
            continue
        found[:] = 0.0
        everything, now[:] = 0.0, 0.0
        for i in range(n):
            if share[t - 1, i] <= NEGLIGIBLE:
                continue
            for j in range(n):
                ahead = weight[t, j] * later[j]
                if ahead == 0.0:
                    continue
                density, bend, way = _density(quaternion[t - 1, i], shift[t - 1, i], quaternion[t, j], shift[t, j], law)
                smooth = (1.0 - law[5]) * density
                now[i] += ahead * (smooth + law[5])
                pair = share[t - 1, i] * ahead
                everything += pair * (smooth + law[5])
                found[0] += pair * smooth
                found[1] += pair * smooth * bend
                found[2] += pair * smooth * way
        sums += found / everything
        later[:] = now / now.max()
        posterior[t - 1] *= later
        posterior[t - 1] /= posterior[t - 1].sum()
    return posterior, sums


@_compiled
def most_probable(quaternion, shift, weight, follows, law):
    """The candidate (F,) of each frame on the most probable path of its chain."""
    n_frames, n = weight.shape
    best, origin = np.zeros((n_frames, n)), np.zeros((n_frames, n), dtype=np.int64)
    for t in range(n_frames):
        for j in range(n):
            if weight[t, j] <= 0.0:
                continue
            reached = 1.0
            if follows[t]:
                reached = 0.0
                for i in range(n):
                    if best[t - 1, i] > reached * NEGLIGIBLE:
                        density, _, _ = _density(
                            quaternion[t - 1, i], shift[t - 1, i], quaternion[t, j], shift[t, j], law
                        )
                        value = best[t - 1, i] * ((1.0 - law[5]) * density + law[5])
                        if value > reached:
                            reached, origin[t, j] = value, i
            best[t, j] = weight[t, j] * reached
        best[t] /= best[t].max()
    path = np.zeros(n_frames, dtype=np.int64)
    for t in range(n_frames - 1, -1, -1):
        if t + 1 < n_frames and follows[t + 1]:
            path[t] = origin[t + 1, path[t + 1]]
        else:
            path[t] = np.argmax(best[t])
    return path

"""Shifts of a molecule pooled over its frames, where they are kept or drift slowly.

Every frame says by itself how likely each shift of a grid is, E_f(s) = ln Σ_g exp ℓ(g, s), over all rotations. With
shifts m_f that are drawn anew each frame from N(0, σ²), or that start there and walk,

    p(images) = Π_f Σ_m N(m) e^{E_f(m)}   or   Σ_{m_1 … m_F} N(m_1) Π_f K(m_{f+1} − m_f) Π_f e^{E_f(m_f)},

and shifts are kept if the latter is larger by `WORTH`. E_f is blurred before by what a grid of rotations leaves open of
the shift.

Shape legend: F frame, S shift.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from tempica.embed.poses.grids import shift_grid
from tempica.embed.poses.refine import ShiftPrior, shift_prior
from tempica.embed.poses.templates import Templates, scores
from tempica.embed.quadratic import Observed

REACH = 5.0  # deviations of the shift
STEP_A = 2.5
FRAMES = (6, 12, 40)  # of a molecule that are looked at, evenly spread: more where the fewer leave it open
BLUR_A = 1.5  # error of a shift, per axis, at the nearest rotation of a grid
WALKS_A = (0.0, 0.03, 0.1, 0.3)  # steps per frame, per axis, of which the likeliest is taken
WORTH = 10.0  # nats that keeping shifts must gain: blurred evidence of some frames can favour it by a little
SURE = 15.0  # nats a molecule, by which keeping shifts must gain for their means to be near
FLOOR = 1e-9  # of a frame's evidence for any shift: two frames that contradict each other leave something
BLOCK = 4


class Walk:
    """Heat kernels on a hexagonal grid of shifts (S, 2): Gaussian steps that do not leave it."""

    def __init__(self, shift: np.ndarray, step_A: float) -> None:
        self._step_A = step_A
        adjacent = np.abs(cdist(shift, shift) - step_A) < 0.1 * step_A
        self._rate, self._base = np.linalg.eigh(np.diag(adjacent.sum(1)) - adjacent.astype(float))

    def __call__(self, deviation_A: float) -> np.ndarray:
        """Probabilities (S, S) of a step with this deviation per axis: six neighbours give 1.5 step² per unit time."""
        time = deviation_A**2 / (1.5 * self._step_A**2)
        kernel = (self._base * np.exp(-time * self._rate)) @ self._base.T
        return np.maximum(kernel, 0.0)


def pool_shifts(
    observed: Observed, templates: Templates, molecule: np.ndarray, deviation_A: float, *, least_A: float = BLUR_A
) -> ShiftPrior:
    """Prior of every frame's shift from all frames of its molecule, or N(0, deviation²) where shifts are not kept.

    Parameters:
        molecule: (F,) numbers of the molecules, each a stretch of frames.
        deviation_A: σ of the shift, per axis; looked for as far as five of it.
        least_A: deviation below which no prior goes, whatever the frames agree on.
    """
    plain = shift_prior(len(observed), deviation_A)
    if deviation_A == 0 or len(observed) == 0:
        return plain
    shift = shift_grid(deviation_A, STEP_A, REACH)
    walk = Walk(shift, STEP_A)
    start = np.exp(-(shift**2).sum(1) / (2 * deviation_A**2))
    start /= start.sum()
    stretches = np.split(np.arange(len(molecule)), np.flatnonzero(np.diff(molecule)) + 1)
    small = observed.within(templates.disc.radius)
    for n_looked in FRAMES:
        looked = [frames[np.unique(np.linspace(0, len(frames) - 1, n_looked).astype(int))] for frames in stretches]
        evidence = [_evidence(small[at], templates, shift) @ walk(BLUR_A) for at in looked]
        seen = list(zip(evidence, looked, strict=True))
        fits = [[_chain(e, start, walk, np.diff(at), q) for e, at in seen] for q in WALKS_A]
        likely = [sum(fit[0] for fit in fits_of_q) for fits_of_q in fits]
        gain = max(likely) - sum(np.log(e @ start).sum() for e in evidence)
        if gain < -WORTH or gain > SURE * len(stretches):
            break
    if gain <= WORTH:
        return plain
    mean, deviation = np.zeros((len(observed), 2)), np.zeros(len(observed))
    for frames, at, (_, chance) in zip(stretches, looked, fits[int(np.argmax(likely))], strict=True):
        centre = chance @ shift
        spread = np.sqrt(np.maximum(chance @ (shift**2) - centre**2, 0).mean(1))
        for axis in (0, 1):
            mean[frames, axis] = np.interp(frames, at, centre[:, axis])
        deviation[frames] = np.interp(frames, at, spread)
    return shift_prior(len(observed), np.clip(deviation, least_A, None), mean)


def _evidence(observed: Observed, templates: Templates, shift: np.ndarray) -> np.ndarray:
    """exp E (F, S), each frame's largest 1, without the prior of the shift."""
    parts = []
    flat = shift_prior(BLOCK, 1.0)
    for first in range(0, len(observed), BLOCK):
        piece = observed[first : first + BLOCK]
        score = scores(piece, templates, flat[: len(piece)], shift)
        score += 0.5 * (shift**2).sum(1).astype(np.float32)[:, None]
        score -= score.max((1, 2), keepdims=True)
        parts.append(np.exp(score, out=score).sum(2, dtype=np.float64))
    evidence = np.concatenate(parts)
    return evidence / evidence.max(1, keepdims=True) + FLOOR


def _chain(
    evidence: np.ndarray, start: np.ndarray, walk: Walk, gap: np.ndarray, step_A: float
) -> tuple[float, np.ndarray]:
    """Log-likelihood of a walk and the chance (F, S) of each shift in each frame: forward–backward."""
    kernels = {g: walk(step_A * np.sqrt(g)) for g in np.unique(gap)}
    forward = np.empty_like(evidence)
    total, ahead = 0.0, start
    for f, e in enumerate(evidence):
        if f:
            ahead = kernels[gap[f - 1]] @ forward[f - 1]
        forward[f] = ahead * e
        norm = forward[f].sum()
        forward[f] /= norm
        total += np.log(norm)
    behind = np.ones_like(start)
    chance = forward.copy()
    for f in range(len(evidence) - 2, -1, -1):
        behind = kernels[gap[f]] @ (evidence[f + 1] * behind)
        behind /= behind.sum()
        chance[f] *= behind
        chance[f] /= chance[f].sum()
    return total, chance

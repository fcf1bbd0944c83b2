"""Learning a molecule's motion: variances of rotations and shifts a frame, and drift, by EM on a linearised chain.

Around a place the posterior of all frames is normal, with a block-tridiagonal precision. Its moments give EM's next
variances, and no image is needed; a drift enters linearly, so that its best value is solved for. Jitter of shifts is
learned beside them: it begins with half of a step's variance.

Shape legend: F frame, P parameter of a frame, S step between frames.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tempica.embed.poses.chain import Chain, solve
from tempica.embed.poses.motion import (
    SHIFT,
    TURN,
    Dynamics,
    Frames,
    Motion,
    Place,
    expand_prior,
    jittered,
    step_jacobians,
    with_jitter,
)
from tempica.imaging.likelihood import Expansion

PRIOR_MOLECULES = 4  # the first value of σ_s² counts as so many molecules, since often few are seen
SMALLEST = np.array([1e-7, 1e-6, 1e-4, 1e-6])  # of q (0.02° a frame), q_s, σ_s² and j: below, nothing is gained
ROUNDS = 2  # of two steps of EM and an extrapolation
NO_MEMORY = 1.0  # rad², a step's variance beyond which a rotation might as well be new
LONG = 10  # frames of a molecule whose drift can be told


def learn_motion(
    expansion: Expansion, place: Place, frames: Frames, motion: Motion, dynamics: Dynamics | None, spread: float
) -> Motion:
    """Steps of EM, two and two extrapolated to where they lead (Steffensen), and the drift that fits best.

    Parameters:
        expansion: of the images around the place, with nothing of the frames that are set aside.
        motion: the values so far. Infinite variances remain.
        spread: the value of σ_s² that counts as `PRIOR_MOLECULES` molecules.
    Source of the extrapolation: Varadhan and Roland 2008, Scand. J. Stat. 35, 335.
    """
    if motion.jitter_variance == 0 and np.isfinite(motion.shift_variance):
        half = 0.5 * motion.shift_variance
        motion = replace(motion, shift_variance=half, jitter_variance=max(0.5 * half, SMALLEST[3]))
    for _ in range(ROUNDS):
        trail = [_logarithms(motion)]
        for _ in range(2):
            used, chain = motion, _posterior(expansion, place, frames, motion, dynamics)
            motion = _with(motion, _expected(expansion, chain, place, frames, motion, spread))
            trail.append(_logarithms(motion))
        reached, finite = trail[2].copy(), np.isfinite(trail[2])
        first, second = (trail[i + 1][finite] - trail[i][finite] for i in (0, 1))
        moves = np.abs(first) > 1e-9
        ratio = np.clip(np.divide(second, first, out=np.zeros(len(first)), where=moves), 0.0, 0.95)
        reached[finite] = trail[0][finite] + np.clip(first / (1 - ratio), -3, 3)
        motion = _with(motion, np.exp(reached))
        if motion.turn_variance > NO_MEMORY:
            motion = replace(motion, turn_variance=np.inf)
        if np.isfinite(motion.shift_variance):
            found = _best_drift(chain, place, frames, used)
            motion = _probable(replace(motion, drift_spread=_spread_of_drift(*found, frames)), *found)
    return motion


def learn_drift(
    expansion: Expansion, place: Place, frames: Frames, motion: Motion, dynamics: Dynamics | None
) -> Motion:
    """A known motion with the drift of these molecules."""
    if motion.drift_spread == 0 or not np.isfinite(motion.shift_variance):
        return motion
    motion = replace(motion, drift_A=np.broadcast_to(motion.drift_A, (frames.n_molecules, 2)))
    chain = _posterior(expansion, place, frames, motion, dynamics)
    return _probable(motion, *_best_drift(chain, place, frames, motion))


def _logarithms(motion: Motion) -> np.ndarray:
    jitter = motion.jitter_variance or np.inf  # none is learned where there is none, as with what is infinite
    return np.log([motion.turn_variance, motion.shift_variance, motion.shift_spread, jitter])


def _with(motion: Motion, variances: np.ndarray) -> Motion:
    turn, shift, spread, jitter = np.maximum(variances, SMALLEST).tolist()
    jitter = jitter if np.isfinite(jitter) else 0.0
    return replace(motion, turn_variance=turn, shift_variance=shift, shift_spread=spread, jitter_variance=jitter)


def _posterior(expansion: Expansion, place: Place, frames: Frames, motion: Motion, dynamics: Dynamics | None) -> Chain:
    """Chain around a place; columns of its solution: the posterior's mean, and its change with a drift along x, y."""
    prior, expansion = expand_prior(place, frames, motion, dynamics), jittered(expansion, motion.jitter_variance)
    right = np.zeros((*expansion.evidence.shape, 3))
    right[..., 0] = expansion.evidence + prior.slope
    if np.isfinite(motion.shift_variance):
        pull = (frames.follows.astype(float) - frames.joined) / motion.shift_variance
        right[:, -2, 1] = right[:, -1, 2] = pull
    return solve(expansion.information + prior.diagonal, prior.upper, frames.joined, right)


def _expected(
    expansion: Expansion, chain: Chain, place: Place, frames: Frames, motion: Motion, spread: float
) -> np.ndarray:
    """Expected squares (q, q_s, σ_s²) of the posterior, and the next j."""
    here, cross, mean = chain.covariance, chain.cross, chain.solution[..., 0]
    after = np.flatnonzero(frames.follows)
    before, turn, shift = after - 1, motion.turn_variance, motion.shift_variance
    if len(after) and np.isfinite(turn):
        step, left = step_jacobians(place.rotation, frames.follows)
        right = left.swapaxes(1, 2)
        step = step + np.einsum("sij,sj->si", left, mean[after, TURN])
        step -= np.einsum("sij,sj->si", right, mean[before, TURN])
        total = (step**2).sum() + (left @ here[after, TURN, TURN] * left).sum()
        total += (right @ here[before, TURN, TURN] * right).sum()
        total -= 2 * (right @ cross[before, TURN, TURN] * left).sum()
        turn = total / (3 * len(after))
    at = place.shift_A + mean[:, SHIFT]
    square = (at**2).sum(1) + np.trace(here[:, SHIFT, SHIFT], axis1=1, axis2=2)
    if len(after) and np.isfinite(shift):
        drift = np.broadcast_to(motion.drift_A, (frames.n_molecules, 2))[frames.number[after]]
        total = ((at[after] - at[before] - drift) ** 2).sum()
        total += np.trace(here[after, SHIFT, SHIFT] + here[before, SHIFT, SHIFT], axis1=1, axis2=2).sum()
        total -= 2 * np.trace(cross[before, SHIFT, SHIFT], axis1=1, axis2=2).sum()
        shift = total / (2 * len(after))
        square = square[~frames.follows]
    spread = (square.sum() / 2 + PRIOR_MOLECULES * spread) / (len(square) + PRIOR_MOLECULES)
    jitter = np.inf
    if motion.jitter_variance:
        jitter = _scored(motion.jitter_variance, *with_jitter(expansion, motion.jitter_variance, mean, here)[:2])
    return np.array([turn, shift, spread, jitter])


def _scored(variance: float, jitter: np.ndarray, moment: np.ndarray) -> float:
    """The next j, by a step of Fisher's scoring: EM creeps where frames tell little of their jitter, or there is none.

    With C a frame's posterior covariance, the slope of ln p is Σ tr(⟨n nᵀ⟩ − j) / 2 j², and its information, frame by
    frame, Σ tr((1 − C / j)²) / 2 j².
    """
    told = np.eye(2) - (moment - jitter[:, :, None] * jitter[:, None]) / variance
    information = max(np.einsum("fst,fts->f", told, told).mean(), 1e-3)
    step = (np.trace(moment, axis1=1, axis2=2).mean() - 2 * variance) / information
    return float(np.clip(variance + step, variance / 10, variance * 10))


def _best_drift(chain: Chain, place: Place, frames: Frames, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Straight drift (molecule, 2) that fits best, and its information (molecule, 2, 2).

    ln p of a molecule's images is quadratic in its drift v. With b the slope's change with v, ±1 / q_s at its ends, the
    information is S / q_s − bᵀ H⁻¹ b for S steps, and the slope ⟨s_last − s_first − S v⟩ / q_s.
    """
    q, number = motion.shift_variance, frames.n_molecules
    first, last = np.flatnonzero(~frames.follows), np.flatnonzero(~frames.joined)
    n_steps = (last - first)[:, None]
    at, pulled = place.shift_A + chain.solution[:, SHIFT, 0], chain.solution[:, SHIFT, 1:]
    now = np.broadcast_to(motion.drift_A, (number, 2))
    information = (n_steps[..., None] * np.eye(2) - (pulled[last] - pulled[first])) / q + 1e-6 * np.eye(2)
    slope = (at[last] - at[first] - n_steps * now) / q
    return now + np.linalg.solve(information, slope[..., None])[..., 0], information


def _spread_of_drift(drift: np.ndarray, information: np.ndarray, frames: Frames) -> float:
    """σ_v² of long molecules' drifts where all together gain more than they cost (BIC), or 0."""
    n_steps = np.bincount(frames.number) - 1
    gain, long = np.einsum("mi,mij,mj->m", drift, information, drift), n_steps >= LONG
    worth = gain[long].sum() > 2 * np.log(np.maximum(n_steps[long], 1)).sum()
    return float((drift[long] ** 2).mean()) if worth else 0.0


def _probable(motion: Motion, drift: np.ndarray, information: np.ndarray) -> Motion:
    """The motion with each molecule's most probable drift, given that of all."""
    if motion.drift_spread == 0:
        return replace(motion, drift_A=np.zeros_like(drift))
    right = information @ drift[..., None]
    return replace(motion, drift_A=np.linalg.solve(information + np.eye(2) / motion.drift_spread, right)[..., 0])

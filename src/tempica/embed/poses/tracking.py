"""Poses and amplitudes of whole movies: one Gauss–Newton smoother over all frames of a molecule.

−2 ln p = Σ_t min(|r_t|², cap_t) + |a_t|² + Σ_t |log R_{t+1} R_tᵀ|² / q + |s_{t+1} − s_t − v|² / q_s + constant, with
amplitudes independent in time, or autoregressive ones. `follow` (module `following`) finds where to start. While places
are sought, jitter of shifts counts as larger steps of theirs (`Motion.unsplit`); posteriors tell one from the other.

A frame that no pose fits better than an empty image does (`cap`: the misfit of an empty image and what an empty frame
costs) is set aside: it says nothing, its neighbours say where it is, and it counts again as soon as it fits there.

Shape legend: F frame, K amplitude, P parameter of a frame (K amplitudes, 3 rotations in rad, 2 shifts in Å).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from tempica.embed.poses.chain import Chain, solve
from tempica.embed.poses.following import Path, follow
from tempica.embed.poses.motion import (
    SHIFT,
    TURN,
    Dynamics,
    Frames,
    Motion,
    Place,
    Prior,
    expand_prior,
    frames_of,
    jittered,
    with_jitter,
)
from tempica.embed.poses.motion_learning import learn_drift, learn_motion
from tempica.embed.poses.rotations import turned
from tempica.embed.poses.second_look import astray_frames, bridge, total_near
from tempica.imaging.likelihood import Expansion, Likelihood, without
from tempica.imaging.modes import Modes

__all__ = ["Dynamics", "Motion", "Path", "Place", "Tracked", "follow", "smooth_chain", "smooth_poses"]

Frameful = TypeVar("Frameful", Place, Expansion)  # arrays over frames
Expand = Callable[[np.ndarray, Place], Expansion]  # of frames (by index) at their places

EMPTY_FRAME = 14.0  # −2 ln of the share of frames that may be empty, 1e-3
WILD_GAIN = 5.0  # robust standard deviations of |y|² − |r|² below its median, where a frame may be empty
WILD = 8.0  # robust standard deviations of |y|² above its median, beyond which a frame is junk
ENOUGH = 0.2  # standard deviations of a parameter: a shorter step is the last, and taken without another look
LOOKS = 4  # at stretches that may have gone astray, as long as that helps
WORTH = 2.0  # of −2 ln p, that another way must gain


@dataclass(frozen=True)
class Tracked:
    """Posterior of every frame given all frames of its molecule."""

    rotation: np.ndarray  # (F, 3, 3)
    shift_A: np.ndarray  # (F, 2)
    amplitude: np.ndarray  # (F, K), given the dynamics where there are any
    covariance: np.ndarray  # (F, K + 5, K + 5)
    latent: np.ndarray  # (F, K) under the prior N(0, 1), independent in time
    latent_covariance: np.ndarray  # (F, K, K)
    set_aside: np.ndarray  # (F,) frames whose image counts for nothing
    misfit: np.ndarray  # (F,)
    motion: Motion

    @property
    def turn_variance(self) -> float:
        return self.motion.turn_variance

    @property
    def shift_variance(self) -> float:
        return self.motion.shift_variance


def smooth_poses(
    likelihood: Likelihood,
    modes: Modes,
    start: Place | Path,
    molecule: np.ndarray,
    motion: Motion,
    dynamics: Dynamics | None = None,
    nuisance: np.ndarray | None = None,
    *,
    empty: np.ndarray | None = None,
    n_steps: int = 8,
    learn: bool = True,
) -> Tracked:
    """Posterior of poses and amplitudes of movies, from all frames of each molecule together.

    Parameters:
        likelihood: of F images.
        modes: mean structure and K displacements of amplitudes a.
        start: rotation, shift and amplitude of every frame, as of a `Path`; amplitudes (F, 0) stand for none.
        molecule: (F,) labels; frames of one molecule are together and in the order of time.
        motion: variances of rotation and shift a frame to begin with.
        dynamics: of the amplitudes; independent in time if none.
        nuisance: (L, N, 3) further displacements in nm, of amplitudes ~ N(0, 1): motion that the modes leave out, and
            without which posteriors are too narrow. Only the last step and the posterior take it into account.
        empty: (F,) misfits of a model without a molecule, by which stretches that went astray are found; if any.
        n_steps: Gauss–Newton steps at the most.
        learn: whether the motion is learned, from all molecules; else only each molecule's drift, where there is any.
    Raises DataError for labels that come back, and for images that are not finite.
    """

    amplitude = start.amplitude
    if amplitude.shape[1] == 0:  # of peaks that are not refined
        amplitude = np.zeros((len(likelihood), len(modes.shape)))
    start = Place(start.rotation, start.shift_A, amplitude)

    def expand(which: np.ndarray, place: Place, shape: np.ndarray = modes.shape) -> Expansion:
        position = modes.mean + np.einsum("fk,knj->fnj", place.amplitude, modes.shape)
        return likelihood[which].expand(position, place.rotation, place.shift_A, shape, pose=True)

    def expand_all(which: np.ndarray, place: Place) -> Expansion:
        assert nuisance is not None
        seen = expand(which, place, np.concatenate([modes.shape, nuisance]))
        return without(seen, slice(len(modes.shape), len(modes.shape) + len(nuisance)))

    last = None if nuisance is None else expand_all
    return smooth_chain(expand, start, molecule, motion, dynamics, last, empty=empty, n_steps=n_steps, learn=learn)


def smooth_chain(
    expand: Expand,
    start: Place | Path,
    molecule: np.ndarray,
    motion: Motion,
    dynamics: Dynamics | None = None,
    last: Expand | None = None,
    *,
    empty: np.ndarray | None = None,
    n_steps: int = 8,
    learn: bool = True,
) -> Tracked:
    """`smooth_poses` of anything that has an expansion; `empty` (F,) are the misfits of a model without a molecule.

    `last`, if any, is the expansion for the last step and the posterior.
    A step that does not lower a molecule's −2 ln p is taken back, and the frames that fit worse than foreseen are
    damped (Levenberg–Marquardt, frame by frame).
    """
    movie = _Movie(expand, last, frames_of(molecule), dynamics, empty, motion.shift_spread)
    place = Place(start.rotation, start.shift_A, start.amplitude)
    expansion = expand(np.arange(len(place.shift_A)), place)
    place, expansion, motion = _climb(movie, place, expansion, motion, n_steps, learn)
    for _ in range(LOOKS if empty is not None and np.isfinite(motion.turn_variance) else 0):
        astray = astray_frames(empty - _cost(movie, place, expansion, motion), movie.frames)
        if not astray.any():
            break
        bridged = bridge(place, astray, movie.frames)
        where = np.flatnonzero(astray)
        seen = _put(expansion, astray, expand(where, Place(*_taken(bridged, astray))))
        other, seen, _ = _climb(movie, bridged, seen, motion, max(n_steps // 2, 1), False)
        gained = _cost(movie, place, expansion, motion) - _cost(movie, other, seen, motion)
        which = total_near(gained, astray, movie.frames) > WORTH
        if not which.any():
            break
        place, expansion = (
            _put(place, which, Place(*_taken(other, which))),
            _put(expansion, which, Expansion(*_taken(seen, which))),
        )
        place, expansion, motion = _climb(movie, place, expansion, motion, max(n_steps // 2, 1), learn)
    return _tracked(movie, place, expansion, motion)


@dataclass(frozen=True)
class _Movie:
    """What does not change while places are sought."""

    expand: Expand
    last: Expand | None
    frames: Frames
    dynamics: Dynamics | None
    empty: np.ndarray | None
    spread: float

    def counting(self, expansion: Expansion, cap: np.ndarray) -> Expansion:
        """The expansion without what frames say that are set aside."""
        counts = (expansion.misfit < cap).astype(np.float64)
        information, evidence = counts[:, None, None] * expansion.information, counts[:, None] * expansion.evidence
        return Expansion(information, evidence, expansion.misfit)


def _climb(
    movie: _Movie, place: Place, expansion: Expansion, motion: Motion, n_steps: int, learn: bool
) -> tuple[Place, Expansion, Motion]:
    """Damped Gauss–Newton steps from a place with its expansion, of all molecules that still move."""
    frames, dynamics, damping = movie.frames, movie.dynamics, np.zeros(len(place.shift_A))
    for _ in range(n_steps):
        cap = _cap(expansion.misfit, movie.empty, motion)
        used = movie.counting(expansion, cap)
        if learn:
            motion = learn_motion(used, place, frames, motion, dynamics, movie.spread)
        else:
            motion = learn_drift(used, place, frames, motion, dynamics)
        prior = expand_prior(place, frames, motion.unsplit, dynamics)
        weight = np.diagonal(used.information + prior.diagonal, axis1=1, axis2=2)
        step = _chain(used, prior, frames, damping[:, None] * weight).solution[..., 0]
        which = _of_molecules(frames, np.maximum, (step**2 * weight).max(1)) > ENOUGH**2
        if not which.any():
            break
        trial = _moved(place, step, which)
        tried = _put(expansion, which, movie.expand(np.flatnonzero(which), Place(*_taken(trial, which))))
        change = np.minimum(tried.misfit, cap) - np.minimum(expansion.misfit, cap)
        change += expand_prior(trial, frames, motion.unsplit, dynamics).cost - prior.cost
        better = _of_molecules(frames, np.add, change) <= 0
        damping = _damped(damping, used, step, tried.misfit, which, better, frames)
        which &= better
        place = _put(place, which, Place(*_taken(trial, which)))
        expansion = _put(expansion, which, Expansion(*_taken(tried, which)))
    return place, expansion, motion


def _cost(movie: _Movie, place: Place, expansion: Expansion, motion: Motion) -> np.ndarray:
    """−2 ln p (F,) up to a constant of each frame; a step's is with the later frame."""
    cap = _cap(expansion.misfit, movie.empty, motion)
    return np.minimum(expansion.misfit, cap) + expand_prior(place, movie.frames, motion.unsplit, movie.dynamics).cost


def _cap(misfit: np.ndarray, empty: np.ndarray | None, motion: Motion) -> np.ndarray:
    """Misfit (F,) from which on a frame is set aside: as if it were empty, or far from how others gain; junk always."""
    if empty is None or not np.isfinite(motion.turn_variance):  # nothing else would tell where a frame is
        return np.full(len(misfit), np.inf)
    gain = empty - misfit
    cap = empty + max(EMPTY_FRAME, WILD_GAIN * _spread(gain) - float(np.median(gain)))
    return np.where(empty > np.median(empty) + WILD * _spread(empty), 0.0, cap)  # no misfit is below 0


def _spread(values: np.ndarray) -> float:
    """Standard deviation of a normal distribution with the same median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _chain(used: Expansion, prior: Prior, frames: Frames, damping: np.ndarray) -> Chain:
    """Posterior of steps, with what is added to the precision's diagonal (F, P)."""
    diagonal = used.information + prior.diagonal
    diagonal += damping[..., None] * np.eye(damping.shape[1])
    return solve(diagonal, prior.upper, frames.joined, (used.evidence + prior.slope)[..., None])


def _of_molecules(frames: Frames, operation: np.ufunc, values: np.ndarray) -> np.ndarray:
    """(F,) of each frame, what an operation makes of all values of its molecule."""
    return operation.reduceat(values, np.flatnonzero(~frames.follows))[frames.number]


def _moved(place: Place, step: np.ndarray, which: np.ndarray) -> Place:
    step = np.where(which[:, None], step, 0.0)
    return Place(
        turned(place.rotation, step[:, TURN]), place.shift_A + step[:, SHIFT], place.amplitude + step[:, : TURN.start]
    )


def _taken(value: Place | Expansion, which: np.ndarray) -> list[np.ndarray]:
    return [getattr(value, field.name)[which] for field in fields(value)]


def _put(value: Frameful, which: np.ndarray, new: Frameful) -> Frameful:
    """A copy with the frames `which` (F,) replaced by the frames of another, in order."""
    columns = [getattr(value, field.name).copy() for field in fields(value)]
    for column, field in zip(columns, fields(new), strict=True):
        column[which] = getattr(new, field.name)
    return type(value)(*columns)


def _damped(
    damping: np.ndarray,
    used: Expansion,
    step: np.ndarray,
    misfit: np.ndarray,
    tried: np.ndarray,
    better: np.ndarray,
    frames: Frames,
) -> np.ndarray:
    """More damping for frames whose misfit rose above what the expansion foresaw, and less for all others."""
    bend = np.einsum("fi,fij,fj->f", step, used.information, step)
    foreseen = used.misfit + bend - 2 * (step * used.evidence).sum(1)
    counts = bend > 0
    worse = tried & counts & (misfit - foreseen > 0.5 * bend + 1)
    hopeless = tried & ~better & ~(_of_molecules(frames, np.maximum, worse.astype(float)) > 0)
    relaxed = np.where(damping > 0.03, damping / 4, 0.0)
    return np.where(worse | hopeless, np.maximum(1.0, 4 * damping), np.where(tried & better, relaxed, damping))


def _tracked(movie: _Movie, place: Place, expansion: Expansion, motion: Motion) -> Tracked:
    """Posterior around a place, after a last step where it is short enough to be taken without another look."""
    frames, n = movie.frames, place.amplitude.shape[1]
    counts = expansion.misfit < _cap(expansion.misfit, movie.empty, motion)
    if movie.last is not None:
        expansion = movie.last(np.arange(len(counts)), place)
    used = movie.counting(expansion, np.where(counts, np.inf, -np.inf))
    prior, undamped = expand_prior(place, frames, motion.unsplit, movie.dynamics), np.zeros(expansion.evidence.shape)
    chain = _chain(used, prior, frames, undamped)
    step, covariance = chain.solution[..., 0], chain.covariance
    weight = np.diagonal(used.information + prior.diagonal, axis1=1, axis2=2)
    near = _of_molecules(frames, np.maximum, (step**2 * weight).max(1)) < 1
    if jitter := motion.jitter_variance:
        seen, used, prior = used, jittered(used, jitter), expand_prior(place, frames, motion, movie.dynamics)
        chain = _chain(used, prior, frames, undamped)
        moved, _, covariance = with_jitter(seen, jitter, chain.solution[..., 0], chain.covariance)
        step = chain.solution[..., 0] + np.pad(moved, ((0, 0), (n + 3, 0)))
    here = _moved(place, step, near)
    latent, latent_covariance = here.amplitude, covariance[:, :n, :n]
    if movie.dynamics is not None:
        alone = _chain(used, expand_prior(place, frames, motion, None), frames, undamped)
        latent, latent_covariance = place.amplitude + alone.solution[:, :n, 0], alone.covariance[:, :n, :n]
    return Tracked(
        rotation=here.rotation,
        shift_A=here.shift_A,
        amplitude=here.amplitude,
        covariance=covariance,
        latent=latent,
        latent_covariance=latent_covariance,
        set_aside=~counts,
        misfit=expansion.misfit,
        motion=motion,
    )

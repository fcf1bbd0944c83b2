"""Poses of molecules that lie on a support: faces × turns in the plane × places.

Candidates are those whose images are most like a frame's (`templates`). They are refined with every other pixel, those
that explain a frame much worse than another are given up on the way, and the best one is refined with all pixels. The
frames of a molecule choose their face together: among those of the best correlations, the one whose refined poses and
amplitudes explain a few of them best. Derivatives are those of the maximum itself: steps need no others.

Shape legend: F frame, G face, C candidate, M molecule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tempica.embed.heights.templates import Candidates, Templates
from tempica.embed.poses.settling import PosePrior
from tempica.embed.posterior import Posterior, posterior
from tempica.imaging.heights import Heights
from tempica.imaging.modes import Modes
from tempica.series import spans

FACE_FRAMES = 10  # of a molecule, by which its face is chosen
N_FACES = 10  # whose poses are refined before the choice
CLOSE = 0.02  # candidates whose correlation is less than the best one by more are given up at once
FIRST_STEPS, MORE_STEPS = 2, 6  # before candidates are given up that are worse by a share WORSE, and after
WORSE = 0.5
ENOUGH = 1.0  # nats: a step that gains less is the last: what is left is small beside the posterior's width
N_CLIMB = 5  # Gauss–Newton steps with all pixels, at the most
BLOCK = 512  # frames that go together
TILT = math.radians(8.0)  # deviation of a body's tilt from its face, about x and y
AROUND = 1.0  # rad, of its turn from where a search has found it
PLACES = 6.0  # the deviation of places is the frame's edge over this


@dataclass(frozen=True)
class _Starts:
    """Candidates (F, C) that are refined."""

    cost: np.ndarray  # (F, C) −2 ln p
    upright: np.ndarray  # (F, C, 3, 3) from where they were refined
    rotation: np.ndarray  # (F, C, 3, 3)
    shift_A: np.ndarray  # (F, C, 2)
    amplitude: np.ndarray  # (F, C, K)

    def best(self, columns: np.ndarray) -> list[np.ndarray]:
        """All but the cost of the cheapest among columns (F, c) of each frame."""
        every = np.arange(len(columns))
        column = columns[every, np.take_along_axis(self.cost, columns, 1).argmin(1)]
        return [part[every, column] for part in list(vars(self).values())[1:]]


def found_poses(heights: Heights, modes: Modes, faces: np.ndarray, molecule: np.ndarray) -> tuple[Posterior, PosePrior]:
    """The posterior of each frame where a search finds it best, and what is known of its pose from then on.

    Parameters:
        heights: F frames.
        modes: of which templates show the mean.
        faces: (G, 3, 3) rotations in which it may lie, up to turns in the plane.
        molecule: (F,) labels of frames of one molecule in sequence, which lies on one face.
    """
    look = Templates(heights, modes, faces)
    first, length = spans(molecule)
    some = np.concatenate([n + _spread(many) for n, many in zip(first, length, strict=True)])
    whose = np.repeat(np.arange(len(first)), np.minimum(length, FACE_FRAMES))
    found = look.candidates(heights.image[some], np.tile(np.arange(len(faces)), (len(some), 1)))
    likely = _summed(whose, -found.score.reshape(len(some), -1, 2).max(2)).argsort(1)[:, :N_FACES]  # (M, …)
    starts = _refined(heights[some], modes, found.on(likely[whose]), whose)
    column = _summed(whose, starts.cost.reshape(len(some), -1, 2).min(2)).argmin(1)
    best = starts.best(2 * column[whose, None] + [0, 1])
    other = np.setdiff1d(np.arange(len(heights)), some)
    if len(other):
        face = np.repeat(np.take_along_axis(likely, column[:, None], 1), length, 0)[other]
        alone = np.arange(len(other))
        rest = _refined(heights[other], modes, look.candidates(heights.image[other], face), alone)
        order = np.argsort(np.r_[some, other])
        more = rest.best(np.tile([0, 1], (len(other), 1)))
        best = [np.concatenate(pair)[order] for pair in zip(best, more, strict=True)]
    upright, rotation, shift_A, amplitude = best
    prior = lying_prior(heights, upright)
    return posterior(
        heights.touched(), modes, rotation, shift_A, N_CLIMB, prior, amplitude=amplitude, enough=ENOUGH, block=BLOCK
    ), prior


def lying_prior(heights: Heights, rotation: np.ndarray) -> PosePrior:
    """What is known of poses once a search has told faces and angles, as upright rotations (F, 3, 3)."""
    spread_A = 10 * heights.probe.n_pixels * heights.probe.pixel_nm / PLACES
    precision = np.array([TILT**-2.0] * 2 + [AROUND**-2.0] + [spread_A**-2.0] * 2)
    return PosePrior(rotation, np.zeros((len(rotation), 2)), precision)


def _spread(length: int) -> np.ndarray:
    """A few of so many frames."""
    if length <= FACE_FRAMES:
        return np.arange(length)
    return np.unique(np.linspace(0, length - 1, FACE_FRAMES).round().astype(int))


def _summed(whose: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums (M, …) of values (F, …) over the frames of each molecule."""
    total = np.zeros((whose[-1] + 1, *values.shape[1:]))
    np.add.at(total, whose, values)
    return total


def _close(score: np.ndarray, whose: np.ndarray) -> np.ndarray:
    """Candidates (F, C) on faces that a molecule's frames correlate with: the best one there, and others near it."""
    each = score.reshape(len(score), -1, 2)
    best = each.max(2)
    face = _summed(whose, best) / np.bincount(whose)[:, None]  # (M, C / 2)
    likely = face >= face.max(1, keepdims=True) - CLOSE
    near = (each == best[..., None]) | (each >= best.max(1)[:, None, None] - CLOSE)
    return np.asarray(likely[whose][..., None] & near).reshape(score.shape)


def _refined(heights: Heights, modes: Modes, found: Candidates, whose: np.ndarray) -> _Starts:
    """Candidates after some steps with few pixels, of which hopeless ones take fewer or none."""
    n_frames, n_each = found.score.shape
    upright, rotation, shift_A, amplitude = (
        part.reshape(-1, *part.shape[2:]).copy()
        for part in (found.rotation, found.rotation, found.shift_A, found.amplitude)
    )
    cost = np.full((n_frames, n_each), np.inf)
    prior, few = lying_prior(heights, upright), heights.sparser().touched()
    alive = _close(found.score, whose)
    for steps in (FIRST_STEPS, MORE_STEPS):
        at = np.flatnonzero(alive)
        place, known = (rotation[at], shift_A[at]), prior[at]
        seen = posterior(
            few[at // n_each], modes, *place, steps, known, amplitude=amplitude[at], enough=ENOUGH, block=BLOCK
        )
        rotation[at], shift_A[at], amplitude[at] = seen.rotation, seen.shift_A, seen.mean
        costs = seen.residual_variance * few.n_values + (seen.mean**2).sum(1)
        cost.ravel()[at] = costs + known.height(seen.rotation, seen.shift_A)
        alive = cost <= (1 + WORSE) * cost.min(1, keepdims=True)
        alive &= alive.sum(1, keepdims=True) > 1  # an only one is refined with all pixels
    parts = upright, rotation, shift_A, amplitude
    return _Starts(cost, *(part.reshape(n_frames, n_each, *part.shape[1:]) for part in parts))

"""A path through the candidate poses of a movie's frames, and whether the frames have to do with one another at all.

A hidden Markov chain over the peaks of each frame, weighted by their evidence. A step from one to the next has the
density, relative to a pose that is new in each frame,

    (1 − ε) c exp((cos ω − 1) / v) N(s′; s, v_s) / N(s′; 0, σ_s²) + ε,

for the angle ω between rotations and shifts s, s′. v and v_s (a frame's motion plus twice the variance of a peak) are
learned by EM, and compared with rotations or shifts, or both, that are new in each frame.

Shape legend: F frame, C candidate of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.special import logsumexp

from tempica.embed.poses import hidden_chain
from tempica.embed.poses.motion import Frames, Motion, frames_of
from tempica.embed.poses.rotations import height_at_rest, logarithm
from tempica.errors import DataError

if TYPE_CHECKING:
    from tempica.embed.poses.search import Peaks

JUMP = 1e-4  # ε
MISSED = 0.01  # share of frames whose true pose is none of their peaks
LEARN_FRAMES, LEARN_PAIRS = 500, 100_000  # frames, or pairs of candidates, from which v and v_s are learned at least
WORTH = 10.0  # nats that memory must gain
EM_STEPS = 8
ROUNDS = 3  # in which frames are offered their neighbours' poses
MEDIAN = {3: 2.366, 2: 1.386}  # of χ² with so many degrees of freedom


@dataclass(frozen=True)
class Path:
    """The most probable candidate of each frame, and what motion the path suggests."""

    rotation: np.ndarray  # (F, 3, 3)
    shift_A: np.ndarray  # (F, 2)
    amplitude: np.ndarray  # (F, K)
    peak: np.ndarray  # (F,) which of the frame's peaks; −1 where a neighbour's pose fits better than any
    motion: Motion

    @property
    def turn_variance(self) -> float:
        return self.motion.turn_variance


class Candidates(NamedTuple):
    """Poses that a frame may have, with their share of its evidence."""

    quaternion: np.ndarray  # (F, C, 4)
    shift_A: np.ndarray  # (F, C, 2)
    weight: np.ndarray  # (F, C)


def follow(
    peaks: Peaks,
    molecule: np.ndarray,
    turn_variance: float | None = None,
    *,
    shift_deviation_A: float,
    shift_variance: float | None = None,
    peak_error_deg: float = 2.0,
    peak_error_A: float = 0.5,
) -> Path:
    """The most probable path (Viterbi) of every molecule through the peaks of its frames.

    A frame none of whose peaks fits takes a neighbour's pose, if that costs less than two jumps. Frames without a
    neighbour, and all frames where there is no memory, take their best peak.

    Parameters:
        peaks: candidates of each frame, with log-evidence.
        molecule: (F,) labels; frames of one molecule are together and in the order of time.
        turn_variance: q (rad² about each axis and frame), infinite for poses that are new in each frame; learned if
            none.
        shift_deviation_A: of the shifts' distribution, which the evidence contains.
        shift_variance: of a shift's step (Å² along each axis and frame), infinite for new ones; learned if none.
        peak_error_deg, peak_error_A: standard deviation of a true peak's pose about and along each axis, at least;
            about a third of the spacing of a grid whose poses are not refined.
    Raises DataError for labels that come back, and frames without a peak.
    """
    own, frames = _candidates(peaks), frames_of(molecule)
    least = (2 * np.deg2rad(peak_error_deg) ** 2, 2 * peak_error_A**2)
    turn, shift = _learned(own, frames, (turn_variance, shift_variance), least, shift_deviation_A**2)
    law = _law(turn, shift, shift_deviation_A**2)
    every = np.arange(len(molecule))
    lender, peak = every, peaks.log_evidence.argmax(1)  # each frame takes a peak of its own, or one of a neighbour
    if np.isfinite(turn) or np.isfinite(shift):
        peak = hidden_chain.most_probable(*own, frames.follows, law)
    for _ in range(ROUNDS if np.isfinite(turn) else 0):
        lender, peak = _with_neighbours(own, frames, lender, peak, law)
    rotation, shift_A, seen = peaks.rotation[lender, peak], peaks.shift_A[lender, peak], lender == every
    motion = Motion(
        _turn_step(rotation, frames, seen, turn) if turn_variance is None else turn_variance,
        _shift_step(shift_A, frames, seen, shift) if shift_variance is None else shift_variance,
        shift_deviation_A**2,
        np.zeros((1, 2)),
    )
    return Path(rotation, shift_A, peaks.amplitude[lender, peak], np.where(seen, peak, -1), motion)


def likely(
    peaks: Peaks,
    molecule: np.ndarray,
    n_peaks: int,
    *,
    shift_deviation_A: float,
    shift_variance: float | None = None,
    peak_error_deg: float = 5.0,
    peak_error_A: float = 1.2,
) -> Peaks:
    """The `n_peaks` peaks of each frame that are most probable given all frames of its molecule (forward–backward).

    Of many peaks of a coarse search those that are worth refining: where single frames are ambiguous, their
    neighbours say which. Evidence stays that of the frame alone. Where there is no memory, the best of each frame.
    Parameters and errors are those of `follow`; the defaults here are for a grid 15° and 3.5 Å apart.
    """
    own, frames, spread = _candidates(peaks), frames_of(molecule), shift_deviation_A**2
    least = (2 * np.deg2rad(peak_error_deg) ** 2, 2 * peak_error_A**2)
    law = _law(*_learned(own, frames, (None, shift_variance), least, spread), spread)
    share, _ = hidden_chain.forward(*own, frames.follows, law)
    posterior, _ = hidden_chain.backward(*own, frames.follows, law, share)
    order = np.argsort(-posterior, axis=1, kind="stable")[:, :n_peaks]
    return peaks[np.arange(len(order))[:, None], order]


def _candidates(peaks: Peaks) -> Candidates:
    total = logsumexp(peaks.log_evidence, axis=1, keepdims=True)
    if not np.isfinite(total).all():
        raise DataError(
            f"Frame {int(np.flatnonzero(~np.isfinite(total))[0])} has no peak of finite evidence. Search it again, or"
            " leave it out."
        )
    quaternion = Rotation.from_matrix(peaks.rotation.reshape(-1, 3, 3)).as_quat().reshape(len(total), -1, 4)
    return Candidates(quaternion, peaks.shift_A, np.exp(peaks.log_evidence - total))


def _with_neighbours(
    own: Candidates, frames: Frames, lender: np.ndarray, peak: np.ndarray, law: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The path, as (lender, peak), where each frame may also have the pose that a path gives to its neighbours."""
    every, n_own = np.arange(len(peak)), own.weight.shape[1]
    beside = np.stack([np.where(frames.follows, every - 1, every), np.where(frames.joined, every + 1, every)], 1)
    lent, lent_peak = lender[beside], peak[beside]
    weight = np.full(lent.shape, MISSED / (law[1] * law[3]))  # with which a step into it has the density 1
    lenders, peaks = (
        np.concatenate([np.broadcast_to(column, (len(every), n_own)), more], 1)
        for column, more in ((every[:, None], lent), (np.arange(n_own), lent_peak))
    )
    offered = (own.quaternion[lenders, peaks], own.shift_A[lenders, peaks], np.concatenate([own.weight, weight], 1))
    chosen = hidden_chain.most_probable(*offered, frames.follows, law)
    return lenders[every, chosen], peaks[every, chosen]


def _law(turn: float, shift: float, spread: float) -> np.ndarray:
    rotations = (1 / turn, height_at_rest(turn)) if np.isfinite(turn) else (0.0, 1.0)
    shifts = (1 / shift, spread / shift, 1 / spread) if np.isfinite(shift) else (0.0, 1.0, 0.0)
    return np.array([*rotations, *shifts, JUMP])


def _learned(
    candidates: Candidates,
    frames: Frames,
    given: tuple[float | None, float | None],
    least: tuple[float, float],
    spread: float,
) -> tuple[float, float]:
    """v and v_s of the steps, infinite where there is no memory; where a motion is given, that of its peaks."""
    some = slice(0, max(LEARN_FRAMES, LEARN_PAIRS // candidates.weight.shape[1] ** 2))
    arrays = [array[some] for array in (*candidates, frames.follows)]
    best, gain = (np.inf, np.inf), -np.inf
    turns = (np.inf, np.deg2rad(8.0) ** 2) if given[0] is None else (given[0] + least[0],)
    shifts = (np.inf, spread / 9) if given[1] is None else (given[1] + least[1],)
    for start in ((turn, shift) for turn in turns for shift in shifts):
        turn, shift = start
        for _ in range(EM_STEPS if None in given and np.isfinite(start).any() else 1):
            law = _law(turn, shift, spread)
            share, height = hidden_chain.forward(*arrays, law)
            _, (number, bend, way) = hidden_chain.backward(*arrays, law, share)
            if given[0] is None and np.isfinite(turn):
                turn = max(-np.log1p(-min(bend / max(number, 1e-9) / 1.5, 0.99)), least[0])
            if given[1] is None and np.isfinite(shift):
                shift = max(way / max(number, 1e-9), least[1])
        if height > gain + WORTH or gain == -np.inf:  # from no memory to more of it
            best, gain = (turn, shift), height
    return best


def _turn_step(rotation: np.ndarray, frames: Frames, seen: np.ndarray, variance: float) -> float:
    """q of a path, from the squares of its steps over one and over two frames: q + 2 v₀ and 2 q + 2 v₀."""
    if not np.isfinite(variance):
        return variance
    squares = []
    for lag in (1, 2):
        a, b = _pairs(frames, seen, lag)
        squares.append((logarithm(rotation[b] @ rotation[a].swapaxes(1, 2)) ** 2).sum(1))
    return _difference(squares, 3, variance)


def _shift_step(shift: np.ndarray, frames: Frames, seen: np.ndarray, variance: float) -> float:
    """The same of shifts."""
    if not np.isfinite(variance):
        return variance
    pairs = [_pairs(frames, seen, lag) for lag in (1, 2)]
    return _difference([((shift[b] - shift[a]) ** 2).sum(1) for a, b in pairs], 2, variance)


def _pairs(frames: Frames, seen: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames `lag` apart of one molecule, both at a peak of their own."""
    first = np.arange(len(seen) - lag)
    first = first[(frames.number[first] == frames.number[first + lag]) & seen[first] & seen[first + lag]]
    return first, first + lag


def _difference(squares: list[np.ndarray], freedom: int, variance: float) -> float:
    """Variance of a step by medians, which jumps do not touch, within bounds that do not stop the learning after."""
    if min(len(square) for square in squares) == 0:
        return 0.5 * variance
    once, twice = (float(np.median(square)) / MEDIAN[freedom] for square in squares)
    return float(np.clip(twice - once, 0.05 * variance, variance))

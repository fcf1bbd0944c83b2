"""How a molecule moves from frame to frame: prior of the amplitudes, rotations and shifts of a movie, and its learning.

R_{t+1} = exp(w) R_t with w ~ N(0, q) about each axis, or every rotation by itself where q is infinite;
s_{t+1} = s_t + v + N(0, q_s) along each axis from s_0 ~ N(0, σ_s²), or every shift ~ N(0, σ_s²) by itself; amplitudes
~ N(0, 1) by themselves, or mixtures a = W s of independent autoregressions s of unit variance.

What goes on from frame to frame is the shift of the part of the molecule that is at rest in the modes' frame, and there
need not be one: the frame then jitters about it, and images are at s_t + N(0, j). `jittered` eliminates the jitter.

Shape legend: F frame, K amplitude, P parameter of a frame (K amplitudes, 3 rotations in rad, 2 shifts in Å).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tempica.embed.poses.rotations import inverse_left_jacobian, steps
from tempica.errors import DataError
from tempica.imaging.likelihood import Expansion

ANYWHERE = np.pi**2 / 9 + 2 / 3  # rad², variance about each axis of a rotation of which nothing is known
TURN = slice(-5, -2)
SHIFT = slice(-2, None)


@dataclass(frozen=True)
class Motion:
    """What the frames of a molecule have to do with one another, beside their amplitudes."""

    turn_variance: float  # q, rad² about each axis and frame; infinite where poses are new in each frame
    shift_variance: float  # q_s, Å² along each axis and frame; infinite where shifts are new in each frame
    shift_spread: float  # σ_s², Å² along each axis
    drift_A: np.ndarray  # v of each molecule (molecule, 2), or of all (1, 2), Å per frame
    drift_spread: float = 0.0  # σ_v², (Å per frame)² along each axis over molecules; 0 where none drifts
    jitter_variance: float = 0.0  # j, Å² along each axis, new in each frame

    @property
    def unsplit(self) -> Motion:
        """The nearest motion without jitter: its steps are as large."""
        return replace(self, shift_variance=self.shift_variance + 2 * self.jitter_variance, jitter_variance=0.0)


@dataclass(frozen=True)
class Dynamics:
    """Amplitudes as mixtures a = W s of independent autoregressions of unit variance."""

    weight: np.ndarray  # (K, K)
    autocorrelation: np.ndarray  # (K,)


@dataclass(frozen=True)
class Place:
    """A point in the space of all frames' parameters."""

    rotation: np.ndarray  # (F, 3, 3)
    shift_A: np.ndarray  # (F, 2)
    amplitude: np.ndarray  # (F, K)


@dataclass(frozen=True)
class Prior:
    """Quadratic expansion of −2 ln p around a place: cost − 2 δᵀ slope + δᵀ H δ."""

    diagonal: np.ndarray  # (F, P, P)
    upper: np.ndarray  # (F, P, P) between each frame and the next
    slope: np.ndarray  # (F, P)
    cost: np.ndarray  # (F,) a step's with the later frame


@dataclass(frozen=True)
class Frames:
    """Which frames belong together."""

    number: np.ndarray  # (F,) of the molecule, 0, 1 … in order
    joined: np.ndarray  # (F,) whether the next frame is of the same molecule
    follows: np.ndarray  # (F,) whether the frame before is

    @property
    def n_molecules(self) -> int:
        return int(self.number[-1]) + 1


def frames_of(molecule: np.ndarray) -> Frames:
    """Frames by their molecules' labels (F,). Raises DataError where a label comes back after another."""
    molecule = np.asarray(molecule)
    follows = np.append(False, molecule[1:] == molecule[:-1])
    number = np.cumsum(~follows) - 1
    if len(np.unique(molecule)) != number[-1] + 1:
        raise DataError(
            "Frames of one molecule are not together: give them one after the other in time, and each molecule a label"
            " of its own (replicas too)."
        )
    return Frames(number, np.append(follows[1:], False), follows)


def jittered(expansion: Expansion, variance: float) -> Expansion:
    """The expansion about shifts without their jitter, which is eliminated."""
    if variance == 0:
        return expansion
    gain = _jitter_posterior(expansion, variance) @ expansion.information[:, SHIFT]
    return Expansion(
        expansion.information - expansion.information[:, :, SHIFT] @ gain,
        expansion.evidence - np.einsum("fsp,fs->fp", gain, expansion.evidence[:, SHIFT]),
        expansion.misfit,
    )


def with_jitter(
    expansion: Expansion, variance: float, mean: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Jitter (F, 2), its second moment (F, 2, 2), and the covariance (F, P, P) of parameters with it in the shift.

    Parameters:
        expansion: of the frames, not `jittered`.
        mean, covariance: (F, P) and (F, P, P) posterior of the parameters without it.
    """
    alone = _jitter_posterior(expansion, variance)
    left = expansion.evidence[:, SHIFT] - np.einsum("fsp,fp->fs", expansion.information[:, SHIFT], mean)
    jitter = np.einsum("fst,ft->fs", alone, left)
    follow = -alone @ expansion.information[:, SHIFT]  # how jitter answers to a change of the parameters
    square = jitter[:, :, None] * jitter[:, None] + alone + follow @ covariance @ follow.swapaxes(1, 2)
    carry = np.broadcast_to(np.eye(mean.shape[1]), covariance.shape).copy()
    carry[:, SHIFT] += follow
    total = carry @ covariance @ carry.swapaxes(1, 2)
    total[:, SHIFT, SHIFT] += alone
    return jitter, square, total


def _jitter_posterior(expansion: Expansion, variance: float) -> np.ndarray:
    """Covariance (F, 2, 2) of a frame's jitter given all else."""
    return np.linalg.inv(expansion.information[:, SHIFT, SHIFT] + np.eye(2) / variance)


def expand_prior(place: Place, frames: Frames, motion: Motion, dynamics: Dynamics | None) -> Prior:
    """The prior's expansion: exact in amplitudes and shifts, Gauss–Newton in rotations."""
    n_frames, n_amplitudes = place.amplitude.shape
    n = n_amplitudes + 5
    diagonal, upper = np.zeros((n_frames, n, n)), np.zeros((n_frames, n, n))
    slope, cost = np.zeros((n_frames, n)), np.zeros(n_frames)
    for block, part in (
        (slice(0, n_amplitudes), _amplitudes(place.amplitude, frames, dynamics)),
        (slice(n_amplitudes, n_amplitudes + 3), _turns(place.rotation, frames, motion.turn_variance)),
        (slice(n_amplitudes + 3, n), _shifts(place.shift_A, frames, motion)),
    ):
        diagonal[:, block, block], upper[:, block, block], slope[:, block] = part.diagonal, part.upper, part.slope
        cost += part.cost
    return Prior(diagonal, upper, slope, cost)


def _amplitudes(amplitude: np.ndarray, frames: Frames, dynamics: Dynamics | None) -> Prior:
    identity = np.eye(amplitude.shape[1])
    if dynamics is None:
        dynamics = Dynamics(identity, np.zeros(len(identity)))
    if dynamics.weight.shape != identity.shape or np.linalg.cond(dynamics.weight) > 1e8:
        raise DataError(
            f"Weights of the dynamics have the shape {dynamics.weight.shape}; {len(identity)} amplitudes need an"
            " invertible square of them. Fold others into the modes, and give the identity."
        )
    unmix, rho = np.linalg.inv(dynamics.weight), dynamics.autocorrelation
    follows, joined = frames.follows[:, None], frames.joined[:, None]
    source = amplitude @ unmix.T
    news = source - np.where(follows, rho * np.roll(source, 1, 0), 0.0)
    precision = np.where(follows, 1 / (1 - rho**2), 1.0)
    ahead = np.where(joined, rho / (1 - rho**2), 0.0)
    slope = ahead * np.roll(news, -1, 0) - precision * news
    return Prior(
        np.einsum("ki,fk,kj->fij", unmix, precision + rho * ahead, unmix),
        -np.einsum("ki,fk,kj->fij", unmix, ahead, unmix),
        slope @ unmix,
        (precision * news**2).sum(1),
    )


def _turns(rotation: np.ndarray, frames: Frames, variance: float) -> Prior:
    n_frames = len(rotation)
    follows, joined = _linked(frames, variance)
    diagonal = np.where(follows, 0.0, 1 / ANYWHERE)[:, None, None] * np.eye(3)  # no slope: it may be anywhere
    upper, slope, cost = np.zeros((n_frames, 3, 3)), np.zeros((n_frames, 3)), np.zeros(n_frames)
    turn, left = step_jacobians(rotation, follows)
    pull = turn / variance
    diagonal[follows] += left.swapaxes(1, 2) @ left / variance
    diagonal[joined] += left @ left.swapaxes(1, 2) / variance
    upper[joined] = -(left @ left) / variance
    slope[follows] -= pull  # J_l⁻¹(φ) leaves φ as it is
    slope[joined] += pull
    cost[follows] = (turn * pull).sum(1)
    return Prior(diagonal, upper, slope, cost)


def step_jacobians(rotation: np.ndarray, follows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps φ (S, 3) into the frames that follow, and J_l⁻¹(φ) (S, 3, 3)."""
    if not follows.any():
        return np.zeros((0, 3)), np.zeros((0, 3, 3))
    turn = steps(rotation)[follows[1:]]
    return turn, inverse_left_jacobian(turn)


def _shifts(shift: np.ndarray, frames: Frames, motion: Motion) -> Prior:
    follows, joined = (which[:, None] for which in _linked(frames, motion.shift_variance))
    drift = np.broadcast_to(motion.drift_A, (frames.n_molecules, 2))[frames.number]
    news = np.where(follows, shift - np.roll(shift, 1, 0) - drift, shift)
    precision = np.where(follows, 1 / motion.shift_variance, 1 / motion.shift_spread)
    ahead = np.where(joined, 1 / motion.shift_variance, 0.0)
    return Prior(
        (precision + ahead)[..., None] * np.eye(2),
        -ahead[..., None] * np.eye(2),
        ahead * np.roll(news, -1, 0) - precision * news,
        (precision * news**2).sum(1),
    )


def _linked(frames: Frames, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """Frames tied to the one before, and to the next; none where steps have an infinite variance."""
    tied = np.isfinite(variance)
    return frames.follows & tied, frames.joined & tied

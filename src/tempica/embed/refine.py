"""Poses refined one frame at a time: the maximum of each peak's posterior, and its evidence.

Around a candidate pose the posterior of θ = (a, w, t), amplitudes, rotation R ← exp(w) R and shift, is climbed by
Levenberg–Marquardt steps, and taken as normal at its maximum:

    −2 ln Z = |r|² + |a|² + |t − m|²/σ² + ln det(JᵀJ + Λ) + 2 ln σ²   (Laplace; amplitudes and pose marginalised),

with prior precision Λ = diag(1, …, 0, 0, 0, 1/σ², 1/σ²): a ~ N(0, I), rotation flat, t ~ N(m, σ²).

Shape legend: F frame, P peak, B point (a peak of some frame), K mode, Q parameter (K + 5, or 5 of the pose alone).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica.embed.quadratic import POSE, Expansion, Observed, linearise
from tempica.imaging.geometry import quaternion_of, rotation_matrix
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes

POINTS = 64  # that are linearised at once
ENOUGH = 0.02  # a step that would gain less log-posterior than this is the last, and taken without another look
LEAST_INFORMATION = 1.0  # per rad², of a rotation that the image may not tell at all
LEAST_DEVIATION_A = 1e-3  # of a shift: one that is given as 0 is held fast by this much


@dataclass(frozen=True)
class Peaks:
    """Candidate poses of each frame, best first; the log-evidence of places that hold none is −inf."""

    rotation: np.ndarray  # (F, P, 3, 3)
    shift_A: np.ndarray  # (F, P, 2)
    amplitude: np.ndarray  # (F, P, K)
    log_evidence: np.ndarray  # (F, P), up to a constant of each frame

    def __len__(self) -> int:
        return len(self.rotation)

    def __getitem__(self, index: np.ndarray | slice | tuple[np.ndarray, np.ndarray]) -> Peaks:
        return Peaks(self.rotation[index], self.shift_A[index], self.amplitude[index], self.log_evidence[index])

    def best(self, n_peaks: int) -> Peaks:
        """The same in order of evidence, and no more than `n_peaks` of each frame."""
        order = np.argsort(-self.log_evidence, axis=1, kind="stable")[:, :n_peaks]
        return self[np.arange(len(order))[:, None], order]


@dataclass(frozen=True)
class ShiftPrior:
    """t ~ N(mean, deviation²) of each frame's shift, per axis."""

    mean_A: np.ndarray  # (F, 2)
    deviation_A: np.ndarray  # (F,)

    def __getitem__(self, frames: np.ndarray | slice) -> ShiftPrior:
        return ShiftPrior(self.mean_A[frames], self.deviation_A[frames])


def shift_prior(n_frames: int, deviation_A: float | np.ndarray, mean_A: np.ndarray | None = None) -> ShiftPrior:
    """Prior of the shifts of frames; the same deviation (Å) for all if it is a number, mean 0 if there is none."""
    deviation = np.broadcast_to(np.maximum(deviation_A, LEAST_DEVIATION_A), (n_frames,))
    return ShiftPrior(np.zeros((n_frames, 2)) if mean_A is None else mean_A, deviation)


@dataclass
class _Points:
    """Points under way; arrays are overwritten in place."""

    rotation: np.ndarray  # (B, 3, 3)
    shift_A: np.ndarray  # (B, 2)
    amplitude: np.ndarray  # (B, K)
    information: np.ndarray  # (B, Q, Q) of likelihood and prior
    evidence: np.ndarray  # (B, Q) the same: what pulls
    height: np.ndarray  # (B,) |r|² + |a|² + |t − m|²/σ²

    def take(self, where: np.ndarray) -> _Points:
        return _Points(*(part[where] for part in vars(self).values()))

    def put(self, where: np.ndarray, other: _Points) -> None:
        for part, new in zip(vars(self).values(), vars(other).values(), strict=True):
            part[where] = new


def climb(
    observed: Observed,
    scatterers: Scatterers,
    modes: Modes,
    peaks: Peaks,
    prior: ShiftPrior,
    n_steps: int,
    *,
    pose_only: bool = False,
) -> Peaks:
    """The maximum of the posterior near each peak, and its evidence, after up to `n_steps` steps.

    With `pose_only` amplitudes stay where they are, and the evidence is given them.
    """
    frame, which = np.nonzero(np.isfinite(peaks.log_evidence))
    flat = peaks[frame, which]
    parts = []
    for first in range(0, len(frame), POINTS):
        piece = slice(first, first + POINTS)
        at = frame[piece]
        parts.append(_climb(observed[at], scatterers, modes, flat[piece], prior[at], n_steps, pose_only))
    out = Peaks(*(part.copy() for part in vars(peaks).values()))
    for name in vars(out) if parts else ():
        getattr(out, name)[frame, which] = np.concatenate([getattr(part, name) for part in parts])
    return out


def _climb(
    observed: Observed,
    scatterers: Scatterers,
    modes: Modes,
    start: Peaks,
    prior: ShiftPrior,
    n_steps: int,
    pose_only: bool,
) -> Peaks:
    """`climb` of single points: all arrays of `start` and `prior` are (B, …)."""

    def look(rotation: np.ndarray, shift_A: np.ndarray, amplitude: np.ndarray, at: np.ndarray) -> _Points:
        position = modes.mean + np.tensordot(amplitude, modes.shape, 1)
        shape = modes.shape[:0] if pose_only else modes.shape
        seen = linearise(observed[at], scatterers, position, rotation, shift_A, shape, pose=True)
        return _with_prior(seen, rotation, shift_A, amplitude, prior[at])

    now = look(start.rotation, start.shift_A, start.amplitude, np.arange(len(start)))
    damping = np.zeros(len(start))
    active = np.arange(len(start))
    for _ in range(n_steps):
        point = now.take(active)
        scale = np.einsum("bii->bi", point.information)
        left = point.information + (damping[active, None] * scale)[..., None] * np.eye(scale.shape[1])
        step = np.linalg.solve(left, point.evidence[..., None])[..., 0]
        gain = 0.5 * (step * point.evidence).sum(1)
        going = gain > ENOUGH
        active, point, step = active[going], point.take(going), step[going]
        if len(active) == 0:
            break
        trial = look(*_moved(point, step, pose_only), active)
        better = trial.height <= point.height
        now.put(active[better], trial.take(better))
        damping[active] = np.where(better, damping[active] / 8, np.maximum(0.1, 4 * damping[active]))
    return _finished(now, prior, pose_only)


def _with_prior(
    seen: Expansion, rotation: np.ndarray, shift_A: np.ndarray, amplitude: np.ndarray, prior: ShiftPrior
) -> _Points:
    information, evidence = seen.information.copy(), seen.evidence.copy()
    precision = prior.deviation_A[:, None] ** -2.0
    away = shift_A - prior.mean_A
    n_free = information.shape[1] - POSE
    for k in range(n_free):
        information[:, k, k] += 1
    for k in (-5, -4, -3):
        information[:, k, k] += LEAST_INFORMATION
    for k in (-2, -1):
        information[:, k, k] += precision[:, 0]
    evidence[:, :n_free] -= amplitude[:, :n_free]
    evidence[:, -2:] -= precision * away
    height = seen.misfit + (amplitude**2).sum(1) + (precision * away**2).sum(1)
    return _Points(rotation, shift_A, amplitude, information, evidence, height)


def _moved(point: _Points, step: np.ndarray, pose_only: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    turn = rotation_matrix(quaternion_of(step[:, -POSE:-2]))
    amplitude = point.amplitude if pose_only else point.amplitude + step[:, :-POSE]
    return turn @ point.rotation, point.shift_A + step[:, -2:], amplitude


def _finished(now: _Points, prior: ShiftPrior, pose_only: bool) -> Peaks:
    """The last step without a look, where it is small, and the evidence."""
    step = np.linalg.solve(now.information, now.evidence[..., None])[..., 0]
    gain = 0.5 * (step * now.evidence).sum(1)
    small = (gain <= ENOUGH)[:, None]
    rotation, shift_A, amplitude = _moved(now, np.where(small, step, 0.0), pose_only)
    _, volume = np.linalg.slogdet(now.information)
    twice = now.height - 2 * np.where(small[:, 0], gain, 0.0) + volume + 4 * np.log(prior.deviation_A)
    return Peaks(rotation, shift_A, amplitude, -0.5 * twice)

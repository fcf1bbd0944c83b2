"""Poses refined one frame at a time: the maximum of each peak's posterior, and its evidence.

Around a candidate pose the posterior of θ = (a, w, t), amplitudes, rotation R ← exp(w) R and shift, is climbed by
Levenberg–Marquardt steps, and taken as normal at its maximum:

    −2 ln Z = |r|² + |a|² + |t − m|²/σ² + ln det(JᵀJ + Λ) + 2 ln σ²   (Laplace; amplitudes and pose marginalised),

with prior precision Λ = diag(1, …, 0, 0, 0, 1/σ², 1/σ²): a ~ N(0, I), rotation flat, t ~ N(m, σ²).

Shape legend: F frame, P peak, B point (a peak of some frame), K mode, Q parameter (K + 5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from tempica.imaging.geometry import quaternion_of, rotation_matrix
from tempica.imaging.likelihood import Expansion, Likelihood
from tempica.imaging.modes import Modes
from tempica.imaging.poses import POSE

POINTS = 64  # that are linearised at once
ENOUGH = 0.3  # nats: a step that would gain less is the last, and taken without another look
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


def distinct(peaks: Peaks, apart: float, n_peaks: int) -> Peaks:
    """The `n_peaks` best of each frame, of which no two are closer than `apart` (rad); others count as unused."""
    peaks = peaks.best(peaks.log_evidence.shape[1])
    likeness = np.einsum("fpij,fqij->fpq", peaks.rotation, peaks.rotation, optimize=True)
    near = likeness > 1 + 2 * np.cos(apart)
    value = peaks.log_evidence.copy()
    for better in range(value.shape[1] - 1):
        lost = near[:, better, better + 1 :] & np.isfinite(value[:, better, None])
        value[:, better + 1 :][lost] = -np.inf
    return replace(peaks, log_evidence=value).best(n_peaks)


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
    likelihood: Likelihood,
    modes: Modes,
    peaks: Peaks,
    prior: ShiftPrior,
    n_steps: int,
    *,
    behind: float = np.inf,
) -> Peaks:
    """The maximum of the posterior near each peak, and its evidence, after up to `n_steps` steps.

    Parameters:
        behind: nats by which a peak that is behind the best of its frame, at any step, is given up; more in proportion
            while even the best leaves over more than noise.
    """
    used = np.isfinite(peaks.log_evidence)
    edges = _pieces(used.sum(1))
    out = Peaks(*(part.copy() for part in vars(peaks).values()))
    for first, last in pairwise(edges):
        frame, which = np.nonzero(used[first:last])
        frame += first
        found = _climb(likelihood[frame], modes, peaks[frame, which], prior[frame], n_steps, frame, behind)
        for name, part in vars(out).items():
            part[frame, which] = getattr(found, name)
    return out


def _pieces(n_points: np.ndarray) -> list[int]:
    """Edges of pieces of whole frames, with about POINTS points each, for the number of points of every frame."""
    turn = np.searchsorted(np.cumsum(n_points), np.arange(POINTS, n_points.sum(), POINTS))
    return np.unique(np.concatenate([[0], turn + 1, [len(n_points)]])).tolist()


def _climb(
    likelihood: Likelihood,
    modes: Modes,
    start: Peaks,
    prior: ShiftPrior,
    n_steps: int,
    frame: np.ndarray,
    behind: float,
) -> Peaks:
    """`climb` of single points (B, …), of which those of one frame have the same number in `frame`."""

    def look(rotation: np.ndarray, shift_A: np.ndarray, amplitude: np.ndarray, at: np.ndarray) -> _Points:
        position = modes.mean + np.tensordot(amplitude, modes.shape, 1)
        seen = likelihood[at].expand(position, rotation, shift_A, modes.shape, pose=True)
        return _with_prior(seen, rotation, shift_A, amplitude, prior[at])

    _, frame = np.unique(frame, return_inverse=True)
    now = look(start.rotation, start.shift_A, start.amplitude, np.arange(len(start)))
    evidence = _evidence(now, prior)
    damping = np.zeros(len(start))
    active = np.arange(len(start))
    kept = np.ones(len(start), dtype=bool)
    for _ in range(n_steps):
        best = np.full((2, frame.max(initial=-1) + 1), -np.inf)
        np.maximum.at(best[0], frame, evidence)
        np.maximum.at(best[1], frame, -now.height)
        slack = behind * np.maximum(-best[1] / likelihood.n_values, 1.0)
        kept &= evidence >= (best[0] - slack)[frame]
        active = active[kept[active]]
        point = now.take(active)
        step, gain = _newton(point, damping[active])
        going = gain > ENOUGH
        active, point, step = active[going], point.take(going), step[going]
        if len(active) == 0:
            break
        trial = look(*_moved(point, step), active)
        better = trial.height <= point.height
        now.put(active[better], trial.take(better))
        evidence[active] = _evidence(now.take(active), prior[active])
        damping[active] = np.where(better, damping[active] / 8, np.maximum(0.1, 4 * damping[active]))
    step, gain = _newton(now, np.zeros(len(start)))
    last = _moved(now, np.where(gain[:, None] <= ENOUGH, step, 0.0))  # so small that it needs no other look
    return Peaks(*last, np.where(kept, evidence, -np.inf))


def _newton(point: _Points, damping: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps (B, Q) and what they would gain in log-posterior if it were quadratic (B,)."""
    raised = point.information.copy()
    np.einsum("bqq->bq", raised)[...] *= 1 + damping[:, None]
    step = np.linalg.solve(raised, point.evidence[..., None])[..., 0]
    return step, 0.5 * (step * point.evidence).sum(1)


def _with_prior(
    seen: Expansion, rotation: np.ndarray, shift_A: np.ndarray, amplitude: np.ndarray, prior: ShiftPrior
) -> _Points:
    information, evidence = seen.information.copy(), seen.evidence.copy()
    precision = prior.deviation_A[:, None] ** -2.0
    away = shift_A - prior.mean_A
    diagonal = np.einsum("bqq->bq", information)
    diagonal[:, :-POSE] += 1
    diagonal[:, -POSE:-2] += LEAST_INFORMATION
    diagonal[:, -2:] += precision
    evidence[:, :-POSE] -= amplitude
    evidence[:, -2:] -= precision * away
    height = seen.misfit + (amplitude**2).sum(1) + (precision * away**2).sum(1)
    return _Points(rotation, shift_A, amplitude, information, evidence, height)


def _moved(point: _Points, step: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    turn = rotation_matrix(quaternion_of(step[:, -POSE:-2]))
    return turn @ point.rotation, point.shift_A + step[:, -2:], point.amplitude + step[:, :-POSE]


def _evidence(point: _Points, prior: ShiftPrior) -> np.ndarray:
    """ln Z (B,) of the quadratic around each point."""
    _, gain = _newton(point, np.zeros(len(point.height)))
    _, volume = np.linalg.slogdet(point.information)
    return -0.5 * (point.height - 2 * gain + volume + 4 * np.log(prior.deviation_A))

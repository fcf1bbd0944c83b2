"""Posteriors of mode amplitudes, and of poses that are stated with an error, frame by frame.

Model of an image: `quadratic`, with structures x̄ + Σ_k a_k m_k and the prior a ~ N(0, I). The maximum of the posterior
of θ = (a, w, t) is found by damped Gauss–Newton steps, and the posterior is taken as normal around it (Laplace):
covariance (JᵀJ + Λ)⁻¹, Λ the prior's precision. That of the amplitudes is a block of it: the pose is marginalised.
Poses that are known have no columns at all.

Shape legend: F frame, N atom, K mode, P parameter (K modes, then 5 of the pose), B mode of a rich basis.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tempica.embed.poses.rotations import turned
from tempica.embed.poses.settling import PosePrior
from tempica.imaging.likelihood import Expansion, Likelihood, without_pose
from tempica.imaging.modes import Modes
from tempica.imaging.poses import POSE

ENOUGH = 3e-3  # nats: a step that gains less is the last, and is taken without another look (0.01 σ rms off)
FEW, ROUGHLY = 3, 0.3  # how many first steps with little detail there are, and what is enough there
BLOCK_FRAMES = 128  # that go together: few enough for the cache


@dataclass(frozen=True)
class Posterior:
    mean: np.ndarray  # (F, K)
    covariance: np.ndarray  # (F, K, K)
    residual_variance: np.ndarray  # (F,) of the disc's coefficients; 1 is the noise's
    rotation: np.ndarray  # (F, 3, 3)
    shift_A: np.ndarray  # (F, 2)
    pose_covariance: np.ndarray  # (F, 5, 5) rad, Å; 0 where poses are known


@dataclass
class _Points:
    """Frames under way; arrays are overwritten in place."""

    amplitude: np.ndarray  # (F, K)
    rotation: np.ndarray  # (F, 3, 3)
    shift_A: np.ndarray  # (F, 2)
    information: np.ndarray  # (F, P, P) of likelihood and prior
    evidence: np.ndarray  # (F, P) the same: what pulls
    misfit: np.ndarray  # (F,) |r|²
    height: np.ndarray  # (F,) |r|² and the priors' squares

    def __getitem__(self, where: np.ndarray) -> _Points:
        return _Points(*(part[where] for part in vars(self).values()))

    def put(self, where: np.ndarray, other: _Points) -> None:
        for part, new in zip(vars(self).values(), vars(other).values(), strict=True):
            part[where] = new

    def moved(self, step: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n_modes = self.amplitude.shape[1]
        amplitude = self.amplitude + step[:, :n_modes]
        if step.shape[1] == n_modes:
            return amplitude, self.rotation, self.shift_A
        return amplitude, turned(self.rotation, step[:, n_modes:-2]), self.shift_A + step[:, -2:]


def posterior(
    likelihood: Likelihood,
    modes: Modes,
    rotation: np.ndarray,
    shift_A: np.ndarray,
    n_iterations: int,
    pose_prior: PosePrior | None = None,
    *,
    amplitude: np.ndarray | None = None,
    enough: float = ENOUGH,
    block: int = BLOCK_FRAMES,
) -> Posterior:
    """Laplace posterior of every image.

    Each frame's step solves (H + S + μ diag H) δ = g, with H and g those of likelihood and prior, and S what earlier
    steps have shown of the curvature that Gauss and Newton leave out. A step that does not lower
    |r|² + |a|² + |pose − stated|² is taken back; the damping μ follows how well a step's gain was foreseen. Up to three
    steps with little detail come before, unless it is said where to begin.

    Parameters:
        likelihood: of F frames.
        modes: mean structure and K displacements of unit amplitude.
        rotation: (F, 3, 3) of molecule to view, where to begin.
        shift_A: (F, 2) particle's place in the box, the same.
        n_iterations: steps at the most.
        pose_prior: what is known of the poses; that they are right if none.
        amplitude: (F, K) where to begin; 0 if none.
        enough: nats; a step that promises less is the last.
        block: frames that go together.
    Raises DataError for positions and poses that are not numbers.
    """
    rough = amplitude is None and n_iterations > FEW
    if amplitude is None:
        amplitude = np.zeros((len(likelihood), len(modes.shape)))
    parts = []
    for first in range(0, max(len(likelihood), 1), block):
        part = slice(first, first + block)
        prior = None if pose_prior is None else pose_prior[part]
        place = amplitude[part], rotation[part], shift_A[part]
        seen = likelihood[part]
        if rough and (roughly := seen.rough()) is not seen:
            start, _ = _climb(roughly, modes, place, prior, FEW, ROUGHLY)
            place = start.amplitude, start.rotation, start.shift_A
        parts.append(_finished(*_climb(seen, modes, place, prior, n_iterations, enough), seen, prior))
    return Posterior(*(np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Posterior)))


def compress(
    likelihood: Likelihood,
    modes: Modes,
    amplitude: np.ndarray,
    rotation: np.ndarray,
    shift_A: np.ndarray,
    pose_prior: PosePrior | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """What images say of amplitudes c (F, B) of a rich basis, linearised at `amplitude`: H (F, B, B) and u (F, B).

    ln p(y | c) = uᵀc − ½ cᵀHc + constant, H = JᵀJ and u = Jᵀr + H c⁰. With a prior of the poses they are eliminated;
    else they are taken as known.
    """
    information, evidence = [], []
    for first in range(0, max(len(likelihood), 1), BLOCK_FRAMES):
        part = slice(first, first + BLOCK_FRAMES)
        place = amplitude[part], rotation[part], shift_A[part]
        seen = _look(likelihood[part], modes, place, None if pose_prior is None else pose_prior[part])
        if pose_prior is not None:
            seen = without_pose(seen, np.zeros((POSE, POSE)))
        information.append(seen.information)
        evidence.append(seen.evidence + (seen.information @ amplitude[part, :, None])[..., 0])
    return np.concatenate(information), np.concatenate(evidence)


def _look(
    likelihood: Likelihood,
    modes: Modes,
    place: tuple[np.ndarray, np.ndarray, np.ndarray],
    prior: PosePrior | None,
) -> Expansion:
    """Expansion of the likelihood and the poses' prior at amplitude, rotation and shift."""
    amplitude, rotation, shift_A = place
    position = modes.mean + np.tensordot(amplitude, modes.shape, 1)
    seen = likelihood.expand(position, rotation, shift_A, modes.shape, pose=prior is not None)
    return seen if prior is None else prior.added_to(seen, rotation, shift_A)


def _climb(
    likelihood: Likelihood,
    modes: Modes,
    place: tuple[np.ndarray, np.ndarray, np.ndarray],
    prior: PosePrior | None,
    n_iterations: int,
    enough: float,
) -> tuple[_Points, np.ndarray]:
    """Frames where their steps end, and the small step (F, P) that remains: 0 where it would not be small."""
    n_modes = len(modes.shape)

    def look(at: tuple[np.ndarray, np.ndarray, np.ndarray], frames: np.ndarray) -> _Points:
        seen = _look(likelihood[frames], modes, at, None if prior is None else prior[frames])
        misfit = seen.misfit if prior is None else seen.misfit - prior[frames].height(*at[1:])
        seen.information[:, range(n_modes), range(n_modes)] += 1
        seen.evidence[:, :n_modes] -= at[0]
        return _Points(*at, seen.information, seen.evidence, misfit, seen.misfit + (at[0] ** 2).sum(1))

    active = np.arange(len(likelihood))
    now = look((place[0].copy(), place[1].copy(), place[2].copy()), active)
    damping, rest = np.zeros(len(likelihood)), np.zeros_like(now.evidence)
    beyond = np.zeros_like(now.information)  # what the curvature of −ln p has besides JᵀJ
    for _ in range(n_iterations):
        point, mu = now[active], damping[active]
        step = _step(point, beyond[active], mu)
        gain = (step * point.evidence).sum(1)
        last = (gain < 2 * enough) & (mu < 1)
        rest[active[last]] = step[last]
        point = point[~last]
        active, step, mu, gain = (v[~last] for v in (active, step, mu, gain))
        if len(active) == 0:
            break
        trial = look(point.moved(step), active)
        beyond[active] = _learned(beyond[active], point, trial, step)
        better = trial.height <= point.height
        now.put(active[better], trial[better])
        weight = np.einsum("fii,fi->f", point.information, step**2)
        share = (point.height - trial.height) / (gain + mu * weight)  # of what was foreseen
        lower, higher = np.where(mu < 0.1, 0.0, mu / 4), np.where(better, np.maximum(0.25, 2 * mu), 0.5 + 4 * mu)
        damping[active] = np.where(share < 0.25, higher, np.where(share > 0.75, lower, mu))
    return now, rest


def _step(point: _Points, beyond: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """(H + S + μ diag H)⁻¹ g, and without S where that would lead downhill."""
    identity = np.eye(beyond.shape[1])
    left = point.information + (damping[:, None] * np.einsum("fii->fi", point.information))[..., None] * identity
    step = np.linalg.solve(left + beyond, point.evidence[..., None])[..., 0]
    wrong = (step * point.evidence).sum(1) < 0
    step[wrong] = np.linalg.solve(left[wrong], point.evidence[wrong, :, None])[..., 0]
    return step


def _learned(beyond: np.ndarray, point: _Points, trial: _Points, step: np.ndarray) -> np.ndarray:
    """S after a step δ: that nearest to S (made smaller where it must be) with (H + S) δ the fall of the gradient.

    Source: Dennis, Gay & Welsch, ACM Trans. Math. Softw. 7, 348 (1981), section 3.
    """
    fall = point.evidence - trial.evidence
    target = fall - (trial.information @ step[..., None])[..., 0]
    had = (beyond @ step[..., None])[..., 0]
    along, before, slope = ((v * step).sum(1) for v in (target, had, fall))
    size = np.minimum(1.0, np.abs(along) / np.maximum(np.abs(before), 1e-300))[:, None]
    known = slope > 1e-3 * np.einsum("fi,fij,fj->f", step, point.information, step)
    miss, slope = target - size * had, np.where(known, slope, 1.0)[:, None]
    outer = (miss / slope)[:, :, None] * fall[:, None]
    change = outer + outer.swapaxes(1, 2)
    change -= ((miss * step).sum(1, keepdims=True) / slope**2)[..., None] * fall[:, :, None] * fall[:, None]
    return size[..., None] * beyond + known[:, None, None] * change


def _finished(now: _Points, rest: np.ndarray, likelihood: Likelihood, prior: PosePrior | None) -> Posterior:
    """With the last, small step."""
    n_modes = now.amplitude.shape[1]
    covariance = np.linalg.inv(now.information)
    amplitude, rotation, shift_A = now.moved(rest)
    pose_covariance = np.zeros((len(rest), POSE, POSE)) if prior is None else covariance[:, n_modes:, n_modes:]
    residual_variance = now.misfit / likelihood.n_values
    return Posterior(
        amplitude, covariance[:, :n_modes, :n_modes], residual_variance, rotation, shift_A, pose_covariance
    )

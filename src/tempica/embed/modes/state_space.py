"""Learning what moves, and how, from quadratic log-likelihoods: a linear state-space model fitted by EM.

Each frame says ln p(y_t | c) = uᵀc − ½ cᵀHc + constant about the amplitudes c of a rich basis. Model: c_t = μ + W s_t
with independent stationary autoregressions s_k of unit variance and correlation ρ_k from frame to frame.

E: evidence η = Wᵀ(u − Hμ), Λ = WᵀHW into the Kalman smoother.
M: [μ W] = M solves Σ_t H_t M ⟨s̃ s̃ᵀ⟩ + κ M = Σ_t u_t ⟨s̃⟩ᵀ with s̃ = (1, s): κ is the precision of a normal prior on every
element, which in a basis scaled by λ^{−1/2} is the elastic network's.
Parameter expansion (Liu, Rubin & Wu 1998): the moments of s fit a freer model with a mean m and any reversible
dynamics, covariances C₀ and C₁ at lags 0 and 1. It is the same as s = m + V s′ with independent s′, where V⁻¹C₀V⁻ᵀ = 1
and V⁻¹C₁V⁻ᵀ = diag ρ, so that each step ends with μ ← μ + W m, W ← W V. Without it, scale, centre and ρ creep, and
sources mixed at equal ρ, a saddle of the likelihood, stay mixed.
Source: Shumway & Stoffer 1982; Molgedey & Schuster 1994 for V.

Shape legend: F frame, B basis, K source, S molecule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tempica import kalman
from tempica.embed.modes import labelled
from tempica.errors import DataError
from tempica.series import check_replicas, pairs, runs, spans

BLOCK = 4096  # frames of which products with H are in memory at once
FASTEST, SLOWEST = 1e-3, 0.9995  # bounds of ρ
STEPS = 20
_START_STEPS = 10


@dataclass(frozen=True)
class Learned:
    """A model of what moves, and what it says about every frame."""

    centre: np.ndarray  # (B,) μ
    weight: np.ndarray  # (B, K) W, slowest source first; by strength where there is no time
    autocorrelation: np.ndarray  # (K,) ρ; 0 where there is no time
    mean: np.ndarray  # (F, K) sources given all frames of their molecule
    covariance: np.ndarray  # (F, K, K)
    log_evidence: np.ndarray  # (S,) ln p(frames of a molecule) − ln p(the same | c = 0)

    @property
    def amplitude(self) -> np.ndarray:
        """(F, B) μ + W ⟨s_t⟩, where to linearise next."""
        return self.centre + self.mean @ self.weight.T


def learn(
    information: np.ndarray,
    evidence: np.ndarray,
    molecule: np.ndarray,
    n_sources: int,
    *,
    train: np.ndarray | None = None,
    timeless: bool = False,
    label: np.ndarray | None = None,
    start: Learned | None = None,
    n_steps: int = STEPS,
    ridge: float = 1.0,
) -> Learned:
    """Centre, directions and dynamics of `n_sources` sources by EM, and the posterior of every frame's.

    Parameters:
        information: (F, B, B) H, symmetric, about the amplitudes themselves, float32 will do.
        evidence: (F, B) u at c = 0, that is Jᵀr + H c⁰ of an expansion at c⁰.
        molecule: (F,) labels of contiguous stretches of one molecule in order of time.
        n_sources: K.
        train: mask (F,) of the frames that are learned from; all when None. All are smoothed.
        timeless: whether frames are snapshots, each for itself: ρ = 0.
        label: (F,) of snapshots, each label with a level of its own, by which sources are told apart; see `labelled`.
        start: a model to go on from; if none, the strongest slow directions of a normal distribution fitted to c.
        n_steps: of EM.
        ridge: κ.

    Raises DataError for shapes that do not fit, numbers that are not finite, more sources than the basis has
    directions, an empty `train`, or no two frames of a molecule in sequence where there is time.
    """
    labels, chosen = _checked(information, evidence, molecule, n_sources, train)
    H, u = (information, evidence) if chosen.all() else (information[chosen], evidence[chosen])
    series = runs(labels, chosen)
    if start is None:
        centre, weight, rho = _begin(H, u, series, n_sources, ridge, timeless)
    else:
        centre, weight, rho = start.centre, start.weight, start.autocorrelation
    if timeless:
        rho = np.zeros(n_sources)
    share = np.full(n_sources, labelled.START)
    for _ in range(n_steps):
        about = project(H, u, centre, weight)
        if label is None:
            mean, covariance, cross = _smoothed(*about, series, rho)
            shift, turn, rho = _expand(mean, covariance, cross, series, timeless)
        else:
            found = labelled.levels(*about, label[chosen], share)
            mean, covariance = found.mean, found.covariance
            shift, whole, between = labelled.moments(found)
            turn, share = _unmixed(whole, between)
        centre, weight = _regress(H, u, mean, covariance, ridge)
        centre, weight = centre + weight @ shift, weight @ turn
    if label is None:
        return apply(information, evidence, labels, *_ordered(centre, weight, rho))
    centre, weight, share = _ordered(centre, weight, share)
    known = apply(information, evidence, labels, centre, weight, np.zeros(n_sources))
    found = labelled.levels(*project(information, evidence, centre, weight), label, share)
    return replace(known, mean=found.mean, covariance=found.covariance)


def apply(
    information: np.ndarray,
    evidence: np.ndarray,
    molecule: np.ndarray,
    centre: np.ndarray,
    weight: np.ndarray,
    autocorrelation: np.ndarray,
) -> Learned:
    """What a model (μ, W, ρ) says about frames: their sources and their evidence. Shapes are those of `learn`."""
    labels = check_replicas(molecule, len(evidence))
    eta, lam = project(information, evidence, centre, weight)
    mean, covariance, _ = _smoothed(eta, lam, labels, autocorrelation)
    still = evidence @ centre - 0.5 * _about(information, centre)
    process = kalman.process(labels, autocorrelation)
    total = []
    for first, length in zip(*spans(labels), strict=True):
        part = slice(first, first + length)
        moving = kalman.log_likelihood(eta[part], lam[part], labels[part], autocorrelation, process[part])
        total.append(float(still[part].sum()) + moving)
    return Learned(centre, weight, autocorrelation, mean, covariance, np.array(total))


def project(
    information: np.ndarray, evidence: np.ndarray, centre: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Evidence η (F, K) and Λ (F, K, K) about sources s of c = μ + W s."""
    n, k = len(evidence), weight.shape[1]
    eta, lam = np.empty((n, k)), np.empty((n, k, k))
    columns = np.column_stack([centre, weight])
    for part in _blocks(n):
        turned = _times(information[part], columns)
        eta[part] = (evidence[part] - turned[..., 0]) @ weight
        lam[part] = weight.T @ turned[..., 1:]
    return eta, 0.5 * (lam + lam.swapaxes(1, 2))


def single_frames(eta: np.ndarray, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means (F, K) and covariances (F, K, K) of sources of unit variance, each frame for itself."""
    covariance = np.linalg.inv(lam + np.eye(eta.shape[1]))
    return (covariance @ eta[..., None])[..., 0], covariance


def _smoothed(
    eta: np.ndarray, lam: np.ndarray, labels: np.ndarray, rho: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if (rho == 0).all():
        mean, covariance = single_frames(eta, lam)
        return mean, covariance, np.zeros_like(mean)
    return kalman.smooth(eta, lam, labels, rho, kalman.process(labels, rho))


def _regress(
    information: np.ndarray, evidence: np.ndarray, mean: np.ndarray, covariance: np.ndarray, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Centre (B,) and weights (B, K) that maximise the expected log-posterior."""
    n_frames, n_basis = evidence.shape
    one = np.column_stack([np.ones(n_frames), mean])
    k = one.shape[1]
    row, column = np.triu_indices(k)
    products = one[:, row] * one[:, column]
    within = row > 0
    products[:, within] += covariance[:, row[within] - 1, column[within] - 1]
    total = np.zeros((len(row), n_basis**2))
    for part in _blocks(n_frames):
        flat = information[part].reshape(-1, n_basis**2)
        total += products[part].T.astype(flat.dtype) @ flat
    left = np.empty((k, n_basis, k, n_basis))
    left[row, :, column] = left[column, :, row] = total.reshape(-1, n_basis, n_basis)
    left = left.reshape(k * n_basis, -1) + ridge * np.eye(k * n_basis)
    solved = np.linalg.solve(left, (one.T @ evidence).ravel()).reshape(k, n_basis).T
    return solved[:, 0], solved[:, 1:]


def _expand(
    mean: np.ndarray, covariance: np.ndarray, cross: np.ndarray, labels: np.ndarray, timeless: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean m (K,) and turn V (K, K) of a freer model, s = m + V s′ with s′ as they should be, and ρ (K,) of s′."""
    shift = mean.mean(0)
    mean = mean - shift
    if timeless:
        return shift, np.linalg.cholesky(mean.T @ mean / len(mean) + covariance.mean(0)), np.zeros(len(shift))
    first = pairs(labels, 1)
    lagged = mean[first + 1].T @ mean[first] + cross[first + 1].sum(0)
    ends = [mean[f].T @ mean[f] + covariance[f].sum(0) for f in (first, first + 1)]
    turn, rho = _unmixed(0.5 * (ends[0] + ends[1]) / len(first), 0.5 * (lagged + lagged.T) / len(first))
    return shift, turn, rho


def _unmixed(instant: np.ndarray, lagged: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn V (K, K) with V⁻¹ of both covariances diagonal, the first the identity, and the second's diagonal (K,)."""
    root = np.linalg.cholesky(instant)
    back = np.linalg.inv(root)
    value, vector = np.linalg.eigh(back @ lagged @ back.T)
    return root @ vector[:, ::-1], np.clip(value[::-1], FASTEST, SLOWEST)


def _begin(
    information: np.ndarray, evidence: np.ndarray, labels: np.ndarray, n_sources: int, ridge: float, timeless: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A first model: the directions of a normal distribution of c that vary, or stay, the most above the noise."""
    n_basis = evidence.shape[1]
    centre, weight = np.zeros(n_basis), np.eye(n_basis)
    for _ in range(_START_STEPS):
        eta, lam = project(information, evidence, centre, weight)
        mean, covariance = single_frames(eta, lam)
        moment = (mean.T @ mean) / len(mean) + covariance.mean(0)
        shift = mean.mean(0)
        centre = centre + weight @ shift
        weight = weight @ np.linalg.cholesky(moment - np.outer(shift, shift))
    mean = single_frames(*project(information, evidence, centre, weight))[0]
    mean = mean - mean.mean(0)
    first = np.arange(len(mean)) if timeless else pairs(labels, 1)
    lagged = mean[first].T @ mean[first if timeless else first + 1] / len(first)
    value, vector = np.linalg.eigh(0.5 * (lagged + lagged.T))
    order = np.argsort(-value)[:n_sources]
    return centre, weight @ vector[:, order], np.clip(value[order], FASTEST, SLOWEST)


def _ordered(centre: np.ndarray, weight: np.ndarray, rho: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same model in an order and with signs that do not depend on how it was found."""
    if (rho == 0).all():  # sources without dynamics are known up to a rotation: take principal axes
        left, strength, _ = np.linalg.svd(weight, full_matrices=False)
        weight = left * strength
    else:
        order = np.argsort(-rho)
        weight, rho = weight[:, order], rho[order]
    return centre, weight * np.sign(weight[np.abs(weight).argmax(0), np.arange(len(rho))]), rho


def _about(information: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """cᵀ H_t c (F,)."""
    return np.concatenate(
        [_times(information[part], centre[:, None])[..., 0] @ centre for part in _blocks(len(information))]
    )


def _times(information: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """H_t M (F, B, K) of columns M (B, K), in one product."""
    n, b, _ = information.shape
    return (information.reshape(n * b, b) @ columns.astype(information.dtype)).reshape(n, b, -1).astype(float)


def _blocks(n_frames: int) -> Iterator[slice]:
    return (slice(first, first + BLOCK) for first in range(0, n_frames, BLOCK))


def _checked(
    information: np.ndarray, evidence: np.ndarray, molecule: np.ndarray, n_sources: int, train: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    n_frames, n_basis = evidence.shape if evidence.ndim == 2 else (0, 0)
    if information.shape != (n_frames, n_basis, n_basis) or n_frames == 0:
        raise DataError(f"information {information.shape} and evidence {evidence.shape} must be (F, B, B) and (F, B).")
    if not 1 <= n_sources <= n_basis:
        raise DataError(f"n_sources = {n_sources} must be 1 to {n_basis}, the directions of the basis.")
    if not (np.isfinite(evidence).all() and np.isfinite(information.sum(0, dtype=float)).all()):
        raise DataError("information and evidence must be finite; a frame's is not. Look for it in the images.")
    chosen = np.ones(n_frames, dtype=bool) if train is None else np.asarray(train, dtype=bool)
    if chosen.shape != (n_frames,) or not chosen.any():
        raise DataError(f"train {chosen.shape} with {chosen.sum()} frames must mark some of the {n_frames} frames.")
    return check_replicas(molecule, n_frames), chosen

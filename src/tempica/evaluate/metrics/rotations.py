"""Chance within the subspace: what a method scores that finds the space of the truth, but not its axes in it.

The subspace is the image of the components under the best affine map onto the truth, t̂ = Wᵀ (s − s̄), whitened:
u = Vᵀ t̂ with covariance 1 on the frames that the map is fitted on. A method of linear ICA that learns nothing of the
axes returns Q u, with Q uniform among the orthogonal matrices (Haar); the null is the score of such Q u. Because Q is
uniform, it does not matter which of all whitenings is taken, and with as many components as truths W does not matter
either. With more of them W selects the part that tells the truth, which is the hardest null; with fewer, the subspace
has as many dimensions as there are components. A subspace of one dimension has no rotation, hence no null.

For two perfectly recovered sources the null has mean 4/π sin(π/4) = 0.900 and 95 % quantile cos(π/80) = 0.9992, which
is to be within 2.25° of the axes; for three, 0.83 and 0.96; for five, 0.73 and 0.83. Where the subspace says little of
the truth, the null falls to the chance of unrelated series: a score must exceed both.

Example:
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.laplace(size=(2000, 2))
    >>> found = fit_subspace(truth @ [[0.8, -0.6], [0.6, 0.8]], truth)
    >>> round(float(found.r2(truth @ [[0.8, -0.6], [0.6, 0.8]], truth).mean()), 6)
    1.0
    >>> each = rotated_each(found, truth @ [[0.8, -0.6], [0.6, 0.8]], truth, kind="pearson", n_draws=4000)
    >>> round(float(each.mean()), 2)
    0.9
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica.evaluate.metrics.arrays import COLLAPSED, Kind, correlation, standardised
from tempica.evaluate.metrics.matching import assign, matched

RANKED_FRAMES = 4000  # of which rotated components are ranked; a difference of two scores is read off them, no score
N_EXACT = 4  # rotations of which all frames are ranked
COLLINEAR = 1e-10  # of the largest eigenvalue, below which a direction is rounding


@dataclass(frozen=True, eq=False)
class Subspace:
    """The affine map of components onto the truth that has the least squared error on the frames it was fitted on."""

    used: np.ndarray  # (n_used,) components that are neither absent nor collapsed
    mean: np.ndarray  # (n_used,)
    scale: np.ndarray  # (n_used,)
    weight: np.ndarray  # (n_used, n_truth) W, from standardised components to standardised truth
    whitening: np.ndarray  # (n_used, k) from standardised components to u
    expected: np.ndarray  # (k, n_truth) correlations of u with the truth on the same frames
    truth_mean: np.ndarray  # (n_truth,)
    truth_scale: np.ndarray  # (n_truth,); 1 for a truth that does not vary

    def standard(self, S: np.ndarray) -> np.ndarray:
        """The used components (frame, n_used) of S (frame, n_components) in standard units of the fitted frames."""
        return (S[:, self.used] - self.mean) / self.scale

    def aligned(self, S: np.ndarray) -> np.ndarray:
        """The truth (frame, n_truth) that S (frame, n_components) predicts, in the units of the truth."""
        return self.truth_mean + self.truth_scale * (self.standard(S) @ self.weight)

    def whitened(self, S: np.ndarray) -> np.ndarray:
        """u (frame, k) of S (frame, n_components)."""
        return self.standard(S) @ self.whitening

    def r2(self, S: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """R² (n_truth,) = 1 − Σ(t − t̂)² / Σ(t − t̄)² of each truth, t̄ the mean of these frames.

        Negative where the map predicts worse than that mean does; 0 for a truth that does not vary.
        """
        error = (((truth - self.aligned(S)) / self.truth_scale) ** 2).sum(0)
        total = (((truth - truth.mean(0)) / self.truth_scale) ** 2).sum(0)
        moves = np.ptp(truth, axis=0) > COLLAPSED * np.abs(truth).max(0)
        return np.where(moves, 1 - error / np.where(moves, total, 1.0), 0.0)


def fit_subspace(S: np.ndarray, truth: np.ndarray) -> Subspace:
    """Least squares of truth (frame, n_truth) on the components (frame, n_components) that vary."""
    z_S, z_truth = standardised(S), standardised(truth)
    used = np.flatnonzero((z_S != 0).any(0))
    z_S, chosen = z_S[:, used], S[:, used]
    covariance, cross = z_S.T @ z_S / len(S), z_S.T @ z_truth / len(S)
    weight = np.linalg.pinv(covariance, rcond=COLLINEAR, hermitian=True) @ cross
    value, direction = np.linalg.eigh(weight.T @ covariance @ weight)
    kept = value > COLLINEAR * max(1.0, value.max(initial=0.0))
    whitening = weight @ (direction[:, kept] / np.sqrt(value[kept]))
    peak, moves = np.abs(chosen).max(0, initial=0.0), (z_truth != 0).any(0)  # squares of large numbers overflow
    return Subspace(
        used,
        peak * (chosen / peak).mean(0),
        peak * (chosen / peak).std(0),
        weight,
        whitening,
        whitening.T @ cross,
        truth.mean(0),
        np.where(moves, truth.std(0), 1.0),
    )


def rotated_each(
    subspace: Subspace,
    S: np.ndarray,
    truth: np.ndarray,
    *,
    kind: Kind,
    n_draws: int,
    refit: bool = True,
    random_state: int | np.random.SeedSequence = 0,
) -> np.ndarray:
    """What random rotations of the subspace tell of each truth: absolute correlations (n_draws, n_truth).

    A score of a rotation is the mean of its row. 0 where no component is left for a truth; no rows where the subspace
    has fewer than two dimensions.

    Parameters:
        subspace: the affine map, fitted on these frames or on others.
        S: sources (frame, n_components) that are scored.
        truth: (frame, n_truth).
        kind: "spearman" or "pearson".
        n_draws: number of rotations.
        refit: match each rotation on these frames; else by what the subspace expects, from the frames of its fit.
        random_state: seed.

    Spearman correlations of rotations in long series are the Pearson ones of all frames plus the difference between
    the two kinds on about 4,000 evenly spaced frames; how much the score is off is known from a few rotations whose
    ranks are those of all frames.
    """
    k = subspace.whitening.shape[1]
    if k < 2:
        return np.empty((0, truth.shape[1]))
    rotation, u = haar(k, n_draws, np.random.default_rng(random_state)), subspace.whitened(S)
    matchings = None if refit else [assign(Q @ subspace.expected) for Q in rotation]

    def each(matrices: np.ndarray) -> np.ndarray:
        return np.array([matched(m, assign(m) if matchings is None else matchings[i]) for i, m in enumerate(matrices)])

    if kind == "pearson":
        return each(_pearson(rotation, u, truth))
    stride = -(-len(u) // RANKED_FRAMES)
    ranked = _spearman(rotation, u[::stride], truth[::stride])
    if stride == 1:
        return each(ranked)
    moved = np.abs(_pearson(rotation, u, truth)) - np.abs(_pearson(rotation, u[::stride], truth[::stride]))
    near = each(np.clip(np.abs(ranked) + moved, 0, 1))
    exact = each(_spearman(rotation[:N_EXACT], u, truth))
    return np.clip(near + (exact - near[:N_EXACT]).mean(0), 0, 1)


def _pearson(rotation: np.ndarray, u: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Correlations (draw, k, n_truth) of rotated u (frame, k) with the truth, from moments alone."""
    centred = u - u.mean(0)
    covariance, cross = centred.T @ centred / len(u), centred.T @ standardised(truth) / len(u)
    deviation = np.sqrt(np.maximum(np.einsum("dij,jk,dik->di", rotation, covariance, rotation), 1e-300))
    return np.asarray(np.clip(rotation @ cross / deviation[..., None], -1, 1))


def _spearman(rotation: np.ndarray, u: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The same of ranks."""
    ranked = standardised(truth, "spearman")
    return np.array([correlation(standardised(u @ Q.T, "spearman"), ranked) for Q in rotation])


def haar(k: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Orthogonal matrices (n, k, k), uniform by the Haar measure up to the signs of rows, which no score sees."""
    q, _ = np.linalg.qr(rng.standard_normal((n, k, k)))
    return q.swapaxes(1, 2)

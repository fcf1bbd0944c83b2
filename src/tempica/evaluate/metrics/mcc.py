"""How well sources were recovered: the mean correlation coefficient, what chance gives, and its interval.

Example:
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.laplace(size=(500, 2))
    >>> result = mcc(-(truth[:, ::-1] ** 3), truth)
    >>> round(result.score, 6), result.assignment.tolist()
    (1.0, [1, 0])
    >>> bool(result.score > max(result.null_95, result.rotation_null_95))
    True
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.evaluate.metrics.arrays import Kind, check_counts, checked, correlation, split, standardised
from tempica.evaluate.metrics.chance import FINE, MANY_TIMES, coarse, correlation_time, meetings, surrogates
from tempica.evaluate.metrics.intervals import influence, interval
from tempica.evaluate.metrics.matching import assign, checked_assignment, score
from tempica.evaluate.metrics.rotations import fit_subspace, rotated_each
from tempica.series import brief, check_replicas, runs, spans


@dataclass(frozen=True, eq=False)
class MCC:
    """Mean correlation coefficient with what it must be read against.

    Attributes:
        score: the coefficient, in [0, 1].
        matrix: signed correlations (n_components, n_truth).
        assignment: component (n_truth,) of each truth column, −1 if unmatched.
        null: mean of `null_scores`.
        null_95: their 95th percentile.
        rotation_null: mean of `rotation_scores`; None where there are none.
        rotation_null_95: their 95th percentile; None where there are none.
        interval: 95 % interval of the score.
        r2: mean over truth columns of R² of the best affine map of all components onto the truth.
        aligned: mean over truth columns of |corr(truth_j, t̂_j)|, t̂ the components after that map.
        kind: "spearman" or "pearson".
        null_scores: (n_null,) scores of sources that are unrelated to the truth.
        rotated: (n_null, n_truth) what random rotations of the subspace tell of each truth column; (0, n_truth) where
            it has no two dimensions.

    Null: the truth is replaced by one that is as slow, and unrelated; slow series correlate by chance. Where all
    replicas hold at least 50 integrated autocorrelation times of the slowest truth column, each replica of S meets the
    truth of another replica of the same length (its own if there is none), moved in time on a circle by a random offset
    of at least two such times (at most a third of the replica). All truth columns move together, which keeps their
    dependence on each other. Shorter series have too few shifts, and the truth is replaced by normal autoregressions
    fitted to it (`autoregressions`), whose innovations are as correlated as those of the truth; long memories are
    averaged over fortieths of a correlation time for that. The matching has the freedom that it had in the score:
    refitted in every draw if it was fitted, kept if it was given.

    Rotation null, chance within the subspace: u = whitened t̂, and Q u for orthogonal Q that are uniform (Haar), scored
    as S is. It is what a method gets that finds the subspace of the truth but not the axes in it; `rotations` has its
    definition. The affine map and the matching are fitted on `train`. A method is credited with axes where its score
    exceeds the 95th percentiles of both nulls: where R² is low, so is the rotation null.

    Interval: from the influence of each frame on the score and its long-run variance (`intervals`). Component and sign
    of each match are kept, and the result is clipped to [0, 1].
    """

    score: float
    matrix: np.ndarray
    assignment: np.ndarray
    null: float
    null_95: float
    rotation_null: float | None
    rotation_null_95: float | None
    interval: tuple[float, float]
    r2: float
    aligned: float
    kind: Kind
    null_scores: np.ndarray
    rotated: np.ndarray

    __repr__ = brief

    @property
    def rotation_scores(self) -> np.ndarray:
        """Scores (n_null,) of the random rotations; (0,) where there are none."""
        scores: np.ndarray = self.rotated.mean(1)
        return scores


# long: parameters and their description
def mcc(
    S: Any,
    truth: Any,
    *,
    kind: Kind = "spearman",
    replicas: Any = None,
    train: Any = None,
    assignment: Any = None,
    n_null: int = 400,
    random_state: int = 0,
) -> MCC:
    """Mean over truth columns of |corr(truth_j, S_σ(j))|, σ the assignment; an unmatched column counts as 0.

    Parameters:
        S: sources (frame, n_components), array, list, DataFrame or tensor; a column all NaN is an absent component.
        truth: (frame, n_truth), of the same kinds.
        kind: "spearman" (correlation of ranks) or "pearson".
        replicas: labels (frame,), numbers or text, in contiguous blocks; default one replica.
        train: True (frame,) where matching and affine map are fitted; the other frames are scored. Default None: all
            frames are fitted and scored. Let whole replicas be one or the other.
        assignment: a matching (n_truth,) fitted elsewhere; fitted here if None.
        n_null: draws of either null.
        random_state: seed.

    `MCC` says what nulls and interval are. Raises DataError for arrays that do not fit together, non-finite values, or
    fewer than three frames.
    Source: Hyvärinen & Morioka, NIPS 2016 (MCC).
    """
    S, truth = checked(S, truth)
    check_kind(kind)
    check_counts(n_null=n_null)
    labels = check_replicas(replicas, len(S))
    fitted, scored = split(train, len(S))
    subspace = fit_subspace(S[fitted], truth[fitted])
    given = None if assignment is None else checked_assignment(assignment, (S.shape[1], truth.shape[1]))
    if given is None and train is not None:
        given = assign(correlation_matrix(S[fitted], truth[fitted], kind))
    S, truth, (start, length) = S[scored], truth[scored], spans(runs(labels, scored))
    z_S, z_truth = standardised(S, kind), standardised(truth, kind)
    matrix = correlation(z_S, z_truth)
    matching = assign(matrix) if given is None else given
    null_seed, interval_seed, rotation_seed = np.random.SeedSequence(random_state).spawn(3)
    unrelated = unrelated_matrices(z_S, z_truth, start, length, n_null, np.random.default_rng(null_seed))
    null_scores = np.array([score(drawn, assign(drawn) if given is None else given) for drawn in unrelated])
    rotated = rotated_each(
        subspace, S, truth, kind=kind, n_draws=n_null, refit=given is None, random_state=rotation_seed
    )
    value, matched = score(matrix, matching), matching >= 0
    sign = np.sign(matrix[matching[matched], matched])
    u = (influence(z_S[:, matching[matched]], z_truth[:, matched], kind) * sign).sum(1) / truth.shape[1]
    between = interval(value, u, start, length, np.random.default_rng(interval_seed))
    null, null_95 = float(null_scores.mean()), float(np.percentile(null_scores, 95))
    turns = rotated.mean(1)
    turned, turned_95 = (float(turns.mean()), float(np.percentile(turns, 95))) if len(turns) else (None, None)
    r2, aligned = float(subspace.r2(S, truth).mean()), diagonal_score(subspace.aligned(S), truth, kind)
    return MCC(
        value, matrix, matching, null, null_95, turned, turned_95, between, r2, aligned, kind, null_scores, rotated
    )


def correlation_matrix(S: np.ndarray, truth: np.ndarray, kind: Kind = "spearman") -> np.ndarray:
    """Signed correlations (n_components, n_truth) of S (frame, n_components) and truth (frame, n_truth).

    A collapsed (constant) column, or one all NaN, has correlation 0. Raises DataError as `mcc` does.
    """
    S, truth = checked(S, truth)
    check_kind(kind)
    return correlation(standardised(S, kind), standardised(truth, kind))


def diagonal_score(estimate: np.ndarray, truth: np.ndarray, kind: Kind) -> float:
    """Mean |corr| of each estimate with its own truth, both (frame, n_truth)."""
    return float(np.abs(np.diagonal(correlation_matrix(estimate, truth, kind))).mean())


def check_kind(kind: str) -> None:
    """Raise DataError for a kind of correlation that there is not."""
    if kind not in ("spearman", "pearson"):
        raise DataError(f"kind = {kind!r} must be 'spearman' or 'pearson'.")


def unrelated_matrices(
    z_S: np.ndarray,
    z_truth: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
    n_draws: int,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Yield, n_draws times, correlations (n_components, n_truth) of standardised columns with an unrelated truth."""
    time = correlation_time(z_truth, start, length)
    if len(z_S) < MANY_TIMES * time:
        sums, means, first, number = coarse(z_S, z_truth, start, length, max(1, int(time / FINE)))
        for drawn in surrogates(means, first, number, n_draws, rng):
            yield np.clip(sums.T @ (means.std(0) * drawn) / len(z_S), -1.0, 1.0)
        return
    for draw in meetings(start, length, time, n_draws, rng):
        yield np.sum([z_S[here].T @ z_truth[there] for here, there in draw.pieces(start, length)], axis=0) / len(z_S)

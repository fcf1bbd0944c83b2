"""How well sources were recovered: the mean correlation coefficient, its chance level and its interval.

Example:
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.laplace(size=(500, 2))
    >>> result = mcc(-(truth[:, ::-1] ** 3), truth)
    >>> round(result.score, 6), result.assignment.tolist()
    (1.0, [1, 0])
    >>> bool(result.score > result.null_95)
    True
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import numpy as np
from scipy import fft, optimize

from tempica.errors import DataError
from tempica.series import array_of, check_replicas, spans

Kind = Literal["spearman", "pearson"]

COLLAPSED = 1e-12  # a column whose range is below this fraction of its largest value carries no signal
GAP_TIMES = 2.0  # least shift of the null, and block of the bootstrap, in integrated autocorrelation times:
BLOCK_TIMES = 2.0  # two are four decay times of an exponential, where e⁻⁴ of a correlation is left


@dataclass(frozen=True, eq=False)
class MCC:
    """Mean correlation coefficient with what it must be read against.

    Attributes:
        score: the coefficient, in [0, 1].
        matrix: signed correlations (n_components, n_truth).
        assignment: component (n_truth,) of each truth column, −1 if unmatched.
        null: mean of `null_scores`.
        null_95: their 95th percentile.
        interval: 95 % bootstrap interval of the score.
        kind: "spearman" or "pearson".
        null_scores: (n_null,) scores of sources that are unrelated to the truth.

    Null: each replica of S meets the truth of another replica of the same length (its own if there is none),
    moved in time on a circle by a random offset of at least two integrated autocorrelation times (of the
    slowest truth column; at most a third of the replica). That keeps the autocorrelation of every series, by
    which slow series correlate by chance. All truth columns move together, which keeps their dependence on
    each other too. The matching has the freedom that it had in the score: refitted in every draw if it was
    fitted, kept if it was given.

    Interval: percentiles of a circular moving-block bootstrap; blocks start at random frames of all replicas
    and stay within theirs. Component and sign of each match are kept, ranks are those of all frames, taken
    once, and the result is clipped to [0, 1].
    """

    score: float
    matrix: np.ndarray
    assignment: np.ndarray
    null: float
    null_95: float
    interval: tuple[float, float]
    kind: Kind
    null_scores: np.ndarray


def mcc(
    S: Any,
    truth: Any,
    *,
    kind: Kind = "spearman",
    replicas: Any = None,
    assignment: Any = None,
    n_null: int = 400,
    n_bootstrap: int = 400,
    block: int | None = None,
    random_state: int = 0,
) -> MCC:
    """Mean over truth columns of |corr(truth_j, S_σ(j))|, σ the assignment; an unmatched column counts as 0.

    Parameters:
        S: sources (frame, n_components), array, list, DataFrame or tensor; a column all NaN is an absent component.
        truth: (frame, n_truth), of the same kinds.
        kind: "spearman" (correlation of ranks) or "pearson".
        replicas: labels (frame,), numbers or text, in contiguous blocks; default one replica.
        assignment: a matching (n_truth,) fitted elsewhere, as on training replicas; fitted here if None.
        n_null: draws of the null.
        n_bootstrap: draws of the interval.
        block: frames of a block of the bootstrap; default two integrated autocorrelation times, at most the longest
            replica.
        random_state: seed of null and bootstrap.

    `MCC` says what null and interval are. Raises DataError for arrays that do not fit together, non-finite values, or
    fewer than three frames.
    Source: Hyvärinen & Morioka, NIPS 2016 (MCC); Politis & Romano 1992 (circular blocks).
    """
    S, truth = _checked(S, truth, kind)
    for name, value in (("n_null", n_null), ("n_bootstrap", n_bootstrap), ("block", block)):
        if value is not None and not (isinstance(value, Integral) and value >= 1):
            raise DataError(f"{name} = {value!r} must be a whole number, at least 1.")
    start, length = spans(check_replicas(replicas, len(S)))
    z_S, z_truth = _standardised(S, kind), _standardised(truth, kind)
    matrix = _correlation(z_S, z_truth)
    given = None if assignment is None else _checked_assignment(assignment, matrix.shape)
    matching = assign(matrix) if given is None else given
    time = correlation_time(truth, start, length)
    null_seed, bootstrap_seed = np.random.SeedSequence(random_state).spawn(2)
    frames = null_frames(start, length, time, n_null, np.random.default_rng(null_seed))
    null_scores = _null_scores(z_S, z_truth, frames, given)
    size = min(math.ceil(BLOCK_TIMES * time) if block is None else block, int(length.max()))
    matched = matching >= 0
    x = z_S[:, matching[matched]] * np.sign(matrix[matching[matched], matched])
    rng = np.random.default_rng(bootstrap_seed)
    scores = _bootstrap(x, z_truth[:, matched], start, length, size, n_bootstrap, rng).sum(1) / truth.shape[1]
    low, high = np.clip(np.percentile(scores, [2.5, 97.5]), 0, 1).tolist()
    null, null_95 = float(null_scores.mean()), float(np.percentile(null_scores, 95))
    return MCC(_score(matrix, matching), matrix, matching, null, null_95, (low, high), kind, null_scores)


def correlation_matrix(S: np.ndarray, truth: np.ndarray, kind: Kind = "spearman") -> np.ndarray:
    """Signed correlations (n_components, n_truth) of S (frame, n_components) and truth (frame, n_truth).

    A collapsed (constant) column, or one all NaN, has correlation 0. Raises DataError as `mcc` does.
    """
    S, truth = _checked(S, truth, kind)
    return _correlation(_standardised(S, kind), _standardised(truth, kind))


def assign(matrix: np.ndarray) -> np.ndarray:
    """Component (n_truth,) of each truth column that makes Σ|corr| largest; −1 where components run out."""
    truth, component = optimize.linear_sum_assignment(np.abs(matrix).T, maximize=True)
    assignment = np.full(matrix.shape[1], -1)
    assignment[truth] = component
    return assignment


def correlation_time(series: np.ndarray, start: np.ndarray, length: np.ndarray) -> float:
    """Largest integrated autocorrelation time, in frames, of series (frame, column); at least 1.

    τ = 1 + 2 Σ_k ρ_k over the lags k before ρ first falls to 0; ρ is pooled over all replicas.
    """
    centred = _standardised(series, "pearson")
    longest = int(length.max())
    covariance = np.zeros((longest, series.shape[1]))
    for first, n in zip(start, length, strict=True):
        padded = fft.next_fast_len(2 * int(n), real=True)
        spectrum = fft.rfft(centred[first : first + n], padded, axis=0)
        covariance[:n] += fft.irfft(np.abs(spectrum) ** 2, padded, axis=0)[:n]
    positive = np.cumprod(covariance > 1e-9, axis=0)[1:]
    rho = covariance[1:] / np.maximum(covariance[0], 1e-9)
    return float(1 + 2 * (rho * positive).sum(0).max(initial=0.0))


def _score(matrix: np.ndarray, assignment: np.ndarray) -> float:
    matched = assignment >= 0
    return float(min(1.0, np.abs(matrix[assignment[matched], matched]).sum() / matrix.shape[1]))


def _null_scores(
    z_S: np.ndarray, z_truth: np.ndarray, draws: Iterable[np.ndarray], assignment: np.ndarray | None
) -> np.ndarray:
    """Score of each draw, which names for every frame of S the frame of the truth that it meets."""
    scores = []
    for frames in draws:
        matrix = _correlation(z_S, z_truth[frames])
        scores.append(_score(matrix, assign(matrix) if assignment is None else assignment))
    return np.array(scores)


def _correlation(z_S: np.ndarray, z_truth: np.ndarray) -> np.ndarray:
    return np.clip(z_S.T @ z_truth / len(z_S), -1.0, 1.0)


def _standardised(columns: np.ndarray, kind: Kind) -> np.ndarray:
    """Columns (or their ranks) with mean 0 and variance 1; zeros where a column is collapsed or absent."""
    z = np.zeros(columns.shape)
    for j, column in enumerate(columns.T):
        scale = np.abs(column).max()
        if not np.isfinite(scale) or np.ptp(column / (scale or 1.0)) <= COLLAPSED:
            continue
        value = _ranks(column) if kind == "spearman" else column / scale
        value = value - value.mean()
        z[:, j] = value / np.sqrt(np.mean(value**2))
    return z


def _ranks(column: np.ndarray) -> np.ndarray:
    """Ranks, ties at their mean; scipy.stats has them too, but takes half a second to import."""
    _, place, count = np.unique(column, return_inverse=True, return_counts=True)
    return (count.cumsum() - 0.5 * (count - 1))[place]


def null_frames(start, length, time, n_draws, rng):
    """Yield, n_draws times, for every frame of S the frame of the truth that it meets (frame,)."""
    gap = np.minimum(math.ceil(GAP_TIMES * time), length // 3)
    replica = np.repeat(np.arange(len(length)), length)
    within = np.arange(length.sum()) - start[replica]
    equal = [np.flatnonzero(length == n) for n in np.unique(length)]
    for _ in range(n_draws):
        donor = np.empty(len(length), dtype=np.int64)
        for group in equal:
            order = rng.permutation(group)
            donor[order] = np.roll(order, 1)  # one cycle: no replica meets its own truth, unless it is alone
        # length // 2 keeps replicas of two frames moving, whose third is zero
        least = np.maximum(gap, np.minimum(1, length // 2))
        offset = rng.integers(least, length - least, endpoint=True)
        yield start[donor[replica]] + (within + offset[replica]) % length[replica]


def _bootstrap(x, y, start, length, size, n_draws, rng):
    """Correlations (n_draws, pair) of x and y (frame, pair) over as many frames, drawn in blocks."""
    moments = np.concatenate([x, y, x * x, y * y, x * y], axis=1)
    block_sum = np.empty_like(moments)  # of the block that starts at each frame, round its replica
    for first, n in zip(start, length, strict=True):
        before = np.concatenate([np.zeros((1, moments.shape[1])), moments[first : first + n].cumsum(0)])
        end = np.arange(n) + size
        block_sum[first : first + n] = end[:, None] // n * before[n] + before[end % n] - before[:n]
    n_blocks = math.ceil(len(x) / size)
    total = np.stack([block_sum[rng.integers(len(x), size=n_blocks)].sum(0) for _ in range(n_draws)])
    mean = total / (n_blocks * size)
    mx, my, mxx, myy, mxy = np.split(mean, 5, axis=1)
    variance = np.maximum(mxx - mx**2, 0) * np.maximum(myy - my**2, 0)
    return np.where(variance > 1e-18, (mxy - mx * my) / np.sqrt(np.maximum(variance, 1e-18)), 0.0)


def _checked(S, truth, kind) -> tuple[np.ndarray, np.ndarray]:
    if kind not in ("spearman", "pearson"):
        raise DataError(f"kind = {kind!r} must be 'spearman' or 'pearson'.")
    arrays = []
    for name, value in (("S", S), ("truth", truth)):
        try:
            array = array_of(value)
            if np.iscomplexobj(array):
                raise TypeError("it is complex")
            array = array.astype(np.float64, copy=False)
        except (TypeError, ValueError) as error:
            raise DataError(f"{name} must be an array of real numbers; {error}.") from None
        if array.ndim != 2 or array.shape[1] == 0:
            raise DataError(
                f"{name} has shape {array.shape}; it must be (frame, column) with at least one column. "
                "Give a single series as series[:, None], and movies of several replicas one after another."
            )
        arrays.append(array)
    S, truth = arrays
    if len(S) != len(truth):
        raise DataError(f"S has {len(S)} frames and truth {len(truth)}; give the same frames in both.")
    if len(S) < 3:
        raise DataError(f"S and truth have {len(S)} frames; a correlation needs at least 3. Give more.")
    if not np.isfinite(truth).all():
        row, column = np.argwhere(~np.isfinite(truth))[0]
        raise DataError(f"truth[{row}, {column}] is {truth[row, column]}; truth must be finite. Drop such frames.")
    absent = np.isnan(S).all(axis=0)
    bad = np.argwhere(~np.isfinite(S) & ~absent)
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"S[{row}, {column}] is {S[row, column]}; a component must be finite in all frames, or NaN in all"
            " if it is absent. Drop such frames from both."
        )
    return S, truth


def _checked_assignment(assignment, shape) -> np.ndarray:
    n_components, n_truth = shape
    given = array_of(assignment)
    if given.shape != (n_truth,) or not np.issubdtype(given.dtype, np.integer):
        raise DataError(f"assignment = {assignment} must hold {n_truth} integers, one a truth column.")
    if given.min() < -1 or given.max() >= n_components:
        raise DataError(f"assignment = {given.tolist()} must hold components 0 to {n_components - 1}, or -1 for none.")
    used = given[given >= 0]
    if len(np.unique(used)) < len(used):
        raise DataError(f"assignment = {given.tolist()} uses a component twice; each may match one truth.")
    return given.astype(np.int64)

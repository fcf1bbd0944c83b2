"""How much of each recovered source a nuisance explains: a pose, a defocus, the replica, the time, any column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.series import array_of, check_replicas, spans

N_WAVES = 8  # functions cos(kπu) of the ranks u of a column of numbers
MOST_LEVELS, LEAST_ROWS = 300, 5  # of a column of words: those that count, and rows of each
N_FOLDS, N_NULL = 5, 99
RIDGE = 1e-6  # of a frame's share, against functions that depend on each other


@dataclass(frozen=True, eq=False)
class Leakage:
    """R² (component,) of each source on one nuisance, on frames left out, and what chance reaches in 95 of 100 cases.

    interval (component, 2): 95 %, from the spread of the parts that were left out.
    """

    r2: np.ndarray
    null_95: np.ndarray
    interval: np.ndarray

    @property
    def leaks(self) -> np.ndarray:
        """Which sources (component,) the nuisance explains beyond chance."""
        return self.r2 > self.null_95


def leakage(S: Any, nuisance: Any, *, replicas: Any = None, random_state: int = 0) -> Leakage:
    """R² of each source on functions of a nuisance: 1 − Σ(s − ŝ)² / Σ(s − s̄)² over frames left out, at least 0.

    ŝ is a linear regression on cos(kπu), k = 1 … 8, of the ranks u of numbers (of as few as tell them all apart, where
    they have few values), or on indicators of words. Five parts of consecutive frames are left out in turn. Chance: the
    nuisance moved by a random number of frames within each replica, on a circle, which keeps how slow it is; of a
    nuisance that is constant within replicas, whole replicas change places.

    Parameters:
        S: sources (frame, component).
        nuisance: (frame,) numbers or words, or several columns (frame, column) of numbers taken together.
        replicas: label (frame,) of the series of each frame; one series when None.
        random_state: seed of the moves.

    Raises DataError for arrays that do not fit together or are not finite. Example:
        >>> rng = np.random.default_rng(0)
        >>> defocus = rng.normal(size=2000)
        >>> S = np.stack([defocus**2 + rng.normal(size=2000), rng.normal(size=2000)], axis=1)
        >>> leakage(S, defocus).leaks.tolist()
        [True, False]
    """
    S = np.asarray(array_of(S), dtype=np.float64)
    if S.ndim != 2 or not np.isfinite(S).all():
        raise DataError(f"S has shape {S.shape}; it must be finite numbers (frame, component).")
    columns = array_of(nuisance)
    if len(columns) != len(S) or columns.ndim > 2:
        raise DataError(
            f"The nuisance has shape {columns.shape}; it must hold one value for each of the {len(S)} frames."
        )
    functions = np.concatenate([functions_of(column) for column in columns.reshape(len(S), -1).T], axis=1)
    return explained(S, functions, check_replicas(replicas, len(S)), np.random.default_rng(random_state))


def functions_of(column: np.ndarray, what: str = "The nuisance") -> np.ndarray:
    """Functions (frame, function) of a column, of mean 0 and variance 1; none where it is the same in all frames.

    Numbers are taken by their ranks, words as indicators. Raises DataError, about `what`, for numbers that are not
    finite, and for words none of which stands in five frames.
    """
    level, number, count = np.unique(column, return_inverse=True, return_counts=True)
    if column.dtype.kind in "fiub":
        if not np.isfinite(column.astype(np.float64)).all():
            raise DataError(f"{what} must be finite in all frames. Drop such frames.")
        rank = ((count.cumsum() - 0.5 * count) / len(column))[number]  # middle rank of each value
        return standardised(np.cos(np.pi * np.arange(1, min(N_WAVES, len(level) - 1) + 1) * rank[:, None]))
    common = [k for k in np.argsort(-count, kind="stable")[:MOST_LEVELS].tolist() if count[k] >= LEAST_ROWS]
    if not common:
        raise DataError(f"{what} has {len(level)} words for {len(column)} frames. Give numbers, or fewer words.")
    return standardised((number[:, None] == np.array(common)).astype(float))


def standardised(functions: np.ndarray) -> np.ndarray:
    """Functions (frame, function) of mean 0 and variance 1, without those that do not vary."""
    centred = functions - functions.mean(0)
    deviation = centred.std(0)
    kept = deviation > 1e-9
    return centred[:, kept] / deviation[kept]


def explained(S: np.ndarray, functions: np.ndarray, replicas: np.ndarray, rng: np.random.Generator) -> Leakage:
    """`leakage` of what has these functions (frame, function)."""
    start, length = spans(replicas)
    basis = functions if functions.shape[1] else np.zeros((len(S), 1))
    z = (S - S.mean(0)) / np.maximum(S.std(0), 1e-300)
    parts = _left_out(z, basis)
    # an R² of one source over all parts; the interval from how parts differ
    r2 = np.clip(1 - parts.mean(0), 0, None)
    error = parts.std(0, ddof=1) / np.sqrt(N_FOLDS)
    null = [np.clip(1 - _left_out(z, basis[_moved(basis, start, length, rng)]).mean(0), 0, None) for _ in range(N_NULL)]
    interval = np.clip(np.stack([r2 - 2.78 * error, r2 + 2.78 * error], axis=1), 0, 1)  # Student's t, 4 degrees
    return Leakage(r2, np.quantile(null, 0.95, axis=0), interval)


def _left_out(z: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Squared error (part, component) of sources of unit variance on each part of the frames that was left out."""
    parts = np.array_split(np.arange(len(z)), N_FOLDS)
    grams = [basis[part].T @ basis[part] for part in parts]
    crosses = [basis[part].T @ z[part] for part in parts]
    ridge = RIDGE * len(z) * np.eye(basis.shape[1])
    gram, cross = np.sum(grams, axis=0), np.sum(crosses, axis=0)
    found = []
    for part, own, crossed in zip(parts, grams, crosses, strict=True):
        weight = np.linalg.solve(gram - own + ridge, cross - crossed)
        found.append(((z[part] - basis[part] @ weight) ** 2).mean(0))
    return np.array(found)


def _moved(basis: np.ndarray, start: np.ndarray, length: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows (frame,) that a random draw puts in the place of each row."""
    varies = [np.ptp(basis[a : a + n], axis=0).max() > 0 for a, n in zip(start, length, strict=True)]
    if not any(varies) and len(start) > 1:
        donor = rng.permutation(len(start))
        return np.concatenate([start[d] + np.arange(n) % length[d] for d, n in zip(donor, length, strict=True)])
    rows = []
    for a, n in zip(start, length, strict=True):
        offset = int(rng.integers(n // 20, max(n // 20 + 1, n - n // 20)))
        rows.append(a + (np.arange(n) + offset) % n)
    return np.concatenate(rows)

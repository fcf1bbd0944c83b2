"""Whether neighbours in the components are neighbours in the truth: neighbourhood similarity, information imbalance.

Both columns are put in standard units first; distances are Euclidean. Series are thinned to 2,000 frames, evenly:
neighbouring frames of a movie are neighbours in both spaces for no other reason than time, so the null, which is as
slow, is what a value is read against.

Example:
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.uniform(size=(500, 2))
    >>> round(neighbourhood_similarity(truth @ [[0.6, -0.8], [0.8, 0.6]], truth, n_null=2).value, 1)
    1.0
    >>> forth, back = information_imbalance(truth[:, :1], truth, n_null=2)  # one variable of two
    >>> bool(back.value < 0.1 < forth.value)
    True
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.evaluate.metrics.arrays import check_counts, standardised
from tempica.evaluate.metrics.measuring import Frames, Measured, measured

MOST_FRAMES = 2000


def neighbourhood_similarity(
    S: Any, truth: Any, *, k: int = 20, replicas: Any = None, n_null: int = 20, random_state: int = 0
) -> Measured:
    """Mean share of the k nearest neighbours of a frame in S that are among its k nearest in the truth.

    Parameters:
        S: sources (frame, n_components).
        truth: (frame, n_truth).
        k: number of neighbours, below the number of frames (at most 2,000 of which are used).
        replicas: labels (frame,) in contiguous blocks; default one replica.
        n_null: draws of the null.
        random_state: seed.

    Chance alone gives k / (N − 1) for series without memory. Raises DataError for arrays that do not fit together,
    non-finite values, too few frames, and k that is too large. Source: Jeon et al., NeurIPS 2024 (CryoBench).
    """
    check_counts(k=k)

    def score(held: Frames) -> np.ndarray:
        a, b = _thinned(held)
        if k >= len(a):
            raise DataError(f"k = {k} must be below the number of frames that are compared, {len(a)}.")
        return np.array([overlap(a, b, k)])

    return _measured(score, S, truth, replicas, n_null, random_state, less_is_better=False)


def information_imbalance(
    S: Any, truth: Any, *, replicas: Any = None, n_null: int = 20, random_state: int = 0
) -> tuple[Measured, Measured]:
    """Δ(S → truth) and Δ(truth → S): 0 where distances in the first tell those in the second, 1 where they do not.

    Δ(A → B) = 2/N · mean rank in B of the nearest neighbour in A.

    Parameters:
        S: sources (frame, n_components).
        truth: (frame, n_truth).
        replicas: labels (frame,) in contiguous blocks; default one replica.
        n_null: draws of the null.
        random_state: seed.

    Less is better. Raises DataError for arrays that do not fit together, non-finite values and too few frames.
    Source: Glielmo et al., PNAS Nexus 2022.
    """

    def forth(held: Frames) -> np.ndarray:
        return np.array([imbalance(*_thinned(held))])

    def back(held: Frames) -> np.ndarray:
        return np.array([imbalance(*_thinned(held)[::-1])])

    one, other = (_measured(f, S, truth, replicas, n_null, random_state, less_is_better=True) for f in (forth, back))
    return one, other


def overlap(one: np.ndarray, other: np.ndarray, k: int) -> float:
    """Mean share of the k nearest neighbours that points (frame, column) have in both."""
    near = [np.argpartition(_distances(x), k - 1, axis=1)[:, :k] for x in (one, other)]
    inside = np.zeros((len(one), len(one)), dtype=bool)
    np.put_along_axis(inside, near[1], True, axis=1)
    return float(np.take_along_axis(inside, near[0], axis=1).mean())


def imbalance(one: np.ndarray, other: np.ndarray) -> float:
    """Δ(one → other) of points (frame, column) each."""
    near = _distances(one).argmin(1)
    there = _distances(other)
    rank = 1 + (there < there[np.arange(len(there)), near][:, None]).sum(1)
    return float(2 * rank.mean() / len(one))


def _measured(score, S, truth, replicas, n_null, random_state, *, less_is_better) -> Measured:
    return measured(
        lambda _: score,
        S,
        truth,
        replicas=replicas,
        n_null=n_null,
        random_state=random_state,
        less_is_better=less_is_better,
        held_out=False,
    )


def _thinned(frames: Frames) -> tuple[np.ndarray, np.ndarray]:
    step = -(-len(frames.S) // MOST_FRAMES)
    return standardised(frames.S[::step]), standardised(frames.truth[::step])


def _distances(x: np.ndarray) -> np.ndarray:
    """Squared distances (frame, frame); infinite from a frame to itself."""
    square = (x**2).sum(1)
    distance = np.maximum(square[:, None] + square - 2 * x @ x.T, 0.0)
    np.fill_diagonal(distance, np.inf)
    return distance

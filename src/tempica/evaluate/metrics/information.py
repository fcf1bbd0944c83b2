"""Metrics by mutual information: MIG, and the modularity and compactness of InfoMEC.

Information is that of histograms, 20 bins between the least and the largest value of each column, as in
disentanglement_lib (Locatello et al. 2019): I(s; t) = Σ p(a, b) ln p(a, b) / (p(a) p(b)), in nats. Histograms of few
frames find information in anything: read the value against its null. Nothing is fitted, and all given frames count.

Example:
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.uniform(size=(3000, 2))
    >>> found, turned = mig(truth, truth, n_null=2), mig(truth @ [[1, 1], [1, -1]], truth, n_null=2)
    >>> bool(found.value > 0.9), bool(turned.value < 0.1)
    (True, True)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tempica.evaluate.metrics.arrays import COLLAPSED, check_counts
from tempica.evaluate.metrics.explained import linear
from tempica.evaluate.metrics.measuring import Frames, Measured, Scorer, measured

BINS = 20


def mutual_information(S: np.ndarray, truth: np.ndarray, bins: int = BINS) -> np.ndarray:
    """I(s_i; t_j) in nats (n_components, n_truth) of the binned columns of S and truth, each (frame, column)."""
    a, b = binned(S, bins), binned(truth, bins)
    information = np.empty((a.shape[1], b.shape[1]))
    for i, j in np.ndindex(information.shape):
        joint = np.bincount(a[:, i] * bins + b[:, j], minlength=bins * bins).reshape(bins, bins) / len(a)
        apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        some = joint > 0
        information[i, j] = (joint[some] * np.log(joint[some] / apart[some])).sum()
    return information


def entropy(truth: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Entropy in nats (n_truth,) of the binned columns (frame, n_truth)."""
    shares = [np.bincount(column, minlength=bins) / len(truth) for column in binned(truth, bins).T]
    return np.array([-(p[p > 0] * np.log(p[p > 0])).sum() for p in shares])


def binned(values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Number of the bin (frame, column) of each value, of `bins` equal ones between the ends of each column."""
    low, high = values.min(0), values.max(0)
    width = np.where(high > low, high - low, 1.0)
    return np.minimum(((values - low) / width * bins).astype(np.int64), bins - 1)


def mig(
    S: Any, truth: Any, *, bins: int = BINS, replicas: Any = None, n_null: int = 20, random_state: int = 0
) -> Measured:
    """Mutual information gap: (I(s_(1); t_j) − I(s_(2); t_j)) / H(t_j), s_(1) and s_(2) the two that tell t_j most.

    Parameters:
        S: sources (frame, n_components); of a single one the second counts as 0.
        truth: (frame, n_truth); a column that does not vary counts as 0.
        bins: of each column.
        replicas: labels (frame,) in contiguous blocks; default one replica.
        n_null: draws of the null.
        random_state: seed.

    Raises DataError for arrays that do not fit together, non-finite values and too few frames.
    Source: Chen et al., NeurIPS 2018.
    """
    check_counts(bins=bins)

    def score(held: Frames) -> np.ndarray:
        best = np.sort(np.vstack([mutual_information(*held, bins), np.zeros(held.truth.shape[1])]), axis=0)
        return gaps(best, entropy(held.truth, bins))

    return measured(
        lambda _: score, S, truth, replicas=replicas, n_null=n_null, random_state=random_state, held_out=False
    )


def gaps(ordered: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Largest less second largest (n_truth,) of rows in increasing order, as a share of `total`; 0 where that is 0."""
    return np.asarray(np.where(total > 0, (ordered[-1] - ordered[-2]) / np.where(total > 0, total, 1.0), 0.0))


def infomec(
    S: Any,
    truth: Any,
    *,
    bins: int = BINS,
    replicas: Any = None,
    train: Any = None,
    n_null: int = 20,
    random_state: int = 0,
) -> dict[str, Measured]:
    """InfoMEC: "modularity", "explicitness" and "compactness", each 0 to 1.

    With N_ij = I(s_i; t_j) / H(t_j) over components that vary: modularity is the mean over components of
    max_j N_ij / Σ_j N_ij, and compactness the mean over truths of max_i N_ij / Σ_i N_ij, both put on a scale on which
    equal entries give 0, (x − 1/n) / (1 − 1/n). Explicitness is R² of the best affine map, held out, 0 where negative.

    Parameters:
        S: sources (frame, n_components).
        truth: (frame, n_truth).
        bins: of each column.
        replicas: labels (frame,) in contiguous blocks; default one replica.
        train: True (frame,) where the map of explicitness is fitted; default folds by replica.
        n_null: draws of the null.
        random_state: seed.

    Modularity of a single truth and compactness of a single component are 1: there is nothing to tell apart. Raises
    DataError for arrays that do not fit together, non-finite values and too few frames.
    Source: Hsu et al., NeurIPS 2023.
    """
    check_counts(bins=bins)

    def shares(held: Frames) -> np.ndarray:
        varies = np.ptp(held.S, axis=0) > COLLAPSED * np.abs(held.S).max(0)
        H = entropy(held.truth, bins)
        return mutual_information(held.S[:, varies], held.truth, bins) / np.where(H > 0, H, 1.0)

    def modularity(held: Frames) -> np.ndarray:
        return np.full(held.truth.shape[1], concentration(shares(held).T))

    def compactness(held: Frames) -> np.ndarray:
        return np.full(held.truth.shape[1], concentration(shares(held)))

    def explicitness(frames: Frames) -> Scorer:
        score = linear(frames)
        return lambda held: np.maximum(score(held), 0.0)

    common = {"replicas": replicas, "n_null": n_null, "random_state": random_state}
    return {
        "modularity": measured(lambda _: modularity, S, truth, held_out=False, **common),
        "explicitness": measured(explicitness, S, truth, train=train, **common),
        "compactness": measured(lambda _: compactness, S, truth, held_out=False, **common),
    }


def concentration(shares: np.ndarray) -> float:
    """Mean over columns of max/Σ (row, column), scaled so that equal entries give 0; empty columns are left out."""
    n, total = len(shares), shares.sum(0)
    if n < 2:
        return float(n)
    some = total > 0
    if not some.any():
        return 0.0
    return float(((shares.max(0)[some] / total[some]).mean() - 1 / n) / (1 - 1 / n))

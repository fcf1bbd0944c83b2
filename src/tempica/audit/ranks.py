"""How many directions the labels act on independently: what time-contrastive learning needs."""

from __future__ import annotations

import numpy as np

from tempica.audit.given import Given
from tempica.audit.results import Test
from tempica.series import spans

N_NULL = 40
N_PIECES = 8  # of each label, which noise is estimated from; whole stretches, as neighbours may be alike


def rank_test(S: np.ndarray, data: Given, rng: np.random.Generator) -> Test:
    """Rank of the natural parameters by label, by parallel analysis, and their condition number.

    Rows are labels, columns ½ ln σ² and the mean over the mean spread of each source in it, less those of all, weighted
    by the frames. A singular value counts while it exceeds what noise reaches in 95 of 100 cases: the largest singular
    value of half the difference between two halves of each label, whose noise is that of the whole.
    """
    assert data.labels is not None
    n = S.shape[1]
    piece = _pieces(data.labels)
    count = np.bincount(data.labels)
    weight = np.sqrt(count / count.sum())[:, None]
    found = np.linalg.svd(_centred(_parameters(S, data.labels), weight), compute_uv=False)
    noise = []
    for _ in range(N_NULL):
        half = _halved(rng, len(count))[data.labels, piece]
        one, other = (_parameters(S[half == side], data.labels[half == side]) for side in (0, 1))
        noise.append(np.linalg.svd(_centred(0.5 * (one - other), weight), compute_uv=False)[0])
    threshold = float(np.quantile(noise, 0.95))
    rank = int((found[:n] > threshold).sum())
    signal = np.sqrt(np.maximum(found[:n] ** 2 - np.mean(noise) ** 2, 0))
    condition = float(signal[0] / signal[-1]) if signal[-1] > 0 else float("inf")
    return Test(
        "rank",
        "Labels act on every source separately",
        rank >= n,
        f"The labels act on {rank} of {n} directions (singular values {', '.join(f'{v:.2f}' for v in found[:n])};"
        f" noise reaches {threshold:.2f}), with condition number {condition:.1f}.",
        float(rank),
        float(n),
        details={"singular_values": found, "threshold": threshold, "condition": condition, "rank": rank},
    )


def _parameters(S: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """½ ln σ² and standardised mean (label, 2n) of each source."""
    n, count = int(labels.max()) + 1, np.bincount(labels)
    mean = np.stack([np.bincount(labels, column, n) for column in S.T], axis=1) / count[:, None]
    square = np.stack([np.bincount(labels, column**2, n) for column in S.T], axis=1) / count[:, None]
    variance = np.maximum(square - mean**2, 1e-12)
    return np.concatenate([0.5 * np.log(variance), mean / np.sqrt(variance.mean(0))], axis=1)


def _centred(parameters: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return weight * (parameters - (weight**2 * parameters).sum(0))


def _pieces(labels: np.ndarray) -> np.ndarray:
    """Which eighth (frame,) of its label each frame lies in."""
    order = np.argsort(labels, kind="stable")
    start, length = spans(labels[order])
    piece = np.empty(len(labels), dtype=int)
    piece[order] = (np.arange(len(order)) - np.repeat(start, length)) * N_PIECES // np.repeat(length, length)
    return piece


def _halved(rng: np.random.Generator, n_labels: int) -> np.ndarray:
    """Half (label, piece) that each piece goes to, four of eight to either."""
    return rng.permuted(np.tile(np.arange(N_PIECES) % 2, (n_labels, 1)), axis=1)

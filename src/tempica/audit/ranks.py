"""How many directions the labels act on independently: what time-contrastive learning needs."""

from __future__ import annotations

import numpy as np

from tempica.audit.given import Given
from tempica.audit.results import Test

N_NULL = 99


def rank_test(S: np.ndarray, data: Given, rng: np.random.Generator) -> Test:
    """Rank of the natural parameters by label, by parallel analysis, and their condition number.

    Rows are labels, columns ln σ² and the mean over σ of each source in it, less those of all, weighted by the frames.
    A singular value counts while it exceeds the largest of 95 % of data whose labels were permuted.
    """
    assert data.labels is not None
    n = S.shape[1]
    found = _singular(S, data.labels)
    null = np.array([_singular(S, rng.permutation(data.labels)) for _ in range(N_NULL)])
    threshold = np.quantile(null, 0.95, axis=0)
    above = found > threshold[0]
    rank = int(above.argmin()) if not above.all() else len(found)
    rank = min(rank, n)
    signal = np.sqrt(np.maximum(found**2 - null.mean(0) ** 2, 0))
    condition = float(signal[0] / signal[n - 1]) if signal[n - 1] > 0 else float("inf")
    return Test(
        "rank",
        "Labels act on every source separately",
        rank >= n,
        f"The labels act on {rank} of {n} directions (singular values {', '.join(f'{v:.2f}' for v in found[:n])};"
        f" permuted labels reach {threshold[0]:.2f}), with condition number {condition:.1f}.",
        float(rank),
        float(n),
        details={"singular_values": found, "threshold": threshold, "condition": condition, "rank": rank},
    )


def _singular(S: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Singular values of the weighted parameters (label, 2n), largest first."""
    n = int(labels.max()) + 1
    count = np.bincount(labels, minlength=n)
    mean = np.stack([np.bincount(labels, column, n) for column in S.T], axis=1) / count[:, None]
    square = np.stack([np.bincount(labels, column**2, n) for column in S.T], axis=1) / count[:, None]
    variance = np.maximum(square - mean**2, 1e-12)
    parameters = np.concatenate([np.log(variance) / np.sqrt(2), mean / np.sqrt(variance.mean(0))], axis=1)
    weight = np.sqrt(count / count.sum())[:, None]
    centred = parameters - (weight**2 * parameters).sum(0)
    return np.linalg.svd(weight * centred, compute_uv=False)

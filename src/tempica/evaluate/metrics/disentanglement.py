"""DCI and SAP: whether each component tells one truth, and each truth is told by one component.

Example:
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.uniform(size=(400, 2))
    >>> found = dci(truth, truth, train=np.arange(400) < 200, n_null=1)
    >>> bool(found["disentanglement"].value > 0.8), bool(found["completeness"].value > 0.8)
    (True, True)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tempica.evaluate.metrics.arrays import standardised
from tempica.evaluate.metrics.explained import explained
from tempica.evaluate.metrics.information import gaps
from tempica.evaluate.metrics.measuring import Frames, Measured, Scorer, measured, measured_parts

N_TREES = 30


def dci(
    S: Any,
    truth: Any,
    *,
    replicas: Any = None,
    train: Any = None,
    n_null: int = 10,
    random_state: int = 0,
) -> dict[str, Measured]:
    """DCI: "disentanglement", "completeness" and "informativeness".

    A random forest predicts each truth from all components; P_ij ≥ 0 is the importance of component i for truth j.
    Disentanglement is Σ_i ρ_i (1 − H(P_i·)), H the entropy of the row, divided by its sum, in units of ln n_truth, and
    ρ_i the row's share of all importance. Completeness is the same of columns. Informativeness is R² held out.

    Parameters:
        S: sources (frame, n_components).
        truth: (frame, n_truth).
        replicas: labels (frame,) in contiguous blocks; default one replica.
        train: True (frame,) where forests grow; default folds by replica.
        n_null: draws of the null.
        random_state: seed.

    Disentanglement of a single truth and completeness of a single component are 1. Both are of the fit alone, so that
    their intervals have no width where `train` is given. Raises DataError for arrays that do not fit together,
    non-finite values and too few frames. Source: Eastwood & Williams, ICLR 2018; weights as in disentanglement_lib.
    """

    def fitted(frames: Frames) -> Scorer:
        models = _forests(frames)
        P = np.stack([model.feature_importances_ for model in models], 1)
        both = disentanglement(P), disentanglement(P.T)

        def score(held: Frames) -> np.ndarray:
            told = explained(held.truth, np.stack([model.predict(held.S) for model in models], 1))
            return np.stack([*(np.full(len(told), value) for value in both), told])

        return score

    names = ("disentanglement", "completeness", "informativeness")
    return measured_parts(
        fitted, names, S, truth, replicas=replicas, train=train, n_null=n_null, random_state=random_state
    )


def disentanglement(P: np.ndarray) -> float:
    """Σ_i ρ_i (1 − H(P_i·)) of importance P (row, column)."""
    n = P.shape[1]
    if n < 2:
        return 1.0
    p = (P + 1e-11) / (P + 1e-11).sum(1, keepdims=True)
    each = 1 + (p * np.log(p)).sum(1) / np.log(n)
    total = P.sum()
    weight = P.sum(1) / total if total > 0 else np.full(len(P), 1 / len(P))
    return float(weight @ each)


def sap(S: Any, truth: Any, *, replicas: Any = None, n_null: int = 20, random_state: int = 0) -> Measured:
    """Separated attribute predictability: r²_(1) − r²_(2), the two largest squared correlations of t_j with components.

    Parameters:
        S: sources (frame, n_components); of a single one the second counts as 0.
        truth: (frame, n_truth).
        replicas: labels (frame,) in contiguous blocks; default one replica.
        n_null: draws of the null.
        random_state: seed.

    Raises DataError for arrays that do not fit together, non-finite values and too few frames.
    Source: Kumar et al., ICLR 2018, for continuous factors.
    """

    def score(held: Frames) -> np.ndarray:
        square = (standardised(held.S).T @ standardised(held.truth) / len(held.S)) ** 2
        return gaps(np.sort(np.vstack([square, np.zeros(square.shape[1])]), axis=0), np.ones(square.shape[1]))

    return measured(
        lambda _: score, S, truth, replicas=replicas, n_null=n_null, random_state=random_state, held_out=False
    )


def _forests(frames: Frames) -> list[Any]:
    from sklearn.ensemble import RandomForestRegressor

    few = {"n_estimators": N_TREES, "max_depth": 8, "min_samples_leaf": 5}
    return [RandomForestRegressor(random_state=0, **few).fit(frames.S, t) for t in frames.truth.T]

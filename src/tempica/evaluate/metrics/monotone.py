"""MCC by monotone fit: what is left of the correlation once a component may be bent, but not turned back.

Example:
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.laplace(size=(800, 2))
    >>> round(monotone_mcc(-np.tanh(truth[:, ::-1]), truth, n_null=5).value, 2)
    1.0
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tempica.evaluate.metrics.arrays import standardised
from tempica.evaluate.metrics.matching import assign
from tempica.evaluate.metrics.measuring import Frames, Measured, Scorer, measured
from tempica.evaluate.metrics.rotations import fit_subspace


def monotone_mcc(
    S: Any,
    truth: Any,
    *,
    align: bool = False,
    replicas: Any = None,
    train: Any = None,
    n_null: int = 20,
    random_state: int = 0,
) -> Measured:
    """Mean over truth columns of |corr(t_j, g_j(s_σ(j)))|, Pearson, on frames held out; unmatched columns count as 0.

    σ matches by Spearman correlation, and g_j is the isotonic (or antitonic) least-squares fit of t_j, both on the
    frames that are fitted. Unlike a Spearman correlation this weighs the truth by its own values.

    Parameters:
        S: sources (frame, n_components).
        truth: (frame, n_truth).
        align: whether S goes through the best affine map onto the truth first.
        replicas: labels (frame,) in contiguous blocks; default one replica.
        train: True (frame,) where something is fitted; default folds by replica.
        n_null: draws of the null.
        random_state: seed.

    `measuring` says what null, interval and folds are. Raises DataError for arrays that do not fit together, non-finite
    values and too few frames. Source of the fit: Barlow et al. 1972 (pool adjacent violators), by scikit-learn.
    """
    return measured(
        _aligned if align else _matched,
        S,
        truth,
        replicas=replicas,
        train=train,
        n_null=n_null,
        random_state=random_state,
    )


def _matched(frames: Frames) -> Scorer:
    from sklearn.isotonic import IsotonicRegression

    ranked = standardised(frames.S, "spearman").T @ standardised(frames.truth, "spearman") / len(frames.S)
    matching, bends = assign(ranked), []
    for j, i in enumerate(matching):
        bend = IsotonicRegression(increasing=bool(ranked[i, j] >= 0), out_of_bounds="clip")
        bends.append(bend.fit(frames.S[:, i], frames.truth[:, j]) if i >= 0 else None)

    def score(held: Frames) -> np.ndarray:
        fitted = np.stack(
            [
                np.zeros(len(held.S)) if bend is None else bend.predict(held.S[:, i])
                for bend, i in zip(bends, matching, strict=True)
            ],
            1,
        )
        return np.abs((standardised(fitted) * standardised(held.truth)).mean(0))

    return score


def _aligned(frames: Frames) -> Scorer:
    subspace = fit_subspace(*frames)
    score = _matched(Frames(subspace.aligned(frames.S), frames.truth))
    return lambda held: score(Frames(subspace.aligned(held.S), held.truth))

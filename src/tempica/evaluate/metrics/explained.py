"""How much of the truth the components tell, whatever their axes: R², and the error in degrees that is left.

Example:
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.uniform(-1, 1, size=(600, 2))
    >>> S = np.stack([truth.sum(1), truth[:, 0] - truth[:, 1] ** 3], 1)
    >>> straight = r2(S, truth, n_null=5)
    >>> bent = r2(S, truth, kind="nonlinear", train=np.arange(600) < 400, n_null=1)
    >>> bool(straight.value < bent.value)
    True
    >>> bool(straight.value > straight.null_95)
    True
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from tempica.errors import DataError
from tempica.evaluate.metrics.arrays import COLLAPSED, standardised
from tempica.evaluate.metrics.matching import assign
from tempica.evaluate.metrics.measuring import Frames, Measured, Scorer, measured
from tempica.evaluate.metrics.rotations import fit_subspace


def r2(
    S: Any,
    truth: Any,
    *,
    kind: Literal["linear", "nonlinear"] = "linear",
    replicas: Any = None,
    train: Any = None,
    n_null: int = 20,
    random_state: int = 0,
) -> Measured:
    """R² = 1 − Σ(t − t̂)² / Σ(t − t̄)² of each truth column, t̂ predicted from all components, on frames held out.

    Parameters:
        S: sources (frame, n_components).
        truth: (frame, n_truth).
        kind: "linear" (least squares) or "nonlinear" (gradient-boosted trees of scikit-learn).
        replicas: labels (frame,) in contiguous blocks; default one replica.
        train: True (frame,) where t̂ is fitted; default folds by replica.
        n_null: draws of the null.
        random_state: seed.

    Negative where the prediction is worse than the mean; 0 for a truth that does not vary. `measuring` says what null,
    interval and folds are. Raises DataError for arrays that do not fit together, non-finite values, too few frames, and
    an unknown kind.
    """
    if kind not in ("linear", "nonlinear"):
        raise DataError(f"kind = {kind!r} must be 'linear' or 'nonlinear'.")
    fitted = linear if kind == "linear" else trees
    return measured(fitted, S, truth, replicas=replicas, train=train, n_null=n_null, random_state=random_state)


def angle_error(
    S: Any,
    truth: Any,
    *,
    axes: bool = True,
    unit: Literal["rad", "deg"] = "rad",
    replicas: Any = None,
    train: Any = None,
    n_null: int = 20,
    random_state: int = 0,
) -> Measured:
    """Median |t − t̂| in degrees of each truth column, an angle, on frames held out; less is better.

    Parameters:
        S: sources (frame, n_components).
        truth: angles (frame, n_truth).
        axes: True: t̂_j = a_j s_σ(j) + b_j of the one matched component; False: the best affine map of all of them.
            The difference is what the axes cost.
        unit: of the truth.
        replicas: labels (frame,) in contiguous blocks; default one replica.
        train: True (frame,) where matching and map are fitted; default folds by replica.
        n_null: draws of the null.
        random_state: seed.

    Raises DataError as `r2` does, and for an unknown unit.
    """
    if unit not in ("rad", "deg"):
        raise DataError(f"unit = {unit!r} must be 'rad' or 'deg'.")
    scale = np.degrees(1.0) if unit == "rad" else 1.0

    def fitted(frames: Frames) -> Scorer:
        predict = _matched_line(frames) if axes else fit_subspace(*frames).aligned
        return lambda held: scale * np.median(np.abs(held.truth - predict(held.S)), axis=0)

    return measured(
        fitted,
        S,
        truth,
        replicas=replicas,
        train=train,
        n_null=n_null,
        random_state=random_state,
        less_is_better=True,
    )


def linear(frames: Frames) -> Scorer:
    """R² of the best affine map."""
    subspace = fit_subspace(*frames)
    return lambda held: subspace.r2(*held)


def trees(frames: Frames) -> Scorer:
    """R² of gradient-boosted trees, one ensemble a truth column."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    few = {"max_iter": 60, "learning_rate": 0.15, "min_samples_leaf": max(5, min(20, len(frames.S) // 20))}
    models = [HistGradientBoostingRegressor(random_state=0, **few).fit(frames.S, t) for t in frames.truth.T]
    return lambda held: explained(held.truth, np.stack([model.predict(held.S) for model in models], 1))


def explained(truth: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """R² (n_truth,) of estimates; 0 for a truth that does not vary."""
    total = ((truth - truth.mean(0)) ** 2).sum(0)
    moves = np.ptp(truth, axis=0) > COLLAPSED * np.abs(truth).max(0)
    return np.where(moves, 1 - ((truth - estimate) ** 2).sum(0) / np.where(moves, total, 1.0), 0.0)


def _matched_line(frames: Frames):
    """The function from components to the truth by one matched component each."""
    z_S, z_truth = standardised(frames.S), standardised(frames.truth)
    matching = assign(z_S.T @ z_truth / len(z_S))
    lines = [
        fit_subspace(frames.S[:, [i]] if i >= 0 else np.ones((len(z_S), 1)), frames.truth[:, [j]])
        for j, i in enumerate(matching)
    ]

    def predict(S: np.ndarray) -> np.ndarray:
        return np.concatenate([line.aligned(S[:, [max(i, 0)]]) for line, i in zip(lines, matching, strict=True)], 1)

    return predict

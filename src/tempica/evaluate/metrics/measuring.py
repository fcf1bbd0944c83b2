"""How every metric but the MCC gets its null and its interval: the same statistic on other truths and on fewer frames.

A statistic is fitted to some frames, S (frame, n_components) and truth (frame, n_truth), and returns the function that
scores others, one value a truth column (n_truth,).

Held out: with `train` (True where something is fitted) the other frames are scored. Without it each replica is scored
by what was fitted on the others, or, of one replica, each fifth by the other four; the value is the mean over folds,
by number of frames.

Null: the whole procedure, fits included, with an unrelated truth that is as slow (as `MCC` describes it).

Interval: 95 %, value ± t s, with s² = (K − 1)/K Σ_k (v_k − v̄)² of the values v_k without the k-th of K = 10 stretches
of scored frames, fits kept (delete-block jackknife; Künsch 1989), t of K − 1 degrees of freedom. It holds where a
stretch is long beside the correlation time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tempica.errors import DataError
from tempica.evaluate.metrics.arrays import LEAST_FRAMES, check_counts, checked, split, standardised
from tempica.evaluate.metrics.chance import MANY_TIMES, correlation_time, meetings, surrogates
from tempica.series import check_replicas, spans

N_FOLDS = 5
N_STRETCHES = 10
LEAST_FITTED = 30  # frames, of which a fifth can be held out, and a tenth of that left out
T_975 = 2.2622  # Student's, of N_STRETCHES − 1 degrees of freedom


class Frames(NamedTuple):
    """Frames that are fitted on, or scored."""

    S: np.ndarray  # (frame, n_components)
    truth: np.ndarray  # (frame, n_truth)


Scorer = Callable[[Frames], np.ndarray]
Statistic = Callable[[Frames], Scorer]
Masks = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric with what it must be read against.

    Attributes:
        value: mean over truth columns.
        each: (n_truth,) value of each.
        null: mean of `null_values`.
        null_95: what 95 % of them do not reach, their 95th percentile, or 5th where less is better.
        interval: 95 % jackknife interval of the value.
        null_values: (n_null,) values for unrelated truths that are as slow.
    """

    value: float
    each: np.ndarray
    null: float
    null_95: float
    interval: tuple[float, float]
    null_values: np.ndarray


def measured(
    statistic: Statistic,
    S: Any,
    truth: Any,
    *,
    replicas: Any = None,
    train: Any = None,
    n_null: int = 20,
    random_state: int = 0,
    less_is_better: bool = False,
    held_out: bool = True,
) -> Measured:
    """Value, null and interval of a statistic.

    Parameters:
        statistic: what is measured.
        S: sources (frame, n_components); columns that are absent (all NaN) are left out.
        truth: (frame, n_truth).
        replicas: labels (frame,) in contiguous blocks; default one replica.
        train: True (frame,) where something is fitted; None for folds.
        n_null: draws of the null.
        random_state: seed.
        less_is_better: whether low values are good.
        held_out: whether something is fitted; without it all frames are scored at once where `train` is None.

    Raises DataError for arrays that do not fit together, non-finite values, too few frames, or no component at all.
    """

    def one(frames: Frames) -> Scorer:
        score = statistic(frames)
        return lambda held: score(held)[None]

    told = measured_parts(
        one, ("value",), S, truth, replicas=replicas, train=train, n_null=n_null, random_state=random_state,
        less_is_better=less_is_better, held_out=held_out,
    )  # fmt: skip
    return told["value"]


def measured_parts(
    statistic: Statistic,
    names: tuple[str, ...],
    S: Any,
    truth: Any,
    *,
    replicas: Any,
    train: Any,
    n_null: int,
    random_state: int,
    less_is_better: bool = False,
    held_out: bool = True,
) -> dict[str, Measured]:
    """As `measured`, of a statistic that scores several things at once, (part, n_truth), by their names."""
    S, truth = checked(S, truth)
    check_counts(n_null=n_null)
    labels = check_replicas(replicas, len(S))
    S = S[:, ~np.isnan(S).any(0)]
    if S.shape[1] == 0:
        raise DataError("S has no component that is present; every column is NaN. Give at least one.")
    if len(S) < LEAST_FITTED:
        raise DataError(f"S and truth have {len(S)} frames; at least {LEAST_FITTED} are needed. Give more.")
    mask, rest = split(train, len(S))
    masks = [(mask, rest)] if train is not None or not held_out else list(folds(labels))
    rng = np.random.default_rng(random_state)
    scorers = _fitted(statistic, S, truth, masks)
    each = _value(scorers, S, truth, masks)
    drawn = np.array(
        [
            _value(_fitted(statistic, S, other, masks), S, other, masks).mean(1)
            for other in unrelated(truth, labels, n_null, rng)
        ]
    )
    half = T_975 * _jackknife(scorers, S, truth, masks)
    reached = np.percentile(drawn, 5 if less_is_better else 95, axis=0)
    return {
        name: Measured(
            float(each[k].mean()),
            each[k],
            float(drawn[:, k].mean()),
            float(reached[k]),
            (float(each[k].mean() - half[k]), float(each[k].mean() + half[k])),
            drawn[:, k],
        )
        for k, name in enumerate(names)
    }


def folds(labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks of frames that are fitted on, and of those that are scored: replicas, or the fifths of a single one."""
    _, length = spans(labels)
    group = labels if len(length) > 1 else np.arange(len(labels)) * N_FOLDS // len(labels)
    groups = np.unique(group)
    if len(groups) > N_FOLDS:
        group, groups = group * N_FOLDS // len(groups), np.arange(N_FOLDS)
    for one in groups:
        yield group != one, group == one


def unrelated(truth: np.ndarray, labels: np.ndarray, n_draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield, n_draws times, a truth (frame, n_truth) that is as slow, and unrelated."""
    start, length = spans(labels)
    z = standardised(truth)
    time = correlation_time(z, start, length)
    if len(z) < MANY_TIMES * time:
        for drawn in surrogates(z, start, length, n_draws, rng):
            yield truth.mean(0) + truth.std(0) * drawn
        return
    for draw in meetings(start, length, time, n_draws, rng):
        yield truth[draw.frames(start, length)]


def _fitted(statistic: Statistic, S: np.ndarray, truth: np.ndarray, masks: Masks) -> list[Scorer]:
    return [statistic(Frames(S[fitted], truth[fitted])) for fitted, _ in masks]


def _value(scorers: list[Scorer], S: np.ndarray, truth: np.ndarray, masks: Masks) -> np.ndarray:
    """Values (part, n_truth): means over folds, by their numbers of scored frames."""
    weight = np.array([float(scored.sum()) for _, scored in masks])
    values = [scorer(Frames(S[scored], truth[scored])) for scorer, (_, scored) in zip(scorers, masks, strict=True)]
    return np.asarray(np.tensordot(weight / weight.sum(), np.array(values), 1))


def _jackknife(scorers: list[Scorer], S: np.ndarray, truth: np.ndarray, masks: Masks) -> np.ndarray:
    """Standard errors (part,) of the values, from values without one of ten stretches each of the scored frames."""
    ever = np.any([scored for _, scored in masks], axis=0)
    stretch = np.full(len(S), -1)
    stretch[ever] = np.arange(ever.sum()) * N_STRETCHES // ever.sum()
    values = []
    for k in range(N_STRETCHES):
        left = [(scorer, (a, b & (stretch != k))) for scorer, (a, b) in zip(scorers, masks, strict=True)]
        left = [(scorer, masked) for scorer, masked in left if masked[1].sum() >= LEAST_FRAMES]
        values.append(_value([scorer for scorer, _ in left], S, truth, [masked for _, masked in left]).mean(1))
    spread = np.square(np.array(values) - np.mean(values, 0)).sum(0)
    return np.asarray(np.sqrt((N_STRETCHES - 1) / N_STRETCHES * spread))

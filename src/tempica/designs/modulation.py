"""What labels do to sources: rank and condition of the modulation, and which labels (delays) tell the most.

For white sources y and labels u, let m_i(u) and v_i(u) be mean and variance of y_i under a label. In units of their
own deviation within labels, w_i(u) = ((m_i(u) − m̄_i)/√v̄_i, ½ √2 (ln v_i(u) − mean)) are the source's natural
parameters to first order, of which each unit costs half a nat a frame. TCL and iVAE need the columns w_1 … w_n to be
linearly independent (Hyvärinen & Morioka 2016; Khemakhem et al. 2020); their condition says how nearly they are not.

Shape legend: F frame, U label, n source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SURE = 3.0  # of what sampling makes of a column of no modulation, from which on a singular value counts


@dataclass(frozen=True)
class Modulation:
    """How labels act on sources."""

    n_labels: int
    rank: int
    n_sources: int
    condition: float  # of columns of unit length; inf where the rank is too low
    chosen: tuple[tuple[tuple[int, ...], float], ...]  # few labels that tell the most, with their condition


def modulation(y: np.ndarray, labels: np.ndarray, *, ordered: bool) -> Modulation:
    """Of white sources y (F, n) and labels (F,); `ordered` labels (delays) are searched for the few that suffice."""
    names, number = np.unique(labels, return_inverse=True)
    columns = parameters(y, number, len(names))
    n = y.shape[1]
    value = np.linalg.svd(columns, compute_uv=False)
    chance = np.sqrt(len(names) * 2 / (len(y) / len(names)))  # two parameters a label, each of error 1/√frames
    rank = int((value > SURE * chance).sum())
    chosen = []
    if ordered and rank == n:
        for k in dict.fromkeys((n + 1, 2 * n + 1)):
            if k < len(names):
                best = most_telling(columns, len(names), k)
                chosen.append((tuple(names[best].tolist()), condition(_of(columns, best, len(names)))))
    return Modulation(len(names), rank, n, condition(columns) if rank == n else np.inf, tuple(chosen))


def parameters(y: np.ndarray, number: np.ndarray, n_labels: int) -> np.ndarray:
    """Columns w (2 U, n), means first."""
    count = np.bincount(number, minlength=n_labels)[:, None]
    mean, square = (
        np.stack([np.bincount(number, column, n_labels) for column in values.T], 1) / count for values in (y, y**2)
    )
    variance = np.maximum(square - mean**2, 1e-12)
    share = count / count.sum()
    within = (share * variance).sum(0)
    log = np.log(variance)
    first, second = (mean - (share * mean).sum(0)) / np.sqrt(within), np.sqrt(0.5) * (log - (share * log).sum(0))
    return np.concatenate([first, second])


def condition(columns: np.ndarray) -> float:
    """Of columns (…, n) scaled to unit length: the largest singular value over the least."""
    value = np.linalg.svd(columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-300), compute_uv=False)
    return float(value[0] / value[-1]) if value[-1] > 1e-9 * value[0] else np.inf


def most_telling(columns: np.ndarray, n_labels: int, k: int) -> np.ndarray:
    """Numbers (k,) of the labels at which, frames shared equally, det Σ (w − w̄)(w − w̄)ᵀ is largest, by exchange."""

    def worth(some: list[int]) -> float:
        part = _of(columns, np.array(some), n_labels)
        return float(np.linalg.slogdet(part.T @ part / len(some) + 1e-12 * np.eye(part.shape[1]))[1])

    some = np.unique(np.linspace(0, n_labels - 1, k).astype(int)).tolist()
    best, improved = worth(some), True
    while improved:
        improved = False
        for place in range(len(some)):
            for label in range(n_labels):
                if label in some:
                    continue
                trial = [*some[:place], label, *some[place + 1 :]]
                if (found := worth(trial)) > best + 1e-9:
                    some, best, improved = trial, found, True
    return np.array(sorted(some))


def _of(columns: np.ndarray, some: np.ndarray, n_labels: int) -> np.ndarray:
    """Columns (2 k, n) of some labels, about their own mean."""
    parts = columns.reshape(2, n_labels, -1)[:, some]
    return (parts - parts.mean(1, keepdims=True)).reshape(2 * len(some), -1)

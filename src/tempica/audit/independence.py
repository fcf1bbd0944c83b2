"""Whether recovered sources are independent: of one another, in their innovations, and given the label."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from tempica.audit.given import Given
from tempica.audit.results import Test
from tempica.series import pairs, spans

N_WAVES = 5  # functions cos(kπu) of ranks u, for each source
N_NULL = 99


def independence_test(S: np.ndarray, data: Given, rng: np.random.Generator, n_null: int = N_NULL) -> Test:
    """Dependence between the recovered sources: an assumption of every theorem, and what a wrong map leaves behind.

    It is compared with `n_null` shifted series.

    `details` holds two kinds of it, each beyond what shifted series reach. leak: correlation of a source with the best
    function of another; a map that bends or mixes sources leaves that. coupling: dependence that is no such leak, in
    spread say, at the same time or from a frame to the next; no map mends that.
    """
    n = S.shape[1]
    if n < 2:
        return Test("independence", "Sources are independent", None, "One source has nothing to depend on.")
    waves = [_waves(column, data) for column in S.T]
    here = list(combinations(range(n), 2))
    plain = np.arange(len(S))
    found, leaks = _measured(waves, waves, here, plain)
    null = [_measured(waves, waves, here, _moved(data, rng)) for _ in range(n_null)]
    threshold = float(np.quantile([each.max() for each, _ in null], 0.99))
    leak_null = float(np.quantile([each.max() for _, each in null], 0.95))
    leak = np.sqrt(np.maximum(0, leaks**2 - leak_null**2))
    coupling = _coupling(found, leaks, threshold)
    largest, from_past = float(found.max()), 0.0
    if data.timed:
        past, past_null = _from_past(S, waves, leaks, data, rng)
        from_past = _excess(past, past_null)
    i, j = here[int(found.argmax())]
    given = " given the label" if data.labels is not None else ""
    p = float((1 + sum(each.max() >= largest for each, _ in null)) / (1 + n_null))
    coupled = max(coupling, from_past)
    words = f"Sources {i} and {j} depend on one another most{given}: functions of them correlate at {largest:.3f}"
    words += f", where independent ones reach {threshold:.3f}."
    if coupled > TOLERATED:
        words += f" It is no leak of one into the other: they are coupled ({coupled:.2f})."
    elif leak.max() > TOLERATED:
        words += f" One leaks into the other ({leak.max():.2f})."
    return Test(
        "independence",
        "Sources are independent",
        max(coupled, float(leak.max())) < TOLERATED,
        words,
        largest,
        threshold,
        p,
        details={"leak": leak, "coupling": coupling, "from_past": from_past},
    )


TOLERATED = 0.2  # correlation beyond chance of functions of two sources: 4 % of a variance
AMPLIFIED = 1.5  # how much more than a leak the best functions of both of two leaking sources correlate, at most


def _measured(
    one: list[np.ndarray], other: list[np.ndarray], which: list[tuple[int, int]], moved: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Canonical correlation (pair,), and correlation of either source with functions of the other, the larger."""
    canonical, leak = np.empty(len(which)), np.empty(len(which))
    for k, (i, j) in enumerate(which):
        cross = one[i].T @ other[j][moved] / len(moved)
        canonical[k] = np.linalg.svd(cross, compute_uv=False)[0]
        # cos πu is all but the source itself, in ranks
        leak[k] = max(np.linalg.norm(cross[0]), np.linalg.norm(cross[:, 0]))
    return canonical, leak


def _coupling(found: np.ndarray, leaks: np.ndarray, threshold: float) -> float:
    """Largest dependence that leaks do not explain, where it exceeds chance."""
    rest = np.sqrt(np.maximum(0, found**2 - (AMPLIFIED * leaks) ** 2))
    return float(np.max(np.where(found > threshold, rest, 0)))


def _excess(value: float, threshold: float) -> float:
    return float(np.sqrt(max(0.0, value**2 - threshold**2)))


def _from_past(
    S: np.ndarray, waves: list[np.ndarray], leaks: np.ndarray, data: Given, rng: np.random.Generator
) -> tuple[float, float]:
    """Largest correlation of functions of an innovation with functions of another source's past, and of chance."""
    first = pairs(data.replicas, data.lag)
    new = innovations(S, data)
    moves = [_waves(column, None) for column in new.T]
    n = S.shape[1]
    which = [(i, j) for i in range(n) for j in range(n) if i != j]
    now, _ = _measured(moves, [each[first] for each in waves], which, np.arange(len(first)))
    null = []
    for _ in range(N_NULL // 3):
        offset = int(rng.integers(len(first) // 10 + 1, max(len(first) // 10 + 2, len(first) - len(first) // 10)))
        moved = (np.arange(len(first)) + offset) % len(first)
        null.append(_measured(moves, [each[first] for each in waves], which, moved)[0].max())
    # what leaks of one into the other make of their own dynamics is no coupling
    return float(np.sqrt(max(0.0, now.max() ** 2 - (AMPLIFIED * leaks.max()) ** 2))), float(np.max(null))


def _waves(column: np.ndarray, data: Given | None) -> np.ndarray:
    """Functions cos(kπu) (frame, 5), k = 1 … 5, of a source's ranks u, within each label where there are labels."""
    u = np.empty(len(column))
    if data is None or data.labels is None:
        u[np.argsort(column, kind="stable")] = (np.arange(len(column)) + 0.5) / len(column)
    else:
        order = np.lexsort((column, data.labels))
        start, length = spans(data.labels[order])
        u[order] = (np.arange(len(order)) - np.repeat(start, length) + 0.5) / np.repeat(length, length)
    waves = np.cos(np.pi * np.outer(u, np.arange(1, N_WAVES + 1)))
    return (waves - waves.mean(0)) / waves.std(0)


def _moved(data: Given, rng: np.random.Generator) -> np.ndarray:
    """Rows (frame,) moved round their replica by a random offset; snapshots are permuted within their label."""
    rows = np.arange(len(data.X))
    if not data.timed and data.labels is not None:
        order = np.argsort(data.labels, kind="stable")
        shuffled = np.lexsort((rng.random(len(rows)), data.labels))
        moved = np.empty_like(rows)
        moved[order] = shuffled
        return moved
    start, length = spans(data.replicas)
    least = np.maximum(1, length // 10)
    offset = rng.integers(least, np.maximum(least + 1, length - least))
    within = rows - start[data.replicas]
    return start[data.replicas] + (within + offset[data.replicas]) % length[data.replicas]


def innovations(S: np.ndarray, data: Given) -> np.ndarray:
    """What functions of a source's own past do not predict of it (pair, component)."""
    first = pairs(data.replicas, data.lag)
    found = []
    for column in S.T:
        basis = np.c_[np.ones(len(first)), column[first], _waves(column, data)[first]]
        there = column[first + data.lag]
        found.append(there - basis @ np.linalg.lstsq(basis, there, rcond=None)[0])
    return np.stack(found, axis=1)

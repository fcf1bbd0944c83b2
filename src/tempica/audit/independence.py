"""Whether recovered sources are independent: of one another, of one another's past, and given the label."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from tempica.audit.given import Given
from tempica.audit.results import Test
from tempica.series import pairs, spans

N_WAVES = 5  # functions cos(kπu) of ranks u, for each source
N_NULL = 99
TOLERATED = 0.2  # correlation beyond chance of functions of two sources: 4 % of a variance
AMPLIFIED = 2.0  # times a leak: what the best functions of both of two leaking sources correlate at, at most (measured)
CLEAN = 0.1  # correlation of functions of two sources, beyond chance, up to which a map has nothing left to undo


@dataclass(frozen=True)
class Dependence:
    """How sources depend on one another.

    largest: canonical correlation of functions of two sources, of the pair where it is largest; null: what shifted
    series reach in 99 of 100 cases; p of it. leak (n, n): correlation of source i with the best function of source j,
    beyond chance: what a map leaves that bends or mixes sources. coupling, from_past: dependence that is no leak, in
    spread say, at the same time and from another source's past to an innovation; no map mends that.
    """

    pair: tuple[int, int]
    largest: float
    null: float
    p: float
    leak: np.ndarray
    coupling: float
    from_past: float

    @property
    def clean(self) -> bool:
        """Whether a map has left no dependence to undo, to what so many frames can show."""
        return max(0.0, self.largest**2 - self.null**2) < CLEAN**2

    @property
    def coupled(self) -> float:
        """The larger of both kinds of coupling."""
        return max(self.coupling, self.from_past)


def measure(S: np.ndarray, data: Given, rng: np.random.Generator, n_null: int = N_NULL) -> Dependence:
    """Dependence of sources (frame, n), against series shifted in time, or frames permuted within their label."""
    n = S.shape[1]
    if n < 2:
        return Dependence((0, 0), 0.0, 0.0, 1.0, np.zeros((n, n)), 0.0, 0.0)
    waves = [_waves(column, data.labels) for column in S.T]
    found, leaks = _correlations(waves, waves)
    null = []
    for _ in range(n_null):
        moved = _moved(data, rng)
        null.append(_correlations(waves, [each[moved] for each in waves]))
    largest, leak_null = (np.array([each[kind].max() for each in null]) for kind in (0, 1))
    threshold = float(np.quantile(largest, 0.99))
    leak = np.sqrt(np.maximum(0, leaks**2 - np.quantile(leak_null, 0.95) ** 2))
    both = np.maximum(leaks, leaks.T)
    rest = np.sqrt(np.maximum(0, found**2 - (AMPLIFIED * both) ** 2))
    i, j = np.unravel_index(int(found.argmax()), found.shape)
    return Dependence(
        (int(min(i, j)), int(max(i, j))),
        float(found.max()),
        threshold,
        float((1 + (largest >= found.max()).sum()) / (1 + n_null)),
        leak,
        float(np.max(np.where(found > threshold, rest, 0))),
        _from_past(S, waves, float(leaks.max()), data, rng) if data.timed else 0.0,
    )


def independence_test(found: Dependence, data: Given) -> Test:
    """An assumption of every theorem, and what tells a wrong map."""
    title = "Sources are independent"
    if len(found.leak) < 2:
        return Test("independence", title, None, "One source has nothing to depend on.")
    i, j = found.pair
    given = " given the label" if data.labels is not None else ""
    words = f"Sources {i} and {j} depend on one another most{given}: functions of them correlate at {found.largest:.3f}"
    words += f", where independent ones reach {found.null:.3f} in one of 100 cases."
    leak = float(found.leak.max())
    if found.coupled > TOLERATED:
        words += f" It is no leak of one into the other: they are coupled ({found.coupled:.2f})."
    elif leak > TOLERATED:
        words += f" One leaks into another ({leak:.2f})."
    details = {"leak": found.leak, "coupling": found.coupling, "from_past": found.from_past}
    passed = max(found.coupled, leak) < TOLERATED
    return Test("independence", title, passed, words, found.largest, found.null, found.p, details=details)


def innovations(S: np.ndarray, data: Given) -> np.ndarray:
    """What functions of a source's own past do not predict of it (pair, component)."""
    first = pairs(data.replicas, data.lag)
    found = []
    for column in S.T:
        basis = np.c_[np.ones(len(first)), column[first], _waves(column, None)[first]]
        there = column[first + data.lag]
        found.append(there - basis @ np.linalg.lstsq(basis, there, rcond=None)[0])
    return np.stack(found, axis=1)


def _waves(column: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Functions cos(kπu) (frame, 5), k = 1 … 5, of a source's ranks u, within each label where there are labels."""
    u = np.empty(len(column))
    if labels is None:
        u[np.argsort(column, kind="stable")] = (np.arange(len(column)) + 0.5) / len(column)
    else:
        order = np.lexsort((column, labels))
        start, length = spans(labels[order])
        u[order] = (np.arange(len(order)) - np.repeat(start, length) + 0.5) / np.repeat(length, length)
    waves = np.cos(np.pi * np.outer(u, np.arange(1, N_WAVES + 1)))
    return (waves - waves.mean(0)) / waves.std(0)


def _correlations(one: list[np.ndarray], other: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Canonical correlation (n, n) of functions of two sources, and correlation of i with functions of j; 0 for i = j.

    Functions of ranks are uncorrelated as they are, and cos πu is all but the source itself.
    """
    n = len(one)
    canonical, leak = np.zeros((n, n)), np.zeros((n, n))
    for i, j in permutations(range(n), 2):
        cross = one[i].T @ other[j] / len(one[i])
        canonical[i, j] = np.linalg.svd(cross, compute_uv=False)[0]
        leak[i, j] = np.linalg.norm(cross[0])
    return canonical, leak


def _from_past(S: np.ndarray, waves: list[np.ndarray], leak: float, data: Given, rng: np.random.Generator) -> float:
    """Largest correlation of an innovation with another source's past, in functions of both, beyond chance."""
    first = pairs(data.replicas, data.lag)
    moves = [_waves(column, None) for column in innovations(S, data).T]
    past = [each[first] for each in waves]
    found = float(_correlations(moves, past)[0].max())
    shifts = rng.integers(len(first) // 10 + 1, len(first) - len(first) // 10, size=N_NULL // 3)
    null = [_correlations(moves, [np.roll(each, shift, axis=0) for each in past])[0].max() for shift in shifts]
    return float(np.sqrt(max(0.0, found**2 - (AMPLIFIED * leak) ** 2 - np.max(null) ** 2)))


def _moved(data: Given, rng: np.random.Generator) -> np.ndarray:
    """Rows (frame,) moved round their replica by a random offset; snapshots are permuted within their label."""
    rows = np.arange(len(data.X))
    if not data.timed and data.labels is not None:
        moved = np.empty_like(rows)
        moved[np.argsort(data.labels, kind="stable")] = np.lexsort((rng.random(len(rows)), data.labels))
        return moved
    start, length = spans(data.replicas)
    least = np.maximum(1, length // 10)
    offset = rng.integers(least, np.maximum(least + 1, length - least))
    within = rows - start[data.replicas]
    return start[data.replicas] + (within + offset[data.replicas]) % length[data.replicas]

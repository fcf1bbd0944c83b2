"""Which axes of white features the data prefer, and whether independent parts of the data prefer the same ones.

Shape legend: h features (frame, n), white; U axes (n, n), a unit row each; k part.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment

from tempica.audit.given import Given
from tempica.errors import DataError
from tempica.ica.linear.fastica import FastICA
from tempica.ica.linear.linear import SOBI
from tempica.ica.linear.nonstationary import NonstationaryICA
from tempica.series import pairs

MOST_PARTS, LEAST_PART = 8, 400  # parts of the data, and the fewest frames that one should have
N_NULL = 4000
STARTS = 4
DETERMINED = 0.01  # p below which a pair of axes is told apart


@dataclass(frozen=True)
class Axes:
    """Axes of one finder, and how far independent parts of the data agree about them.

    leak (n, n): mean sin² of the angle between two parts within the plane of two axes; p (n, n): of as small a leak
    where every rotation in that plane is as good; agreement: mean correlation of the sources of two parts, matched.
    """

    finder: str
    U: np.ndarray
    leak: np.ndarray
    p: np.ndarray
    agreement: float
    n_parts: int

    @property
    def determined(self) -> np.ndarray:
        """Which pairs (n, n) of axes are told apart."""
        return self.p < DETERMINED

    @property
    def precision(self) -> np.ndarray:
        """Correlation (n,) with what infinitely many frames would give, as the scatter of the parts predicts."""
        return 1 - 0.5 * (self.leak.sum(1) / 2) / self.n_parts


def finders(data: Given) -> list[str]:
    """Names of what can be asked for axes, given the kind of data."""
    found = ["innovations", "values", "spectra", "variances"] if data.timed else ["values"]
    return found if data.timed or data.labels is None else ["variances", "values"]


def find_axes(finder: str, h: np.ndarray, data: Given, *, seed: int) -> Axes:
    """Axes of all frames, and of disjoint parts of them, found from random starts.

    Parts are cut twice, eight and four where there are frames enough: small ones are many, large ones precise. The
    cut that tells more axes apart counts, its p doubled, since there were two to choose from.
    """
    n = h.shape[1]
    U = axes(finder, h, data, seed)
    if n == 1:
        return Axes(finder, U, np.zeros((1, 1)), np.zeros((1, 1)), 1.0, 2)
    most = int(np.clip(len(h) // LEAST_PART, 2, MOST_PARTS))
    cuts = [_compared(finder, h, data, U, n_parts, seed) for n_parts in sorted({most, max(2, most // 2)})]
    best = min(cuts, key=lambda cut: float(cut.p.sum()))
    return replace(best, p=np.minimum(1, len(cuts) * best.p))


def _compared(finder: str, h: np.ndarray, data: Given, U: np.ndarray, n_parts: int, seed: int) -> Axes:
    """How far so many parts agree about the axes U."""
    n, each = len(U), []
    for k, mask in enumerate(data.parts(n_parts)):
        try:
            found = axes(finder, h[mask], data.part(mask), seed + 1 + k)
        except DataError:  # a part that has too few frames of a label
            continue
        each.append(_matched(U, found))
    if len(each) < 2:
        return Axes(finder, U, 1 - np.eye(n), 1 - np.eye(n), 0.0, 1)
    parts = np.stack(each)
    cross = np.abs(np.einsum("kia,lja->klij", parts, parts))
    first, second = np.triu_indices(len(parts), 1)
    leak = (cross[first, second] ** 2).mean(0)
    leak = 0.5 * (leak + leak.T) * (1 - np.eye(n))
    null = _planar_null(len(parts))
    p = (1 + np.searchsorted(null, leak, side="right")) / (1 + len(null))
    agreement = float(np.diagonal(cross[first, second], axis1=1, axis2=2).mean())
    return Axes(finder, U, leak, np.where(np.eye(n), 0, p), agreement, len(parts))


def random_agreement(n: int, n_parts: int, quantile: float = 0.95) -> float:
    """What the agreement of so many random rotations of n axes reaches at a quantile."""
    return float(np.quantile(_random_agreements(n, n_parts), quantile))


@lru_cache
def _random_agreements(n: int, n_parts: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    found = np.empty(200)
    for draw in range(len(found)):
        turns = [np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(n_parts + 1)]
        parts = np.stack([_matched(turns[0], turn) for turn in turns[1:]])
        cross = np.abs(np.einsum("kia,lia->kli", parts, parts))
        found[draw] = cross[np.triu_indices(n_parts, 1)].mean()
    return found


@lru_cache
def _planar_null(n_parts: int) -> np.ndarray:
    """Sorted mean sin² between parts whose angles in a plane are random, each matched to another random one."""
    angle = np.random.default_rng(0).uniform(-np.pi / 4, np.pi / 4, size=(N_NULL, n_parts))
    first, second = np.triu_indices(n_parts, 1)
    return np.sort((np.sin(angle[:, first] - angle[:, second]) ** 2).mean(1))


def axes(finder: str, h: np.ndarray, data: Given, seed: int) -> np.ndarray:
    """Unit rows (n, n) in the coordinates of h."""
    n = h.shape[1]
    if n == 1:
        return np.ones((1, 1))
    known: dict[str, Callable[[], np.ndarray]] = {
        "values": partial(_fastica, h, seed),
        "innovations": partial(_of_innovations, h, data, seed),
        "spectra": lambda: SOBI().fit(h, replicas=data.replicas).components_,
        "variances": partial(_of_variances, h, data),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what does not settle is seen in the parts
        W = known[finder]()
    # sources W h of unit variance, in the coordinates in which all frames are white
    return W / np.linalg.norm(W, axis=1, keepdims=True)


def _fastica(h: np.ndarray, seed: int) -> np.ndarray:
    """The best of four random starts: the iteration also rests where two sources are mixed evenly."""
    starts = map(int, np.random.SeedSequence(seed).generate_state(STARTS))
    fits = [FastICA(max_iter=300, tol=1e-3, random_state=start).fit(h) for start in starts]
    return max(fits, key=lambda fit: fit.score(h)).components_


def _of_innovations(h: np.ndarray, data: Given, seed: int) -> np.ndarray:
    """Axes of what the frame before does not predict."""
    first = pairs(data.replicas, data.lag)
    here, there = h[first] - h[first].mean(0), h[first + data.lag] - h[first + data.lag].mean(0)
    slope = np.linalg.lstsq(here, there, rcond=None)[0]
    return _fastica(there - here @ slope, seed)


def _of_variances(h: np.ndarray, data: Given) -> np.ndarray:
    if data.labels is not None:
        return NonstationaryICA().fit(h, labels=data.labels).components_
    return NonstationaryICA().fit(h, replicas=data.replicas).components_


def _matched(U: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Rows of the other in the order and with the signs that go best with U."""
    alike = U @ other.T
    _, order = linear_sum_assignment(-np.abs(alike))
    return other[order] * np.sign(alike[np.arange(len(U)), order])[:, None]


def unresolved(determined: np.ndarray) -> list[tuple[int, ...]]:
    """Groups of axes that are joined by pairs which nothing tells apart."""
    from scipy.sparse.csgraph import connected_components

    n = len(determined)
    joined = np.zeros((n, n), dtype=bool)
    for i, j in combinations(range(n), 2):
        joined[i, j] = not determined[i, j]
    _, group = connected_components(joined, directed=False)
    groups = [tuple(np.flatnonzero(group == g).tolist()) for g in range(group.max() + 1)]
    return [members for members in groups if len(members) > 1]

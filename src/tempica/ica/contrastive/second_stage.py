"""The linear stage after a contrast, chosen from the data, and what no stage can identify.

Shape legend: S sources or features (frame, n).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components
from sklearn.exceptions import ConvergenceWarning

from tempica.errors import DataError
from tempica.ica.base import tells_nothing
from tempica.ica.linear.cumulants import turn
from tempica.ica.linear.dependence import SIGNIFICANT, drawn_products, memory
from tempica.ica.linear.fastica import FastICA
from tempica.ica.linear.linear import SOBI
from tempica.series import pairs, standard_error

STAGES = ("none", "fastica", "sobi")
N_BLOCKS, BLOCK = 16, 2048  # of successive frames, over which the tests' errors are estimated
ROTATED = 0.01  # nats of entropy by which a rotation of 45° must change two sources, and by 4 standard errors
N_TURNED, SWEEPS = 8192, 5  # frames on which pairs of sources are turned, and how often each at most
SPECTRAL = (
    0.02  # difference of two autocorrelations or decays, and 5 standard errors: unmixing has sought such differences
)


@dataclass(frozen=True)
class Stage:
    """S = (features − mean) matrixᵀ, of unit variance: mean (n,), matrix (n, n)."""

    name: str
    mean: np.ndarray
    matrix: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (features - self.mean) @ self.matrix.T


@dataclass(frozen=True)
class Ambiguity:
    """What is left unidentified: none; linear (a mixture that only a second stage resolves); subspace; or all.

    `subspaces` lists sources among which every rotation fits the data as well; `why` is for people.
    """

    kind: str
    subspaces: list[list[int]]
    why: str


def fit_stage(name: str, features: np.ndarray, labels: np.ndarray) -> Stage:
    """One stage on features (frame, n); `labels` (frame,) are the runs that pairs must not leave."""
    mean, deviation = features.mean(0), np.maximum(features.std(0), 1e-12)
    scaled = (features - mean) / deviation
    matrix = np.eye(len(mean))
    if features.shape[1] > 1 and np.linalg.matrix_rank(scaled, tol=1e-6 * np.sqrt(scaled.size)) == features.shape[1]:
        if name == "sobi":
            matrix = SOBI().fit(scaled, replicas=labels).components_
        elif name == "fastica":
            matrix = _fastica(scaled)
    spread = np.maximum((scaled @ matrix.T).std(0), 1e-12)
    return Stage(name, mean, matrix / spread[:, None] / deviation)


def choose_stage(
    names: tuple[str, ...],
    features: np.ndarray,
    train: np.ndarray,
    labels: np.ndarray,
    losses: Callable[[np.ndarray], np.ndarray],
    *,
    gaussian: bool = False,
) -> tuple[Stage, dict[str, float]]:
    """The stage with the lowest held-out losses (item,) of its sources, and the mean of each.

    A later stage is taken for an earlier one only if it gains more than the standard error; but where the features
    are `gaussian`, theory leaves a mixture that the contrast hardly sees, and SOBI only has to lose no more.
    `train` (frame,) marks the frames on which the stages are fitted, `labels` (their number,) their runs.
    """
    stages = [fit_stage(name, features[train], labels) for name in names]
    if len(stages) == 1:
        return stages[0], {}
    found = [losses(stage(features)) for stage in stages]
    best = 0
    for candidate in range(1, len(stages)):
        gain = found[best] - found[candidate]
        needed = standard_error(gain)
        if gain.mean() > (-needed if gaussian and stages[candidate].name == "sobi" else needed):
            best = candidate
    return stages[best], {stage.name: float(loss.mean()) for stage, loss in zip(stages, found, strict=True)}


def without_noise(
    stage: Stage, features: np.ndarray, noise: np.ndarray | None, labels: np.ndarray, lag: int
) -> tuple[Stage, bool]:
    """The stage, turned by "cumulants" where noise of features (frame, n) has drawn its axes aside.

    And whether cumulants tell all sources apart. `noise` (n, n) is None where only its lack of memory is known.
    """
    of_sources = None if noise is None else stage.matrix @ noise @ stage.matrix.T
    change = turn(stage(features), of_sources, labels, lag)
    if change is None or (change == np.eye(len(change))).all():
        return stage, change is not None
    matrix = change @ stage.matrix
    return Stage("cumulants", stage.mean, matrix / ((features - stage.mean) @ matrix.T).std(0)[:, None]), True


def check_stage(name: str) -> tuple[str, ...]:
    """The stages that a parameter allows. Raises DataError for an unknown one."""
    if name not in ("auto", *STAGES):
        raise DataError(f"second_stage = {name!r} must be auto, {', '.join(STAGES)}.")
    return STAGES if name == "auto" else (name,)


def find_ambiguity(
    S: np.ndarray,
    labels: np.ndarray,
    lag: int,
    stage: str,
    information: np.ndarray,
    *,
    apart: bool = False,
    held_out: np.ndarray | None = None,
) -> Ambiguity:
    """Judge unmixed sources S by what their rotations change.

    A pair of sources is told apart if turning it by 45° raises the entropy of its values or of its innovations
    (linear prediction at the lag), or if two autocorrelations decay differently: non-Gaussian values, non-Gaussian
    dynamics or separate spectra, of which a linear ICA needs one; or by what is known `apart` from that. `information`
    (pair,) are held-out nats that a frame has about the next: without any, nothing is identifiable. Nor is a source
    that remembers nothing in frames `held_out` (a mask, the second half if not given): noise, or what differs from one
    frame to the next, as a pose does, is as non-Gaussian as any source, and as reproducible.
    """
    n = S.shape[1]
    everything = list(range(n))
    if tells_nothing(information):
        why = (
            f"Nothing is identifiable: a frame tells nothing of the frame {lag} later"
            f" ({information.mean():.4f} ± {standard_error(information):.4f} nats)."
            " Take a shorter lag, or data with temporal dependence."
        )
        return Ambiguity("all", [everything], why)
    moves = _remembers(S, labels, lag, held_out)
    subspaces = [] if apart else _unresolved(S, labels, lag, moves)
    if not all(moves):
        still = [i for i in everything if not moves[i]]
        why = (
            f"What does not move is not identifiable. Of source {' and of source '.join(map(str, still))} a frame"
            f" tells no more in the frame {lag} later than frames in random order do: noise, or what differs between"
            " single frames or whole replicas, as a pose or a batch does."
            f" Take n_components = {n - len(still)}."
        )
        return Ambiguity("all" if len(still) == n else "subspace", [*subspaces, still], why)
    if subspaces:
        named = "; ".join(", ".join(map(str, members)) for members in subspaces)
        why = (
            f"Sources {named} are not identifiable one by one: as far as these {len(S):,} frames tell, they are"
            " Gaussian with autocorrelations that decay alike, so that every rotation among them fits as well (levels"
            " alone differ wherever noise is unequal). Read them as a subspace, or take more frames, or conditions that"
            " change their rates or amplitudes separately."
        )
        return Ambiguity("subspace", subspaces, why)
    gaussian = gaussian_sources(S, labels, lag)
    if len(gaussian) < 2:
        return Ambiguity("none", [], "Every source is identified by the contrast itself.")
    if stage == "none":
        why = (
            f"Sources {', '.join(map(str, gaussian))} have Gaussian innovations: the contrast leaves them mixed"
            " linearly, and not identifiable without a second stage. Set second_stage to auto."
        )
        return Ambiguity("linear", [gaussian], why)
    return Ambiguity("linear", [], f"Gaussian innovations leave a linear mixture, which {stage} has resolved.")


def _unresolved(S: np.ndarray, labels: np.ndarray, lag: int, moves: list[bool]) -> list[list[int]]:
    """Groups of sources among which no pair that moves is told apart."""
    n, innovation = S.shape[1], _innovations(S, labels, lag)
    joined = np.zeros((n, n), dtype=bool)
    for i, j in combinations(range(n), 2):
        if moves[i] and moves[j]:
            told = _turns(S, i, j) or _turns(innovation, i, j) or _spectra_differ(S, labels, lag, i, j)
            joined[i, j] = not told
    _, group = connected_components(joined, directed=False)
    groups = [np.flatnonzero(group == g).tolist() for g in range(group.max() + 1)]
    return [members for members in groups if len(members) > 1]


def matched(S: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Absolute correlation (n,) of each column of S with the column of the other that goes with it best."""
    alike = _alike(S, other)
    return alike[np.arange(len(alike)), matching(S, other)]


def matching(S: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Column (n,) of the other that goes best with each column of S, each taken once."""
    return np.asarray(linear_sum_assignment(-_alike(S, other))[1])


def _alike(S: np.ndarray, other: np.ndarray) -> np.ndarray:
    n = S.shape[1]
    return np.abs(np.nan_to_num(np.corrcoef(S.T, other.T)[:n, n:]))


def gaussian_sources(S: np.ndarray, labels: np.ndarray, lag: int) -> list[int]:
    """Columns of S (frame, n) whose innovations have the entropy of normal ones."""
    innovation = _innovations(S, labels, lag)
    return [i for i in range(S.shape[1]) if _normal(innovation[:, i])]


def _fastica(scaled: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what it finds is judged by the contrast
        # not scikit-learn's own whitening: features come nearly white, and LAPACK's divide-and-conquer SVD has given
        # singular vectors of such frames, whose singular values are all alike, that were not orthogonal
        found = FastICA(max_iter=500, tol=1e-3).fit(scaled).components_
    return _turned_apart(scaled @ found.T) @ found


def _turned_apart(S: np.ndarray) -> np.ndarray:
    """Rotation (n, n) of pairs of sources that FastICA has left mixed: its iteration also rests where two are, by 45°.

    A pair whose entropies fall by 0.01 nats when its plane is turned by 22.5°, 45° or 67.5° is turned by the degrees at
    which they are least (as Learned-Miller & Fisher 2003 do with every pair), until none is left.
    """
    some = S[np.linspace(0, len(S) - 1, min(len(S), N_TURNED)).astype(int)]
    some, total = some / np.maximum(some.std(0), 1e-12), np.eye(S.shape[1])

    def entropies(pair: np.ndarray, degrees: np.ndarray) -> np.ndarray:
        turned = np.stack([pair @ _turn(angle).T for angle in degrees])
        return np.array([_entropy(each[:, 0]) + _entropy(each[:, 1]) for each in turned])

    for _ in range(SWEEPS):
        done = True
        for i, j in combinations(range(len(total)), 2):
            pair = some[:, [i, j]]
            now, *coarse = entropies(pair, np.array([0, 22.5, 45, 67.5]))
            if now - min(coarse) > ROTATED:
                best = _turn(float(np.argmin(entropies(pair, np.arange(90)))))
                some[:, [i, j]], total[[i, j]] = pair @ best.T, best @ total[[i, j]]
                done = False
        if done:
            break
    return total


def _turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _multiples(labels: np.ndarray, lag: int) -> list[int]:
    """1, 2, 3, 5, 8 times the lag, as far as the longest run has pairs at all."""
    longest = np.bincount(labels).max()
    return [k for k in (1, 2, 3, 5, 8) if k * lag < longest / 2] or [1]


def _innovations(S: np.ndarray, labels: np.ndarray, lag: int) -> np.ndarray:
    first = pairs(labels, lag)
    here, there = S[first], S[first + lag]
    slope = (here * there).mean(0) / np.maximum((here * here).mean(0), 1e-12)
    return there - slope * here


def _blocks(series: np.ndarray) -> list[np.ndarray]:
    """Up to 16 blocks of at most 2,048 frames, spread evenly over a series (frame, …)."""
    return [block[:BLOCK] for block in np.array_split(series, min(N_BLOCKS, max(2, len(series) // 64)))]


def _turns(series: np.ndarray, i: int, j: int) -> bool:
    """Whether the entropies of two columns rise when their plane is turned by 45°."""
    pair = series[:, [i, j]] / np.maximum(series[:, [i, j]].std(0), 1e-12)
    turned = pair @ np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    change = [
        sum(_entropy(b) for b in after.T) - sum(_entropy(b) for b in before.T)
        for before, after in zip(_blocks(pair), _blocks(turned), strict=True)
    ]
    return _beyond(np.array(change), ROTATED, 4)


def _remembers(S: np.ndarray, labels: np.ndarray, lag: int, held_out: np.ndarray | None) -> list[bool]:
    """Whether values and squares of each source are as covariant in held-out pairs of frames as in the others."""
    first = pairs(labels, lag)
    asked = np.arange(len(first)) >= len(first) // 2 if held_out is None else held_out[first] & held_out[first + lag]
    given = first[~asked] if held_out is None else first[~held_out[first] & ~held_out[first + lag]]
    rng = np.random.default_rng(0)
    found = []
    for column in S.T:
        phi = drawn_products(column[:, None]) if np.ptp(column) > 0 else np.zeros((len(S), 1))
        found.append(memory(phi, given, first[asked], lag, labels, rng)[2] <= SIGNIFICANT)
    return found


def _spectra_differ(S: np.ndarray, labels: np.ndarray, lag: int, i: int, j: int) -> bool:
    """Whether ρ(k)/ρ(1) of two columns differ for some k, by a jackknife; ρ(1) themselves where there is no more.

    White noise lowers all autocorrelations of a source by one factor: of unequal strength, it makes levels differ.
    """
    pair = (S[:, [i, j]] - S[:, [i, j]].mean(0)) / np.maximum(S[:, [i, j]].std(0), 1e-12)
    products = []
    for k in _multiples(labels, lag):
        first = pairs(labels, lag * k)
        blocks = np.array_split(pair[first] * pair[first + lag * k], N_BLOCKS)
        products.append((np.array([block.sum(0) for block in blocks]), np.array([[len(block)] for block in blocks])))

    def difference(keep: np.ndarray) -> np.ndarray:
        rho = np.array([total[keep].sum(0) / number[keep].sum() for total, number in products])
        rho = rho if len(rho) == 1 else rho[1:] / np.where(np.abs(rho[0]) > 1e-6, rho[0], 1e-6)
        return rho[:, 0] - rho[:, 1]

    block = np.arange(N_BLOCKS)
    without = np.array([difference(block != k) for k in block])
    error = np.sqrt((N_BLOCKS - 1) * without.var(0))
    found = np.abs(difference(block >= 0))
    return bool(((found > SPECTRAL) & (found > 5 * error)).any())


def _beyond(values: np.ndarray, least: float, errors: float) -> bool:
    mean = values.mean()
    return bool(mean > least and mean > errors * values.std(ddof=1) / np.sqrt(len(values)))


def _normal(x: np.ndarray) -> bool:
    """Whether a series has the entropy of normal ones of its variance and length, within 0.01 nats or 3 errors."""
    blocks = [block / max(block.std(), 1e-12) for block in _blocks(x)]
    lacking = _normal_entropy(len(blocks[0])) - np.array([_entropy(block) for block in blocks])
    return not _beyond(lacking, ROTATED, 3)


@lru_cache
def _normal_entropy(size: int) -> float:
    """What `_entropy` finds on average for normal values, scaled to unit variance."""
    draws = np.random.default_rng(0).normal(size=(100, size))
    return float(np.mean([_entropy(draw / draw.std()) for draw in draws]))


def _entropy(x: np.ndarray) -> float:
    """Differential entropy in nats, from spacings of m = √n ordered values (Vasicek 1976)."""
    m = max(1, int(np.sqrt(len(x))))
    ordered = np.sort(x)
    spacing = ordered[m:] - ordered[:-m]
    return float(np.log(np.maximum(spacing, 1e-12) * (len(x) + 1) / m).mean())

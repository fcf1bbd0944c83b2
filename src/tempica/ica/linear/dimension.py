"""How many sources there are: directions that depend on time or on labels, and not on noise alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.ica.base import check_lags, linear_map, whitening
from tempica.ica.labels import check_labels
from tempica.ica.linear.dependence import SERIES, of_labels, of_pairs
from tempica.progress import Progress
from tempica.series import check_replicas, pairs

MOST_PAIRS = 20_000  # more make the test slower, and it has power to spare
SIGNIFICANT = 4.0  # null deviations above the null mean: about one false direction in 10,000 if they were normal
N_NULL = 24
N_FIRST, CLEAR = 6, 12.0  # permutations after which so many deviations decide
LONG = 30.0  # seconds from which on it is said how long counting may take


@dataclass(frozen=True)
class SourceCount:
    """The number of sources, and what it rests on."""

    n: int
    directions: np.ndarray  # (direction, feature) orthonormal in the whitened frames; the first n hold the sources
    statistic: np.ndarray  # (direction tested,) largest share of dependence among the directions not yet counted
    threshold: np.ndarray  # (direction tested,) what exchangeable frames reach; the last one is not exceeded
    least: float  # autocorrelation, or deviation of a label's mean, below which a source goes unnoticed
    limits: str  # what the number says and what it does not


def count_sources(
    X: Any,
    *,
    replicas: Any = None,
    labels: Any = None,
    lag: int | tuple[int, ...] = (1, 2),
    random_state: int = 0,
) -> SourceCount:
    """Number of directions of frames that are not white noise.

    For whitened z_t, standardised z and z zᵀ of the frames a lag before and after serve as features φ. If a
    direction w is noise, independent in time and of all else, then ⟨wᵀz_t φ⟩ = 0 and wᵀ⟨(z_t z_tᵀ − 1) φ⟩ = 0 for
    every φ. So P = Σ_φ ⟨z φ⟩⟨z φ⟩ᵀ + ⟨(z zᵀ − 1) φ⟩² has as many non-zero eigenvalues as there are directions with a
    memory, of value or of variance. With `labels`, φ are their indicators instead: directions whose mean or
    variance depends on the label. One direction after the other is counted while its eigenvalue exceeds, by 4
    standard deviations, the largest one when the frames of the directions not yet counted are permuted; with labels,
    whole blocks of frames are, two correlation times long. What a replica of 20 or more frames keeps all along, as a
    batch does, is no source: means of replicas are taken off. Of more than 12 directions, sums over features take the
    place of the features (`dependence`), so that the time of a direction grows with the square of their number.

    The number is that of the sources behind a linear mixing, and behind a nonlinear one whose noise directions are
    not bent into it. A nonlinear mixing of sources *and* noise leaves no direction of pure noise: the number then
    exceeds that of the sources. Sources that are white, or constant in variance over labels, count as noise. The
    result's `limits` says so for the frames at hand.

    Where counting may take more than half a minute, how long at most is said on stderr, and how far it is.

    Parameters:
        X: frames (frame, feature).
        replicas: label (frame,) of the series that each frame belongs to; one series when None.
        labels: label (frame,) of the segment or condition of each frame; time is not used when given.
        lag: one or several numbers of frames.
        random_state: seed of the permutations.

    Raises DataError for what has no pairs, no variation or one label.
    """
    X = np.asarray(X.detach().cpu() if hasattr(X, "detach") else X)
    if X.ndim != 2 or len(X) < 4:
        raise DataError(f"Frames have shape {X.shape}; counting sources needs (frame, feature) with 4 frames or more.")
    if not np.isfinite(X).all():
        raise DataError("Frames must be finite to count sources; some are not.")
    mean, white = whitening(X)
    if labels is None:
        replicas = check_replicas(replicas, len(X))
        chosen, here, there = _pairs_of_all(replicas, check_lags(lag))
        Z, block = _moving(linear_map(X[chosen].astype(np.float64), mean, white), replicas[chosen]), 1
        dependence = of_pairs([*zip(here, there, strict=True), *zip(there, here, strict=True)])
    else:
        names, number = np.unique(check_labels(labels, len(X)), return_inverse=True)
        if len(names) < 2:
            raise DataError(
                f"All {len(X)} frames are of one segment; labels that differ are what tells sources from noise."
            )
        Z = linear_map(X.astype(np.float64), mean, white)
        block, dependence = _block_length(Z, number), of_labels(number)
    return _count(Z, dependence, block, np.random.default_rng(random_state), "time" if labels is None else "the labels")


def _count(
    Z: np.ndarray, dependence: Callable[[np.ndarray], np.ndarray], block: int, rng: np.random.Generator, on: str
) -> SourceCount:
    """Count the directions of white frames Z (frame, n) whose `dependence` (n, n) permuted blocks do not reach."""
    n = Z.shape[1]
    began = time.monotonic()
    value, vector = np.linalg.eigh(dependence(Z))
    seconds = (time.monotonic() - began) * N_NULL * n
    basis, statistic = vector[:, ::-1].T, value[::-1]
    turned, threshold, counted, least = Z @ basis.T, [], 0, 0.0
    with _told(n, seconds) as advance:
        while counted < n:
            middle, deviation = _null(turned, counted, dependence, block, rng, statistic[counted])
            threshold.append(middle + SIGNIFICANT * deviation)
            least = float(np.sqrt(SIGNIFICANT * deviation))
            if statistic[counted] <= threshold[-1]:
                break
            counted += 1
            advance()
    tested = np.array(threshold)
    weak = "autocorrelation is below" if on == "time" else "mean differs between labels by less than, in deviations,"
    limits = (
        f"{counted} of {n} directions depend on {on}. There are as many sources if the mixing is linear; if it bends"
        f" sources and noise together, there may be fewer. Sources whose {weak} about {least:.2f} are taken for noise."
    )
    return SourceCount(counted, basis, statistic[: len(tested)].copy(), tested, least, limits)


def _null(
    turned: np.ndarray,
    counted: int,
    dependence: Callable[[np.ndarray], np.ndarray],
    block: int,
    rng: np.random.Generator,
    value: float,
) -> tuple[float, float]:
    """Mean and deviation of the largest eigenvalue when directions from `counted` on are permuted in time.

    Of 24 permutations, or 6 where these leave no doubt about a value.
    """
    null: list[float] = []
    for _ in range(N_NULL):
        mixed = turned.copy()
        mixed[:, counted:] = turned[_permutation(rng, len(turned), block), counted:]
        null.append(float(np.linalg.eigvalsh(dependence(mixed)[counted:, counted:])[-1]))
        middle, deviation = float(np.mean(null)), float(np.std(null, ddof=min(1, len(null) - 1)))
        if len(null) == N_FIRST and not middle < value < middle + CLEAR * deviation:
            break
    return middle, deviation


@contextmanager
def _told(n_directions: int, seconds: float) -> Iterator[Callable[[], None]]:
    """Progress of counting, where it may take long; yields the function that counts one direction more."""
    if seconds < LONG:
        yield lambda: None
        return
    progress = Progress()
    progress.say(f"Counting sources among {n_directions} directions may take {seconds:.0f} s; it ends with the first")
    with progress.task("count_sources", "directions that are not noise", n_directions, 0) as advance:
        yield advance


def _pairs_of_all(labels: np.ndarray, lags: tuple[int, ...]) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Frames that take part, and for each lag the places among them of the earlier and the later of each pair."""
    first = [pairs(labels, lag) for lag in lags]
    first = [f[np.linspace(0, len(f) - 1, min(len(f), MOST_PAIRS)).astype(int)] for f in first]
    both = [(f, f + lag) for f, lag in zip(first, lags, strict=True)]
    used = np.unique(np.concatenate([frames for pair in both for frames in pair]))
    here, there = ([np.searchsorted(used, pair[end]) for pair in both] for end in (0, 1))
    return used, here, there


def _moving(Z: np.ndarray, replicas: np.ndarray) -> np.ndarray:
    """Frames less the mean of their replica, unless replicas are too short to tell it from a memory."""
    _, number, count = np.unique(replicas, return_inverse=True, return_counts=True)
    if count.mean() < SERIES:
        return Z
    return Z - np.stack([np.bincount(number, column) for column in Z.T], axis=1)[number] / count[number, None]


def _block_length(Z: np.ndarray, number: np.ndarray) -> int:
    """Twice the integrated correlation time, in frames, of z and z² within segments: 1 for frames in no order."""
    order = np.argsort(number, kind="stable")
    number, Z = number[order], Z[order]
    count = np.bincount(number)
    longest = 1.0
    for values in (Z, Z**2):
        mean = np.stack([np.bincount(number, column) for column in values.T], axis=1) / count[:, None]
        rest = values - mean[number]
        time, power = np.ones(Z.shape[1]), (rest**2).mean(0)
        going = power > 0
        for lag in range(1, min(1000, int(count.max()))):
            same = number[lag:] == number[:-lag]
            rho = (rest[lag:] * rest[:-lag])[same].mean(0) / np.where(power > 0, power, 1)
            going &= rho > 3 / np.sqrt(same.sum())
            if not going.any():
                break
            time += 2 * rho * going
        longest = max(longest, float(time.max()))
    return 1 if longest < 1.1 else int(np.ceil(2 * longest))


def _permutation(rng: np.random.Generator, n: int, block: int) -> np.ndarray:
    """A permutation of n frames that moves blocks of frames as wholes."""
    return np.argsort(rng.permutation(-(-n // block))[np.arange(n) // block], kind="stable")

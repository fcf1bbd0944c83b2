"""How many sources there are: directions that depend on time or on labels, and not on noise alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.ica.base import check_lags, linear_map, whitening
from tempica.ica.labels import check_segments
from tempica.series import check_replicas, pairs

MOST_PAIRS = 20_000  # more make the test slower, and it has power to spare
SIGNIFICANT = 4.0  # null deviations above the null mean: about one false direction in 10,000 if they were normal
N_NULL = 24


@dataclass(frozen=True)
class SourceCount:
    """The number of sources, and what it rests on."""

    n: int
    directions: np.ndarray  # (direction, feature) orthonormal in the whitened frames; the first n hold the sources
    statistic: np.ndarray  # (direction tested,) largest share of dependence among the directions not yet counted
    threshold: np.ndarray  # (direction tested,) what exchangeable frames reach; the last one is not exceeded


def count_sources(
    X: Any,
    *,
    replicas: Any = None,
    segments: Any = None,
    lag: int | tuple[int, ...] = (1, 2),
    random_state: int = 0,
) -> SourceCount:
    """Number of directions of frames X (frame, feature) that are not white noise.

    For whitened z_t, standardised z and z zᵀ of the frames a lag before and after serve as features φ. If a
    direction w is noise, independent in time and of all else, then ⟨wᵀz_t φ⟩ = 0 and wᵀ⟨(z_t z_tᵀ − 1) φ⟩ = 0 for
    every φ. So P = Σ_φ ⟨z φ⟩⟨z φ⟩ᵀ + ⟨(z zᵀ − 1) φ⟩² has as many non-zero eigenvalues as there are directions with a
    memory, of value or of variance. With `segments`, φ are their indicators instead: directions whose mean or
    variance depends on the label. One direction after the other is counted while the largest eigenvalue of P on
    the rest exceeds, by 4 standard deviations, what it is when the rest's frames are permuted; with labels, whole
    blocks of frames are, two correlation times long.

    Counts sources behind a linear mixing, and behind a nonlinear one whose noise directions are not bent into it: a
    nonlinear mixing of sources *and* noise leaves no direction of pure noise. Sources that are white, or constant in
    variance over segments, count as noise. Raises DataError for what has no pairs, no variation or one segment.
    """
    X = np.asarray(X.detach().cpu() if hasattr(X, "detach") else X)
    if X.ndim != 2 or len(X) < 4:
        raise DataError(f"Frames have shape {X.shape}; counting sources needs (frame, feature) with 4 frames or more.")
    if not np.isfinite(X).all():
        raise DataError("Frames must be finite to count sources; some are not.")
    rng = np.random.default_rng(random_state)
    mean, white = whitening(X)
    frames = np.arange(len(X))
    if segments is None:
        chosen, here, there = _pairs_of_all(check_replicas(replicas, len(X)), check_lags(lag))
        Z, block, indicator = linear_map(X[chosen].astype(np.float64), mean, white), 1, None
        meetings = [*zip(here, there, strict=True), *zip(there, here, strict=True)]
    else:
        names, number = np.unique(check_segments(segments, len(X)), return_inverse=True)
        if len(names) < 2:
            raise DataError(
                f"All {len(X)} frames are of one segment; labels that differ are what tells sources from noise."
            )
        Z, indicator = linear_map(X.astype(np.float64), mean, white), _indicators(number)
        block, meetings = _block_length(Z, number), [(frames, frames)]

    def dependence(Z: np.ndarray) -> np.ndarray:
        phi = _values_and_squares(Z) if indicator is None else indicator
        return sum((_share(Z, phi, *each) for each in meetings), start=np.zeros((Z.shape[1],) * 2)) / len(meetings)

    n_directions = Z.shape[1]
    basis, statistic, threshold = np.eye(n_directions), [], []
    for counted in range(n_directions):
        value, vector = np.linalg.eigh(basis[counted:] @ dependence(Z) @ basis[counted:].T)
        basis[counted:] = vector[:, ::-1].T @ basis[counted:]
        turned, null = Z @ basis.T, []
        for _ in range(N_NULL):
            mixed = turned.copy()
            mixed[:, counted:] = turned[_permutation(rng, len(Z), block), counted:]
            null.append(np.linalg.eigvalsh(dependence(mixed)[counted:, counted:])[-1])
        statistic.append(value[-1])
        threshold.append(np.mean(null) + SIGNIFICANT * np.std(null, ddof=1))
        if statistic[-1] <= threshold[-1]:
            return SourceCount(counted, basis, np.array(statistic), np.array(threshold))
    return SourceCount(n_directions, basis, np.array(statistic), np.array(threshold))


def _pairs_of_all(labels: np.ndarray, lags: tuple[int, ...]) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Frames that take part, and for each lag the places among them of the earlier and the later of each pair."""
    first = [pairs(labels, lag) for lag in lags]
    first = [f[np.linspace(0, len(f) - 1, min(len(f), MOST_PAIRS)).astype(int)] for f in first]
    both = [(f, f + lag) for f, lag in zip(first, lags, strict=True)]
    used = np.unique(np.concatenate([frames for pair in both for frames in pair]))
    here, there = ([np.searchsorted(used, pair[end]) for pair in both] for end in (0, 1))
    return used, here, there


def _values_and_squares(Z: np.ndarray) -> np.ndarray:
    """z and all products z_i z_j (frame, feature), standardised."""
    i, j = np.triu_indices(Z.shape[1])
    phi = np.concatenate([Z, Z[:, i] * Z[:, j]], axis=1)
    return (phi - phi.mean(0)) / np.maximum(phi.std(0), 1e-12)


def _share(Z: np.ndarray, phi: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """P (n, n) of frames `here` with features φ of frames `there`; expects Z white and φ standardised."""
    n, features = Z.shape[1], phi[there]
    z = Z[here] - Z[here].mean(0)
    value = z.T @ features / len(here)
    i, j = np.triu_indices(n)
    squares = z[:, i] * z[:, j]
    moment = np.zeros((n, n, features.shape[1]))
    moment[i, j] = moment[j, i] = (squares - squares.mean(0)).T @ features / len(here)
    return value @ value.T + np.einsum("ikf,jkf->ij", moment, moment)


def _indicators(number: np.ndarray) -> np.ndarray:
    """Standardised indicators (frame, group) of the segments, neighbours being joined to 64 groups at most."""
    n_segments = number.max() + 1
    number = number * min(64, n_segments) // n_segments
    table = np.eye(number.max() + 1)[number]
    return (table - table.mean(0)) / table.std(0)


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

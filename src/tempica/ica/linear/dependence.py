"""How much each direction of white frames depends on other frames, or on labels; memory, beside frames in random order.

Shape legend: m pair of frames, n direction.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tempica.ica.base import linear_map, whitening

WHOLE = 12  # directions up to which every feature is used; their number grows with the square, the time with the fourth
MOST_GROUPS = 64  # of labels
MOST_SQUARES = 12  # features up to which products of two take part in a test of memory
SERIES = 20  # frames of a series, on average, from which on what it keeps all along is told from memory
N_SHUFFLED, SIGNIFICANT = 199, 0.01  # series in random order; probability of so much memory in one of them

Dependence = Callable[[np.ndarray], np.ndarray]


def of_pairs(meetings: list[tuple[np.ndarray, np.ndarray]]) -> Dependence:
    """The function that gives P (n, n) of white frames, on average over sets of pairs (here, there)."""

    def dependence(Z: np.ndarray) -> np.ndarray:
        if Z.shape[1] > WHOLE:
            return sum((contracted_share(Z[a], Z[b]) for a, b in meetings), np.zeros((Z.shape[1],) * 2)) / len(meetings)
        phi = values_and_squares(Z)
        return sum((share(Z, phi, *each) for each in meetings), start=np.zeros((Z.shape[1],) * 2)) / len(meetings)

    return dependence


def of_labels(number: np.ndarray) -> Dependence:
    """The function that gives P (n, n) of white frames whose features are indicators of their labels.

    Neighbouring labels are joined to 64 groups at most.
    """
    n_labels = number.max() + 1
    group = number * min(MOST_GROUPS, n_labels) // n_labels
    size = np.bincount(group) / len(group)

    def dependence(Z: np.ndarray) -> np.ndarray:
        z = Z - Z.mean(0)
        whole = z.T @ z / len(z)
        P = np.zeros_like(whole)
        for k, part in enumerate(size):
            inside = z[group == k]
            # ⟨z φ⟩ and ⟨(z zᵀ − 1) φ⟩ with φ the standardised indicator
            weight = np.sqrt(part / (1 - part))
            value = weight * inside.mean(0)
            moment = weight * (inside.T @ inside / len(inside) - whole)
            P += np.outer(value, value) + moment @ moment
        return P

    return dependence


def values_and_squares(Z: np.ndarray) -> np.ndarray:
    """z and all products z_i z_j (frame, feature), standardised."""
    i, j = np.triu_indices(Z.shape[1])
    phi = np.concatenate([Z, Z[:, i] * Z[:, j]], axis=1)
    return (phi - phi.mean(0)) / np.maximum(phi.std(0), 1e-12)


def share(Z: np.ndarray, phi: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """P (n, n) of frames `here` with features φ of frames `there`; expects Z white and φ standardised."""
    n, features = Z.shape[1], phi[there]
    z = Z[here] - Z[here].mean(0)
    value = z.T @ features / len(here)
    i, j = np.triu_indices(n)
    squares = z[:, i] * z[:, j]
    moment = np.zeros((n, n, features.shape[1]))
    moment[i, j] = moment[j, i] = (squares - squares.mean(0)).T @ features / len(here)
    return value @ value.T + np.einsum("ikf,jkf->ij", moment, moment)


def contracted_share(z: np.ndarray, other: np.ndarray) -> np.ndarray:
    """P (n, n) of frames z (m, n) with sums over features of frames `other` (m, n), in a time that grows with n².

    Of the moments ⟨z_i z'_j⟩, ⟨z_i z_k z'_j⟩, ⟨z_i z'_j z'_k⟩ and ⟨z_i z_k z'_j z'_l⟩, which all vanish for a direction
    i of noise, there remain ⟨z z'ᵀ⟩, ⟨z zᵀz'⟩, ⟨z |z'|²⟩, ⟨z zᵀ |z'|²⟩ and ⟨z zᵀz' z'ᵀ⟩, less what independent frames
    give. Each is divided by its deviation for noise, so that none dominates the others.
    """
    m, n = z.shape
    z, other = z - z.mean(0), other - other.mean(0)
    size = (other**2).sum(1)
    size = (size - size.mean()) / max(float(size.std()), 1e-12)
    product = (z * other).sum(1)
    weighed = z * product[:, None] / np.sqrt(n)
    value = z.T @ other / m
    mixed = weighed.T @ other / m - (z.T @ z / m) @ (other.T @ other / m) / np.sqrt(n)
    moment = (z * size[:, None]).T @ z / m
    first, second = weighed.mean(0), size @ z / m
    return value @ value.T + mixed @ mixed.T + moment @ moment.T + np.outer(first, first) + np.outer(second, second)


def drawn_products(X: np.ndarray) -> np.ndarray:
    """White frames and their products (frame, feature), drawn in where they are large, standardised."""
    mean, white = whitening(X)
    z = linear_map(X, mean, white)
    phi = z
    if z.shape[1] <= MOST_SQUARES:
        i, j = np.triu_indices(z.shape[1])
        drawn = z / np.sqrt(1 + (z / 3) ** 2)
        phi = np.concatenate([z, drawn[:, i] * drawn[:, j]], axis=1)
    return (phi - phi.mean(0)) / np.maximum(phi.std(0), 1e-12)


def memory(
    phi: np.ndarray, learned: np.ndarray, asked: np.ndarray, lag: int, replicas: np.ndarray, rng: np.random.Generator
) -> tuple[float, np.ndarray, float]:
    """How far covariances of features φ (frame, k) of two frames `lag` apart agree between two sets of pairs.

    Σ of ⟨φ φ'ᵀ⟩ of the pairs that begin at frames `learned`, times that of pairs `asked`; the same (199,) of asked
    pairs whose later frames are `shuffled`; and the probability of as large a value.
    """
    known = phi[learned].T @ phi[learned + lag] / len(learned)
    here, there, series = phi[asked], phi[asked + lag], replicas[asked]

    def agreement(order: np.ndarray) -> float:
        return float((known * (here.T @ there[order] / len(order))).sum())

    value = agreement(np.arange(len(there)))
    null = np.array([agreement(shuffled(series, rng)) for _ in range(N_SHUFFLED)])
    return value, null, float((1 + (null >= value).sum()) / (1 + N_SHUFFLED))


def shuffled(replicas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames (frame,) of consecutive replicas in random order, each within its own.

    So what a replica keeps all along, as a batch does, is kept, and is no memory. Over all of them where replicas are
    shorter than 20 frames on average, too short to tell one from the other.
    """
    if len(replicas) < SERIES * len(np.unique(replicas)):
        return rng.permutation(len(replicas))
    return np.lexsort((rng.random(len(replicas)), replicas))

"""How far several fits agree: other seeds, other halves of the data; no truth is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.evaluate.metrics import assign, correlation_matrix
from tempica.series import array_of, standard_error

N_ROTATIONS = 400


@dataclass(frozen=True, eq=False)
class Stability:
    """Agreement of fits, as they are and after the best affine map; the difference is what is not identified.

    Attributes:
        score: mean absolute correlation of the sources of two fits, matched, over all pairs of fits.
        components: the same (component,) of each source of the first fit.
        affine: mean canonical correlation, which no rotation changes.
        null_95: what random rotations of the same subspace reach in 95 of 100 cases.
        interval: 95 %, from 16 blocks of frames.
    """

    score: float
    components: np.ndarray
    affine: float
    null_95: float
    interval: tuple[float, float]


def stability(fits: Sequence[Any], *, random_state: int = 0) -> Stability:
    """Agreement of sources (frame, component) of two or more fits, given at the same frames.

    Chance: the whitened sources of each fit after the first are turned by uniformly random rotations, after the best
    rotation onto those of the first.

    Raises DataError for fewer than two fits, or fits of other shape. Example:
        >>> rng = np.random.default_rng(0)
        >>> S = rng.laplace(size=(1000, 2))
        >>> turned = S @ [[0.8, -0.6], [0.6, 0.8]]
        >>> found = stability([S, turned])
        >>> round(found.affine, 3), bool(found.score < found.null_95)
        (1.0, True)
    """
    arrays = [np.asarray(array_of(fit), dtype=np.float64) for fit in fits]
    if len(arrays) < 2 or any(each.ndim != 2 or each.shape != arrays[0].shape for each in arrays):
        shapes = ", ".join(str(each.shape) for each in arrays)
        raise DataError(f"Fits have shapes {shapes}; give two or more, of the same frames and components.")
    pairs = list(combinations(range(len(arrays)), 2))
    matched = [_matched(arrays[i], arrays[j]) for i, j in pairs]
    products = [_products(arrays[i], arrays[j], order) for (i, j), (order, _) in zip(pairs, matched, strict=True)]
    each = np.array([values for _, values in matched])
    white = [_white(array) for array in arrays]
    canonical = [np.minimum(1, np.linalg.svd(white[i].T @ white[j] / len(white[i]))[1]) for i, j in pairs]
    score = float(each.mean())
    error = standard_error(np.mean(products, axis=0))
    own = [values for (i, _), values in zip(pairs, each, strict=True) if i == 0]
    return Stability(
        score,
        np.mean(own, axis=0),
        float(np.mean(canonical)),
        _rotation_null(canonical, np.random.default_rng(random_state)),
        (float(max(0.0, score - 1.96 * error)), float(min(1.0, score + 1.96 * error))),
    )


def _matched(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column of the other that goes with each of one (component,), and their absolute correlation."""
    matrix = np.abs(correlation_matrix(other, one, kind="pearson"))
    order = assign(matrix)
    return order, matrix[order, np.arange(len(order))]


def _products(one: np.ndarray, other: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Mean (frame,) over components of the products of matched, standardised columns: their mean is the score."""
    a, b = (each - each.mean(0) for each in (one, other[:, order]))
    a, b = a / np.maximum(a.std(0), 1e-300), b / np.maximum(b.std(0), 1e-300)
    products = a * b
    return np.mean(products * np.sign(products.mean(0)), axis=1)


def _white(S: np.ndarray) -> np.ndarray:
    """White columns (frame, n) of the same span."""
    u, value, _ = np.linalg.svd(S - S.mean(0), full_matrices=False)
    return u[:, value > 1e-10 * value.max(initial=1e-300)] * np.sqrt(len(S))


def _rotation_null(canonical: list[np.ndarray], rng: np.random.Generator) -> float:
    """95th percentile of the mean agreement of random rotations, given what an affine map leaves."""
    draws = np.empty(N_ROTATIONS)
    for k in range(N_ROTATIONS):
        scores = []
        for values in canonical:
            n = len(values)
            one, other = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
            matrix = np.abs(one @ np.diag(values) @ other)
            order = assign(matrix)
            scores.append(matrix[order, np.arange(n)].mean())
        draws[k] = np.mean(scores)
    return float(np.quantile(draws, 0.95))

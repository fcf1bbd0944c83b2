"""How many sources an audit looks for, and which of them do not move."""

from __future__ import annotations

import numpy as np

from tempica.audit.features import linear
from tempica.audit.given import Given
from tempica.audit.results import Test
from tempica.errors import DataError
from tempica.ica.base import linear_map, whitening
from tempica.ica.linear.dimension import SourceCount


def number_of(asked: int | None, count: SourceCount, data: Given) -> int:
    """Of sources: as many as are asked for or counted; all directions where nothing but values may tell them apart."""
    most = len(count.directions)
    if asked is not None:
        if not (isinstance(asked, int | np.integer) and 1 <= asked <= most):
            raise DataError(f"n_components = {asked!r} must be from 1 to {most}, the directions in which frames vary.")
        return int(asked)
    if count.n > 0:
        return count.n
    return most if not _normal(data.X) else 0


def _normal(X: np.ndarray) -> bool:
    """Whether no principal component of the frames, and no axis that FastICA finds, is of other than normal shape."""
    mean, white = whitening(X)
    z = linear_map(X, mean, white)
    i, j = np.triu_indices(z.shape[1])
    fourth = (z**2).T @ z**2 / len(z) - 1 - 2 * np.eye(z.shape[1])
    third = (z[:, i] * z[:, j]).T @ z / len(z)
    # of normal frames, moments have deviations of about √24 (kurtosis), 2 and less, and √15 (third), all over √frames
    bound = 5 / np.sqrt(len(z))
    return bool(np.abs(fourth).max() < bound * np.sqrt(24) and np.abs(third).max() < bound * np.sqrt(15))


def not_moving(S: np.ndarray, data: Given, count: SourceCount) -> tuple[int, ...]:
    """Sources (of S (frame, n)) beyond the number counted, where any were: those farthest from the counted directions.

    Farthest by how much of a source the directions that depend on time or label explain.
    """
    excess = S.shape[1] - count.n
    if count.n == 0 or excess <= 0:
        return ()
    h = linear(data, count.directions[: count.n]).h
    left = S - S.mean(0) - h @ (h.T @ (S - S.mean(0)) / len(h))
    return tuple(sorted(np.argsort(-left.std(0) / np.maximum(S.std(0), 1e-300))[:excess].tolist()))


def number_test(count: SourceCount, n: int) -> Test:
    least = float(count.threshold[-1]) if len(count.threshold) else None
    enough = n > 0 and (count.n == 0 or n <= count.n)
    return Test("number", "As many directions as sources are not noise", enough, count.limits, float(count.n), least)

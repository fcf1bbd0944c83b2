"""Several series given as a list, as `fit([X1, X2])`: each entry is a replica."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.series import array_of

A_FRAME = ("labels", "validation", "covariance")  # keywords with a value for each frame


def is_list_of_series(X: Any) -> bool:
    """Whether X is a list of arrays (frame, feature) or of movies (frame, y, x), and no array written as a list."""
    return isinstance(X, (list, tuple)) and len(X) > 0 and all(getattr(each, "ndim", 0) >= 2 for each in X)


def fit_of_lists(fit: Callable[..., Any]) -> Callable[..., Any]:
    """A `fit` that takes a list of series too; labels, masks and covariances may be lists of the same length."""
    takes_replicas = "replicas" in inspect.signature(fit).parameters

    @functools.wraps(fit)
    def joined(self: Any, X: Any, y: Any = None, **given: Any) -> Any:
        if is_list_of_series(X):
            if given.get("replicas") is not None:
                raise DataError("X is a list, whose entries are the replicas. Leave replicas out, or give one array.")
            lengths = [len(each) for each in X]
            given = {name: _joined(value, lengths) if name in A_FRAME else value for name, value in given.items()}
            X, y = _stacked(X), _joined(y, lengths)
            if takes_replicas:
                given["replicas"] = np.repeat(np.arange(len(lengths)), lengths)
        return fit(self, X, y, **given)

    return joined


def transform_of_lists(transform: Callable[..., Any]) -> Callable[..., Any]:
    """A `transform` that gives a list for a list of series."""

    @functools.wraps(transform)
    def each_one(self: Any, X: Any, *args: Any, **given: Any) -> Any:
        if is_list_of_series(X):
            return [transform(self, each, *args, **given) for each in X]
        return transform(self, X, *args, **given)

    return each_one


def _stacked(X: Sequence[Any]) -> np.ndarray:
    arrays = [array_of(each) for each in X]
    shapes = [each.shape[1:] for each in arrays]
    if len(set(shapes)) > 1:
        raise DataError(f"X is a list of series whose frames have shapes {shapes}: all must have the same features.")
    return np.concatenate(arrays)


def _joined(values: Any, lengths: Sequence[int]) -> Any:
    """Values of all frames, from a list with an array for each series; anything else as it is."""
    if not isinstance(values, (list, tuple)) or [len(each) for each in values if hasattr(each, "__len__")] != lengths:
        return values
    return np.concatenate([array_of(each) for each in values])

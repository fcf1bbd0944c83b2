"""Which component is which truth: the assignment, and the score of one."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import optimize

from tempica.errors import DataError
from tempica.series import array_of


def assign(matrix: np.ndarray) -> np.ndarray:
    """Component (n_truth,) of each truth column that makes Σ|corr| largest; −1 where components run out."""
    truth, component = optimize.linear_sum_assignment(np.abs(matrix).T, maximize=True)
    assignment = np.full(matrix.shape[1], -1)
    assignment[truth] = component
    return assignment


def matched(matrix: np.ndarray, assignment: np.ndarray) -> np.ndarray:
    """|corr| (n_truth,) of each truth column with its component, of (n_components, n_truth); 0 where there is none."""
    there = assignment >= 0
    each = np.zeros(matrix.shape[1])
    each[there] = np.abs(matrix[assignment[there], there])
    return each


def score(matrix: np.ndarray, assignment: np.ndarray) -> float:
    """Mean over truth columns of |corr| (n_components, n_truth) with the assigned component; 0 where there is none."""
    return float(min(1.0, matched(matrix, assignment).sum() / matrix.shape[1]))


def checked_assignment(assignment: Any, shape: tuple[int, int]) -> np.ndarray:
    """A matching that was fitted elsewhere. Raises DataError for one that cannot be."""
    n_components, n_truth = shape
    given = array_of(assignment)
    if given.shape != (n_truth,) or not np.issubdtype(given.dtype, np.integer):
        raise DataError(f"assignment = {assignment} must hold {n_truth} integers, one a truth column.")
    if given.min() < -1 or given.max() >= n_components:
        raise DataError(f"assignment = {given.tolist()} must hold components 0 to {n_components - 1}, or -1 for none.")
    used = given[given >= 0]
    if len(np.unique(used)) < len(used):
        raise DataError(f"assignment = {given.tolist()} uses a component twice; each may match one truth.")
    return given.astype(np.int64)

"""Conditions on columns, as in --where "source_1 > 1.5 and label == 10": parsed, and never run as code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tempica.errors import DataError

LONGEST = 1000  # characters
_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def rows_where(condition: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows (row,) that fulfil a condition.

    It is made of names of columns, numbers, text in quotes, + − * /, < <= > >= == !=, abs(…), and, or, not, and
    parentheses. A comparison with NaN is false. Raises DataError for anything else, with the columns there are.

    Example:
        >>> columns = {"source_1": np.array([0.0, 2.0, 3.0]), "label": np.array(["a", "a", "b"])}
        >>> rows_where("source_1 > 1.5 and not label == 'b'", columns).tolist()
        [False, True, False]
    """
    try:
        tree = ast.parse(condition, mode="eval") if len(condition) <= LONGEST else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None:
        raise DataError(f"{condition[:80]!r} is no condition. Write it like: source_1 > 1.5 and source_2 < 0")
    with np.errstate(all="ignore"):
        found = _value(tree.body, columns, condition)
    n = len(next(iter(columns.values())))
    if not _is_truth(found) or found.shape != (n,):
        raise DataError(f"{condition!r} says no yes or no of each row. Compare a column: source_1 > 1.5")
    return found


def _value(node: ast.AST, columns: Mapping[str, np.ndarray], condition: str) -> Any:
    within = lambda each: _value(each, columns, condition)  # noqa: E731
    if isinstance(node, ast.Name):
        if node.id not in columns:
            raise DataError(f"There is no column '{node.id}'. Columns: {', '.join(columns)}.")
        return columns[node.id]
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, int | float | str)
        and not isinstance(node.value, bool)
    ):
        return node.value
    if isinstance(node, ast.BoolOp):
        parts = [_truth(within(each), condition) for each in node.values]
        return (np.logical_and if isinstance(node.op, ast.And) else np.logical_or).reduce(parts)
    if isinstance(node, ast.UnaryOp):
        if isinstance(node.op, ast.Not):
            return ~_truth(within(node.operand), condition)
        if isinstance(node.op, ast.USub):
            return -_number(within(node.operand), condition)
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right = (_number(within(each), condition) for each in (node.left, node.right))
        return _ARITHMETIC[type(node.op)](left, np.float64(right) if isinstance(right, int | float) else right)
    if isinstance(node, ast.Compare) and all(type(each) in _COMPARISONS for each in node.ops):
        sides = [within(each) for each in (node.left, *node.comparators)]
        return np.logical_and.reduce(
            [
                _compared(type(op), left, right, condition)
                for op, left, right in zip(node.ops, sides[:-1], sides[1:], strict=True)
            ]
        )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "abs" and len(node.args) == 1:
        return np.abs(_number(within(node.args[0]), condition))
    raise DataError(
        f"{condition[:80]!r} has a part that conditions do not know: {ast.unparse(node)[:40]}. They know columns,"
        " numbers, text, + - * /, comparisons, abs, and, or, not."
    )


def _compared(op: type, left: Any, right: Any, condition: str) -> Any:
    texts = [np.asarray(side).dtype.kind in "US" for side in (left, right)]
    if texts[0] != texts[1]:
        raise DataError(f"{condition!r} compares text with a number. Put text in quotes, and numbers not.")
    return np.asarray(_COMPARISONS[op](np.asarray(left), np.asarray(right)))


def _truth(value: Any, condition: str) -> np.ndarray:
    if not _is_truth(value):
        raise DataError(f"{condition!r} joins what is no comparison with and, or, not. Compare it first.")
    return value


def _is_truth(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "b"


def _number(value: Any, condition: str) -> Any:
    if np.asarray(value).dtype.kind not in "fiu":
        raise DataError(f"{condition!r} calculates with what is no number.")
    return value

"""One variable of a store: its dims, dtype, unit and meaning."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    dims: tuple[str, ...]
    dtype: str
    units: str
    description: str
    other_dtypes: tuple[str, ...] = ()

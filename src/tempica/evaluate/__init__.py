"""Scores against a known truth, with the null and the interval that they must be read with; the audit without one."""

from __future__ import annotations

import importlib
from typing import Any

from tempica.evaluate.metrics import MCC, mcc

__all__ = ["MCC", "audit", "mcc"]


def __getattr__(name: str) -> Any:
    # it stands above the rooms, since it asks estimators too; so it is found by name, and only when asked for
    if name == "audit":
        return importlib.import_module("tempica.audit.auditing").audit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

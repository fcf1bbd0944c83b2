"""Above the rooms: whether the axes that temporal ICA finds in given data can be believed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempica.audit.auditing import audit
    from tempica.audit.results import Audit

__all__ = ["Audit", "audit"]
_HOME = {"audit": "auditing", "Audit": "results"}


def __getattr__(name: str) -> Any:
    # estimators and SciPy are imported when an audit begins
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

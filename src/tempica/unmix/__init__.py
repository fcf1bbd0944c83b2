"""Latents of any program in, meaningful axes out: `tempica unmix`, and the same from Python."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempica.unmix.frames import Frames, read
    from tempica.unmix.selecting import select
    from tempica.unmix.trajectories import read_trajectory
    from tempica.unmix.work import Result, unmix

__all__ = ["Frames", "Result", "read", "read_trajectory", "select", "unmix"]
_HOME = {
    "Frames": "frames",
    "read": "frames",
    "read_trajectory": "trajectories",
    "Result": "work",
    "select": "selecting",
    "unmix": "work",
}


def __getattr__(name: str) -> Any:
    # imported on first use: `import tempica.unmix` stays fast
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

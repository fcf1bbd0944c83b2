"""Files of other programs that a run is made of: their place and digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

LARGE = 2 * 10**9  # bytes that take long enough to be announced


def _place(path: Path) -> dict[str, Any]:
    """Where a file is, and what tells quickly whether it is still the same."""
    try:
        about = path.stat()
    except OSError:
        return {"path": str(path), "bytes": 0, "modified": 0}
    return {"path": str(path), "bytes": about.st_size, "modified": about.st_mtime_ns}


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:  # piece by piece: trajectories are large
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "missing"  # the simulate stage's own check reports it

"""Paths in a run folder: structures, files of other programs, and the record of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tempica.errors import StoreError


def structure_path(folder: Path, name: str) -> Path:
    """Path of a recipe's structure file: the copy in a run folder, else the path in the recipe."""
    frozen = folder / "structures" / Path(name).name
    own = (folder / ".tempica" / "run.json").exists() or not (folder / name).exists()
    return frozen if own and frozen.exists() else folder / name


def trajectory_path(folder: Path, name: str) -> Path:
    """Path of a recipe's trajectory file: as recorded in a run folder, else the path in the recipe."""
    kept = recorded(folder).get(name)
    return Path(kept["path"]) if kept else folder / name


def recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """What a run folder has recorded of each trajectory file: `path`, `bytes`, `modified` (ns), `sha256`."""
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(f"The file {folder / RECORD} is damaged: {error}. Import the trajectory anew.") from None


RECORD = "trajectories.json"


def fingerprint(*parts: object) -> str:
    """A short digest of plain data, the same on every machine."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

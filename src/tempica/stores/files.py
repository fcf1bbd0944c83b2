"""Text, JSON and .npz files, written in one step: a reader sees the whole file or none."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np


def write_json(path: Path, value: object) -> None:
    """Write a JSON file in one step."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    fresh = fresh_name(path)
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


def write_json_once(path: Path, value: object) -> Any:
    """Write a JSON file unless it exists, and return its content: the first of several processes decides."""
    if not path.exists():
        fresh = fresh_name(path)
        fresh.write_text(json.dumps(value), encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    return json.loads(path.read_text(encoding="utf-8"))


def save_arrays(path: Path, **arrays: Any) -> None:
    """Write an .npz of intermediate results in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = fresh_name(path)
    with fresh.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(fresh, path)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what `save_arrays` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def fresh_name(path: Path) -> Path:
    """A name beside a path that no other process uses, on this machine or another."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}.new")

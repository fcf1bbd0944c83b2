"""The folder of a result: made whole under its name, resumed where a killed command left it, never overwritten."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tempica._version import __version__
from tempica.errors import StoreError, TempicaError
from tempica.stores import schema

RECORD = "unmix.json"  # what was asked, and what was found


def fingerprint(options: Mapping[str, Any], files: list[Path], arrays: list[np.ndarray]) -> str:
    """Digest of options, of the contents of files, and of arrays."""
    version = [__version__, schema.version_of("source_table")]
    digest = hashlib.sha256(json.dumps([*version, dict(options)], sort_keys=True, default=str).encode())
    for path in files:
        for part in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if part.is_file() and (not path.is_dir() or part.suffix in (".npy", ".pkl")):
                with part.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def is_there(out: Path, digest: str) -> bool:
    """Whether a folder holds this result already. Raises StoreError when it holds something else."""
    if not out.exists():
        return False
    with contextlib.suppress(OSError, ValueError):
        if json.loads((out / RECORD).read_text(encoding="utf-8"))["fingerprint"] == digest:
            return True
    raise StoreError(
        f"{out} exists already and holds something else: another input, other options, another version of tempica,"
        " or no result of unmix. Nothing was changed. Give another folder with --out."
    )


@contextlib.contextmanager
def working(out: Path, digest: str) -> Iterator[Path]:
    """A folder beside `out` to work in, that of a killed command with the same digest; renamed to `out` at the end.

    Raises StoreError when another process is at work there.
    """
    folder = out.with_name(f".{out.name}-{digest[:16]}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error}. Give another folder with --out.") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise StoreError(f"Another process is making {out}. Wait for it, or give another --out.") from None
    try:
        yield folder
        for leftover in (*folder.glob("*.state"), *folder.glob("*.part")):
            leftover.unlink()
        if out.exists():
            raise StoreError(f"{out} has appeared meanwhile. Nothing was changed. Give another --out.")
        os.rename(folder, out)
    except TempicaError:  # nothing that a second try could use
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(held)

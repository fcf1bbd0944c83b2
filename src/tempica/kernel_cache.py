"""Importing this module gives numba a folder for compiled kernels where it finds none that it may write.

Numba looks for a folder when a kernel is declared and raises where there is none. Then, and where the one that it would
take is full, kernels go to a temporary folder, shared with the processes started from here, for as long as this process
lives. So this module is imported before kernels are.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_BYTES = 2**20  # of a write that tries whether a folder has room, about as large as one kernel


def _provide() -> None:
    for folder in _folders():
        try:
            _write(folder)
            return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # numba would take it, and fail later
                break
    _share_temporary_folder()


def _share_temporary_folder() -> None:
    folder = tempfile.mkdtemp(prefix="tempica-kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = folder
    if "numba" in sys.modules:
        import numba

        numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]
    print(
        "tempica: neither the installed package nor the user's cache folder can be written, so kernels are compiled"
        " anew, which takes longer; set NUMBA_CACHE_DIR to a writable folder to keep them",
        file=sys.stderr,
        flush=True,
    )


def _folders() -> Iterator[Path]:
    """Where numba looks, in its order."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(given)
    yield Path(__file__).parent / "__pycache__"
    try:
        home = Path.home()
    except RuntimeError:  # a user without an entry, and without HOME
        return
    if sys.platform == "darwin":
        yield home / "Library" / "Caches" / "numba"
    else:
        yield Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "numba"


def _write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_BYTES))


_provide()

"""Paths that every reader and writer accepts: C libraries want ASCII names, MDTraj lower-case endings."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

_SYNONYMS = {".ent": ".pdb", ".ent.gz": ".pdb.gz"}  # the wwPDB's own name for PDB files


def ending(path: Path) -> str:
    """The ending that says how to read a file: lower case, with a .gz, and .pdb for .ent.

    Example:
        >>> ending(Path("RUN.XTC")), ending(Path("pdb4ake.ent.gz"))
        ('.xtc', '.pdb.gz')
    """
    name = path.name.lower()
    inner = Path(name.removesuffix(".gz")).suffix
    found = inner + ".gz" if name.endswith(".gz") and inner else Path(name).suffix
    return _SYNONYMS.get(found, found)


def plain_path(path: Path) -> str:
    """The path of a file or folder that exists, as it is where it is plain ASCII and its ending is `ending(path)`.

    Otherwise the path of a symbolic link to it, in a folder of this process that is removed when the process ends.
    """
    kind = "" if path.is_dir() else ending(path)
    text = str(path)
    if text.isascii() and text.endswith(kind):
        return text
    return _link(path.absolute(), kind)


def plain_file(content: bytes, kind: str) -> str:
    """The path of a new file of this process with the given ending, removed when the process ends."""
    path = _own_folder() / f"{len(os.listdir(_own_folder()))}{kind}"
    path.write_bytes(content)
    return str(path)


@cache
def _link(path: Path, kind: str) -> str:
    link = _own_folder() / f"{len(os.listdir(_own_folder()))}{kind}"
    link.symlink_to(path)
    return str(link)


@cache
def _own_folder() -> Path:
    places = [tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"]
    place = next((place for place in places if place.isascii() and os.access(place, os.W_OK)), None)
    folder = Path(tempfile.mkdtemp(prefix="tempica-", dir=place))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder

"""Writes a run's results as files of other programs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tempica.errors import StoreError, TempicaError
from tempica.progress import Progress
from tempica.stores import files, reading, store

if TYPE_CHECKING:
    import xarray

# target -> the kind of store that it is made of
TARGETS = {"relion": "movie", "cxi": "diffraction", "mdtraj-hdf5": "trajectory", "dcd": "trajectory"}


def export(run: str | Path, to: str, out: str | Path, *, progress: Progress | None = None) -> Path:
    """Write a run's movie or trajectory as files of another program; returns `out`.

    The folder appears under its name when it is complete.

    Parameters:
        run: Run folder.
        to: One of TARGETS.
        out: Folder to make.
        progress: Where to report; stderr if none.

    Raises StoreError when `out` exists already, or the run lacks the store or has it damaged; an OSError as it is
    when the disk is full or fails.
    """
    run, out = Path(run), Path(out)
    if not (run / ".tempica" / "run.json").exists():
        raise StoreError(f"{run} is no tempica run. Give a run's folder.")
    if out.exists():
        raise StoreError(f"{out} exists already. Nothing was changed. Give another name.")
    kind = TARGETS[to]
    path = run / store.file_name(kind)
    found = store.verify(path).get("kind")
    if found != kind:
        raise StoreError(
            f"{path} is of the kind '{found}', and --to {to} needs '{kind}'. Give --to"
            f" {', '.join(name for name, made_of in TARGETS.items() if made_of == found)}."
        )
    dataset = reading.open_store(path, kind)
    fresh, held = files.fresh_name(out), None
    try:
        _clear(out)
        fresh.mkdir(parents=True)
        held = _lock(fresh)
        _writer(to)(dataset, fresh, progress or Progress())
        if out.exists():
            raise StoreError(f"{out} has appeared meanwhile. Nothing was changed. Give another name.")
        os.rename(fresh, out)
    except TempicaError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        raise StoreError(f"{out} cannot be written: {error}. Nothing was changed.") from None
    except Exception:
        store.read_all(path)  # a damaged store is a better diagnosis than an error that it may have caused
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if held is not None:
            os.close(held)
    return out


def _writer(to: str) -> Callable[[xarray.Dataset, Path, Progress], None]:
    """The function that writes a data set into a folder; what it needs is imported for it alone."""
    if to == "relion":
        from tempica.exchange.particles import write_particles

        return write_particles
    if to == "cxi":
        from tempica.exchange.cxi import write_cxi

        return write_cxi
    from tempica.exchange import trajectories

    return trajectories.write_dcd if to == "dcd" else trajectories.write_hdf5


def _clear(out: Path) -> None:
    """Remove what killed exports to the same folder have left."""
    unfinished = re.compile(re.escape(out.name) + r"\.[0-9a-f]{32}\.new")
    for path in out.parent.glob("*.new"):
        if unfinished.fullmatch(path.name) and (free := _lock(path)) is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(free)


def _lock(folder: Path) -> int | None:
    """A descriptor that locks a folder until it is closed; none if another process holds it or it cannot be locked."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            os.close(descriptor)
    return None

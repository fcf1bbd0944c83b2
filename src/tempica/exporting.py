"""A run's results in the files of other programs."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path

from tempica import store
from tempica.errors import StoreError
from tempica.progress import Progress

# target -> (store that it is made of, where its writer is found, the writer: (dataset, folder, progress) -> None)
TARGETS = {
    "relion": ("movie", "tempica.exchange.particles", "write_particles"),
    "cxi": ("diffraction", "tempica.exchange.cxi", "write_cxi"),
    "mdtraj-hdf5": ("trajectory", "tempica.exchange.trajectories", "write_hdf5"),
    "dcd": ("trajectory", "tempica.exchange.trajectories", "write_dcd"),
}


def export(run: str | Path, to: str, out: str | Path, *, progress: Progress | None = None) -> Path:
    """Write a run's movie or trajectory into a new folder `out`, as files of another program; see TARGETS.

    The folder appears under its name once it is whole. Raises StoreError when it exists already, or the run lacks
    the store.
    """
    run, out = Path(run), Path(out)
    if not (run / ".tempica" / "run.json").exists():
        raise StoreError(f"{run} is no tempica run. Give a run's folder.")
    if out.exists():
        raise StoreError(f"{out} exists already. Nothing was changed. Give another name.")
    kind, module, writer = TARGETS[to]
    path = run / store.file_name(kind)
    held = store.verify(path).get("kind")
    if held != kind:
        raise StoreError(
            f"{path} is of the kind '{held}', and --to {to} needs '{kind}'. Give --to"
            f" {', '.join(name for name, (made_of, *_) in TARGETS.items() if made_of == held)}."
        )
    dataset = store.open_store(path, kind)
    fresh = store.fresh_name(out)
    try:
        fresh.mkdir(parents=True)
        getattr(importlib.import_module(module), writer)(dataset, fresh, progress or Progress())
        if out.exists():
            raise StoreError(f"{out} has appeared meanwhile. Nothing was changed. Give another name.")
        os.rename(fresh, out)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{out} cannot be written: {error}. Nothing was changed.") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return out

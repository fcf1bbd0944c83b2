"""Stores of a run, opened for a stage that may read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica.errors import TruthError
from tempica.runs.stages import READERS
from tempica.stores import schema
from tempica.stores.reading import open_store
from tempica.stores.store import file_name

if TYPE_CHECKING:
    import xarray


def read(run: Path, stage: str, kind: str) -> xarray.Dataset:
    """A completed store of a run, opened for a stage; "movie" stands for that of whichever camera the run has.

    Raises TruthError when the table of stages does not let the stage see it, and StoreError when it is missing,
    incomplete or damaged.
    """
    allowed = READERS[stage].reads
    if kind not in allowed:
        raise TruthError(f"The stage '{stage}' may read {' and '.join(allowed) or 'no store'}, not '{kind}'.")
    found = open_store(Path(run) / file_name(kind), kind, *schema.IN_A_RUN.get(kind, ()))
    return found.assign(_nowhere(found)) if found.attrs["kind"] == "diffraction" else found


def _nowhere(movie: xarray.Dataset) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Shifts of diffraction patterns, which do not depend on where the molecule is."""
    return {"pose_shift_A": (("replica", "time", "plane"), np.zeros((movie.sizes["replica"], movie.sizes["time"], 2)))}


def true_poses(run: Path, stage: str, movie: xarray.Dataset) -> xarray.Dataset:
    """The data set that holds a movie's true poses: the movie itself if it knows them, else the store of poses."""
    return movie if movie.attrs["pose"] == "known" else read(run, stage, "poses")

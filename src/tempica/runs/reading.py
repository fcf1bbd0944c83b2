"""Stores of a run, opened for a stage that may read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tempica.errors import TruthError
from tempica.runs.stages import READERS
from tempica.stores.reading import open_store
from tempica.stores.store import file_name, verify

if TYPE_CHECKING:
    import xarray


def read(run: Path, stage: str, kind: str) -> xarray.Dataset:
    """A completed store of a run, opened for a stage.

    Raises TruthError when the table of stages does not let the stage see it, and StoreError when it is missing,
    incomplete or damaged.
    """
    allowed = READERS[stage].reads
    if kind not in allowed:
        raise TruthError(f"The stage '{stage}' may read {' and '.join(allowed) or 'no store'}, not '{kind}'.")
    path = Path(run) / file_name(kind)
    return open_store(path, _of_crops(path, kind))


def _of_crops(path: Path, kind: str) -> str:
    """The kind of a movie or latents that are of crops; else the kind as it is."""
    of_crops = {"movie": "crops", "latents": "crop_latents"}.get(kind, kind)
    return of_crops if of_crops != kind and path.exists() and verify(path).get("kind") == of_crops else kind


def true_poses(run: Path, stage: str, movie: xarray.Dataset) -> xarray.Dataset:
    """The data set that holds a movie's true poses: the movie itself if it knows them, else the store of poses."""
    return movie if movie.attrs["pose"] == "known" else read(run, stage, "poses")

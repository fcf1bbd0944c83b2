"""Open completed stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tempica.stores import schema
from tempica.stores.store import verify

if TYPE_CHECKING:
    import xarray


def open_store(path: str | Path, kind: str) -> xarray.Dataset:
    """A completed store as one lazily read Dataset, checked against its schema.

    A lazy movie has its images too: they are made when they are read (see `tempica.lazy`).
    """
    import xarray

    path = Path(path)
    verify(path)
    dataset = xarray.open_zarr(path, consolidated=False, chunks=None)
    schema.check(dataset, kind, path)
    if "lazy" in dataset.attrs:
        from tempica.stores.lazy import with_images

        return with_images(dataset, path.parent)
    return dataset


def open_movie(run: str | Path) -> xarray.Dataset:
    """The movie of a run folder, with its images, be they stored or made when they are read."""
    return open_store(Path(run) / "movie.zarr", "movie")

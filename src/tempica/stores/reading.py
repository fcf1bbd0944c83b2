"""Open completed stores, with the images of a movie, be they stored or made when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tempica.stores.opening import open_stored

if TYPE_CHECKING:
    import xarray


def open_store(path: str | Path, kind: str, *others: str) -> xarray.Dataset:
    """A completed store as one lazily read Dataset, checked against its schema.

    Parameters:
        path: the store, as runs/NAME/movie.zarr.
        kind: what it must be: structure, trajectory, ensemble, movie, poses, diffraction, heights, latents or sources.
        others: kinds that it may be as well.

    A lazy movie has its images too: they are made when they are read (see `tempica.stores.lazy`). Raises StoreError
    when the store is missing, incomplete, damaged, or of another kind or schema version; and when something is read
    from the dataset after the store has been replaced or has lost files.
    """
    path = Path(path)
    dataset = open_stored(path, kind, *others)
    if "lazy" in dataset.attrs:
        from tempica.stores.lazy import with_images

        return with_images(dataset, path.parent.resolve())
    return dataset


def open_movie(run: str | Path) -> xarray.Dataset:
    """The movie of a run folder, with its images; as `open_store` of its movie.zarr."""
    return open_store(Path(run) / "movie.zarr", "movie")

"""Open completed stores as they lie on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tempica.stores import schema
from tempica.stores.store import verify

if TYPE_CHECKING:
    import xarray


def open_stored(path: Path, kind: str, *others: str) -> xarray.Dataset:
    """A completed store as one lazily read Dataset, checked against its schema; a lazy movie without its images.

    Reading from it raises StoreError once the store has been replaced or has lost files. Raises StoreError when it is
    missing, incomplete, damaged, or of another schema version or kind than `kind` and `others`.
    """
    import xarray

    from tempica.stores.guarded import GuardedStore

    verify(path)
    # resolved, so that neither a change of the working folder nor of a link leads elsewhere
    dataset = xarray.open_zarr(GuardedStore(path.resolve()), consolidated=False, chunks=None)
    stored = dataset.attrs.get("kind")
    schema.check(dataset, stored if stored in others else kind, path)
    return dataset

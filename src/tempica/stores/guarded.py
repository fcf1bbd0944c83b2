"""A completed store that can be replaced or lose files while it is open: what is read is as it was, or an error."""

from __future__ import annotations

import os
from pathlib import Path

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from tempica.errors import StoreError
from tempica.stores.store import remedy


class GuardedStore(LocalStore):
    """zarr's local store, with two silent faults turned into StoreError.

    zarr reads a chunk without a file as fill values; here that is an error. And zarr decodes chunks with the metadata
    that it read at opening, even if another store has taken the path since; here the metadata must be unchanged. They
    are checked after a chunk has been read: stores are replaced by renaming, so if the metadata are still the old ones,
    so was the chunk.
    """

    def __init__(self, root: Path | str, *, read_only: bool = True) -> None:
        super().__init__(root, read_only=read_only)
        self._seen, self._metadata = _state(self.root), _metadata(self.root)

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        return self._checked(key, await super().get(key, prototype, byte_range))

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        return self._checked(key, super().get_sync(key, prototype=prototype, byte_range=byte_range))

    def _checked(self, key: str, value: Buffer | None) -> Buffer | None:
        seen = _state(self.root)
        if seen != self._seen:
            if _metadata(self.root) != self._metadata:
                raise StoreError(
                    f"The store {self.root} has been replaced, moved or removed since it was opened. Open it again."
                )
            self._seen = seen  # touched, or restored from a copy
        if value is None and "/c/" in key:
            raise StoreError(f"The store {self.root} is damaged: its chunk {key} is missing. {remedy(self.root)}")
        return value


def _state(root: Path) -> tuple[int, int, int] | None:
    """What tells quickly that the store is still the same; None where there is none."""
    try:
        about = os.stat(root / "zarr.json")
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def _metadata(root: Path) -> tuple[bytes, ...]:
    """Attributes, shapes and scales of all variables, as they are written; empty where there is no store."""
    try:
        return tuple(path.read_bytes() for path in [root / "zarr.json", *sorted(root.glob("*/zarr.json"))])
    except OSError:
        return ()

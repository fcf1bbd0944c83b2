"""The only module that touches zarr: create, fill, seal and open stores.

A store is filled under a working name and sealed, then renamed: what carries its final name is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica.errors import StoreError
from tempica.stores import schema
from tempica.stores.files import fresh_name

if TYPE_CHECKING:
    import xarray
    import zarr


AT_ONCE = 64  # chunks that are read or written together: zarr keeps state for each
UNFINISHED = ".partial"  # ending of a file that zarr is still writing


def file_name(kind: str) -> str:
    """File name of the store of a kind in its run folder. Every camera makes movie.zarr."""
    return f"{schema.FILES.get(kind, kind)}.zarr"


def open_unsealed(path: Path) -> xarray.Dataset:
    """A store that a stage has filled and not yet completed, for that stage's own later steps."""
    import xarray

    return xarray.open_zarr(path, consolidated=False, chunks=None)


def verify(path: Path) -> dict[str, Any]:
    """Attributes of a completed store. Raises StoreError when it is missing, incomplete or damaged."""
    if not path.exists():
        raise StoreError(f"There is no store {path}. Run the stage that makes it first.")
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        promised = int(attributes["n_files"]), int(attributes["n_bytes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"The store {path} is damaged: its zarr.json cannot be read ({type(error).__name__}). {remedy(path)}"
        ) from None
    found = _extent(path)
    if found != promised:
        raise StoreError(
            f"The store {path} is damaged: it has {found[0]} files of {found[1]} bytes and was completed with"
            f" {promised[0]} files of {promised[1]} bytes. {remedy(path)}"
        )
    return attributes


def read_all(path: Path) -> None:
    """Read every chunk of a store. Raises StoreError when one is damaged."""
    import zarr

    verify(path)
    for name, array in zarr.open_group(store=path, mode="r", zarr_format=3).arrays():
        try:
            array[...]
        except MemoryError:
            raise
        except Exception as error:  # decoders raise errors of many kinds
            raise StoreError(
                f"The store {path} is damaged: its variable '{name}' cannot be read ({error}). {remedy(path)}"
            ) from error


def create(
    path: Path,
    kind: str,
    sizes: Mapping[str, int],
    *,
    attributes: Mapping[str, Any],
    chunks: Mapping[str, int],
    scale: Mapping[str, tuple[float, float]] | None = None,
    dtypes: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
) -> None:
    """Make an empty store of a kind, or keep the one that is there.

    `sizes` and `chunks` are by dim (a dim without chunk is one chunk); `scale` gives packed variables their
    (scale_factor, add_offset), `dtypes` variables another of the dtypes that the schema allows, `without` are
    variables left out. The store appears under its name only when all its arrays are declared; several processes may
    make it at once.
    """
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    if path.exists():
        return
    fresh = fresh_name(path)
    about_all = {**attributes, "kind": kind, "schema_version": schema.version_of(kind)}
    group = zarr.create_group(store=fresh, zarr_format=3, attributes=about_all)
    for name, rule in schema.STORES[kind].items():
        if name in without:
            continue
        shape = tuple(sizes[dim] for dim in rule.dims)
        dtype = (dtypes or {}).get(name, rule.dtype)
        assert dtype in (rule.dtype, *rule.other_dtypes), f"{name} may not be {dtype}"
        about: dict[str, Any] = {"units": rule.units, "long_name": rule.description}
        if scale and name in scale:
            about["scale_factor"], about["add_offset"] = scale[name]
        group.create_array(
            name,
            shape=shape,
            dtype=str if dtype == "string" else dtype,
            chunks=tuple(max(1, min(chunks.get(dim, size), size)) for dim, size in zip(rule.dims, shape, strict=True)),
            dimension_names=rule.dims,
            # the checksum turns a damaged chunk into an error instead of wrong numbers
            compressors=[ZstdCodec(level=1), Crc32cCodec()],
            attributes=about,
            config={"write_empty_chunks": True},
        )
    try:
        os.rename(fresh, path)
    except OSError:
        if not path.exists():
            raise
        shutil.rmtree(fresh)  # another process has made the same store first


def write(path: Path, values: Mapping[str, Any], **region: int | slice) -> None:
    """Fill variables of an unsealed store; `region` selects along dims, all of a dim that is not named."""
    import zarr

    group = zarr.open_group(store=path, mode="r+", zarr_format=3)
    kind = str(group.attrs["kind"])
    for name, value in values.items():
        array = _array(group, name).with_config({"write_empty_chunks": True})
        index = tuple(region.get(dim, slice(None)) for dim in schema.STORES[kind][name].dims)
        if region or isinstance(value, list) or array.nchunks <= AT_ONCE:
            array[index] = value if isinstance(value, list) else np.asarray(value, dtype=array.dtype)
        else:
            for part in _parts(array.shape, array.chunks):
                array[part] = np.asarray(np.broadcast_to(value, array.shape)[part], dtype=array.dtype)


def read_array(dataset: xarray.Dataset, name: str) -> np.ndarray:
    """A whole variable of a dataset whose chunks may be many."""
    array = dataset[name]
    chunks = array.encoding.get("chunks") or array.shape
    values = np.empty(array.shape, array.dtype)
    for part in _parts(array.shape, chunks):
        values[part] = array[part].values
    return values


def seal(path: Path) -> None:
    """Mark a filled store as complete: its attributes get the number and size of its files.

    Unfinished files of killed writers are removed: their chunks have been written again.
    """
    import zarr

    for leftover in path.rglob(f"*{UNFINISHED}"):
        leftover.unlink()
    group = zarr.open_group(store=path, mode="r+", zarr_format=3)
    files, size = _extent(path)
    group.attrs.update({"n_files": files, "n_bytes": size})


def provenance(recipe_text: str, seed: int, fingerprint: str, title: str) -> dict[str, Any]:
    """Attributes that every store carries."""
    return {
        "title": title,
        "recipe": recipe_text,
        "seed": seed,
        "fingerprint": fingerprint,
        "software": software(),
    }


def software() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    names = (
        "tempica",
        "numpy",
        "scipy",
        "numba",
        "openmm",
        "mdtraj",
        "scikit-learn",
        "torch",
        "xarray",
        "zarr",
    )
    found = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):  # the ICA alone works without OpenMM and MDTraj
            found[name] = version(name)
    return found


def _parts(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """An array in parts of about AT_ONCE chunks."""
    steps, left = [], AT_ONCE
    for size, chunk in zip(reversed(shape), reversed(chunks), strict=True):
        n = min(left, -(-size // chunk))
        steps.append(n * chunk)
        left = max(1, left // n)
    starts = [range(0, size, step) for size, step in zip(shape, reversed(steps), strict=True)]
    for corner in product(*starts):
        yield tuple(slice(a, a + step) for a, step in zip(corner, reversed(steps), strict=True))


def _array(group: zarr.Group, name: str) -> zarr.Array:
    import zarr

    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def _extent(path: Path) -> tuple[int, int]:
    """Number of files below a store and their size, without the root's own metadata, which states them."""
    files = size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            files += 1
            size += os.stat(os.path.join(folder, name)).st_size
    root = path / "zarr.json"
    return files - 1, size - (root.stat().st_size if root.exists() else 0)


def remedy(path: Path) -> str:
    """What to do about a damaged store."""
    return f"Nothing was changed. Restore it, or move it away and run again to make a new {path.name}."

"""Stores: filled in pieces, sealed, checked when opened."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import xarray
import zarr

from tempica.errors import StoreError
from tempica.runs import folder
from tempica.stores import files, reading, schema, store

from .conftest import ROOT

SIZES = {"time": 10, "atom": 3, "space": 3}


@pytest.fixture
def ensemble(tmp_path: Path) -> Path:
    path = tmp_path / "ensemble.zarr"
    about = store.provenance('name = "x"', 7, "abc", "x: ensemble")
    store.create(path, "ensemble", SIZES, attributes=about, chunks={"time": 4})
    store.write(path, {"time": np.arange(10.0), "scattering_length_A": np.ones(3), "bead_width": np.ones(3)})
    return path


def _fill(path: Path, order: list[slice]) -> np.ndarray:
    position = np.random.default_rng(0).normal(size=(10, 3, 3)).astype(np.float32)
    for span in order:
        store.write(path, {"position": position[span]}, time=span)
    return position


def test_what_is_written_is_read_whatever_the_order(ensemble: Path) -> None:
    position = _fill(ensemble, [slice(8, 10), slice(0, 4), slice(4, 8)])
    store.seal(ensemble)
    dataset = reading.open_store(ensemble, "ensemble")
    np.testing.assert_array_equal(dataset["position"].values, position)
    assert dataset.attrs["seed"] == 7
    assert dataset["position"].attrs["units"] == "nm"


def test_a_store_that_is_there_is_not_made_again(ensemble: Path) -> None:
    position = _fill(ensemble, [slice(0, 10)])
    store.create(ensemble, "ensemble", SIZES, attributes={}, chunks={})
    store.seal(ensemble)
    np.testing.assert_array_equal(reading.open_store(ensemble, "ensemble")["position"].values, position)


def test_makers_and_writers_at_once_do_no_harm(tmp_path: Path) -> None:
    """As array tasks that begin together, and a task that a cluster does twice."""
    path, everybody = tmp_path / "ensemble.zarr", Barrier(8)

    def work(_: int) -> np.ndarray:
        everybody.wait()
        store.create(path, "ensemble", SIZES, attributes={"seed": 7}, chunks={"time": 4})
        return _fill(path, [slice(0, 4), slice(4, 8), slice(8, 10)] * 3)

    with ThreadPoolExecutor(8) as executor:
        position = list(executor.map(work, range(8))).pop()
    assert [p.name for p in tmp_path.iterdir()] == ["ensemble.zarr"]
    assert not list(path.rglob(f"*{store.UNFINISHED}"))
    np.testing.assert_array_equal(store.open_unsealed(path)["position"].values, position)


def test_sealing_twice_promises_the_same(ensemble: Path) -> None:
    _fill(ensemble, [slice(0, 10)])
    store.seal(ensemble)
    before = (ensemble / "zarr.json").read_bytes()
    store.seal(ensemble)
    assert (ensemble / "zarr.json").read_bytes() == before


def test_a_killed_writer_leaves_nothing_in_a_completed_store(ensemble: Path) -> None:
    """zarr writes to a file of another name first; a process killed before the renaming leaves it behind."""
    code = f"""
import os, pathlib
import numpy as np
from tempica.stores import store
pathlib.Path.replace = lambda *_: os._exit(9)
store.write(pathlib.Path({str(ensemble)!r}), {{"position": np.ones((4, 3, 3))}}, time=slice(0, 4))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert list(ensemble.rglob(f"*{store.UNFINISHED}"))
    position = _fill(ensemble, [slice(0, 10)])
    store.seal(ensemble)
    assert not list(ensemble.rglob(f"*{store.UNFINISHED}"))
    np.testing.assert_array_equal(reading.open_store(ensemble, "ensemble")["position"].values, position)


def test_zeros_are_written_too(ensemble: Path) -> None:
    """A chunk that holds the fill value must exist, or the number of files would depend on the data."""
    store.write(ensemble, {"position": np.zeros((10, 3, 3))})
    assert len(list((ensemble / "position" / "c").glob("*/0/0"))) == 3


def test_an_unsealed_store_is_refused(ensemble: Path) -> None:
    with pytest.raises(StoreError, match="damaged"):
        reading.open_store(ensemble, "ensemble")


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store .*movie\.zarr"):
        reading.open_store(tmp_path / "movie.zarr", "movie")


def test_a_store_of_another_kind_is_refused(ensemble: Path) -> None:
    _fill(ensemble, [slice(0, 10)])
    store.seal(ensemble)
    with pytest.raises(StoreError, match="'movie' is needed"):
        reading.open_store(ensemble, "movie")


def test_a_store_of_another_schema_version_is_refused_with_a_way_on(
    ensemble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(ensemble, [slice(0, 10)])
    store.seal(ensemble)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    with pytest.raises(StoreError, match=rf"schema version .*tempica run {ensemble.parent} .*superseded.*open_zarr"):
        reading.open_store(ensemble, "ensemble")


@pytest.mark.parametrize(("kind", "way"), [("sources", r"tempica run .*superseded"), ("source_table", "tempica unmix")])
def test_sources_with_the_dimension_method_are_refused_with_a_way_on(kind: str, way: str, tmp_path: Path) -> None:
    before = xarray.Dataset(
        {"source": (("method", "row"), np.zeros((1, 2)))}, attrs={"kind": kind, "schema_version": 5}
    )
    with pytest.raises(StoreError, match=f"schema version 5; this tempica reads {schema.version_of(kind)}.*{way}"):
        schema.check(before, kind, tmp_path / "sources.zarr")


def test_a_new_version_of_sources_makes_no_earlier_stage_out_of_date(monkeypatch: pytest.MonkeyPatch) -> None:
    def digests() -> dict[str, str]:
        return folder.open_run(ROOT / "simulations" / "quick_look.toml", None).fingerprints

    before = digests()
    monkeypatch.setattr(folder, "_VERSIONS", {"train": (0,)})
    after = digests()
    assert [stage for stage in before if before[stage] != after[stage]] == ["train", "evaluate", "report"]


@pytest.mark.parametrize(("name", "dtype"), [("position", "float64"), ("bead_width", "float32"), ("time", "int64")])
def test_a_variable_of_another_dtype_is_refused(ensemble: Path, name: str, dtype: str) -> None:
    _fill(ensemble, [slice(0, 10)])
    group = zarr.open_group(store=ensemble, mode="r+")
    values, about = group[name][...], dict(group[name].attrs)
    dims = schema.STORES["ensemble"][name].dims
    group.create_array(name, data=values.astype(dtype), dimension_names=dims, attributes=about, overwrite=True)
    store.seal(ensemble)
    with pytest.raises(StoreError, match=f"'{name}' .* has dtype {dtype}; the schema says"):
        reading.open_store(ensemble, "ensemble")


def test_a_flipped_byte_is_an_error_and_not_a_wrong_number(ensemble: Path) -> None:
    _fill(ensemble, [slice(0, 10)])
    store.seal(ensemble)
    chunk = ensemble / "position" / "c" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="position"):
        store.read_all(ensemble)


def test_every_kind_can_be_made(tmp_path: Path) -> None:
    for kind, variables in schema.STORES.items():
        sizes = {dim: 2 for rule in variables.values() for dim in rule.dims}
        store.create(tmp_path / kind, kind, sizes, attributes={}, chunks={}, scale={"image": (0.5, -1.0)})
        for name, rule in variables.items():
            value = ["a", "b"] if rule.dtype == "string" else np.zeros([2] * len(rule.dims))
            store.write(tmp_path / kind, {name: value})


def test_text_and_arrays_appear_whole(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"x": 1.5})
    assert (tmp_path / "a.json").read_text() == '{\n "x": 1.5\n}\n'
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "b.json", {"x": float("nan")})
    files.save_arrays(tmp_path / "deep" / "c.npz", x=np.arange(3))
    np.testing.assert_array_equal(files.load_arrays(tmp_path / "deep" / "c.npz")["x"], np.arange(3))
    assert not list(tmp_path.rglob("*.new"))


def test_the_first_of_several_decides(tmp_path: Path) -> None:
    path = tmp_path / "choice.json"
    assert files.write_json_once(path, "Reference") == "Reference"
    assert files.write_json_once(path, "CPU") == "Reference"
    assert [p.name for p in tmp_path.iterdir()] == ["choice.json"]


@pytest.mark.parametrize("shape", [(3, 1000), (1, 7), (2, 130, 5)])
@pytest.mark.parametrize("at_once", [1, 4, 64])
def test_parts_cover_an_array_once(shape: tuple[int, ...], at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "AT_ONCE", at_once)
    chunks = (1, 10, 5)[: len(shape)]
    seen = np.zeros(shape, int)
    for part in store._parts(shape, chunks):
        seen[part] += 1
        n_chunks = np.prod([-(-n // c) for n, c in zip(seen[part].shape, chunks, strict=True)])
        assert n_chunks <= at_once
    assert (seen == 1).all()


def test_a_variable_of_many_chunks_is_written_and_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "AT_ONCE", 3)
    path = tmp_path / "ensemble.zarr"
    about = store.provenance("", 7, "abc", "x")
    store.create(path, "ensemble", {"time": 50, "atom": 3, "space": 3}, attributes=about, chunks={"time": 4})
    position = np.random.default_rng(0).normal(size=(50, 3, 3)).astype(np.float32)
    store.write(path, {"position": position})
    np.testing.assert_array_equal(store.read_array(store.open_unsealed(path), "position"), position)

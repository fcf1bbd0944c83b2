"""Stores that change while they are open: what is read is the old data or an error, never a mixture."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray

from tempica.errors import StoreError
from tempica.stores import reading, store

SIZES = {"time": 10, "atom": 3, "space": 3}


def _make(path: Path, seed: int) -> np.ndarray:
    position = np.random.default_rng(seed).normal(size=(10, 3, 3)).astype(np.float32)
    store.create(path, "ensemble", SIZES, attributes=store.provenance("", seed, "abc", "x"), chunks={"time": 4})
    store.write(path, {"time": np.arange(10.0), "scattering_length_A": np.ones(3), "bead_width": np.ones(3)})
    store.write(path, {"position": position})
    store.seal(path)
    return position


@pytest.fixture
def opened(tmp_path: Path) -> tuple[Path, xarray.Dataset, np.ndarray]:
    path = tmp_path / "run" / "ensemble.zarr"
    path.parent.mkdir()
    position = _make(path, 1)
    return path, reading.open_store(path, "ensemble"), position


def test_a_store_in_the_place_of_another_is_not_read(opened) -> None:
    path, dataset, _ = opened
    np.testing.assert_array_equal(dataset["bead_width"].values, np.ones(3))
    os.rename(path, path.with_name("old"))
    _make(path, 2)
    with pytest.raises(StoreError, match=r"replaced, moved or removed since it was opened\. Open it again"):
        dataset["position"].load()


@pytest.mark.parametrize("of_run", [False, True])
def test_a_store_that_was_moved_is_not_read_as_fill_values(opened, of_run: bool) -> None:
    path, dataset, _ = opened
    moved = path.parent if of_run else path
    os.rename(moved, moved.with_name("elsewhere"))
    with pytest.raises(StoreError, match="moved"):
        dataset["position"].load()


@pytest.mark.parametrize("name", ["position/c/1/0/0", "position/c", "position"])
def test_a_chunk_that_has_gone_is_not_read_as_fill_values(opened, name: str) -> None:
    path, dataset, _ = opened
    lost = path / name
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    with pytest.raises(StoreError, match=r"chunk position/c/\d/0/0 is missing"):
        dataset["position"].load()


def test_a_copy_in_the_place_of_the_store_is_the_old_data(opened) -> None:
    path, dataset, position = opened
    shutil.copytree(path, path.with_name("copy"), copy_function=shutil.copyfile)
    shutil.rmtree(path)
    os.rename(path.with_name("copy"), path)
    np.testing.assert_array_equal(dataset["position"].values, position)


def test_a_relative_path_outlives_a_change_of_folder(opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, _, position = opened
    monkeypatch.chdir(path.parent)
    dataset = reading.open_store(path.name, "ensemble")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(dataset["position"].values, position)


def test_a_link_that_leads_elsewhere_by_now_gives_the_old_data(opened, tmp_path: Path) -> None:
    path, _, position = opened
    (tmp_path / "latest").symlink_to(path.parent)
    dataset = reading.open_store(tmp_path / "latest" / path.name, "ensemble")
    (tmp_path / "other").mkdir()
    _make(tmp_path / "other" / path.name, 2)
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").symlink_to(tmp_path / "other")
    np.testing.assert_array_equal(dataset["position"].values, position)


def test_a_dataset_that_was_sent_to_another_process_still_looks(opened) -> None:
    path, dataset, position = opened
    sent = pickle.dumps(dataset)
    np.testing.assert_array_equal(pickle.loads(sent)["position"].values, position)
    shutil.rmtree(path)
    _make(path, 2)
    with pytest.raises(StoreError, match="since it was opened"):
        pickle.loads(sent)["position"].load()

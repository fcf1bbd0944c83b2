"""Whole runs of a camera that stores no images, and of one on a device that is not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import tempica as package
from tempica.stores import reading

from .conftest import small_recipe_text, tempica


def test_a_gpu_that_is_not_there_is_told_before_anything_is_done(tmp_path: Path) -> None:
    from numba import cuda

    if cuda.is_available():
        pytest.skip("this machine has a GPU")
    recipe = tmp_path / "small.toml"
    recipe.write_text(small_recipe_text())
    done = tempica("run", recipe, "--device", "cuda", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "needs an NVIDIA GPU" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_lazy_movie_goes_through_every_stage_as_the_stored_one(small_run: Path, tmp_path: Path) -> None:
    run, recipe = tmp_path / "run", tmp_path / "small.toml"
    shutil.copytree(small_run, run)
    recipe.write_text(small_recipe_text().replace("[render]\n", "[render]\nlazy = true\n"))
    done = tempica("run", recipe, "--out", run)
    assert done.returncode == 0, done.stderr
    assert not (run / "movie.zarr" / "image").exists()
    one, other = (package.open_movie(path)["image"] for path in (small_run, run))
    np.testing.assert_array_equal(other.values, one.values)
    for kind, name in (("latents", "latent"), ("sources", "source")):
        stored, made = (reading.open_store(path / f"{kind}.zarr", kind)[name].values for path in (small_run, run))
        np.testing.assert_array_equal(made, stored)
    export = tempica("export", run, tmp_path / "particles", "--to", "relion")
    assert export.returncode == 0, export.stderr

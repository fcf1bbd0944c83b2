"""An experiment at an X-ray laser as a user meets it: recipe, run, refusals."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import xarray
import zarr

from tempica.errors import RecipeError
from tempica.exchange import exporting
from tempica.pipeline import execute
from tempica.progress import Progress
from tempica.recipe.electron import RenderRecipe
from tempica.recipe.experiment import Recipe, parse_recipe
from tempica.recipe.xfel import XfelRecipe
from tempica.runs.folder import open_run
from tempica.stores import json_schemas, reading, schema, store

from .conftest import ROOT, small_recipe_text, tempica, tempica_process, tree

COMMITTED = ROOT / "simulations" / "adenylate_kinase_xfel.toml"
CAMERA = 'kind = "xfel"\nn_pixels = 32\npixel_size_um = 1500.0\nphotons_per_pulse = 1e13'


def with_camera(text: str, camera: str) -> str:
    return re.sub(r"\[render\].*?(?=\n\[)", f"[render]\n{camera}\n", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def photographed(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run, photographed again by an X-ray laser."""
    folder = tmp_path_factory.mktemp("xfel")
    shutil.copytree(small_run, folder / "run")
    (folder / "xfel.toml").write_text(with_camera(small_recipe_text(), CAMERA))
    done = tempica("run", folder / "xfel.toml", "--out", folder / "run", "--until", "render")
    assert done.returncode == 0, done.stderr
    assert re.search(r"render: about \S+ photons a pattern", done.stderr)
    return folder / "run"


def test_patterns_are_a_movie_of_their_own_kind(photographed: Path, small_run: Path) -> None:
    raw = xarray.open_zarr(photographed / "movie.zarr", consolidated=False)  # as any program would open it
    assert set(raw.variables) == set(schema.STORES["diffraction"])
    for name, rule in schema.STORES["diffraction"].items():
        assert raw[name].dims == rule.dims
        assert rule.dtype == "string" or raw[name].dtype in (rule.dtype, *rule.other_dtypes)
        assert raw[name].attrs["units"] == rule.units
    required = json_schemas.all_schemas()["diffraction"]["properties"]["attributes"]["required"]
    assert set(required) <= set(raw.attrs)
    assert raw["image"].values.any()
    assert tree(photographed / "superseded" / "1" / "movie.zarr") == tree(small_run / "movie.zarr")
    with pytest.raises(store.StoreError, match="kind 'diffraction', but 'movie' is needed"):
        reading.open_store(photographed / "movie.zarr", "movie")


def test_a_program_for_images_is_not_given_patterns(photographed: Path, small_run: Path, tmp_path: Path) -> None:
    for run, to, other in ((photographed, "relion", "cxi"), (small_run, "cxi", "relion")):
        with pytest.raises(store.StoreError, match=f"--to {to} needs '.*'. Give --to {other}"):
            exporting.export(run, to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_worker_count_changes_no_photon(photographed: Path, tmp_path: Path) -> None:
    again = tmp_path / "run"
    shutil.copytree(photographed, again)
    shutil.rmtree(again / "movie.zarr")
    done = tempica_process("render", again, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert tree(again / "movie.zarr") == tree(photographed / "movie.zarr")


def test_what_needs_electron_images_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(COMMITTED.read_text().replace("[train]", '[embed]\nmodes_from = "images"\n\n[train]'))
    done = tempica("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "patterns have no phases to make a map of" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_patterns_lead_to_a_report(photographed: Path, tmp_path: Path) -> None:
    """Hinges are read above chance from patterns whose fluence nobody tells; the page shows what was counted."""
    run, recipe = tmp_path / "run", tmp_path / "xfel.toml"
    shutil.copytree(photographed, run)
    few = "n_null = 20\nn_ceiling_frames = 50\n"
    recipe.write_text(with_camera(small_recipe_text(), CAMERA) + f"\n[evaluate]\n{few}")
    done = tempica("run", recipe, "--out", run)
    assert done.returncode == 0, done.stderr
    scores = json.loads((run / "scores.json").read_text())
    tica = [r for r in scores["rows"] if (r["method"], r["split"]) == ("tica", "held_out")]
    assert all(row["value"] > row["null_95"] for row in tica)
    assert all(row["ceiling"] is None or 0 < row["ceiling"] <= 1 for row in tica)  # none of a sparse library
    page = (run / "report.html").read_text()
    assert "Example patterns" in page
    assert "photons" in page


@pytest.mark.parametrize(("dtype", "count"), [("float32", 1.5), ("int32", -1)])
def test_counts_that_are_not_photons_are_told(photographed: Path, tmp_path: Path, dtype: str, count: float) -> None:
    """Of a store that another program has filled: one message, and nothing is made or lost."""
    run = tmp_path / "run"
    shutil.copytree(photographed, run)
    group = zarr.open_group(run / "movie.zarr", mode="r+")
    was = group["image"]
    assert isinstance(was, zarr.Array)
    image, about = (
        was[:].astype(dtype),
        {"dimension_names": was.metadata.dimension_names, "attributes": dict(was.attrs)},
    )
    image[0, 0, 3, 4] = count
    del group["image"]
    group.create_array("image", data=image, **about)
    store.seal(run / "movie.zarr")
    done = tempica("embed", run)
    assert done.returncode == 2
    assert f"has dtype {dtype}; the schema says uint8" in done.stderr
    assert "Photons are counted in whole numbers from 0." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gpu_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    run = open_run(COMMITTED, tmp_path / "run")
    with pytest.raises(RecipeError, match="diffraction has no GPU kernel"):
        execute(run, ("simulate", "render"), jobs=1, scheduler=None, device="cuda", progress=Progress(terminal=False))
    assert not (tmp_path / "run").exists()


def complaint(content: dict[str, Any]) -> str:
    path = Path("recipe.toml")
    lines = [f"{key} = {_toml(value)}" for key, value in content.items()]
    try:
        parse_recipe("\n".join(lines), path)
    except RecipeError as error:
        return str(error)
    return ""


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        ({"kind": "neutron"}, "render.kind = 'neutron': must be one of afm, electron, xfel."),
        ({"kind": 3}, "render.kind = 3"),
        ({"kind": "xfel", "snr": 0.1}, "render.snr: unknown key. Known here: b_factor_A2, background_photons"),
        ({"n_pixels": 32, "photon_energy_eV": 6000.0}, "render.photon_energy_eV: unknown key"),
        ({"kind": "xfel", "photon_energy_eV": 3.0}, "render.photon_energy_eV = 3.0: "),
        ({"kind": "xfel", "detector_distance_mm": -1.0}, "render.detector_distance_mm = -1.0: "),
        ({"kind": "xfel", "detector_distance_mm": float("nan")}, "render.detector_distance_mm = nan: "),
        ({"kind": "xfel", "pixel_size_um": 0.0}, "render.pixel_size_um = 0.0: "),
        ({"kind": "xfel", "polarisation": "up"}, "render.polarisation = 'up': "),
        ({"kind": "xfel", "beam_stop_radius_mm": 60.0}, "beam_stop_radius_mm = 60 covers the whole detector"),
        (
            {"kind": "xfel", "poses": {"kind": "floating"}},
            "render.poses.kind = 'floating': must be one of fixed, random",
        ),
        ({"kind": "xfel", "poses": "fixed"}, "render.poses = 'fixed': must be a table"),
    ],
)
def test_a_mistake_in_the_camera_is_named(camera: dict[str, Any], said: str) -> None:
    content = tomllib.loads(COMMITTED.read_text(encoding="utf-8"))
    assert complaint(content) == ""
    assert said in complaint(content | {"render": camera})


def test_without_a_kind_the_camera_is_of_electrons() -> None:
    content = tomllib.loads(COMMITTED.read_text(encoding="utf-8"))
    assert isinstance(Recipe.model_validate(content).render, XfelRecipe)
    assert isinstance(Recipe.model_validate(content | {"render": {"snr": 1.0}}).render, RenderRecipe)
    del content["render"]
    assert isinstance(Recipe.model_validate(content).render, RenderRecipe)

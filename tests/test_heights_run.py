"""An experiment under an atomic force microscope as a user meets it: recipe, run, refusals."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

from tempica.stores import json_schemas, schema

from .conftest import ROOT, small_recipe_text, tempica, tempica_process, tree
from .test_diffraction_run import complaint, with_camera

COMMITTED = ROOT / "simulations" / "adenylate_kinase_afm.toml"
CAMERA = 'kind = "afm"\nnoise_nm = 0.05\nline_time_s = 0.001'


@pytest.fixture(scope="module")
def scanned(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run, under a tip."""
    folder = tmp_path_factory.mktemp("afm")
    shutil.copytree(small_run, folder / "run")
    (folder / "afm.toml").write_text(with_camera(small_recipe_text(), CAMERA))
    done = tempica("run", folder / "afm.toml", "--out", folder / "run", "--until", "render")
    assert done.returncode == 0, done.stderr
    assert "a frame is scanned in 0.035 s, 35 % of the time to the next" in done.stderr
    return folder / "run"


def test_heights_are_a_movie_of_their_own_kind(scanned: Path) -> None:
    raw = xarray.open_zarr(scanned / "movie.zarr", consolidated=False)  # as any program would open it
    assert set(raw.variables) == set(schema.STORES["heights"])
    for name, rule in schema.STORES["heights"].items():
        assert raw[name].dims == rule.dims
        assert raw[name].dtype == rule.dtype
        assert raw[name].attrs["units"] == rule.units
    required = json_schemas.all_schemas()["heights"]["properties"]["attributes"]["required"]
    assert set(required) <= set(raw.attrs)
    assert 2 < raw["image"].values.max() < 6  # nm, of adenylate kinase lying flat
    assert np.isnan(raw["pose_quaternion"].values).all()
    poses = xarray.open_zarr(scanned / "poses.zarr", consolidated=False)
    np.testing.assert_allclose(np.linalg.norm(poses["pose_quaternion"].values, axis=-1), 1)


def test_the_worker_count_changes_no_height(scanned: Path, tmp_path: Path) -> None:
    again = tmp_path / "run"
    shutil.copytree(scanned, again)
    shutil.rmtree(again / "movie.zarr")
    done = tempica_process("render", again, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert tree(again / "movie.zarr") == tree(scanned / "movie.zarr")


@pytest.mark.slow
def test_a_run_goes_on_to_its_report(scanned: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(scanned, run)
    done = tempica("run", run)
    assert done.returncode == 0, done.stderr
    said = re.search(r"the tip's radius is (\S+) nm; (\S+) nm are left unexplained", done.stderr)
    assert said is not None
    assert float(said[1]) == pytest.approx(0.5, rel=0.3)
    scores = json.loads((run / "scores.json").read_text())
    (all_frames, _) = scores["poses"]["splits"]
    assert all_frames["lost"] == 0
    assert all_frames["structure_A"] < 3  # of 214 beads, at once from images and one structure
    rows = [row for row in scores["rows"] if row["method"] == "latents" and row["metric"] == "mcc_spearman"]
    assert all(row["value"] > row["null_95"] for row in rows if row["split"] == "train")
    assert "under the tip" in (run / "report.html").read_text()


def test_a_molecule_larger_than_the_frame_is_refused(scanned: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(scanned, run)
    text = re.sub('kind = "afm"', 'kind = "afm"\nn_pixels = 16', (run / "recipe.toml").read_text())
    (tmp_path / "small.toml").write_text(text.replace('"structures/', f'"{run}/structures/'))
    done = tempica("run", tmp_path / "small.toml", "--out", run, "--until", "render")
    assert done.returncode == 2
    assert re.search(r"The molecule is \S+ nm across, and frames of render.n_pixels = 16", done.stderr)
    assert "Traceback" not in done.stderr


def test_it_is_refused_before_anything_is_simulated(tmp_path: Path) -> None:
    text = re.sub("n_pixels = 35", "n_pixels = 20", COMMITTED.read_text(encoding="utf-8"))
    (tmp_path / "small.toml").write_text(text.replace('"structures/', f'"{COMMITTED.parent}/structures/'))
    done = tempica("run", tmp_path / "small.toml", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "frames of render.n_pixels = 20 pixels of 0.3 nm show 6 nm" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        ({"tip": {"radius_nm": -0.5}}, "render.tip.radius_nm = -0.5: "),
        ({"tip": {"half_angle_deg": 90.0}}, "render.tip.half_angle_deg = 90.0: "),
        ({"tip": {"kind": "array", "height_nm": [[0.0, 1.0], [2.0]]}}, "height_nm must be a table"),
        ({"tip": {"kind": "needle"}}, "render.tip.kind = 'needle': must be one of array, cone."),
        ({"sharpness_per_nm": 0.0}, "render.sharpness_per_nm = 0.0: "),
        ({"sharpness_per_nm": -3.0}, "render.sharpness_per_nm = -3.0: "),
        ({"line_time_s": 0.01}, "line_time_s = 0.01 makes 35 lines of a frame take 0.35 s"),
        ({"fall_nm_per_s": 10.0}, "fall_nm_per_s = 10 needs the time of a line"),
        ({"noise_nm": -0.1}, "render.noise_nm = -0.1: "),
        ({"pixel_size_nm": 0.0}, "render.pixel_size_nm = 0.0: "),
        ({"poses": {"faces": [[0.0, 0.0, 0.0, 0.0]]}}, "a rotation without length"),
        ({"poses": {"lying": "upright"}}, "render.poses.lying = 'upright': "),
        ({"snr": 0.1}, "render.snr: unknown key"),
    ],
)
def test_a_mistake_in_the_camera_is_named(camera: dict[str, Any], said: str) -> None:
    content = tomllib.loads(COMMITTED.read_text(encoding="utf-8"))
    assert complaint(content) == ""
    assert said in complaint(content | {"render": {"kind": "afm"} | camera})

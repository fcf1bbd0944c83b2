"""A run rehearsed, values set, results as JSON, an examined machine, and what to type instead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tempica.recipe.experiment import parse_recipe
from tempica.runs.stages import STAGES
from tempica.starting import begin, health
from tempica.starting.rehearsal import rehearse

from ..conftest import ROOT, small_recipe_text, tempica, tree

OPEN = ROOT / "simulations" / "structures" / "adk_open.pdb"


def test_a_rehearsal_writes_nothing_and_says_what_would_be_done(small_run: Path, tmp_path: Path) -> None:
    before = tree(small_run)
    assert set(rehearse(small_run).states.values()) == {"up to date"}
    changed = rehearse(small_run, values=["evaluate.n_null=50"])
    assert changed.states == dict.fromkeys(STAGES, "up to date") | dict.fromkeys(["evaluate", "report"], "to do")
    assert set(changed.estimates) == {"evaluate", "report"}
    assert tree(small_run) == before
    fresh = rehearse("quick_look", out=tmp_path / "run", stages=["simulate", "render"])
    assert fresh.states == {"simulate": "to do", "render": "to do"}
    assert list(tmp_path.iterdir()) == []


def test_estimated_disk_is_that_of_the_run(small_run: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(small_recipe_text())
    foreseen = rehearse(recipe, out=tmp_path / "run").estimates
    for stage, stores in {"simulate": ["trajectory", "ensemble"], "render": ["movie"]}.items():
        size = sum(
            path.stat().st_size for name in stores for path in (small_run / f"{name}.zarr").rglob("*") if path.is_file()
        )
        assert size / 2 < foreseen[stage].n_bytes < 2 * size


def test_a_run_with_values_set_goes_on_from_what_it_recorded(small_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    done = tempica("evaluate", run, "--set", "evaluate.n_null=40", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert parse_recipe((run / "recipe.toml").read_text(), run).evaluate.n_null == 40
    again = tempica("run", run, "--until", "evaluate", "--json")
    assert again.returncode == 0, again.stderr
    assert "evaluate: up to date" in again.stderr
    result = json.loads(again.stdout)
    assert result["done"] == []
    assert result["scores"]["recipe"] == "adenylate_kinase"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "mine.pdb"), "tempica new mine.pdb"),
        (("run", "z.24.pkl"), "tempica unmix z.24.pkl"),
        (("rnu", "x"), "Did you mean run"),
        (("run", "quick_lok"), "Did you mean quick_look?"),
        (("run", "quick_look", "--dry-run", "--set", "render.snrr=1"), "Did you mean snr?"),
        (("run", "quick_look", "--dryrun"), "--dry-run"),
        (("new", "--exmple", "quick_look"), "--example"),
        (("new", "--example", "quick_lok"), "Did you mean quick_look?"),
    ],
)
def test_a_slip_gets_what_was_meant(words, told: str, tmp_path: Path) -> None:
    done = tempica(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_machine_is_examined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = {one.what: one for one in health.examine(tmp_path)}
    assert {"tempica", "openmm", "platforms", "cores", "disk", "GPU", "torch"} <= set(found)
    assert not any(one.bad for one in found.values())
    monkeypatch.setattr(health, "_version", lambda name: None if name == "mdtraj" else "1")
    broken = {one.what: one for one in health.examine(tmp_path)}["mdtraj"]
    assert broken.bad
    assert broken.remedy


def test_a_card_without_a_torch_for_it_gets_the_line_that_installs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", None)
    assert "pip install" in health._torch(True).remedy
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90"])
    for capability, fits in (((6, 1), False), ((8, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        assert (health._torch(True).remedy == "") == fits


def test_particles_that_were_exported_become_a_recipe(small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "relion"
    assert tempica("export", small_run, out, "--to", "relion").returncode == 0
    alone = tempica("new", out / "particles.star", cwd=tmp_path)
    assert alone.returncode == 2
    assert "my.pdb" in alone.stderr
    start = begin.new([out / "particles.star", OPEN], out=tmp_path / "own.toml", tell=lambda _: None)
    assert start.recipe is not None
    recipe = parse_recipe(start.recipe.read_text(), start.recipe)
    assert recipe.particles is not None
    assert (recipe.simulate.n_replicas, recipe.simulate.n_frames) == (4, 80)
    assert set(rehearse(start.recipe, stages=["simulate", "render", "embed"]).states.values()) == {"to do"}


def test_a_trajectory_becomes_a_recipe(small_run: Path, tmp_path: Path) -> None:
    """Domains are found from frames alone, and replicas and frames from the files."""
    out = tmp_path / "dcd"
    assert tempica("export", small_run, out, "--to", "dcd").returncode == 0
    files = sorted(out.glob("*.dcd"))
    told: list[str] = []
    start = begin.new([*files, out / "topology.pdb"], out=tmp_path / "own.toml", tell=told.append)
    assert start.recipe is not None
    recipe = parse_recipe(start.recipe.read_text(), start.recipe)
    assert (recipe.simulate.n_replicas, recipe.simulate.n_frames) == (4, 80)
    assert len(recipe.simulate.variables) == 2
    assert rehearse(start.recipe, out=tmp_path / "run").states["simulate"] == "to do"


def test_latents_need_no_recipe(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "z.npy"
    np.save(path, np.random.default_rng(0).normal(size=(50, 3)))
    start = begin.new([path], tell=lambda _: None)
    assert start.recipe is None
    assert start.type_next == f"tempica unmix {path}"

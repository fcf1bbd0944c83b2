"""The whole stage, in this process: five replicas and the ensemble, two blocks each or more."""

from concurrent.futures import Executor, Future
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from tempica.errors import StructureError
from tempica.progress import Progress
from tempica.recipe.dynamics import Ar1, Driven, Free, Modulated
from tempica.recipe.experiment import load_recipe
from tempica.runs.work import Work
from tempica.simulate import engine, stage
from tempica.stores import reading, store

SIMULATIONS = Path(__file__).parents[2] / "simulations"

STORES = ("trajectory", "ensemble")


class Killed(Exception):
    pass


class Inline(Executor):
    """Does at once what it is given, up to a number of tasks."""

    def __init__(self, lifetime):
        self.left = lifetime

    def submit(self, task, /, *args, **kwargs):
        if self.left == 0:
            raise Killed
        self.left -= 1
        future = Future()
        future.set_result(task(*args, **kwargs))
        return future


@pytest.fixture
def recipe(make_recipe, monkeypatch):
    monkeypatch.setattr(engine, "BLOCK_FRAMES", 6)
    return make_recipe(n_replicas=5, n_frames=8, steps_per_frame=4, equilibration_frames=1, ensemble_frames=13)


@pytest.fixture
def simulate(recipe, simulations):
    def simulate(folder, lifetime=10**6):
        folder.mkdir(exist_ok=True)
        work = Work("simulate", simulations, folder, recipe, "", "0" * 16, Inline(lifetime), Progress(terminal=False))
        stage.run(work)
        for kind in STORES:
            store.seal(folder / f"{kind}.zarr")
        return {kind: reading.open_store(folder / f"{kind}.zarr", kind) for kind in STORES}

    return simulate


def test_a_stage_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path, simulate):
    whole = simulate(tmp_path / "whole")
    for lifetime in (0, 7, 5):
        with pytest.raises(Killed):
            simulate(tmp_path / "parts", lifetime)
    parts = simulate(tmp_path / "parts")
    for kind in STORES:
        for name in whole[kind].variables:
            np.testing.assert_array_equal(parts[kind][name].values, whole[kind][name].values, err_msg=name)


def test_the_stores_hold_what_the_engine_made(tmp_path, simulate, recipe, model):
    made = simulate(tmp_path / "run")
    trajectory, ensemble = made["trajectory"], made["ensemble"]
    np.testing.assert_allclose(trajectory["time"], 0.08 * np.arange(1, 9))
    assert trajectory["cv"].values.tolist() == trajectory["source_name"].values.tolist() == ["NMP", "LID"]
    for replica in (0, 4):
        series = engine.targets(recipe, model, replica, 8)
        _, state = engine.run_block(recipe, model, replica, series, engine.first_state(recipe, model, replica), -1, 0)
        for first, last in ((0, 6), (6, 8)):
            frames, state = engine.run_block(recipe, model, replica, series, state, first, last)
            for name, value in vars(frames).items():
                stored = trajectory[name].values[replica, first:last]
                np.testing.assert_array_equal(stored, value.astype(stored.dtype), err_msg=name)
    assert set(ensemble.data_vars) | set(ensemble.coords) == {"time", "position", "scattering_length_A", "bead_width"}
    assert np.isfinite(ensemble["position"].values).all()
    apart = np.linalg.norm(trajectory["position"].values - ensemble["position"].values[:8], axis=(2, 3))
    assert apart.min() > 0.01  # a simulation of its own, none of the replicas
    measured = np.stack([v.measure(trajectory["position"].values) for v in model.variables], -1)
    np.testing.assert_allclose(measured, trajectory["collective_variable"], atol=1e-5)


def test_a_recipe_is_checked_before_anything_is_written(make_recipe, simulations, tmp_path):
    stage.check(make_recipe(), simulations)
    with pytest.raises(StructureError, match="does not exist"):
        stage.check(make_recipe(), tmp_path)


@pytest.mark.parametrize("path", sorted(SIMULATIONS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_committed_recipe_can_be_simulated(path):
    recipe, _ = load_recipe(path)
    assert recipe.name == path.stem
    stage.check(recipe, path.parent)


def test_every_process_has_a_committed_recipe():
    """One at least of each kind of dynamics, observation and innovation that a recipe can state."""
    recipes = [load_recipe(path)[0].simulate for path in SIMULATIONS.glob("*.toml")]
    entries = [entry for recipe in recipes for entry in recipe.dynamics]
    for variant in get_args(Driven) + get_args(Free):
        assert any(isinstance(entry, variant) for entry in entries), variant
    ar1 = [entry for entry in entries if isinstance(entry, Ar1)]
    assert {entry.innovation for entry in ar1} == set(get_args(Ar1.model_fields["innovation"].annotation))
    assert any(entry.coupled_to for entry in ar1)
    assert any(isinstance(entry, Modulated) and entry.control == "common" for entry in entries)
    assert any(recipe.temperature_jump for recipe in recipes)
    assert {recipe.observation.mode for recipe in recipes} == {"movie", "snapshots", "pairs"}

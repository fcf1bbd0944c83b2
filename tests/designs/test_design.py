"""From a recipe to latents that nobody has recorded, and to what an experiment needs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tempica
from tempica.designs import lights
from tempica.designs import pilot as pilots
from tempica.designs.pilot import Pilot, marginal, recipe_text
from tempica.designs.sources import learn_sources
from tempica.designs.world import World
from tempica.errors import RecipeError
from tempica.recipe.experiment import load_recipe, parse_recipe
from tests.conftest import ROOT, in_this_process
from tests.conftest import tempica as command

RECIPES = sorted((ROOT / "simulations").glob("*.toml"))


def recipe_of(name: str):
    return load_recipe(ROOT / "simulations" / f"{name}.toml")[0]


def world_of(name: str, snr: float = 1.0, **changes: object) -> World:
    """A recipe's world with a made-up pilot: amplitudes are the variables themselves, seen with unit information."""
    recipe = recipe_of(name)
    recipe = recipe.model_copy(update={"simulate": recipe.simulate.model_copy(update=changes)})
    n, n_modes, rng = 400, recipe.embed.most_modes, np.random.default_rng(0)
    names = recipe.simulate.variables
    target = 0.1 * rng.standard_normal((n, len(recipe.simulate.drives)))
    weight = np.zeros(((len(names) + 1) * (len(names) + 2) // 2, n_modes))
    weight[1 : 1 + len(names), : len(names)] = np.eye(len(names))
    variable = target if target.shape[1] else 0.1 * rng.standard_normal((n, len(names)))
    left = 0.3 * rng.standard_normal((n, n_modes))
    label = np.repeat(np.arange(4), n // 4)
    information = np.stack([np.eye(n_modes) * snr] * 5)
    pilot = Pilot(variable, target, label, label, weight, left, information, snr, tuple(names))
    return World.of(learn_sources(recipe, ROOT / "simulations", pilot), pilot)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_written_as_it_was_read(path: Path) -> None:
    recipe = load_recipe(path)[0]
    assert parse_recipe(recipe_text(recipe), path) == recipe


def test_other_parameters_are_marginalised() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 7, 9))
    information, precision = root @ root.swapaxes(1, 2), rng.uniform(0.5, 2, 7)
    precision[:2] = 0
    whole = np.linalg.inv(information + np.diag(precision))[:, :2, :2]
    assert marginal(information, 2, precision) == pytest.approx(np.linalg.inv(whole))


def test_latents_are_posteriors_that_mean_what_they_say() -> None:
    """Under the prior N(0, I) of the amplitudes, errors have the stated covariance, and latents what is left of 1."""
    latents = world_of("arms_gaussian").draw(1, 4, 3000, 1.0)
    n, n_modes = latents.mean.shape
    assert latents.covariance.shape == (n, n_modes, n_modes)
    total = latents.mean.T @ latents.mean / n + latents.covariance.mean(0)
    assert total == pytest.approx(np.eye(n_modes), abs=0.1)


def test_a_bright_camera_shows_the_variables() -> None:
    world = world_of("arms_laplace", 1.0)
    latents = world.draw(1, 2, 1000, 1e8)
    terms = np.c_[np.ones(len(latents)), latents.mean]
    weight, *_ = np.linalg.lstsq(terms, latents.truth, rcond=None)
    error = (latents.truth - terms @ weight).std(0) / latents.truth.std(0)
    assert error.max() < 0.35  # what the modes' own motion adds
    assert latents.covariance.max() < 1e-6


def test_draws_are_those_of_the_recipe() -> None:
    world = world_of("arms_pump_probe")
    latents = world.draw(1, 3, 60, 1.0)
    assert len(np.unique(latents.molecule)) == 180  # snapshots
    assert latents.labels is not None
    assert latents.labels.tolist() == list(range(20)) * 9
    again, other = world.draw(1, 3, 60, 1.0), world.draw(2, 3, 60, 1.0)
    assert np.array_equal(again.mean, latents.mean)
    assert not np.array_equal(other.mean, latents.mean)


def test_free_variables_that_are_declared_alike_are_drawn_alike() -> None:
    recipe = recipe_of("arms_harmonic")
    entry = recipe.simulate.dynamics[0]
    same = [entry.model_copy(update={"collective_variable": name}) for name in recipe.simulate.variables]
    world = world_of("arms_harmonic", dynamics=same)
    first, second = world.sources.free[:2]
    assert (first.memory, first.deviation) == (second.memory, second.deviation)
    assert world.sources.alike == (tuple(recipe.simulate.variables),)


@pytest.fixture(scope="module")
def designed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, object]:
    """A design of a small recipe, from a pilot of few frames."""
    folder = tmp_path_factory.mktemp("design")
    text = (ROOT / "simulations" / "arms_gaussian.toml").read_text()
    (folder / "r.toml").write_text(text.replace("steps_per_frame = 300", "steps_per_frame = 30"))
    with pytest.MonkeyPatch.context() as patch, in_this_process():
        patch.setattr(pilots, "N_FRAMES", 40)
        patch.setattr(lights, "STAKE_FRAMES", 20_000)
        given = {"method": ["tica", "fastica"], "draws": 2, "most_frames": 800, "jobs": 1}
        found = tempica.design(folder / "r.toml", out=folder / "out", **given)
    return folder / "out", found


def test_a_design_says_what_theory_says(designed) -> None:
    """Normal sources of different rates: nothing for FastICA, autocorrelations for TICA."""
    folder, found = designed
    (light,) = found.lights
    best = max(light.lags, key=lambda row: row["stake"])
    assert light.lag == best["lag"]
    assert best["second_order"] > 0.7 * best["stake"]
    by_method = {row.method: row for row in found.rows}
    assert by_method["tica"].most > by_method["fastica"].most
    told = json.loads((folder / "design.json").read_text())
    assert told["rows"][0]["curve"]["frames"] == list(found.rows[0].curve.frames)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"score": 1.5}, "between 0 and 1"),
        ({"snr": [-1.0]}, "from 1e-6"),
        ({"lag": 0}, "at least 1"),
        ({"draws": 1}, "at least 2"),
        ({"most_frames": 3}, "at least 100"),
        ({"method": ["tcl"]}, "labelled segments"),
        ({"method": ["pcl_images"]}, "methods on latents"),
    ],
)
def test_values_that_cannot_be_used_are_refused(options: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=said):
        tempica.design(ROOT / "simulations" / "arms_laplace.toml", out=tmp_path / "d", **options)
    assert not (tmp_path / "d").exists()


def test_what_cannot_be_foreseen_gets_one_message(tmp_path: Path) -> None:
    done = command("design", ROOT / "simulations" / "adenylate_kinase_xfel.toml", "--out", tmp_path / "d")
    assert done.returncode == 2
    assert "render.kind = 'xfel'" in done.stderr
    assert done.stderr.count("\n") == 1

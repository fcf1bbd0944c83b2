"""The whole stage on a trajectory made up for the test, against clean images computed apart from it."""

import math
import tomllib
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pytest

from tempica import imaging
from tempica.errors import RecipeError
from tempica.progress import Progress
from tempica.recipe.electron import RenderRecipe
from tempica.recipe.experiment import Recipe
from tempica.render import stage
from tempica.render.electron import blocks as movie_blocks
from tempica.render.electron import stage as electron
from tempica.render.electron.poses import random_views
from tempica.render.electron.scatterers import scatterers
from tempica.runs.work import Work
from tempica.stores import reading, store

RECIPE = Path(__file__).parents[2] / "simulations" / "adenylate_kinase_known_poses.toml"
N_REPLICAS, N_FRAMES, N_ATOMS = 2, 25, 30


class Inline(Executor):
    """Does at once what it is given."""

    def submit(self, task, /, *args, **kwargs):
        future = Future()
        future.set_result(task(*args, **kwargs))
        return future


def recipe_with(**render):
    content = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    if render.get("scattering", {}).get("kind") == "atoms":  # which only a molecule of atoms has
        atoms = tomllib.loads(RECIPE.with_stem("alanine_dipeptide").read_text(encoding="utf-8"))
        content = atoms | {"render": content["render"]}
    if render.get("noise", {}).get("kind") == "poisson":
        del content["render"]["snr"]
    return Recipe.model_validate(content | {"render": content["render"] | render})


def make_run(folder, spread=1.0, formula=None, broken=None, fingerprint="0" * 16, scattering=30.0):
    """A run folder with a trajectory store; what render does not read stays empty."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    path = folder / "trajectory.zarr"
    sizes = {"replica": N_REPLICAS, "time": N_FRAMES, "atom": N_ATOMS, "space": 3, "cv": 1, "source_name": 1}
    sizes["slow_mode_number"] = 1
    attributes = store.provenance("", 0, fingerprint, "test") | {"topology": "{}"}
    store.create(path, "trajectory", sizes, attributes=attributes, chunks={"replica": 1, "time": 10})
    values = {
        "position": spread * rng.normal(size=(N_REPLICAS, N_FRAMES, N_ATOMS, 3)),
        "scattering_length_A": rng.uniform(10, scattering, N_ATOMS),
        "bead_width": rng.uniform(0.1, 0.2, N_ATOMS),
        "replica": np.arange(N_REPLICAS),
        "time": np.arange(N_FRAMES),
        "label": np.zeros((N_REPLICAS, N_FRAMES)),
        "molecule": np.zeros((N_REPLICAS, N_FRAMES)),
        "formula": formula or ["C3H5NO"] * N_ATOMS,
        "cv": ["LID"],
        "cv_units": ["rad"],
        "source_name": ["LID"],
    }
    if broken is not None:
        values["position"][broken] = np.nan
    store.write(path, values)
    store.seal(path)
    return folder


def render(recipe, run):
    """The movie of a run, opened as a user does."""
    folder = run / "work"
    folder.mkdir()
    stage.run(Work("render", run, folder, recipe, "", "0" * 16, Inline(), Progress(terminal=False)))
    store.seal(folder / "movie.zarr")
    return reading.open_store(folder / "movie.zarr", "movie")


def clean_movie(recipe, run):
    trajectory = reading.open_store(run / "trajectory.zarr", "trajectory")
    camera = movie_blocks.camera_of(recipe.render, *scatterers(recipe.render, trajectory))
    return np.stack(
        [
            camera.clean_images(
                trajectory["position"].values[r],
                *vars(random_views(recipe.render, recipe.seed, r, 0, N_FRAMES)).values(),
            )
            for r in range(N_REPLICAS)
        ]
    )


@pytest.mark.parametrize("snr", [0.03, 0.1, 1.0, 5.0, 50.0, 1e4])
def test_the_movie_has_the_stated_snr(tmp_path, snr):
    recipe = recipe_with(snr=snr, n_pixels=96)
    run = make_run(tmp_path / "run")
    made, clean = render(recipe, run), clean_movie(recipe, run).astype(np.float64)
    noise = made["image"].values - clean
    signal = clean.var((2, 3)).mean()
    assert signal / noise.var() == pytest.approx(snr, rel=0.01)
    assert made.attrs["noise_std"] == pytest.approx(math.sqrt(signal / snr), rel=1e-5)
    assert abs(noise.mean()) < 4 * noise.std() / math.sqrt(noise.size) + 1e-6
    assert np.abs(noise).max() < 7 * noise.std()
    for r, views in ((r, random_views(recipe.render, recipe.seed, r, 0, N_FRAMES)) for r in range(N_REPLICAS)):
        for name, value in vars(views).items():
            np.testing.assert_array_equal(made[name].values[r], value)


def test_without_noise_only_the_levels_differ_from_the_clean_images(tmp_path):
    recipe = recipe_with(snr=math.inf)
    run = make_run(tmp_path / "run")
    made, clean = render(recipe, run), clean_movie(recipe, run)
    factor = made["image"].encoding["scale_factor"]
    assert made.attrs["noise_std"] == 0
    assert np.abs(made["image"].values - clean).max() <= 0.5001 * factor
    assert factor == pytest.approx(np.ptp(clean) / 255, rel=1e-5)


def test_a_movie_does_not_depend_on_its_blocks(tmp_path, monkeypatch):
    made = []
    for block in (100, 7):
        monkeypatch.setattr(electron, "BLOCK_FRAMES", block)
        made.append(render(recipe_with(n_pixels=18), make_run(tmp_path / str(block))))
    for name in made[0].variables:
        np.testing.assert_array_equal(made[1][name].values, made[0][name].values)
    assert made[1].attrs["noise_std"] == made[0].attrs["noise_std"]


def test_the_movie_states_the_optics_it_was_made_with(tmp_path):
    recipe = recipe_with(n_pixels=20, voltage_kV=200.0, bead_b_factor_A2=33.0)
    made = render(recipe, make_run(tmp_path / "run"))
    assert imaging.optics_of(made) == movie_blocks.optics_of(recipe.render)


def test_empty_images_are_a_mistake_in_the_recipe(tmp_path):
    with pytest.raises(RecipeError, match=r"images are empty: no bead falls into a box of 16 pixels of 0\.2 Å"):
        render(recipe_with(n_pixels=16, pixel_size_A=0.2), make_run(tmp_path / "run", spread=1e4))


def test_clean_images_are_the_beads_through_the_optics():
    """Each stage by another route: matrices by hand, beads summed pixel by pixel, numpy's FFT."""
    recipe = RenderRecipe(n_pixels=24, pixel_size_A=2.0)
    rng = np.random.default_rng(3)
    position, length, width = 0.5 * rng.normal(size=(3, 8, 3)), rng.uniform(5, 20, 8), rng.uniform(0.1, 0.3, 8)
    views = random_views(recipe, 0, 0, 0, 3)
    wide = np.sqrt((10 * width) ** 2 + recipe.bead_b_factor_A2 / (8 * math.pi**2))
    image = movie_blocks.camera_of(recipe, length[:, None], wide[:, None]).clean_images(position, *vars(views).values())
    grid = (np.arange(24) - 12) * 2.0
    for f in range(3):
        view = 10 * position[f] @ imaging.rotation_matrix(views.pose_quaternion[f]).T
        potential = np.zeros((24, 24))
        for (x, y, _), a, w in zip(view, length, width, strict=True):
            s2 = (10 * w) ** 2 + recipe.bead_b_factor_A2 / (8 * math.pi**2)
            r2 = (grid[None] - x - views.pose_shift_A[f, 0]) ** 2 + (grid[:, None] - y - views.pose_shift_A[f, 1]) ** 2
            potential += a / (2 * math.pi * s2) * np.exp(-r2 / (2 * s2))
        one = (views.defocus_u_A[[f]], views.defocus_v_A[[f]], views.defocus_angle[[f]])
        expected = np.fft.irfft2(np.fft.rfft2(potential) * movie_blocks.optics_of(recipe).transfer(*one)[0], (24, 24))
        assert np.linalg.norm(image[f] - expected) < 3e-5 * np.linalg.norm(expected)

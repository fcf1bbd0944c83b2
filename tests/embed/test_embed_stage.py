"""The whole stage on a movie made up for the test."""

import tomllib
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pytest

from tempica import imaging
from tempica.embed import stage
from tempica.imaging.modes import principal_modes
from tempica.progress import Progress
from tempica.recipe.experiment import Recipe
from tempica.runs.work import Work
from tempica.stores import reading, store

CONTENT = tomllib.loads(
    (Path(__file__).parents[2] / "simulations" / "adenylate_kinase.toml").read_text(encoding="utf-8")
)
N_REPLICAS, N_FRAMES, N_ATOMS, N_PIXELS = 2, 20, 15, 24
OPTICS = {
    "pixel_size_A": 2.0,
    "voltage_kV": 300.0,
    "spherical_aberration_mm": 2.7,
    "amplitude_contrast": 0.1,
    "b_factor_A2": 40.0,
    "bead_b_factor_A2": 20.0,
    "phase_shift": 0.0,
}
NOISE = 0.2  # of the images' deviation


class Inline(Executor):
    """Does at once what it is given."""

    def submit(self, task, /, *args, **kwargs):
        future = Future()
        future.set_result(task(*args, **kwargs))
        return future


def fill(path, kind, sizes, values, attributes, scale=None):
    about = store.provenance("", 0, "0" * 16, "test") | attributes
    store.create(path, kind, sizes, attributes=about, chunks={"replica": 1, "time": 10}, scale=scale)
    store.write(path, values)
    store.seal(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run folder with movie and ensemble and no truth, the true amplitudes, and the noise variance."""
    run = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(4)
    mean, shape = 0.6 * rng.normal(size=(N_ATOMS, 3)), 0.08 * rng.normal(size=(2, N_ATOMS, 3))
    structures = mean + np.einsum("tk,kaj->taj", rng.normal(size=(200, 2)), shape)
    beads = {"scattering_length_A": rng.uniform(10, 30, N_ATOMS), "bead_width": rng.uniform(0.15, 0.25, N_ATOMS)}
    ensemble = beads | {"position": structures, "time": np.arange(200)}
    fill(run / "ensemble.zarr", "ensemble", {"time": 200, "atom": N_ATOMS, "space": 3}, ensemble, {"topology": "{}"})

    modes = principal_modes(structures, 2)
    truth = rng.normal(size=(N_REPLICAS, N_FRAMES, 2))
    frames = (N_REPLICAS, N_FRAMES)
    quaternion = rng.normal(size=(*frames, 4))
    views = {
        "pose_quaternion": quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True),
        "pose_shift_A": rng.normal(size=(*frames, 2)),
        "defocus_u_A": rng.uniform(8_000, 15_000, frames),
        "defocus_v_A": rng.uniform(8_000, 15_000, frames),
        "defocus_angle": rng.uniform(0, np.pi, frames),
        "damage_dose": np.zeros(frames),
    }
    optics = imaging.Optics(N_PIXELS, **OPTICS)
    scatterers = beads["scattering_length_A"][:, None], optics.width_A(beads["bead_width"])[:, None]
    camera = imaging.Camera(optics, *scatterers, np.zeros(1), np.ones(1), np.ones(1))
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in views.items()}
    place = modes.mean + np.einsum("fk,kaj->faj", truth.reshape(-1, 2), modes.shape)
    rotation = imaging.rotation_matrix(flat["pose_quaternion"])
    xy = imaging.to_pixels(place, rotation, flat["pose_shift_A"], N_PIXELS, 2.0)
    image = imaging.project(xy, beads["scattering_length_A"], optics.width_A(beads["bead_width"]), N_PIXELS, 2.0)
    image = imaging.through_optics(
        image, optics.transfer(flat["defocus_u_A"], flat["defocus_v_A"], flat["defocus_angle"])
    )
    deviation = NOISE * image.std()
    image = (image + deviation * rng.normal(size=image.shape)).reshape(*frames, N_PIXELS, N_PIXELS)
    factor, offset = np.ptp(image) / 255, image.min()
    sizes = {"replica": N_REPLICAS, "time": N_FRAMES, "y": N_PIXELS, "x": N_PIXELS}
    fill(
        run / "movie.zarr",
        "movie",
        sizes | {"quaternion": 4, "plane": 2, "atom": N_ATOMS, "gaussian": 1, "node": 1},
        views
        | {name: value for name, value in vars(camera).items() if name in imaging.PARTS}
        | {"image": np.rint((image - offset) / factor), "replica": np.arange(N_REPLICAS), "time": np.arange(N_FRAMES)},
        {"pose": "known", "noise_std": float(deviation)} | OPTICS,
        {"image": (float(factor), float(offset))},
    )
    return run, truth, deviation**2


def embed(run, folder):
    recipe = Recipe.model_validate(CONTENT | {"embed": {"n_modes": 2}})
    folder.mkdir()
    stage.run(Work("embed", run, folder, recipe, "", "0" * 16, Inline(), Progress(terminal=False)))
    store.seal(folder / "latents.zarr")
    return reading.open_store(folder / "latents.zarr", "latents")


def test_latents_are_the_amplitudes_of_every_frame(made, tmp_path):
    run, truth, variance = made
    latents = embed(run, tmp_path / "embed")
    error = latents["latent"].values - truth
    precision = np.linalg.inv(latents["latent_covariance"].values)
    score = np.einsum("rtk,rtkl,rtl->rt", error, precision, error) / 2
    assert score.mean() == pytest.approx(1, abs=4 / np.sqrt(score.size))
    for k in range(2):
        assert np.corrcoef(latents["latent"].values[..., k].ravel(), truth[..., k].ravel())[0, 1] > 0.98
    assert latents.attrs["noise_variance"] == pytest.approx(variance, rel=0.05)
    np.testing.assert_allclose(latents["residual_variance"], variance, rtol=0.4)
    np.testing.assert_array_equal(latents["time"], np.arange(N_FRAMES))


def test_latents_do_not_depend_on_the_blocks(made, tmp_path, monkeypatch):
    whole = embed(made[0], tmp_path / "whole")
    monkeypatch.setattr(stage, "BLOCK_FRAMES", 7)
    parts = embed(made[0], tmp_path / "parts")
    for name in whole.variables:
        np.testing.assert_allclose(parts[name].values, whole[name].values, rtol=1e-6, atol=1e-7, err_msg=name)


def test_the_truth_is_not_needed(made):
    assert not (made[0] / "trajectory.zarr").exists()

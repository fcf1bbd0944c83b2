"""What a recipe of the camera asks for, in the movie that comes out; stored and lazy movies hold the same."""

import math
import shutil

import numpy as np
import pytest

from tempica import imaging
from tempica.errors import DataError, RecipeError, StoreError
from tempica.imaging.recording import VIEW
from tempica.progress import Progress
from tempica.render import stage
from tempica.render.electron.blocks import camera_of
from tempica.render.electron.scatterers import remarks, scatterers
from tempica.runs.reading import read, true_poses
from tempica.runs.stages import STAGES
from tempica.runs.work import Work
from tempica.stores import reading, store
from tests.render.test_render_stage import N_ATOMS, N_REPLICAS, Inline, make_run, recipe_with

POISSON = {"noise": {"kind": "poisson", "dqe": [[0.0, 0.9], [0.3, 0.5]]}, "dose_per_frame_e_A2": 30.0}


def camera_recipe(**render):
    return recipe_with(**{"n_pixels": 32, "pixel_size_A": 3.0} | render)


def render(recipe, run):
    """As the pipeline commits it: in the run folder itself."""
    folder = run / "work"
    folder.mkdir()
    stage.run(Work("render", run, folder, recipe, "", "0" * 16, Inline(), Progress(terminal=False)))
    for path in folder.glob("*.zarr"):
        store.seal(path)
        path.rename(run / path.name)
    return reading.open_movie(run)


def clean_movie(recipe, run, movie):
    trajectory = reading.open_store(run / "trajectory.zarr", "trajectory")
    camera = camera_of(recipe.render, *scatterers(recipe.render, trajectory))
    poses = true_poses(run, "report", movie)
    return np.stack(
        [
            camera.clean_images(
                trajectory["position"].values[r],
                *(poses[name].values[r] for name in VIEW[:2]),
                *(movie[name].values[r] for name in imaging.FOCUS),
            )
            for r in range(N_REPLICAS)
        ]
    ).astype(np.float64)


def test_coloured_noise_is_as_strong_as_stated(tmp_path):
    recipe = camera_recipe(snr=0.1, noise={"kind": "coloured", "spectrum": [[0.0, 5.0], [0.1, 1.0]]}, n_pixels=96)
    run = make_run(tmp_path / "run")
    movie = render(recipe, run)
    clean = clean_movie(recipe, run, movie)
    noise = movie["image"].values - clean
    assert clean.var((2, 3)).mean() / noise.var() == pytest.approx(0.1, rel=0.01)
    power = (np.abs(np.fft.rfft2(noise)) ** 2).mean((0, 1)) / noise.var() / 96**2
    np.testing.assert_allclose(power[:, 5:20].mean(0), imaging.camera_of(movie).power()[:, 5:20].mean(0), rtol=0.15)


def test_counted_movies_have_the_noise_and_the_snr_they_state(tmp_path):
    recipe = camera_recipe(**POISSON, n_pixels=96)
    run = make_run(tmp_path / "run")
    movie = render(recipe, run)
    clean = clean_movie(recipe, run, movie)
    noise = movie["image"].values - clean
    stated = (movie.attrs["signal_std"] / movie.attrs["noise_std"]) ** 2
    assert clean.var((2, 3)).mean() / noise.var() == pytest.approx(stated, rel=0.01)
    electrons = 30.0 * 3.0**2
    assert movie.attrs["electrons_per_pixel"] == electrons
    counts = electrons * (1 - 2 * imaging.interaction_A(300.0) * movie["image"].values.astype(np.float64))
    np.testing.assert_allclose(counts, np.rint(counts), atol=0.02)


EVERYTHING = [
    {"snr": 0.1},
    {"snr": math.inf},
    {"snr": 200.0},  # 16 bits
    POISSON | {"radiation_damage": True, "phase_shift_deg": 90.0, "scattering": {"solvent_contrast": 0.4}},
    {
        "snr": 0.3,
        "noise": {"kind": "coloured", "spectrum": [[0.05, 2.0], [0.1, 1.0]]},
        "poses": {"knowledge": "hidden"},
    },
    {"snr": 0.3, "poses": {"kind": "diffusion", "knowledge": "approximate", "error_deg": 2.0, "error_A": 1.0}},
]


@pytest.mark.parametrize("about", EVERYTHING)
def test_a_lazy_movie_is_the_stored_one_bit_by_bit(tmp_path, about):
    stored, rendered = (
        render(camera_recipe(**about, lazy=lazily), make_run(tmp_path / str(lazily))) for lazily in (False, True)
    )
    assert "image" in stored.variables
    assert not (tmp_path / "True" / "movie.zarr" / "image").exists()
    image = stored["image"].values
    assert rendered["image"].dtype == stored["image"].dtype
    assert rendered["image"].encoding["scale_factor"] == stored["image"].encoding["scale_factor"]
    np.testing.assert_array_equal(rendered["image"].values, image)
    one = rendered["image"].isel(replica=1, time=17)
    np.testing.assert_array_equal(one.values, image[1, 17])
    some = rendered.isel(time=[20, 3, 4], replica=[1]).isel(x=slice(3, 9), y=4)["image"]
    np.testing.assert_array_equal(some.values, image[[1]][:, [20, 3, 4], 4, 3:9])
    assert rendered["image"].isel(time=slice(0, 0)).values.shape == (N_REPLICAS, 0, 32, 32)
    for name in stored.variables:
        np.testing.assert_array_equal(rendered[name].values, stored[name].values)


def test_a_lazy_movie_hands_out_images_and_no_truth(tmp_path):
    run = make_run(tmp_path / "run")
    render(camera_recipe(lazy=True, poses={"knowledge": "hidden"}), run)
    seen = read(run, "embed", "movie")
    assert set(seen.variables) == set(store.schema.STORES["movie"])
    assert np.isnan(seen["pose_quaternion"].values).all()
    assert np.isfinite(seen["image"].values).all()


def test_a_lazy_movie_of_another_trajectory_is_refused(tmp_path):
    run = make_run(tmp_path / "run")
    movie = render(camera_recipe(lazy=True), run)
    (run / "trajectory.zarr").rename(run / "gone.zarr")
    with pytest.raises(StoreError, match="no store"):
        movie["image"].isel(replica=0, time=0).load()
    other = make_run(tmp_path / "other", fingerprint="1" * 16)
    (other / "trajectory.zarr").rename(run / "trajectory.zarr")
    with pytest.raises(StoreError, match="made from another trajectory"):
        reading.open_movie(run)["image"].isel(replica=0, time=0).load()


@pytest.mark.parametrize("kind", ["trajectory", "poses", "movie"])
@pytest.mark.parametrize("happens", ["lost", "replaced"])
def test_what_an_open_lazy_movie_is_made_of_may_go_but_not_change(tmp_path, kind, happens):
    """Without their positions molecules would be shown at the origin."""
    recipe = camera_recipe(lazy=True, poses={"knowledge": "hidden"})
    run, other = make_run(tmp_path / "run"), make_run(tmp_path / "other", spread=2.0, fingerprint="1" * 16)
    movie = render(recipe, run)
    movie["image"].isel(replica=0, time=0).load()
    if happens == "lost":
        name = {"trajectory": "position", "poses": "pose_shift_A", "movie": "defocus_u_A"}[kind]
        shutil.rmtree(run / f"{kind}.zarr" / name / "c")
    else:
        render(recipe.model_copy(update={"seed": recipe.seed + 1}), other)
        shutil.rmtree(run / f"{kind}.zarr")
        (other / f"{kind}.zarr").rename(run / f"{kind}.zarr")
    with pytest.raises(StoreError, match=rf"{kind}\.zarr .*(damaged|since it was opened)"):
        movie["image"].isel(replica=1).load()


def test_damage_below_a_lazy_movie_is_told(tmp_path):
    run = make_run(tmp_path / "run")
    movie = render(camera_recipe(lazy=True, poses={"knowledge": "hidden"}), run)
    for kind, name in (("trajectory", "position"), ("poses", "pose_shift_A")):
        chunk = min(path for path in (run / f"{kind}.zarr" / name / "c").rglob("*") if path.is_file())
        whole = chunk.read_bytes()
        chunk.write_bytes(whole[:20] + bytes([whole[20] ^ 255]) + whole[21:])
        with pytest.raises(StoreError, match=f"{kind}.zarr is damaged: its variable '{name}' cannot be read"):
            movie["image"].isel(replica=0, time=slice(0, 9)).load()
        chunk.write_bytes(whole)
    assert movie["image"].isel(replica=0, time=0).load().shape == (32, 32)


def test_hidden_poses_lie_where_only_scoring_can_read_them(tmp_path):
    run = make_run(tmp_path / "run")
    movie = render(camera_recipe(poses={"knowledge": "hidden"}), run)
    true = true_poses(run, "evaluate", movie)
    np.testing.assert_allclose(np.linalg.norm(true["pose_quaternion"].values, axis=-1), 1, rtol=1e-12)
    for name in ("embed", "train"):
        assert "poses" not in STAGES[name].reads


def test_atoms_scatter_as_their_table_says(tmp_path):
    atoms = ["CH3", "N", "OH", "S"] * (N_ATOMS // 4) + ["H"] * (N_ATOMS % 4)
    run = make_run(tmp_path / "run", formula=atoms)
    recipe = camera_recipe(scattering={"kind": "atoms", "b_factor_A2": 30.0})
    movie = render(recipe, run)
    length = imaging.SCATTERING_LENGTH_A
    whole = movie["scatterer_amplitude_A"].values.sum(1)
    ice = imaging.solvent_gaussians(["C"], hydrogens=3)[0].sum()
    assert whole[0] == pytest.approx(length["C"] + 3 * length["H"] + ice, rel=5e-3)
    assert movie["scatterer_width_A"].values.min() >= math.sqrt(30.0 / (8 * math.pi**2))
    bare = camera_recipe(scattering={"kind": "atoms", "n_gaussians": 5})
    with pytest.raises(RecipeError, match="table of bare atoms, and 14 of the trajectory's 30 atoms carry hydrogens"):
        scatterers(bare.render, reading.open_store(run / "trajectory.zarr", "trajectory"))


def test_beads_are_not_taken_for_atoms(tmp_path):
    with pytest.raises(RecipeError, match=r"needs a trajectory of atoms, and particle 0 of this one stands for C3H5NO"):
        render(camera_recipe(scattering={"kind": "atoms"}), make_run(tmp_path / "run"))


def test_a_position_that_is_no_number_is_found(tmp_path):
    with pytest.raises(DataError, match="position of atom 3 in frame 21 of replica 1"):
        render(camera_recipe(), make_run(tmp_path / "run", broken=(1, 21, 3)))


def test_a_molecule_larger_than_the_box_is_told_with_the_box_it_needs(tmp_path, capsys):
    render(camera_recipe(n_pixels=16), make_run(tmp_path / "run"))
    warning = capsys.readouterr().err
    assert "warning: the molecule is larger than the box of 16 pixels" in warning
    needed = int(warning.split("render.n_pixels = ")[1].split()[0])
    render(camera_recipe(n_pixels=needed), make_run(tmp_path / "enough"))
    assert "larger than the box" not in capsys.readouterr().err
    render(camera_recipe(n_pixels=needed - 4), make_run(tmp_path / "short"))
    assert "larger than the box" in capsys.readouterr().err


def test_a_defocus_that_spreads_detail_beyond_the_box_is_told_with_the_box_it_needs():
    """Against the phase of `contrast_at` itself: where it turns by more than half a turn from pixel to pixel."""
    about = {"n_pixels": 64, "pixel_size_A": 1.5, "defocus_low_A": 5e3, "defocus_high_A": 2e4, "astigmatism_A": 0.0}
    told = remarks(camera_recipe(**about).render, ["C"])[0]
    assert told.startswith("warning: a defocus of 20000 Å spreads detail finer than")
    k = np.arange(0, 1 / 3.0, 1 / 96)
    steps = np.pi * imaging.electron_wavelength_A(300.0) * 2e4 * np.diff(k**2)
    finest = 1 / k[np.flatnonzero(steps > np.pi)[0]]
    assert float(told.split("finer than ")[1].split()[0]) == pytest.approx(finest, rel=0.1)
    needed = int(told.split("n_pixels = ")[1].split()[0])
    assert not remarks(camera_recipe(**about | {"n_pixels": needed}).render, ["C"])
    assert remarks(camera_recipe(**about | {"n_pixels": needed - 8}).render, ["C"])
    assert not remarks(camera_recipe(**about | {"b_factor_A2": 2000.0}).render, ["C"])


def test_atoms_of_few_gaussians_are_told_with_their_error():
    recipe = camera_recipe(scattering={"kind": "atoms", "n_gaussians": 1}, pixel_size_A=0.75, b_factor_A2=2000.0)
    told = remarks(recipe.render, ["C", "S", "CH3"])[0]
    assert told.startswith("1 Gaussian an atom: off by at most ")
    worst = max(
        imaging.refit_error(["C", "S"], 1, pixel_A=0.75).max(),
        imaging.refit_error("C", 1, pixel_A=0.75, hydrogens=3)[0],
    )
    assert float(told.split("at most ")[1].split()[0]) == pytest.approx(100 * worst, rel=0.06)


@pytest.mark.parametrize(
    "blind",
    [
        dict.fromkeys(("amplitude_contrast", "defocus_low_A", "defocus_high_A", "astigmatism_A"), 0.0)
        | {"spherical_aberration_mm": 0.0},
        {"radiation_damage": True, "dose_per_frame_e_A2": 1.0, "pre_exposure_e_A2": 1e6},
    ],
)
def test_optics_that_show_nothing_are_told_apart_from_an_empty_box(tmp_path, blind):
    with pytest.raises(RecipeError, match="nothing passes the optics"):
        render(camera_recipe(**blind), make_run(tmp_path / "run"))


def test_too_few_electrons_are_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"dose_per_frame_e_A2 = 1e-05 sends 0.092 electrons through a whole image"):
        render(camera_recipe(noise={"kind": "poisson"}, dose_per_frame_e_A2=1e-5), make_run(tmp_path / "run"))


def test_a_molecule_too_thick_for_counting_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="too thick for the linear model"):
        render(camera_recipe(**POISSON, bead_b_factor_A2=0.0), make_run(tmp_path / "run", scattering=4000.0))

"""The stage of the X-ray camera on a trajectory made up for the test."""

import numpy as np
import pytest
from scipy import stats

from tempica.errors import DataError
from tempica.imaging.diffraction import beamline_of
from tempica.imaging.xray import scatterers_of
from tempica.progress import Progress
from tempica.recipe.experiment import Recipe
from tempica.recipe.xfel import XfelRecipe
from tempica.render import stage
from tempica.render.xfel import shots
from tempica.render.xfel import stage as patterns
from tempica.runs.work import Work
from tempica.stores import reading, store

from .test_render_stage import N_ATOMS, N_FRAMES, N_REPLICAS, Inline, make_run, recipe_with

CAMERA = {"kind": "xfel", "n_pixels": 20, "pixel_size_um": 2000.0, "photons_per_pulse": 1e13, "background_photons": 0.2}


def recipe_of(**camera):
    content = recipe_with().model_dump()
    return Recipe.model_validate(content | {"render": CAMERA | camera})


def trajectory_of(folder, nan=None):
    """A run folder with a trajectory of pairs; `nan`: a frame of replica 1 that is broken."""
    run = make_run(folder)
    molecule = np.arange(N_FRAMES) // 2
    values = {"formula": ["C5H8NO"] * (N_ATOMS - 2) + ["CH3", "HO"], "molecule": np.stack([molecule] * N_REPLICAS)}
    position = store.open_unsealed(run / "trajectory.zarr")["position"].values
    if nan is not None:
        position[1, nan, 3, 0] = np.nan
    store.write(run / "trajectory.zarr", values | {"position": position})
    store.seal(run / "trajectory.zarr")
    return run


def photograph(recipe, run):
    folder = run / "work"
    folder.mkdir()
    stage.run(Work("render", run, folder, recipe, "", "0" * 16, Inline(), Progress(terminal=False)))
    store.seal(folder / "movie.zarr")
    return reading.open_store(folder / "movie.zarr", "diffraction")


def expectation(recipe, run, made):
    """Photons expected, from the store's own words."""
    trajectory = reading.open_store(run / "trajectory.zarr", "trajectory")
    scatterers = scatterers_of(made["formula"].values.tolist(), made["bead_width"].values)
    return np.stack(
        [
            patterns.expected_photons(
                recipe.render,
                made["pose_quaternion"].values[r],
                made["fluence"].values[r],
                trajectory["position"].values[r],
                scatterers,
            )
            for r in range(N_REPLICAS)
        ]
    )


def test_counts_are_poisson_about_what_is_expected(tmp_path):
    recipe, run = recipe_of(), trajectory_of(tmp_path / "run")
    made = photograph(recipe, run)
    assert made["image"].dtype == np.uint8
    count, mean = made["image"].values.astype(float), expectation(recipe, run, made)
    seen = made["mask"].values == 1
    assert not count[..., ~seen].any()
    assert not mean[..., ~seen].any()
    assert (mean[..., seen] >= 0.2).all()
    assert 300 < (~seen).sum() * 100 < 2000
    n = count[..., seen].size
    score = (count - mean)[..., seen] / np.sqrt(mean[..., seen])
    assert abs(score.mean()) < 4 / np.sqrt(n)
    # the variance of a squared score is 2 + 1/mean
    assert abs((score**2).mean() - 1) < 4 * np.sqrt((2 + (1 / mean[..., seen]).mean()) / n)
    bright = mean > np.quantile(mean, 0.97)
    assert count[bright].mean() == pytest.approx(mean[bright].mean(), rel=0.03)


def test_patterns_are_the_same_however_many_fit_at_once(tmp_path, monkeypatch):
    whole, sizes = photograph(recipe_of(pulse_jitter=0.3), trajectory_of(tmp_path / "whole")), []
    expected = patterns.expected_photons
    monkeypatch.setattr(patterns, "AT_ONCE", 800)  # two frames
    monkeypatch.setattr(patterns, "expected_photons", lambda *a: sizes.append(len(a[1])) or expected(*a))
    parts = photograph(recipe_of(pulse_jitter=0.3), trajectory_of(tmp_path / "parts"))
    np.testing.assert_array_equal(parts["image"].values, whole["image"].values)
    assert max(sizes) == 2


def test_poisson_mean_and_variance_of_one_pixel():
    for mean in (0.03, 2.0, 300.0):
        count = shots.counted(np.full((200, 200), mean), 5, 0, 0)
        n = count.size
        assert abs(count.mean() - mean) < 4 * np.sqrt(mean / n)
        assert abs(count.var() - mean) < 4 * np.sqrt((mean + 2 * mean**2) / n)


def test_patterns_do_not_depend_on_their_blocks(tmp_path, monkeypatch):
    made = []
    for block in (100, 7):
        monkeypatch.setattr(patterns, "BLOCK_FRAMES", block)
        made.append(photograph(recipe_of(pulse_jitter=0.3), trajectory_of(tmp_path / str(block))))
    for name in made[0].variables:
        np.testing.assert_array_equal(made[1][name].values, made[0][name].values)


def test_both_pulses_of_a_pair_see_the_molecule_turned_alike(tmp_path):
    fixed = photograph(recipe_of(poses={"kind": "fixed"}), trajectory_of(tmp_path / "fixed"))["pose_quaternion"].values
    free = photograph(recipe_of(), trajectory_of(tmp_path / "free"))["pose_quaternion"].values
    for turn in (fixed, free):
        np.testing.assert_allclose(np.linalg.norm(turn, axis=-1), 1, rtol=1e-12)
    np.testing.assert_array_equal(fixed[:, 0:-1:2], fixed[:, 1::2])
    assert (fixed[:, 1:-1:2] != fixed[:, 2::2]).all()
    assert len(np.unique(free.reshape(-1, 4), axis=0)) == N_REPLICAS * N_FRAMES


def test_hidden_orientations_change_no_photon(tmp_path):
    known = photograph(recipe_of(), trajectory_of(tmp_path / "known"))
    hidden = photograph(recipe_of(poses={"knowledge": "hidden"}), trajectory_of(tmp_path / "hidden"))
    assert (known.attrs["pose"], hidden.attrs["pose"]) == ("known", "hidden")
    np.testing.assert_array_equal(hidden["image"].values, known["image"].values)
    assert np.isnan(hidden["pose_quaternion"].values).all()


def test_orientations_are_uniform():
    turn = shots.orientations(XfelRecipe(kind="xfel"), 1, 0, 0, np.zeros(3000, dtype=int))
    assert stats.kstest(turn[:, 1] ** 2, stats.beta(0.5, 1.5).cdf).pvalue > 1e-3  # a coordinate on the 3-sphere
    assert np.abs(turn.T @ turn / 3000 - np.eye(4) / 4).max() < 4.5 * np.sqrt(1 / 24 / 3000) * 1.5


def test_pulses_jitter_as_stated():
    recipe = XfelRecipe(kind="xfel", photons_per_pulse=2e12, focus_nm=200.0, pulse_jitter=0.25)
    pulse = shots.pulses(recipe, 3, 0, 0, 4000)
    mean = 2e12 / 0.2**2
    assert stats.kstest(pulse / mean, stats.gamma(16, scale=1 / 16).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(shots.pulses(recipe, 3, 0, 7, 9), pulse[7:9])
    steady = recipe.model_copy(update={"pulse_jitter": 0.0})
    np.testing.assert_allclose(shots.pulses(steady, 3, 0, 0, 5), mean)


@pytest.mark.parametrize(("focus_nm", "dtype"), [(300.0, np.uint8), (10.0, np.uint16), (1.0, np.uint32)])
def test_counts_are_kept_as_the_smallest_integer_that_holds_them(tmp_path, focus_nm, dtype):
    recipe = recipe_of(focus_nm=focus_nm, beam_stop_radius_mm=0.0)
    made = photograph(recipe, run := trajectory_of(tmp_path / "run"))
    assert made["image"].dtype == dtype
    most = float(expectation(recipe, run, made).max())
    assert made["image"].values.max() == pytest.approx(most, rel=0.05, abs=6 * np.sqrt(most) + 5)


def test_the_largest_count_always_has_room():
    for mean in (0.0, 1.0, 100.0, 1e4, 1e9):
        room = np.iinfo(shots.count_dtype(mean)).max
        assert stats.poisson(mean).sf(room) < 1e-25
    assert shots.count_dtype(0.5) == "uint8"
    assert shots.count_dtype(1000.0) == "uint16"


def test_the_store_says_how_it_was_made(tmp_path):
    recipe = recipe_of(polarisation="none", photon_energy_eV=8000.0)
    made = photograph(recipe, trajectory_of(tmp_path / "run"))
    assert beamline_of(made) == patterns.beamline_of(recipe.render)
    assert made.attrs["wavelength_A"] == pytest.approx(12.39842 / 8)
    assert made["image"].attrs["units"] == "photon"


def test_broken_frames_are_named(tmp_path):
    with pytest.raises(DataError, match="Frame 11 of replica 1 holds positions that are not finite"):
        photograph(recipe_of(), trajectory_of(tmp_path / "run", nan=11))


def test_a_user_is_told_what_the_detector_cannot_show():
    beads = scatterers_of(["C5H8NO"] * 2, np.array([0.2, 0.2]))
    atoms = scatterers_of(["C", "O"], np.array([0.0, 0.0]))
    apart = np.array([[0.0, 0, 0], [4.0, 0, 0]])
    camera = XfelRecipe(kind="xfel", pixel_size_um=500.0, detector_distance_mm=100.0, photon_energy_eV=6000.0)
    assert patterns.remarks(camera, atoms, apart)[1:] == []
    near = camera.model_copy(update={"detector_distance_mm": 20.0})
    told = "\n".join(patterns.remarks(near, beads, apart))
    assert "4 nm across, and pixels of 500 µm sample the fringes of 4.1 nm" not in told
    assert "beads of whole residues describe a molecule to about 8 Å" in told
    told = "\n".join(patterns.remarks(near, atoms, 2 * apart))
    assert "8 nm across, and pixels of 500 µm sample the fringes of 4.1 nm; take pixels of 258 µm" in told
    assert "beads" not in told

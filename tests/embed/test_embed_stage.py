"""The whole stage on movies made up for the test; real runs are those of test_pipeline."""

import shutil

import numpy as np
import pytest

from tempica.embed import plan
from tempica.errors import DataError

from ..conftest import tree
from .movies import TURN, Inline, fill, make
from .toy import MODES

N_FRAMES, NOISE = 60, 0.5


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """A movie that knows its poses."""
    return make(tmp_path_factory.mktemp("known"), N_FRAMES, NOISE)


@pytest.fixture(scope="module")
def known(movie, tmp_path_factory):
    """What embed finds in it."""
    return movie.embed(tmp_path_factory.mktemp("embedded"))


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    """A movie that hides its poses, without the ensemble, and what embed finds."""
    made = make(tmp_path_factory.mktemp("hidden"), N_FRAMES, NOISE, "hidden", turn=3.0)
    shutil.rmtree(made.run / "ensemble.zarr")
    folder = made.run / "embed"
    return made, made.embed(folder, modes_from="structure"), folder


def assert_calibrated(made, latents):
    """Shares of a χ² variable of two degrees over two; few frames, in which images allow two answers, are far off."""
    score = made.score(latents)
    for share in (0.25, 0.75):
        within = (score < -np.log(1 - share)).mean()
        assert within == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / score.size))


@pytest.mark.parametrize(
    ("pose", "snapshots", "source"),
    [("approximate", False, "refined"), ("known", True, "stated")],
)
def test_latents_are_the_amplitudes_of_every_frame(pose, snapshots, source, tmp_path):
    made = make(tmp_path, N_FRAMES, NOISE, pose, snapshots=snapshots)
    assert_found(made, made.embed(tmp_path / "embed"), snapshots, source)


def test_latents_are_the_amplitudes_where_poses_are_known(movie, known):
    assert_found(movie, known, False, "stated")


def assert_found(made, latents, snapshots, source):
    assert_calibrated(made, latents)
    assert (made.explained(latents) > [0.95, 0.7]).all()
    assert latents.attrs["noise_variance"] == pytest.approx(made.noise_variance, rel=0.05)
    np.testing.assert_allclose(np.median(latents["residual_variance"]), made.noise_variance, rtol=0.05)
    np.testing.assert_array_equal(latents["time"], np.arange(N_FRAMES))
    assert latents.attrs["pose_source"] == source
    assert np.median(made.pose_error_deg(latents)) < 0.35 * np.sqrt(3) * TURN  # half of what is stated
    timed = np.isfinite(latents["state_space_source"].values)
    assert not timed.any() if snapshots else timed.all()
    assert (np.array(latents.attrs["autocorrelation"]) == 0).all() == snapshots


def test_one_structure_is_enough_to_begin_with(movie, tmp_path):
    shutil.copytree(movie.run, tmp_path / "run", ignore=shutil.ignore_patterns("ensemble.zarr", "trajectory.zarr"))
    latents = movie.at(tmp_path / "run").embed(tmp_path / "embed", modes_from="structure")
    assert (movie.explained(latents) > [0.95, 0.7]).all()


def test_hidden_poses_are_found(hidden):
    made, latents, _ = hidden
    assert made.explained(latents)[0] > 0.8  # few frames: of the weaker an eighth to three quarters
    error = made.pose_error_deg(latents)
    assert np.median(error) < 2.5
    assert (error < 15).mean() > 0.98
    assert latents.attrs["turn_deg"] == pytest.approx(3.0, rel=0.2)
    assert latents.attrs["pose_source"] == "searched"
    expected = np.sqrt(np.einsum("fii->f", latents["pose_covariance"].values.reshape(-1, 5, 5)[:, :3, :3]))
    assert np.median(error) == pytest.approx(np.degrees(np.median(expected)), rel=0.5)


def test_a_stage_that_is_killed_goes_on(hidden, tmp_path):
    """The same bytes, however often it stops."""
    made, _, whole = hidden
    for most in (3, 1, 8, 30, 5):
        with pytest.raises(KeyboardInterrupt):
            made.embed(tmp_path, Inline(most), modes_from="structure")
    made.embed(tmp_path, modes_from="structure")
    assert tree(tmp_path / "latents.zarr") == tree(whole / "latents.zarr")


def test_hidden_snapshots(tmp_path):
    made = make(tmp_path, N_FRAMES, NOISE, "hidden", snapshots=True)
    latents = made.embed(tmp_path / "embed")
    assert (made.explained(latents) > [0.85, 0.6]).all()
    assert (made.pose_error_deg(latents) < 15).mean() > 0.95
    assert "turn_deg" not in latents.attrs  # there is no next frame


def test_latents_do_not_depend_on_the_blocks(movie, known, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "BLOCK_FRAMES", 23)
    parts = movie.embed(tmp_path / "parts")
    for name in known.variables:
        np.testing.assert_allclose(parts[name].values, known[name].values, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_structure_of_another_length_is_refused(movie, tmp_path):
    shutil.copytree(movie.run, tmp_path / "run", ignore=shutil.ignore_patterns("structure.zarr"))
    fewer = {"position": MODES.mean[:-1], "scattering_length_A": np.ones(11), "bead_width": np.ones(11)}
    fill(tmp_path / "run" / "structure.zarr", "structure", {"atom": 11, "space": 3}, fewer, {"topology": "{}"})
    with pytest.raises(DataError, match="11 beads, and the movie was made of 12"):
        movie.at(tmp_path / "run").embed(tmp_path / "embed", modes_from="structure")


def test_the_truth_is_not_needed(movie):
    assert {path.name for path in movie.run.glob("*.zarr")} == {"movie.zarr", "ensemble.zarr", "structure.zarr"}

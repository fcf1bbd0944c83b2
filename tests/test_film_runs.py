"""From a movie's file to what is said of its motion: planted motion is found, and nothing is where nothing moves."""

from __future__ import annotations

import numpy as np
import pytest

from tempica import pipeline
from tempica.errors import FormatError, RecipeError, TempicaError
from tempica.importing import import_film
from tempica.opened import open as open_folder
from tempica.progress import Progress
from tempica.recipe.completing import recipe_of_film
from tempica.report import exporting, film
from tempica.stores.reading import open_store

from . import films
from .conftest import in_this_process, tempica
from .film_chain import chain


def _hidden(made: films.MadeUp, found) -> np.ndarray:
    """The true angle of each row, without the mean of its molecule, as functions that a linear component may follow."""
    columns = []
    for number in np.unique(found.track):
        rows = found.track == number
        far = np.linalg.norm(made.place[:, found.frame[rows]] - found.centre[rows], axis=-1).mean(1)
        angle = made.angle[far.argmin(), found.frame[rows]]
        functions = np.stack([angle, angle**2], 1)
        columns.append(functions - functions.mean(0))
    return np.concatenate(columns)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_motion_is_found(seed):
    made = films.molecules(seed)
    found = chain(made.height)
    assert found.told["verdict"] == "stable"
    assert len(np.unique(found.track)) == 3
    truth = _hidden(made, found)

    def explained(source):
        both = np.concatenate([source, np.ones((len(source), 1))], 1)
        left = truth[:, 0] - both @ np.linalg.lstsq(both, truth[:, 0], rcond=None)[0]
        return 1 - left.var() / truth[:, 0].var()

    rng = np.random.default_rng(0)
    chance = [explained(found.source[rng.permutation(len(truth))]) for _ in range(99)]
    assert explained(found.source) > max(0.5, *chance)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_where_nothing_moves_nothing_is_said_to_move(seed):
    """Molecules at rest drift, turn and lie on a tilted, noisy stage."""
    assert chain(films.molecules(seed, swing=0.0).height).told["verdict"] == "nothing moves"


@pytest.mark.parametrize("make", [films.lattice, films.nothing])
def test_a_crystal_and_noise_do_not_move(make):
    found = chain(make(0, n_frames=40))
    assert found.of_windows
    assert found.told["verdict"] == "nothing moves"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    made = films.molecules(4, n_frames=50, n_molecules=2, blanks=(30, 31))
    np.save(folder / "my movie.npy", made.height)
    recipe = folder / "film.toml"
    recipe.write_text('name = "made_up"\n[embed]\nn_modes = "auto"\n[train]\nmethods = ["tica"]\n')
    with in_this_process():
        out, done = import_film(
            [folder / "my movie.npy"], recipe, pixel_nm=1.0, interval_s=0.5, out=folder / "run", progress=Progress()
        )
    assert done == ["render"]
    return out


def test_a_store_of_crops_keeps_time_and_gaps(run):
    movie = open_store(run / "movie.zarr", "crops")
    frame, stretch, track = (movie[name].values.reshape(-1) for name in ("frame", "molecule", "track"))
    assert not set(frame) & {30, 31}
    np.testing.assert_allclose(movie["frame_time"].values.reshape(-1), 0.5 * frame)
    same = stretch[1:] == stretch[:-1]
    assert (np.diff(frame)[same] == 1).all()  # pairs in time are of frames that follow each other
    assert (track[1:] == track[:-1])[same].all()
    assert len(np.unique(stretch[track == 0])) >= 2  # cut by the blanks
    assert movie.attrs["left_out"] == [30, 31]


@pytest.mark.usefixtures("one_process")
def test_a_run_goes_on_to_its_report(run):
    _, done = pipeline.run(run, jobs=1, progress=Progress())
    assert done == ["embed", "train", "evaluate", "report"]
    page = (run / "report.html").read_text()
    motion = open_store(run / "sources.zarr", "sources").attrs["motion"]
    assert motion["sentence"].split(":")[0] in page
    assert "Contact sheet" in page
    assert "shuffled, 95 %" in page
    opened = open_folder(run)
    assert opened.latents.attrs["kind"] == "crop_latents"
    assert str(opened.verdict) in repr(opened)
    seen = film.reel(opened.movie, opened.sources)
    assert f"{len(seen.time)} frames of track {seen.replica}</b>" in page
    rows = opened.movie["track"].values.reshape(-1) == seen.replica
    np.testing.assert_allclose(seen.time, opened.movie["frame_time"].values.reshape(-1)[rows][: len(seen.time)])
    for suffix in ("gif", "mp4"):
        assert exporting.write_video(run, run.parent / f"crops.{suffix}", Progress(terminal=False)) == len(seen.time)


@pytest.mark.parametrize(
    ("height", "says"),
    [
        (np.full((30, 40, 40), 2.0), "30 are blank"),
        (np.full((30, 40, 40), np.nan), "30 have pixels that are no numbers"),
        (films.nothing(0, n_frames=10, size=40), "at least 20"),
    ],
)
def test_a_movie_that_shows_nothing_leaves_nothing(height, says, tmp_path):
    np.save(tmp_path / "a.npy", height)
    with pytest.raises(FormatError, match=says):
        import_film([tmp_path / "a.npy"], pixel_nm=1.0, interval_s=1.0, out=tmp_path / "run", progress=Progress())
    assert not (tmp_path / "run").exists()


def test_the_command_says_one_sentence_and_leaves_nothing(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((1, 40, 40)))
    done = tempica("import", tmp_path / "a.npy", "--pixel-nm", 1, "--interval", 1, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "a single frame" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_recipe_with_a_molecule_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"has \[simulate\]"):
        recipe_of_film([tmp_path / "a.npy"], 30, text="name = 'x'\n[simulate]\nn_frames = 3\n")
    with pytest.raises(TempicaError, match=r"film\.channel"):
        recipe_of_film([tmp_path / "a.npy"], 30, text="name = 'x'\n[film]\nchannel = 'TP'\n", channel="PH")

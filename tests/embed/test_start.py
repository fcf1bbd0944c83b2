"""What embed begins with, where molecule and movie do not go together."""

import shutil

import numpy as np
import pytest

from tempica import imaging
from tempica.embed import start
from tempica.embed.setting import Span
from tempica.errors import DataError
from tempica.recipe.analysis import EmbedRecipe
from tempica.stores import files, reading

from .movies import fill, make
from .toy import N_ATOMS

N_FRAMES = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("run"), N_FRAMES, 0.2)


def begin(run, folder, **about):
    """The start of learning from one replica at its stated poses."""
    movie = reading.open_store(run / "movie.zarr", "movie").isel(replica=0)
    rotation, shift = imaging.rotation_matrix(movie["pose_quaternion"].values), movie["pose_shift_A"].values
    stated = {"stated_rotation": rotation, "stated_shift_A": shift, "precision": np.zeros(5)}
    files.save_arrays(folder / "poses.npz", rotation=rotation, shift_A=shift, **stated)
    recipe, span = EmbedRecipe(n_modes=2, **about), Span(0, 0, N_FRAMES)
    start.begin(recipe, run, folder / "setting.npz", folder / "state.npz", [span], [folder / "poses.npz"], [])


@pytest.mark.parametrize(
    ("kind", "more", "times", "told"),
    [
        ("ensemble", 1, 1.0, f"The ensemble has {N_ATOMS + 1} beads, and the movie was made of {N_ATOMS}"),
        ("structure", -1, 1.0, f"The structure has {N_ATOMS - 1} beads, and the movie was made of {N_ATOMS}"),
        ("ensemble", 0, 5.0, "The molecule reaches .* the box is too small"),
        ("structure", 0, 5.0, "The molecule reaches .* the box is too small"),
    ],
)
def test_a_molecule_that_is_not_the_movies_is_told(kind, more, times, told, made, tmp_path):
    run, rng, n = tmp_path / "run", np.random.default_rng(0), N_ATOMS + more
    shutil.copytree(made.run / "movie.zarr", run / "movie.zarr")
    beads = {"scattering_length_A": np.full(n, 20.0), "bead_width": np.full(n, 0.2)}
    form = times * rng.normal(0, 0.6, (n, 3))
    if kind == "ensemble":
        moved = form + 0.05 * rng.normal(size=(50, n, 3))
        held = beads | {"position": moved, "time": np.arange(50)}
        fill(run / "ensemble.zarr", "ensemble", {"time": 50, "atom": n, "space": 3}, held, {"topology": "{}"})
    else:
        held = beads | {"position": form}
        fill(run / "structure.zarr", "structure", {"atom": n, "space": 3}, held, {"topology": "{}"})
    with pytest.raises(DataError, match=told):
        begin(run, tmp_path, modes_from=kind)

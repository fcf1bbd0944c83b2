"""Runs whose images another program made, by the command line: what works, what is refused, what is left alone."""

import json
import shutil
import tomllib

import mdtraj
import numpy as np
import pytest
from click.testing import CliRunner

from tempica import cli, pipeline
from tempica.errors import RecipeError, StoreError
from tempica.exchange import exporting
from tempica.pipeline import check_methods
from tempica.recipe.completing import complete_with_particles
from tempica.recipe.experiment import Recipe
from tempica.stores import reading
from tempica.stores.scores import SCORES

from .conftest import small_recipe_text, tempica


def without_camera(text):
    start = text.index("[render]")
    return text[:start] + text[text.index("[", start + 1) :]


@pytest.fixture(scope="module")
def exported(small_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "particles"
    done = tempica("export", small_run, folder, "--to", "relion")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def alpha(small_run, tmp_path_factory):
    """Forty structures of the run as another program's trajectory, faster read than simulated."""
    folder = tmp_path_factory.mktemp("alpha")
    truth = reading.open_store(small_run / "trajectory.zarr", "trajectory")
    from tempica.exchange.trajectories import topology_of

    trajectory = mdtraj.Trajectory(truth["position"][:, ::8].values.reshape(-1, 214, 3), topology_of(truth))
    trajectory[:30].save(str(folder / "one.dcd"))
    trajectory[30:].save(str(folder / "two.dcd"))
    trajectory[0].save(str(folder / "top.pdb"))
    return folder


def recipe_text(alpha, ensemble_frames=25):
    return f"""name = "particles"
[simulate]
n_replicas = 4
n_frames = 80
ensemble_frames = {ensemble_frames}
[simulate.molecule]
kind = "trajectory"
topology = "{alpha}/top.pdb"
files = ["{alpha}/one.dcd", "{alpha}/two.dcd"]
stride = 1
[[simulate.collective_variables]]
name = "LID"
residues = ["179-185", "115-125", "125-153"]
[embed]
n_modes = 2
n_iterations = 3
[train]
methods = ["tica"]
held_out_replicas = 1
"""


@pytest.mark.usefixtures("one_process")
def test_images_go_through_every_stage_and_are_judged_without_a_truth(small_run, exported, alpha, tmp_path):
    recipe, run = tmp_path / "r.toml", tmp_path / "run"
    recipe.write_text(recipe_text(alpha))
    done = tempica("import", exported / "particles.star", "--recipe", recipe, "--out", run)
    assert done.returncode == 0, done.stderr
    assert "Done: simulate, render in" in done.stdout
    assert not (run / "trajectory.zarr").exists()
    assert "star =" in (run / "recipe.toml").read_text()
    images = [reading.open_store(path / "movie.zarr", "movie")["image"].values for path in (small_run, run)]
    np.testing.assert_array_equal(*images)
    ensemble = reading.open_store(run / "ensemble.zarr", "ensemble")["position"].values
    truth = (
        reading.open_store(small_run / "trajectory.zarr", "trajectory")["position"].values[:, ::8].reshape(-1, 214, 3)
    )
    chosen = truth[np.linspace(0, 39, 25).round().astype(int)]

    def distances(x):
        return np.linalg.norm(x[:, ::20, None] - x[:, None, ::20], axis=-1)

    np.testing.assert_allclose(distances(ensemble), distances(chosen), atol=1e-5)

    assert pipeline.import_particles(exported / "particles.star", recipe, out=run, jobs=1) == (run, [])
    whole = tempica("run", run)
    assert whole.returncode == 0, whole.stderr
    assert {path.name for path in run.glob("*.zarr")} == {
        f"{s}.zarr" for s in ("structure", "ensemble", "movie", "latents", "sources")
    }
    scores = json.loads((run / "scores.json").read_text())
    assert set(SCORES["required"]) <= set(scores)
    assert scores["rows"] == scores["matrices"] == []
    assert "There is no truth to score against" in scores["verdict"]["sentence"]
    assert f"Verdict: {scores['verdict']['sentence']}" in whole.stdout
    tests = {test["name"] for test in scores["audit"]["tests"]}
    assert {"number", "signal_time", "lags", "leakage_defocus"} <= tests or "nothing" in scores["verdict"]["grade"]
    page = (run / "report.html").read_text()
    assert "What the data say" in page
    filmed = tempica("report", run, "--video", tmp_path / "film.gif")  # without a truth too
    assert filmed.returncode == 0, filmed.stderr
    assert (tmp_path / "film.gif").stat().st_size > 10_000
    with pytest.raises(RecipeError, match="Leave --replica out"):
        pipeline.run(run, replica=0)
    back = exporting.export(run, "relion", tmp_path / "again")  # of a run that was imported itself
    assert (back / "particles.mrcs").read_bytes() == (exported / "particles.mrcs").read_bytes()

    stack = shutil.copytree(exported, tmp_path / "moved") / "particles.mrcs"
    moved = pipeline.import_particles(tmp_path / "moved" / "particles.star", recipe, out=run)
    assert moved == (run, [])  # the same content elsewhere
    content = bytearray(stack.read_bytes())
    content[2000] ^= 1
    stack.write_bytes(content)
    assert pipeline.run(run, stages=("render",)) == (run, [])  # what is done does not need it
    shutil.rmtree(run / "movie.zarr")
    with pytest.raises(StoreError, match="has changed since the run"):
        pipeline.run(run, stages=("render",))


def test_what_is_broken_leaves_nothing(exported, alpha, tmp_path):
    recipe, run = tmp_path / "r.toml", tmp_path / "run"
    recipe.write_text(recipe_text(alpha))
    lines = (exported / "particles.star").read_text().rstrip().splitlines(keepends=True)
    folder = tmp_path / "broken"
    folder.mkdir()
    star = folder / "particles.star"
    for content, told in (
        ("".join(lines), "stack particles.mrcs, which"),
        ("".join(lines[:-1]) + lines[-1].rsplit(maxsplit=1)[0] + "\n", "values in a row of data_particles"),
        ("hello", "text before any data_ block"),
    ):
        star.write_text(content)
        done = tempica("import", star, "--recipe", recipe, "--out", run)
        assert done.returncode == 2, done.stderr
        assert told in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not run.exists()
    recipe.write_text(recipe_text(alpha, ensemble_frames=50))
    done = tempica("import", exported / "particles.star", "--recipe", recipe, "--out", run)
    assert "The trajectory has 40 frames, and simulate.ensemble_frames = 50" in done.stderr
    assert not run.exists()
    for wrong in (["--stride", "2"], ["--topology", "x.pdb"], [str(star)]):
        done = CliRunner().invoke(cli.cli, ["import", str(star), *wrong, "--recipe", str(recipe), "--out", str(run)])
        assert done.exit_code == 2
        assert not run.exists()


def test_a_recipe_has_a_camera_or_particles(tmp_path):
    text = small_recipe_text()
    star = tmp_path / "p.star"
    with pytest.raises(RecipeError, match=r"has a camera of its own \(render\)"):
        complete_with_particles(text, star, star)
    with pytest.raises(ValueError, match="leave out either particles or render"):
        Recipe.model_validate(tomllib.loads(small_recipe_text(snr="1.0")) | {"particles": {"star": "p.star"}})
    completed = complete_with_particles(
        without_camera(text) + "\n[particles] # mine\ncontrast = 'negative'\n", star, star
    )
    recipe = Recipe.model_validate(tomllib.loads(completed))
    assert recipe.particles is not None
    assert (recipe.particles.star, recipe.particles.contrast) == (str(star.resolve()), "negative")
    assert "# mine" in completed
    with pytest.raises(RecipeError, match="which the command gives too"):
        complete_with_particles(completed, star, star)
    with pytest.raises(RecipeError, match="writes particles in one line"):
        complete_with_particles("particles = { contrast = 'negative' }\n", star, star)
    with pytest.raises(RecipeError, match="not valid TOML"):
        complete_with_particles("a = ", star, star)
    snapshots = tomllib.loads(completed.replace("contrast = 'negative'", "observation = 'snapshots'"))
    with pytest.raises(ValueError, match=r"'snapshots' has one. Give no methods"):
        check_methods(Recipe.model_validate(snapshots), "The recipe")
    for methods in ([], ["fastica"]):
        without = snapshots | {"train": {"methods": methods, "held_out_replicas": 1}}
        check_methods(Recipe.model_validate(without), "The recipe")

"""The table of methods: what a recipe can name, and what it is refused for."""

import json
import os
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest
import xarray

from tempica import ica
from tempica.ica import methods, stage
from tempica.pipeline import check_methods
from tempica.recipe.experiment import Recipe

from ..conftest import ROOT, small_recipe_text

DUMMY = '''
import numpy as np
from tempica.ica import methods
from tempica.ica.base import LinearUnmixing

class Rotated(LinearUnmixing):
    """Turns the first two latents by an angle."""

    def __init__(self, n_components=None, *, angle=0.0):
        self.n_components, self.angle = n_components, angle

    def fit(self, X, y=None, *, replicas=None):
        X = self._frames(X, fitting=True)
        turn = np.array([[np.cos(self.angle), np.sin(self.angle)], [-np.sin(self.angle), np.cos(self.angle)]])
        self._settle(X.mean(0), turn @ np.eye(2, X.shape[1]))
        return self

methods.METHODS += (methods.Method("rotated", "Rotated", lambda: Rotated, "pairs", "nothing", "a test"),)
'''


def recipe(name="adenylate_kinase", **train):
    content = tomllib.loads((ROOT / "simulations" / f"{name}.toml").read_text())
    return Recipe.model_validate(content | {"train": train})


def test_a_class_and_a_row_are_all_that_a_method_needs(small_run, tmp_path):
    """A new estimator runs from a recipe, and is in scores, report, `tempica methods` and the error of unknown ones."""
    (tmp_path / "sitecustomize.py").write_text(DUMMY)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.getenv("PYTHONPATH")])])
    }

    def tempica(*arguments):
        command = [sys.executable, "-m", "tempica.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    text = small_recipe_text(methods="[]") + '\n[[train.method]]\nname = "rotated"\nangle = 0.3\n'
    (tmp_path / "r.toml").write_text(text)
    shutil.copytree(small_run, tmp_path / "run")  # whose latents are of use
    done = tempica("run", tmp_path / "r.toml", "--out", tmp_path / "run", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert "rotated" in done.stdout
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert {row["stage"] for row in scores["rows"] if row["method"] == "rotated"} == {"unmixed", "smoothed"}
    assert "Rotated, smoothed" in (tmp_path / "run" / "report.html").read_text()
    assert "rotated" in tempica("methods").stdout
    (tmp_path / "r.toml").write_text(text.replace('"rotated"', '"turned"'))
    wrong = tempica("run", tmp_path / "r.toml", "--out", tmp_path / "run")
    assert wrong.returncode == 2
    assert "train.method.0.name = 'turned': must be one of fastica, gcl, " in wrong.stderr
    assert "rotated" in wrong.stderr


def test_every_public_estimator_can_be_named():
    known = {row.estimator() for row in methods.trainable()}
    public = {getattr(ica, name) for name in ica.__all__ if isinstance(getattr(ica, name), type)}
    assert known == {one for one in public if hasattr(one, "fit")}
    assert {row.name for row in methods.trainable()} >= {
        "fastica", "tica", "sobi", "nonstationary", "pcl", "tcl", "gcl", "ivae", "slowvae", "snica", "hmnlica",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("adenylate_kinase", ["tica", "pcl"]), ("arms_pump_probe", ["tcl"]), ("arms_pairs", ["tica", "pcl"])],
)
def test_a_recipe_that_names_none_gets_those_that_its_data_suffice_for(name, chosen):
    assert list(methods.chosen(recipe(name))) == chosen
    assert methods.mistakes(recipe(name)) == []


def test_snapshots_take_methods_of_labels_and_refuse_those_of_pairs():
    for name in ("tcl", "ivae", "gcl", "nonstationary", "fastica"):
        assert methods.mistakes(recipe("arms_pump_probe", methods=[name])) == []
    wrong = methods.mistakes(recipe("arms_pump_probe", methods=["pcl", "tcl", "slowvae", "hmnlica"]))
    assert len(wrong) == 2
    assert wrong[0].startswith("train.methods = pcl, slowvae need two frames of a molecule")
    assert "simulate.observation.mode = 'snapshots' has one" in wrong[0]
    assert wrong[1].startswith("train.methods has hmnlica, which needs a movie of each molecule")
    assert all(
        line.endswith("Methods that can run here: fastica, nonstationary, tcl, gcl, ivae, tcl_images.")
        for line in wrong
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"n_layer": 3}, "train.method.0.n_layer: PCL has no such parameter. It has: n_components, lag,"),
        ({"n_restarts": "five"}, "train.method.0.n_restarts = 'five': must be a valid integer"),
        ({"n_restarts": "5"}, "train.method.0.n_restarts = '5': must be a valid integer"),
        ({"n_restarts": 0}, "train.method.0.n_restarts = 0 must be at least 1."),
        ({"n_components": "three"}, "train.method.0.n_components = 'three': must be a valid integer or 'auto'."),
        ({"n_components": True}, "train.method.0.n_components = True: must be a valid integer or 'auto'."),
        ({"n_components": 0}, "train.method.0.n_components = 0 must be at least 1."),
        ({"second_stage": "fastika"}, "train.method.0.second_stage = 'fastika': must be 'auto', 'none', 'fastica' or"),
        ({"lag": [1, 1000000]}, "train.method.0.lag = [1, 1000000] must be from 1 to "),
        ({"lag": []}, "train.method.0.lag = [] must be from 1 to "),
        ({"training": {"learning_rate": "x"}}, "train.method.0.learning_rate = 'x' must be a number above 0."),
        ({"training": {"lerning_rate": 1e-3}}, "train.method.0.training has no option 'lerning_rate'; it has batch_si"),
        ({"training": {"width": True}}, "train.method.0.width = True must be a whole number."),
        ({"training": {"precision": "half"}}, "train.method.0.precision = 'half' must be float32, float64, bfloat16."),
        ({"training": 3}, "train.method.0.training = 3 must be a Training, or a dict of"),
        ({"random_state": 3}, "train.method.0.random_state: is the run's to give"),
        ({"n_components": 5}, "train.method.0.n_components = 5 must not exceed embed.n_modes = 4."),
    ],
)
def test_parameters_are_checked_against_the_estimators_own(given, told):
    (wrong,) = methods.mistakes(recipe(methods=[], method=[{"name": "pcl", **given}]))
    assert wrong.startswith(told)
    with pytest.raises(ValueError, match=r"The recipe cannot be used:\n  train\.method\.0"):
        check_methods(recipe(methods=[], method=[{"name": "pcl", **given}]), "The recipe")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "hmnlica", "training": {"width": 8}}, "HMNLICA has no use for training.width = 8; it takes"),
        ({"name": "ivae", "training": {"precision": "bfloat16"}}, "IVAE takes float32 or float64."),
        ({"name": "slowvae", "second_stage": "fastica"}, "must be 'auto', 'none' or 'linear'."),
        ({"name": "snica", "chunk": 1}, "train.method.0.chunk = 1 must be at least 2."),
        ({"name": "fastica", "fun": "tanh"}, "must be 'logcosh', 'exp' or 'cube'."),
    ],
)
def test_what_one_estimator_has_no_use_for_is_refused(given, told):
    (wrong,) = methods.mistakes(recipe(methods=[], method=[given]))
    assert told in wrong


def test_right_parameters_pass():
    given = {"n_components": "auto", "lag": [1, 3], "second_stage": "sobi", "training": {"learning_rate": 1}}
    assert methods.mistakes(recipe(methods=[], method=[{"name": "pcl", **given}])) == []


def test_pairs_are_looked_for_at_the_methods_own_lag():
    content = tomllib.loads((ROOT / "simulations" / "adenylate_kinase.toml").read_text())
    content["simulate"]["observation"] = {"mode": "pairs"}

    def wrong(of_the_recipe, **method):
        train = {**content["train"], "lag": of_the_recipe, "methods": [], "method": [{"name": "pcl", **method}]}
        return methods.mistakes(Recipe.model_validate(content | {"train": train}))

    assert wrong(1) == wrong(2, lag=1) == []
    for found in (wrong(2), wrong(1, lag=2), wrong(1, lag=[1, 2])):
        assert "needs two frames of a molecule 2 frames apart" in found[0]


def test_a_method_is_named_once():
    with pytest.raises(ValueError, match=r"must not repeat.* given are pcl, pcl"):
        recipe(methods=["pcl"], method=[{"name": "pcl", "lag": 2}])


def test_sources_of_embeds_own_model_are_a_row_where_there_are_any(monkeypatch, tmp_path):
    (row,) = methods.embedded()
    assert row.name == "state_space"
    assert row not in methods.baselines() + methods.trainable()
    mean = np.random.default_rng(0).normal(size=(2, 5, 3))
    mean[..., 2] = np.nan  # a component that the model does not have
    frames = ("replica", "time", "component")
    latents = xarray.Dataset({"state_space_source": (frames, mean), "state_space_variance": (frames, 0 * mean + 0.2)})
    monkeypatch.setattr(stage, "read", lambda run, name, kind: latents)
    found = stage._embedded(tmp_path)
    np.testing.assert_array_equal(found["smoothed"], mean[..., :2].reshape(10, 2))
    np.testing.assert_array_equal(found["smoothed_variance"], np.full((10, 2), 0.2))
    monkeypatch.setattr(stage.Frames, "of", lambda recipe, run: None)
    stage.train_method(recipe(), tmp_path, tmp_path, "cpu", "state_space")
    told = json.loads((tmp_path / "state_space.json").read_text())
    assert not told["baseline"]
    assert told["title"] == "State-space model of embed"
    latents["state_space_source"] = latents["state_space_source"] * np.nan
    assert stage._embedded(tmp_path) == {}
    assert methods.mistakes(recipe(methods=["state_space"]))  # it is embed's to fit, not the recipe's to name

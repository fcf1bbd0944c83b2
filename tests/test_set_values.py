"""Values of a recipe that the command line changes."""

from __future__ import annotations

import copy
import random
import tomllib
from pathlib import Path

import pytest

from tempica.errors import RecipeError
from tempica.recipe.experiment import parse_recipe
from tempica.recipe.setting import set_values
from tempica.runs.folder import open_run

from .conftest import ROOT

PATH = Path("some.toml")
RECIPES = sorted((ROOT / "simulations").glob("*.toml"))


def leaves(content, keys=()):
    """Dotted keys of all values, of those within lists and inline tables too."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in pairs:
        nested = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict))
        yield from leaves(value, (*keys, str(key))) if nested else [(*keys, str(key))]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_any_value_of_any_recipe_can_be_changed_and_nothing_else_changes(path: Path) -> None:
    text = path.read_text()
    before = tomllib.loads(text)
    for keys in leaves(before):
        after = tomllib.loads(set_values(text, path, [f"{'.'.join(keys)}=[0.25, true, 'x']"]))
        expected = copy.deepcopy(before)
        here = expected
        for key in keys[:-1]:
            here = here[int(key)] if isinstance(here, list) else here[key]
        here[int(keys[-1]) if isinstance(here, list) else keys[-1]] = [0.25, True, "x"]
        assert after == expected, keys


@pytest.mark.parametrize("path", RECIPES[::5], ids=lambda path: path.stem)
def test_comments_stay(path: Path) -> None:
    text = path.read_text()
    keys = list(leaves(tomllib.loads(text)))
    random.Random(1).shuffle(keys)
    changed = set_values(text, path, [f"{'.'.join(each)}=7" for each in keys[:10]])
    for line in text.splitlines():
        if "#" in line and '"' not in line:
            assert line[line.index("#") :] in changed


def test_what_is_not_there_is_added() -> None:
    text = 'name = "x"  # mine\n\n[render]\nposes = { kind = "random" }\n\n[[simulate.dynamics]]\nprocess = "ar1"\n'
    given = ["seed=3", "render.snr=inf", "render.poses.knowledge=hidden", "train.n_components=3", "embed.n_modes=auto"]
    found = tomllib.loads(set_values(text, PATH, [*given, "simulate.dynamics.0.mean=2", "render.noise.kind='white'"]))
    assert found == {
        "name": "x",
        "seed": 3,
        "render": {"poses": {"kind": "random", "knowledge": "hidden"}, "snr": float("inf"), "noise": {"kind": "white"}},
        "simulate": {"dynamics": [{"process": "ar1", "mean": 2}]},
        "train": {"n_components": 3},
        "embed": {"n_modes": "auto"},
    }


def test_all_mistakes_are_told_at_once() -> None:
    text = 'name = "x"\n[[simulate.dynamics]]\nprocess = "ar1"\n'
    given = ["render.snr", "=3", "name.x=1", "simulate.dynamics.4.mean=1", "render.snr=0.3 0.4"]
    with pytest.raises(RecipeError) as caught:
        set_values(text, PATH, given)
    assert str(caught.value).count("\n  --set") == len(given)
    assert all(f"--set {one}:" in str(caught.value) for one in given)


def test_an_unknown_key_gets_its_neighbour(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"render\.snrr: unknown key\..*Did you mean snr\?"):
        open_run(Path("quick_look"), tmp_path / "run", ["render.snrr=0.3"])
    with pytest.raises(RecipeError, match=r"(?s)rendr: unknown key\..*Did you mean render\?"):
        open_run(Path("quick_look"), tmp_path / "run", ["rendr.snr=0.3"])


def test_a_run_records_what_was_set(tmp_path: Path) -> None:
    run = open_run(Path("quick_look"), tmp_path / "run", ["render.snr=0.3"])
    assert run.recipe.microscope.snr == 0.3
    assert parse_recipe(run.recipe_text, PATH) == run.recipe
    plain = open_run(Path("quick_look"), tmp_path / "run")
    assert plain.fingerprints["simulate"] == run.fingerprints["simulate"]
    assert plain.fingerprints["render"] != run.fingerprints["render"]

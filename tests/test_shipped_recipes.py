"""The recipes that come with tempica are found by name, from wherever one works."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tempica.errors import RecipeError
from tempica.recipe import shipped
from tempica.recipe.experiment import load_recipe

from .conftest import ROOT, tempica


def test_every_committed_recipe_has_a_name_and_a_purpose() -> None:
    assert shipped.names() == sorted(path.stem for path in (ROOT / "simulations").glob("*.toml"))
    assert all(len(shipped.purpose(name)) > 40 for name in shipped.names())


def test_a_wheel_has_them_where_they_are_looked_for() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["simulations"] == "tempica/simulations"


def test_a_name_means_a_recipe_and_a_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_recipe(shipped.find(Path("quick_look")))[0].name == "quick_look"
    own = tmp_path / "quick_look"
    own.mkdir()
    assert shipped.find(Path("quick_look")) == Path("quick_look")  # a folder of one's own comes first
    assert shipped.find(Path("absent.toml")) == Path("absent.toml")  # whose absence is another error


def test_a_name_that_is_none_gets_its_neighbours(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"Did you mean quick_look\?"):
        shipped.find(Path("quicklook"))
    wrong = tempica("run", "zzz", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "tempica recipes" in wrong.stderr


def test_a_copy_is_complete_and_overwrites_nothing(tmp_path: Path) -> None:
    shipped.copy_to(tmp_path / "mine")
    recipe, _ = load_recipe(tmp_path / "mine" / "adenylate_kinase.toml")
    assert all((tmp_path / "mine" / name).is_file() for name in recipe.simulate.molecule.structure_files)
    with pytest.raises(RecipeError, match="nothing is overwritten"):
        shipped.copy_to(tmp_path / "mine")

import copy
import tomllib
from pathlib import Path

import pytest

from tempica.recipe.experiment import Recipe
from tempica.simulate.models import build_model

SIMULATIONS = Path(__file__).parents[2] / "simulations"
CONTENT = tomllib.loads((SIMULATIONS / "adenylate_kinase.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def simulations():
    """Folder that the recipe's structures are relative to."""
    return SIMULATIONS


@pytest.fixture(scope="session")
def make_recipe():
    """The committed recipe with changes to its section simulate."""

    def make(*, network=None, **simulate):
        content = copy.deepcopy(CONTENT)
        content["simulate"] |= simulate
        content["simulate"]["network"] |= network or {}
        return Recipe.model_validate(content)

    return make


@pytest.fixture(scope="session")
def model(make_recipe):
    """Adenylate kinase as committed; nothing may change it."""
    return build_model(make_recipe().simulate, SIMULATIONS)

"""The table of stages: it is complete, light to import, and says for which recipes a stage cannot be done."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from tempica import pipeline
from tempica.recipe.experiment import Recipe
from tempica.runs.stages import STAGES
from tempica.stores import schema

from .conftest import ROOT, small_recipe_text

SMALL = tomllib.loads(small_recipe_text())


def recipe_of(**sections: object) -> Recipe:
    return Recipe.model_validate({k: v for k, v in (SMALL | sections).items() if v is not None})


def test_the_table_needs_nothing_heavy() -> None:
    code = "import sys, tempica.runs.stages; sys.exit(bool({'numpy', 'pydantic', 'torch', 'zarr'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_a_stage_has_a_room_a_section_and_schemas(stage) -> None:
    assert (ROOT / "src" / "tempica" / stage.room / "stage.py").exists()
    assert callable(pipeline._room(stage.room))
    assert stage.name in Recipe.model_fields
    assert set(stage.reads) <= set(schema.STORES)
    earlier = list(STAGES)[: list(STAGES).index(stage.name)]
    made = {name for other in earlier for name in STAGES[other].makes}
    assert {f"{kind}.zarr" for kind in stage.reads} <= made


@pytest.mark.parametrize(
    ("sections", "device", "refused"),
    [
        ({}, "cpu", []),
        ({}, "cuda", []),
        ({"render": {"kind": "xfel"}}, "cpu", []),
        ({"render": {"kind": "xfel"}}, "cuda", ["render"]),
        ({"render": {"kind": "xfel"}, "embed": {"modes_from": "images"}}, "cpu", ["embed"]),
        ({"render": {"kind": "xfel"}, "embed": {"modes_from": "structure"}}, "cpu", []),
        ({"render": {"poses": {"knowledge": "hidden"}}}, "cpu", []),
        ({"render": None, "particles": {"star": "p.star"}}, "cpu", []),
        (
            {"render": None, "film": {"files": ["a.asd"]}, "simulate": {"molecule": {"kind": "unknown"}}},
            "cpu",
            [],
        ),
        ({"render": {"kind": "afm"}}, "cpu", []),
        ({"render": {"kind": "afm"}}, "cuda", []),
        (
            {"render": {"kind": "afm", "poses": {"knowledge": "known"}}, "embed": {"modes_from": "images"}},
            "cpu",
            ["embed"],
        ),
    ],
)
def test_the_table_says_what_a_recipe_cannot_do(sections: dict, device: str, refused: list[str]) -> None:
    recipe = recipe_of(**sections)
    assert [name for name, stage in STAGES.items() if stage.refuses(recipe, device)] == refused

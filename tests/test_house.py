"""The rules of the house: rooms meet only on disk, the truth stays where it is, contracts are written down."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tempica.errors import TruthError
from tempica.runs.reading import read
from tempica.runs.stages import READERS
from tempica.stores import json_schemas, schema
from tempica.stores.scores import SCORES

from . import imports
from .conftest import ROOT, tempica, tree

SOURCE = ROOT / "src" / "tempica"


def test_every_package_has_its_floor() -> None:
    found = {path.stem if path.is_file() else path.name for path in SOURCE.iterdir() if path.name != "__pycache__"}
    assert {name for floor in imports.FLOORS for name in floor} == found


def test_imports_lead_upward_only() -> None:
    assert imports.against_the_law(SOURCE) == []


def test_there_is_no_circle_of_imports() -> None:
    assert imports.circles(SOURCE) == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("seeds.py", "from tempica.recipe.section import Section"),
        ("recipe/section.py", "from tempica.stores import store"),
        ("imaging/camera.py", "def f():\n    from tempica.exchange import mrc"),
        ("runs/work.py", "from tempica.pipeline import run"),
        ("stores/store.py", "if TYPE_CHECKING:\n    from tempica.runs.folder import Run"),
        ("embed/stage.py", "def f():\n    from tempica.simulate import engine"),
        ("report/page.py", "import tempica.ica.methods"),
        ("pipeline.py", "from tempica.cli import main"),
        ("ica/base.py", "from tempica.ica.linear.linear import TICA"),
        ("ica/training/trainer.py", "from tempica.ica.contrastive.pcl import PCL"),
        ("evaluate/stage.py", "import importlib\nimportlib.import_module('tempica' + '.ica')"),
        ("embed/stage.py", "def f():\n    __import__('tempica.simulate')"),
        ("embed/stage.py", "from importlib import import_module as load\nload('tempica.simulate')"),
        ("embed/stage.py", "import importlib as i\nload = i.import_module\nload('tempica.simulate')"),
        ("embed/stage.py", "from tempica import simulate"),
        ("embed/stage.py", "import tempica.simulate.engine as engine"),
        ("embed/stage.py", "import tempica"),
    ],
)
def test_a_planted_violation_is_found(place: str, line: str, tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "tempica")
    path = tmp_path / "tempica" / place
    path.write_text(path.read_text() + f"\n{line}\n")
    (found,) = imports.against_the_law(tmp_path / "tempica")
    assert found.startswith(place.removesuffix(".py").replace("/", ".")) or found.startswith(place)


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (("imaging/camera.py", "imaging/optics.py"), ("imaging.optics", "imaging.camera")),
        (("runs/locks.py", "runs/work.py"), ("runs.work", "runs.locks")),
    ],
)
def test_a_planted_circle_is_found(places: tuple[str, str], names: tuple[str, str], tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "tempica")
    for place, name in zip(places, names, strict=True):
        path, (package, module) = tmp_path / "tempica" / place, name.split(".")
        path.write_text(path.read_text() + f"\ndef deferred():\n    from tempica.{package} import {module}\n")
    assert any(set(names) <= group for group in imports.circles(tmp_path / "tempica"))


def test_modules_and_functions_have_a_size_to_read() -> None:
    """Median module at most 160 lines, none over 350; a function over 60 lines gives its reason in a comment."""
    paths = [path for path in SOURCE.rglob("*.py") if path.name != "__init__.py"]
    lengths = {path: len(path.read_text().splitlines()) for path in paths}
    assert statistics.median(lengths.values()) <= 160
    assert {str(path): n for path, n in lengths.items() if n > 350} == {}
    long = []
    for path in paths:
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60:  # type: ignore[operator]
                above = text.splitlines()[node.lineno - 2 - len(node.decorator_list)]
                if not above.lstrip().startswith("# long:"):
                    long.append(f"{path.relative_to(SOURCE)}: {node.name}")
    assert long == []


def test_only_store_touches_zarr() -> None:
    for path in SOURCE.rglob("*.py"):
        opens = any(m.split(".")[0] == "zarr" for m in imports.imported(path)) or "open_zarr(" in path.read_text()
        assert not opens or path.parent.name == "stores", f"{path} opens zarr stores itself"


@pytest.mark.parametrize(("room", "stages"), [("embed", ("embed", "check")), ("ica", ("train",))])
def test_embed_and_ica_cannot_open_the_truth(room: str, stages: tuple[str, ...], small_run: Path) -> None:
    assert tuple(row.name for row in READERS.values() if row.room == room) == stages
    for kind, stage in itertools.product(("trajectory", "poses"), stages):
        assert kind not in READERS[stage].reads
        with pytest.raises(TruthError):
            read(small_run, stage, kind)
    for path in (SOURCE / room).rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"open_store|open_movie|tempica\.lazy|import lazy", text)
        assert "trajectory" not in text
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "read":
                assert ast.literal_eval(node.args[1]) in stages, f"{path} reads as another stage"


def test_embed_and_train_give_the_same_without_the_truth(small_run: Path, tmp_path: Path) -> None:
    """The truth is really not used: the stages run, and give the same stores, with every angle overwritten."""
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    for name in ("latents.zarr", "sources.zarr", "scores.json", "report.html"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("collective_variable", "source", "position"):
        for chunk in (run / "trajectory.zarr" / name / "c").rglob("*"):
            if chunk.is_file():
                chunk.write_bytes(bytes(chunk.stat().st_size))
    for stage in ("embed", "train"):
        done = tempica(stage, run)
        assert done.returncode == 0, done.stderr
    for name in ("latents.zarr", "sources.zarr"):
        assert tree(run / name) == tree(small_run / name)


def test_data_schemas_are_current() -> None:
    fresh = {f"{name}.schema.json": value for name, value in json_schemas.all_schemas().items()}
    kept = {path.name: json.loads(path.read_text()) for path in (ROOT / "data_schemas").glob("*.json")}
    assert kept == json.loads(json.dumps(fresh)), "run `tempica schema` and commit data_schemas/"


# a movie that knows its poses has no other ones
@pytest.mark.parametrize("kind", [kind for kind in schema.STORES if kind not in (*schema.FILES, "poses")])
def test_stores_are_what_the_schema_says(kind: str, small_run: Path) -> None:
    import xarray

    dataset = xarray.open_zarr(small_run / f"{kind}.zarr", consolidated=False)  # as any program would open it
    raw = xarray.open_zarr(small_run / f"{kind}.zarr", consolidated=False, mask_and_scale=False)
    assert set(dataset.variables) == set(schema.STORES[kind])
    for name, rule in schema.STORES[kind].items():
        assert dataset[name].dims == rule.dims
        assert raw[name].dtype.kind == "T" if rule.dtype == "string" else raw[name].dtype == rule.dtype
        assert raw[name].attrs["units"] == rule.units
    required = json_schemas.all_schemas()[kind]["properties"]["attributes"]["required"]
    assert set(required) <= set(dataset.attrs)


def test_scores_are_what_the_schema_says(small_run: Path) -> None:
    scores = json.loads((small_run / "scores.json").read_text())
    rules = SCORES["properties"]
    assert set(scores) == set(SCORES["required"])
    for part in ("rows", "matrices"):
        for row in scores[part]:
            assert set(row) == set(rules[part]["items"]["required"])
            for key, rule in rules[part]["items"]["properties"].items():
                assert row[key] in rule["enum"] if "enum" in rule else True
    assert {row["method"] for row in scores["rows"]} == {"pca_pixels", "latents", "state_space", "tica"}
    assert set(scores["poses"]) == set(rules["poses"]["required"])
    assert all(set(row) == set(rules["latents"]["items"]["required"]) for row in scores["latents"])


@pytest.mark.parametrize("module", ["torch", "numpy", "openmm", "zarr", "rich"])
def test_importing_and_helping_stay_light(module: str) -> None:
    code = "import sys, tempica, tempica.cli; tempica.cli.cli(['run', '--help'], standalone_mode=False); "
    code += f"sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_tica_needs_no_torch() -> None:
    code = "import sys; from tempica.ica import TICA; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

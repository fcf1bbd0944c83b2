"""The rules of the house: rooms meet only on disk, the truth stays where it is, contracts are written down."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tempica.errors import TruthError
from tempica.runs.reading import read
from tempica.runs.stages import STAGES
from tempica.stores import json_schemas, schema
from tempica.stores.scores import SCORES

from .conftest import ROOT, tempica, tree

SOURCE = ROOT / "src" / "tempica"
ROOMS = sorted(path.parent.name for path in SOURCE.glob("*/stage.py"))  # imaging/ is no room: it is shared


def _imports(path: Path) -> set[str]:
    """Every module that a file imports, at whatever depth, with names imported from packages spelled out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they lead"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_there_are_six_rooms() -> None:
    assert ROOMS == ["embed", "evaluate", "ica", "render", "report", "simulate"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_never_imports_another_room(room: str) -> None:
    others = set(ROOMS) - {room}
    for path in (SOURCE / room).rglob("*.py"):
        for module in _imports(path):
            parts = module.split(".")
            assert not (parts[0] == "tempica" and len(parts) > 1 and parts[1] in others), f"{path} imports {module}"
        dynamic = [name for other in others for name in (f"tempica.{other}",) if name in path.read_text()]
        assert not dynamic, f"{path} mentions {dynamic}"


def test_only_store_touches_zarr() -> None:
    for path in SOURCE.rglob("*.py"):
        opens = any(m.split(".")[0] == "zarr" for m in _imports(path)) or "open_zarr(" in path.read_text()
        assert not opens or path.parent.name == "stores", f"{path} opens zarr stores itself"


@pytest.mark.parametrize(("room", "stage"), [("embed", "embed"), ("ica", "train")])
def test_embed_and_ica_cannot_open_the_truth(room: str, stage: str, small_run: Path) -> None:
    assert STAGES[stage].room == room
    for kind in ("trajectory", "poses"):
        assert kind not in STAGES[stage].reads
        with pytest.raises(TruthError):
            read(small_run, stage, kind)
    for path in (SOURCE / room).rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"open_store|open_movie|tempica\.lazy|import lazy", text)
        assert "trajectory" not in text
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "read":
                assert ast.literal_eval(node.args[1]) == stage, f"{path} reads as another stage"


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
    kept = {path.name: json.loads(path.read_text()) for path in (ROOT / "data_schemas").iterdir()}
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
    assert {row["method"] for row in scores["rows"]} == {"pca_pixels", "latents", "tica"}


@pytest.mark.parametrize("module", ["torch", "numpy", "openmm", "zarr", "rich"])
def test_importing_and_helping_stay_light(module: str) -> None:
    code = "import sys, tempica, tempica.cli; tempica.cli.cli(['run', '--help'], standalone_mode=False); "
    code += f"sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_tica_needs_no_torch() -> None:
    code = "import sys; from tempica.ica import TICA; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

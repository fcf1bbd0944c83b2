"""`tempica check` on a finished run: what it leaves, what it leaves alone, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .conftest import ROOT, tempica, tempica_process, tree


@pytest.fixture(scope="module")
def checked(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small run that has been checked."""
    run = tmp_path_factory.mktemp("checked") / "run"
    shutil.copytree(small_run, run)
    done = tempica("check", run, "--frames", 80, "--against", ROOT / "simulations" / "structures" / "adk_closed.pdb")
    assert done.returncode == 0, done.stderr
    assert "Halves of the data agree" in done.stdout
    return run


def test_stages_stay_and_the_report_tells(checked: Path, small_run: Path) -> None:
    before, after = tree(small_run), tree(checked)
    assert set(after) - set(before) == {"checks.json"}
    assert {name for name in before if after[name] != before[name]} == {"report.html"}
    assert b"Bias tests" in after["report.html"]
    assert b"Bias tests" not in before["report.html"]
    found = json.loads(after["checks.json"])
    assert found["against"] == "adk_closed.pdb"
    assert {row["name"] for row in found["checks"]} >= {"molecule", "noise", "shape", "motion", "halves", "other_start"}
    assert {path.name for path in (checked / ".tempica").iterdir()} == {"run.json", "lock", "workers.lock"}


def test_the_run_is_up_to_date_and_so_is_the_check(checked: Path) -> None:
    before = tree(checked)
    again = tempica("check", checked, "--frames", 80, "--against", ROOT / "simulations/structures/adk_closed.pdb")
    assert (again.returncode, "up to date" in again.stdout) == (0, True)
    assert "nothing was done" in tempica("run", checked).stdout
    assert tree(checked) == before


def test_the_same_check_gives_the_same_bytes(checked: Path, small_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    structure = ROOT / "simulations" / "structures" / "adk_closed.pdb"
    done = tempica_process("check", run, "--frames", 80, "--against", structure, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert tree(run) == tree(checked)


def test_checks_of_other_latents_are_not_told(checked: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(checked, run)
    found = json.loads((run / "checks.json").read_text())
    (run / "checks.json").write_text(json.dumps(found | {"embedded": "0" * 16}))
    (run / "report.html").unlink()
    assert tempica("report", run).returncode == 0
    assert "Bias tests" not in (run / "report.html").read_text()


def test_what_cannot_be_checked_is_refused(small_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    wrong = tempica("check", run, "--against", tmp_path / "none.pdb")
    assert (wrong.returncode, "none.pdb does not exist" in wrong.stderr) == (2, True)
    recipe = tempica("check", small_run.parent / "small.toml")
    assert (recipe.returncode, "Give the folder of a run" in recipe.stderr) == (2, True)
    shutil.rmtree(run / "latents.zarr")
    absent = tempica("check", run)
    assert (absent.returncode, "--until embed" in absent.stderr) == (2, True)

"""`tempica audit` on a finished run and on latents in files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from .conftest import tempica, tree

NOISE = np.random.default_rng(0).normal(size=(1000, 3))


@pytest.fixture(scope="module")
def audited(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small run that has been audited."""
    run = tmp_path_factory.mktemp("audited") / "run"
    shutil.copytree(small_run, run)
    done = tempica("audit", run, "--method", "sobi")
    assert done.returncode == 0, done.stderr
    assert "Verdict:" in done.stdout
    return run


def test_stages_stay_and_the_report_tells(audited: Path, small_run: Path) -> None:
    before, after = tree(small_run), tree(audited)
    assert set(after) - set(before) == {"audit.json"}
    assert {name for name in before if after[name] != before[name]} == {"report.html", "scores.json"}
    assert b"Can the axes be believed?" in after["report.html"]
    assert b"Can the axes be believed?" not in before["report.html"]
    found = json.loads(after["audit.json"])
    assert {row["method"] for row in found["methods"]} >= {"latents", "tica"}
    assert {row["name"] for row in found["tests"]} >= {"signal_time", "number", "axes", "independence", "halves"}


def test_the_run_is_up_to_date_and_so_is_the_audit(audited: Path) -> None:
    before = tree(audited)
    again = tempica("audit", audited, "--method", "sobi")
    assert (again.returncode, "up to date" in again.stdout) == (0, True)
    assert "nothing was done" in tempica("run", audited).stdout
    assert tree(audited) == before


def test_audits_of_other_sources_are_not_told(audited: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(audited, run)
    found = json.loads((run / "audit.json").read_text())
    (run / "audit.json").write_text(json.dumps(found | {"audited": "0" * 16}))
    (run / "report.html").unlink()
    assert tempica("report", run).returncode == 0
    assert "Can the axes be believed?" not in (run / "report.html").read_text()


@pytest.mark.parametrize("kind", ["npy", "npz", "csv"])
def test_latents_of_any_program(kind: str, tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(1000, 2))
    path, labels, out = tmp_path / f"z.{kind}", tmp_path / "labels.txt", tmp_path / "audit.json"
    if kind == "npy":
        np.save(path, X)
    elif kind == "npz":
        np.savez(path, latents=X)
    else:
        np.savetxt(path, X, delimiter=",", header="a,b", comments="")
    labels.write_text("\n".join(["hot", "cold"] * 500))
    done = tempica("audit", path, "--labels", labels, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "nothing moves" in done.stdout
    assert json.loads(out.read_text())["verdict"]["kind"] == "nothing moves"
    again = tempica("audit", path, "--out", out)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)


def test_what_cannot_be_audited_is_refused_in_one_sentence(small_run: Path, tmp_path: Path) -> None:
    text, empty, few = tmp_path / "z.csv", tmp_path / "empty.npy", tmp_path / "few.npy"
    text.write_text("this is\nno table\n")
    empty.write_bytes(b"")
    np.save(few, np.zeros((3, 2)))
    for arguments, says in (
        ((tmp_path / "none.npy",), "There is no file"),
        ((text,), "has no column of numbers"),
        ((empty,), "is empty"),
        ((few,), "constant"),
        ((tmp_path,), "no output folder"),
        ((small_run, "--labels", text), "a run knows its own"),
    ):
        done = tempica("audit", *arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert says in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("frames", "arguments", "says"),
    [
        (np.c_[NOISE, np.ones(1000)], (), "Feature 3 is constant"),
        (np.where(np.arange(3000).reshape(1000, 3) == 7, np.nan, NOISE), (), "X[2, 1] is nan"),
        (NOISE[:2], (), "2 frames of 3 features are too few"),
        (NOISE, ("--components", "4"), "n_components = 4 must be from 1 to 3"),
        (NOISE, ("--lag", "950"), "Only 50 pairs of frames are 950 apart"),
        (NOISE, ("--labels", "one.txt"), "All 1000 frames have the label a"),
        (NOISE, ("--labels", "short.txt"), "it must hold one label for each of the 1000 frames"),
        (NOISE, ("--replicas", "short.txt"), "it must hold one label for each of the 1000 frames"),
        (NOISE, ("--replicas", "two.txt"), "replica a lies in 500 places"),
        (NOISE, ("--labels", "two.txt", "--method", "sobi"), "give replicas beside labels"),
        (NOISE, ("--method", "tcl"), "'tcl' needs labels"),
        (NOISE, ("--array", "latents"), "--array has nothing to choose from"),
        (NOISE, ("--features", "a,b"), "--features has nothing to choose from"),
    ],
)
def test_bad_input_is_one_message(frames: np.ndarray, arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", frames)
    for name, labels in (("one", ["a"] * 1000), ("short", ["a", "b"] * 50), ("two", ["a", "b"] * 500)):
        (tmp_path / f"{name}.txt").write_text("\n".join(labels))
    done = tempica("audit", "z.npy", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("audit: steps")]
    assert len(lines) == 1
    assert says in lines[0]


def test_one_replica_is_enough(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", NOISE)
    (tmp_path / "one.txt").write_text("\n".join(["a"] * 1000))
    done = tempica("audit", "z.npy", "--replicas", "one.txt", cwd=tmp_path)
    assert (done.returncode, "nothing moves" in done.stdout) == (0, True)

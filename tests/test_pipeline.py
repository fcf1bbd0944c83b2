"""A run as a user meets it: what is done, done again, resumed, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tempica import load_recipe
from tempica.runs.folder import Run, open_run
from tempica.starting.rehearsal import rehearse

from .conftest import ROOT, small_recipe_text, tempica, tempica_process, tree


def test_a_run_makes_everything(small_run: Path) -> None:
    names = {path.name for path in small_run.iterdir()}
    stores = {f"{kind}.zarr" for kind in ("structure", "trajectory", "ensemble", "movie", "latents", "sources")}
    assert stores | {"recipe.toml", "structures", "log.jsonl", "scores.json", "report.html", ".tempica"} == names
    assert {path.name for path in (small_run / ".tempica").iterdir()} == {"run.json", "lock", "workers.lock"}
    events = [json.loads(line) for line in (small_run / "log.jsonl").read_text().splitlines()]
    assert [e["stage"] for e in events if e["event"] == "done"] == [
        "simulate", "render", "embed", "train", "evaluate", "report",
    ]  # fmt: skip


def test_a_second_run_does_nothing_but_say_so(small_run: Path) -> None:
    before = tree(small_run)
    done = tempica("run", small_run)
    assert done.returncode == 0
    assert "nothing was done" in done.stdout
    assert tree(small_run) == before


def test_the_worker_count_and_the_place_change_nothing(small_run: Path, tmp_path: Path) -> None:
    done = tempica("run", small_run.parent / "small.toml", "--jobs", 1, "--out", tmp_path / "other")
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "other") == tree(small_run)


def test_a_changed_recipe_redoes_what_it_touches_and_keeps_the_old(small_run: Path, tmp_path: Path) -> None:
    run, recipe = tmp_path / "run", tmp_path / "r.toml"
    shutil.copytree(small_run, run)
    recipe.write_text(small_recipe_text(snr="1.0"))
    done = tempica("run", recipe, "--out", run, "--until", "render")
    assert done.returncode == 0, done.stderr
    assert "simulate: up to date" in done.stderr
    assert tree(run / "superseded" / "1" / "movie.zarr") == tree(small_run / "movie.zarr")
    assert tree(run / "superseded" / "1")["recipe.toml"] == tree(small_run)["recipe.toml"]
    assert tree(run / "movie.zarr") != tree(small_run / "movie.zarr")
    assert tree(run / "trajectory.zarr") == tree(small_run / "trajectory.zarr")


def test_a_run_of_an_older_schema_is_kept_and_made_again(small_run: Path, tmp_path: Path) -> None:
    """Its stores are refused with the command that helps, and that command helps."""
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    for path in run.glob("*.zarr"):
        about = json.loads((path / "zarr.json").read_text())
        about["attributes"] |= {"schema_version": 4, "fingerprint": "0" * 16}
        (path / "zarr.json").write_text(json.dumps(about))
    refused = tempica("export", run, tmp_path / "particles", "--to", "relion")
    assert refused.returncode == 2
    assert f"tempica run {run}" in refused.stderr
    done = tempica("run", run, "--until", "embed")
    assert done.returncode == 0, done.stderr
    assert (run / "superseded" / "1" / "movie.zarr").is_dir()
    for kind in ("trajectory", "movie", "latents"):
        assert tree(run / f"{kind}.zarr") == tree(small_run / f"{kind}.zarr")


def test_a_stage_alone_asks_for_what_it_needs(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(small_recipe_text())
    done = tempica("embed", recipe, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "trajectory.zarr" in done.stderr
    assert "--until embed" in done.stderr


def test_killed_runs_resume_to_identical_stores(small_run: Path, tmp_path: Path) -> None:
    """A kill -9 within two stages; test_cluster has simulate, test_hidden_run embed, tests/benchmarks/resume.py all."""
    run, recipe = tmp_path / "run", small_run.parent / "small.toml"
    command = [sys.executable, "-m", "tempica.cli", "run", str(recipe), "--out", str(run), "--jobs", "1"]
    for stage in ("render", "evaluate"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list((run / ".tempica").glob(f"{stage}-*/done/*")):
            time.sleep(0.02)
        assert process.poll() is None
        process.kill()
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert tree(run) == tree(small_run)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interruption_prints_the_command_that_resumes(name: str, tmp_path: Path) -> None:
    recipe, run = tmp_path / "r.toml", tmp_path / "run"
    recipe.write_text(small_recipe_text(n_frames="5000"))
    command = [sys.executable, "-m", "tempica.cli", "run", str(recipe), "--out", str(run), "--jobs", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list((run / ".tempica").glob("simulate-*/done/*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    if name == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to everybody
    else:
        process.terminate()
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert f"tempica run {recipe} --out {run} --jobs 1" in told


def test_two_at_once_are_refused(small_run: Path) -> None:
    recipe, text = load_recipe(small_run / "recipe.toml")
    lock = Run(small_run, recipe, text, small_run).claim()
    try:
        done = tempica_process("run", small_run)
    finally:
        os.close(lock)
    assert done.returncode == 2
    assert "Another tempica is at work" in done.stderr


BAD_RECIPES = {
    "misspelt key": ({}, ("n_modes", "n_mods"), ["n_mods", "n_modes"]),
    "negative snr": ({"snr": "-0.1"}, None, ["snr", "-0.1", "greater than 0"]),
    "zero pixel": ({"pixel_size_A": "0"}, None, ["pixel_size_A"]),
    "missing structure": ({}, ("adk_open.pdb", "adk_opened.pdb"), ["adk_opened.pdb", "does not exist"]),
    "unknown residues": ({}, ('"35-55"', '"535-555"'), ["NMP", "214", "555"]),
    "unknown domain residue": ({}, ('"118-160"', '"118-160, 900"'), ["LID", "900"]),
    "word as residue": ({}, ('"35-55"', '"thirty"'), ["thirty", "1-29"]),
    "not toml": ({}, ("[render]", "[render"), ["TOML"]),
    "one replica": ({"n_replicas": "2"}, None, ["n_replicas", "2"]),
    "impossible angle": ({"mean": "3.0"}, None, ["NMP", "3.0"]),
}


@pytest.mark.parametrize("name", list(BAD_RECIPES))
def test_a_bad_recipe_gets_one_clear_error(name: str, tmp_path: Path) -> None:
    changes, swap, expected = BAD_RECIPES[name]
    text = small_recipe_text(**changes)
    recipe = tmp_path / "r.toml"
    recipe.write_text(text.replace(*swap) if swap else text)
    _refused(tempica("run", recipe, "--out", tmp_path / "run"), *expected)
    assert not (tmp_path / "run").exists()


def test_a_structure_without_alpha_carbons_is_refused(tmp_path: Path) -> None:
    pdb = (ROOT / "simulations" / "structures" / "adk_open.pdb").read_text().splitlines()
    (tmp_path / "bare.pdb").write_text("\n".join(line for line in pdb if " CA " not in line))
    recipe = tmp_path / "r.toml"
    recipe.write_text(small_recipe_text().replace(f"{ROOT}/simulations/structures/adk_open.pdb", "bare.pdb"))
    _refused(tempica("run", recipe, "--out", tmp_path / "run"), "bare.pdb", "0 Cα")


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    recipe, out = tmp_path / "r.toml", tmp_path / "thesis"
    recipe.write_text(small_recipe_text())
    out.mkdir()
    (out / "chapter.txt").write_text("years of work")
    _refused(tempica("run", recipe, "--out", out), str(out), "--out")
    assert tree(out) == {"chapter.txt": b"years of work"}
    _refused(tempica("run", recipe, "--out", out / "chapter.txt"), "is a file")
    _refused(tempica("run", out), "no tempica run")
    _refused(tempica("run", tmp_path / "nowhere.toml"), "nowhere.toml")


def test_a_folder_that_was_only_just_begun_is_taken_up(tmp_path: Path) -> None:
    """Killed between making the folder and writing down whose it is."""
    recipe, out = tmp_path / "r.toml", tmp_path / "run"
    recipe.write_text(small_recipe_text())
    for left in ([], ["lock"], ["lock", f"run.json.{'0' * 32}.new"]):
        shutil.rmtree(out, ignore_errors=True)
        (out / ".tempica").mkdir(parents=True)
        for name in left:
            (out / ".tempica" / name).write_text("{")
        os.close(open_run(recipe, out).claim())


def test_a_run_of_another_recipe_is_left_alone(small_run: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(small_recipe_text(name='"another"'))
    before = tree(small_run)
    _refused(tempica("run", recipe, "--out", small_run), "adenylate_kinase", "another")
    assert tree(small_run) == before


def _shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


DAMAGE = {
    "shortened chunk": ("movie.zarr/image/c/0/0/0/0", _shorten),
    "missing chunk": ("trajectory.zarr/position/c/1/0/0/0", Path.unlink),
    "shortened metadata": ("latents.zarr/zarr.json", _shorten),
    "missing metadata": ("sources.zarr/zarr.json", Path.unlink),
    "shortened scores": ("scores.json", _shorten),
    "shortened report": ("report.html", _shorten),
}


@pytest.mark.parametrize("name", list(DAMAGE))
def test_a_damaged_store_is_refused_and_left_alone(name: str, small_run: Path, tmp_path: Path) -> None:
    where, harm = DAMAGE[name]
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    harm(run / where)
    before = tree(run)
    _refused(tempica("run", run), where.split("/")[0], "damaged", "move it away", "Nothing was changed")
    assert tree(run) == before


def test_a_flipped_bit_is_found_when_it_is_read(small_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    _flip(run / "movie.zarr/image/c/0/0/0/0")
    shutil.rmtree(run / "latents.zarr")
    _refused(tempica("run", run), "movie.zarr", "image", "damaged")


def test_what_was_moved_away_is_made_again(small_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    shutil.rmtree(run / "trajectory.zarr")
    (run / "scores.json").unlink()
    foreseen = rehearse(run).states
    assert [stage for stage, state in foreseen.items() if state == "to do"] == ["simulate", "evaluate"]
    done = tempica("run", run)
    assert done.returncode == 0, done.stderr
    assert tree(run) == tree(small_run)


def _refused(done: subprocess.CompletedProcess[str], *expected: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lowered = done.stderr.lower()
    for part in expected:
        assert part.lower() in lowered, f"{part!r} is not in: {done.stderr}"

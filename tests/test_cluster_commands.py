"""The cluster commands of the README as they stand there, from a fresh copy of the source with nothing compiled."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import ROOT, small_recipe_text, tree

README = ROOT / "src" / "tempica" / "runs" / "README.md"
SBATCH = r"""#!/usr/bin/env python3
# stands for Slurm: does the tasks of an array one after the other, where sbatch would queue them
import os, subprocess, sys
options = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
first, last = map(int, options.get("array", "0-0").split("-"))
for number in range(first, last + 1):
    subprocess.run(options["wrap"], shell=True, check=True, env=os.environ | {"SLURM_ARRAY_TASK_ID": str(number)})
"""
pytestmark = pytest.mark.slow


def commands(word: str) -> list[str]:
    """Lines of the README's shell block in which a word occurs."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), flags=re.S)
    (block,) = [block for block in blocks if word in block]
    return [line.split("  #")[0].strip() for line in block.splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """An environment whose `tempica` is a fresh copy of the source, without any numba cache; and a recipe."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, text in {
        "tempica": f'#!/bin/sh\nexec {sys.executable} -m tempica.cli "$@"\n',
        "dask": f'#!/bin/sh\nexec {sys.executable} -m dask "$@"\n',
        "sbatch": SBATCH,
    }.items():
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    recipe = small_recipe_text(n_replicas="8", n_frames="30", steps_per_frame="20", ensemble_frames="30")
    (tmp_path / "small.toml").write_text(recipe)
    (tmp_path / "numba").mkdir()
    path = os.pathsep.join([str(bin_folder), os.environ["PATH"]])
    given = {"PATH": path, "PYTHONPATH": str(tmp_path / "src"), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    return {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")} | given


def run(command: str, place: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, shell=True, capture_output=True, text=True, env=place, cwd=folder, check=False)


def start(command: str, place: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """A command in the background, in a process group of its own."""
    with log.open("w") as file:
        return subprocess.Popen(
            command.rstrip("& "), shell=True, stderr=file, env=place, cwd=log.parent, start_new_session=True
        )


def test_dask(place: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    scheduler, worker, last = commands("dask")
    log = tmp_path / "scheduler.txt"
    started = [start(scheduler, place, log)]
    try:
        deadline = time.monotonic() + 120
        while not (printed := re.search(r"Scheduler at:\s*(tcp://\S+)", log.read_text())):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        worker = worker.replace("ADDRESS", printed[1]).replace("--nworkers 16", "--nworkers 2")
        started.append(start(worker, place, tmp_path / "worker.txt"))
        done = run(last.replace("RECIPE", "small.toml").replace("ADDRESS", printed[1]), place, tmp_path)
        again = run(last.replace("RECIPE", "small.toml").replace("ADDRESS", printed[1]), place, tmp_path)
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert done.returncode == 0, done.stderr
    assert "nothing was done" in again.stdout
    alone = run("tempica run small.toml --out alone", place, tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert tree(tmp_path / "alone") == tree(tmp_path / "runs" / "adenylate_kinase")


def test_slurm(place: dict[str, str], tmp_path: Path) -> None:
    for command in commands("sbatch"):
        done = run(command.replace("RECIPE", "small.toml").replace("JOB", "1"), place, tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "adenylate_kinase" / "report.html").exists()

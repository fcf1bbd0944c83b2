"""A run that hides its poses and its motions: what is found, what it says, and that it goes on where it was killed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tempica import open_store

from .conftest import small_recipe_text, tempica, tree


@pytest.fixture(scope="module")
def hidden_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the default recipe, shortened."""
    folder = tmp_path_factory.mktemp("hidden")
    (folder / "r.toml").write_text(small_recipe_text("adenylate_kinase", n_frames="40", snr="0.5"))
    done = tempica("run", folder / "r.toml", "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stderr)
    return folder / "run"


def test_poses_are_found_and_reported(hidden_run: Path) -> None:
    movie = open_store(hidden_run / "movie.zarr", "movie")
    assert np.isnan(movie["pose_quaternion"].values).all()
    latents = open_store(hidden_run / "latents.zarr", "latents")
    assert latents.attrs["pose_source"] == "searched"
    poses = json.loads((hidden_run / "scores.json").read_text())["poses"]
    every = next(split for split in poses["splits"] if split["split"] == "all")
    assert every["lost"] < 0.02
    assert np.median(every["angle_deg"]) < 3
    assert "Poses were hidden" in (hidden_run / "report.html").read_text()


def test_progress_is_told_in_few_lines(hidden_run: Path) -> None:
    said = [re.sub(r"^\[\d of \d\] ", "", line) for line in (hidden_run.parent / "said").read_text().splitlines()]
    lines = [line for line in said if line.startswith("embed: ")]
    assert len({line.split(": ")[1] for line in lines}) == 7  # phases, and that it is done
    assert not any(line.endswith(" of 1") for line in lines)


def test_a_killed_embed_resumes_to_the_same_bytes(hidden_run: Path, tmp_path: Path) -> None:
    """On another number of workers, and without what lies behind it."""
    run = tmp_path / "run"
    shutil.copytree(hidden_run, run)
    for name in ("latents.zarr", "sources.zarr"):
        shutil.rmtree(run / name)
    command = [sys.executable, "-m", "tempica.cli", "embed", str(run), "--jobs", "1"]
    for mark in ("learn-1-0", "state-4"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list((run / ".tempica").glob(f"embed-*/done/{mark}")):
            time.sleep(0.05)
        assert process.poll() is None
        process.kill()
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert tree(run / "latents.zarr") == tree(hidden_run / "latents.zarr")

"""Shared fixtures: a recipe small enough for tests, and one run of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def small_recipe_text(base: str = "adenylate_kinase_known_poses", **changes: str) -> str:
    """A committed recipe, shortened; `changes` replace whole values of the keys named."""
    values = {
        "name": '"adenylate_kinase"',
        "n_replicas": "4",
        "n_frames": "80",
        "steps_per_frame": "60",
        "ensemble_frames": "60",
        "held_out_replicas": "1",
        "methods": '["tica"]',
    } | changes
    lines = []
    for line in (ROOT / "simulations" / f"{base}.toml").read_text().splitlines():
        key = line.split("=")[0].strip()
        lines.append(f"{key} = {values.pop(key)}" if key in values else line)
    assert not values, f"the committed recipe lacks {values}"
    return "\n".join(lines).replace('"structures/', f'"{ROOT}/simulations/structures/') + "\n"


def tempica(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "tempica.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def tree(folder: Path) -> dict[str, bytes]:
    """Content of every file of a run's results; what is allowed to differ between runs is left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".tempica" not in path.parts and path.name != "log.jsonl"
    }


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the small recipe."""
    folder = tmp_path_factory.mktemp("small")
    recipe = folder / "small.toml"
    recipe.write_text(small_recipe_text())
    done = tempica("run", recipe, "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"

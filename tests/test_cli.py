"""What the command line says and returns when the machine, not the recipe, is at fault."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tempica import cli, pipeline

from .conftest import small_recipe_text, tempica


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/b"), 1, "No space left on device: 'a/b'"),
        (MemoryError("Unable to allocate 1 TiB"), 1, "memory does not suffice (Unable to allocate 1 TiB"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "Broken pipe"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), 2, "Permission denied: 'a/b'"),
    ],
)
def test_a_failing_machine_gets_one_message(error, code, told, monkeypatch, capsys):
    def run(*_, **__):
        raise error

    monkeypatch.setattr(pipeline, "run", run)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["tempica", "run", "a recipe.toml"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert told in said
    assert ("with:\n  tempica run 'a recipe.toml'" in said) == (code == 1)


def test_a_full_disk_leaves_no_traceback(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(small_recipe_text())
    command = [
        sys.executable,
        "-m",
        "tempica.cli",
        "simulate",
        str(recipe),
        "--jobs",
        "1",
        "--out",
        str(tmp_path / "r"),
    ]
    full = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert full.returncode == 1
    assert "File too large" in full.stderr
    assert "resume with" in full.stderr
    assert "Traceback" not in full.stderr


def test_a_wrong_place_is_a_mistake() -> None:
    done = tempica("schema", "--out", "/proc/nowhere")
    assert done.returncode == 2
    assert "/proc/nowhere" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_finished_run_shows_its_scores_in_any_encoding(encoding: str, small_run: Path) -> None:
    command = [sys.executable, "-m", "tempica.cli", "run", str(small_run)]
    done = subprocess.run(
        command, capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"}
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding)
    assert "tica" in shown
    assert "report.html" in shown


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "| true"])
def test_a_finished_run_needs_nobody_who_reads(redirection: str, small_run: Path) -> None:
    script = f'set -o pipefail; "$0" -m tempica.cli run "$1" {redirection}'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, str(small_run)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr, "Exception" in done.stderr) == (0, False, False)

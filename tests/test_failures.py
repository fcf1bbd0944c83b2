"""What fails within a stage keeps its own words and exit code; only a store that is damaged is called damaged."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tempica import cli
from tempica.runs.stages import STAGES
from tempica.runs.work import Work

MADE = {name: stage.makes[-1] for name, stage in STAGES.items()}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def fail(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> object:
    """Make a stage of a copy of the small run fail in a stated way; returns the copy and how the command line ends."""
    run = tmp_path / "run"
    shutil.copytree(small_run, run)

    def failing(stage: str, failure: object) -> tuple[Path, object]:
        path = run / MADE[stage]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        monkeypatch.setattr(importlib.import_module(f"tempica.{STAGES[stage].room}.stage"), "run", failure)
        monkeypatch.setattr(sys, "argv", ["tempica", stage, str(run), "--jobs", "1"])

        def end() -> tuple[object, str]:
            with pytest.raises((SystemExit, IndexError)) as ended:
                cli.main()
            how = ended.value.code if isinstance(ended.value, SystemExit) else ended.value
            return how, capsys.readouterr().err

        return run, end

    return failing


def _index(_: object) -> None:
    raise IndexError("index 7 is out of bounds")


def _memory(work: Work) -> None:
    raise MemoryError("Unable to allocate 3 GiB")


def _killed(work: Work) -> None:
    work.executor.submit(_kill_me).result()


def _kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("stage", STAGES)
def test_a_programming_error_keeps_its_own_words(stage: str, fail: object) -> None:
    _, end = fail(stage, _index)
    how, said = end()
    assert isinstance(how, IndexError)
    assert str(how) == "index 7 is out of bounds"
    assert "There is no store" not in said


@pytest.mark.parametrize("stage", STAGES)
def test_memory_that_runs_out_keeps_its_exit_code_and_resume_command(stage: str, fail: object) -> None:
    run, end = fail(stage, _memory)
    how, said = end()
    assert how == 1
    assert "Unable to allocate 3 GiB" in said
    assert f"tempica {stage} {run} --jobs 1" in said


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_worker_keeps_its_exit_code_and_resume_command(stage: str, fail: object) -> None:
    run, end = fail(stage, _killed)
    how, said = end()
    assert how == 1
    assert "a worker process was killed" in said
    assert f"tempica {stage} {run} --jobs 1" in said


def _index_in_a_task(work: Work) -> None:
    work.run_chains("tasks", [[("one", partial(_index, work.stage))]])


@pytest.mark.parametrize("stage", STAGES)
def test_an_error_in_a_task_is_one_line_with_the_command_that_resumes(stage: str, fail: object) -> None:
    run, end = fail(stage, _index_in_a_task)
    how, said = end()
    assert how == 1
    assert f"{stage}: a task failed with IndexError: index 7 is out of bounds" in said
    assert f"tempica {stage} {run} --jobs 1" in said
    assert "Traceback" not in said
    assert 'raise IndexError("index 7' in json.loads((run / "log.jsonl").read_text().splitlines()[-1])["traceback"]


@pytest.mark.parametrize(
    ("stage", "name"), [("render", "trajectory"), ("embed", "movie"), ("train", "latents"), ("evaluate", "sources")]
)
def test_a_damaged_input_is_named(stage: str, name: str, fail: object) -> None:
    run, end = fail(stage, _index)
    chunk = max((run / f"{name}.zarr").rglob("c/**/*"), key=lambda path: path.is_file() and path.stat().st_size)
    chunk.write_bytes(bytes(chunk.stat().st_size))
    how, said = end()
    assert how == 2
    assert f"{name}.zarr is damaged" in said

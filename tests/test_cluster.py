"""The same stores from a Dask cluster and from array tasks, whoever is killed meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tempica.pool import THREADS

from .conftest import tempica, tree

Process = subprocess.Popen


@contextmanager
def _cluster(folder: Path, n_workers: int, allowed_failures: int = 3) -> Iterator[tuple[str, list[Process]]]:
    """Address of a real scheduler on loopback, and its worker processes: no nanny, nothing pinned."""
    pytest.importorskip("distributed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    environment["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = str(allowed_failures)
    commands = [["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]]
    commands += n_workers * [["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]]
    processes = [
        Process(
            [sys.executable, "-m", "dask", *command],
            cwd=folder,
            env=environment,
            stderr=(folder / f"{i}.txt").open("w"),
        )
        for i, command in enumerate(commands)
    ]
    try:
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start(*arguments: object) -> Process[str]:
    command = [sys.executable, "-m", "tempica.cli", *map(str, arguments)]
    return Process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_for_marks(run: Path, n: int) -> None:
    deadline = time.monotonic() + 60
    while len(list((run / ".tempica").glob("simulate-*/done/*"))) < n:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _same_simulation(run: Path, reference: Path) -> None:
    for kind in ("trajectory", "ensemble"):
        assert tree(run / f"{kind}.zarr") == tree(reference / f"{kind}.zarr")


def test_dask_gives_the_same_though_workers_and_parent_are_killed(small_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with _cluster(tmp_path, 2) as (address, workers):
        command = ("simulate", small_run.parent / "small.toml", "--out", run, "--scheduler", address)
        parent = _start(*command)
        _wait_for_marks(run, 1)
        parent.kill()
        parent.communicate()
        again = _start(*command)  # at once, while a worker may be at the killed run's task
        _wait_for_marks(run, 4)
        workers[0].kill()
        _, told = again.communicate()
        assert again.returncode == 0, told
        _same_simulation(run, small_run)
        shutil.copytree(small_run / "movie.zarr", run / "movie.zarr")
        done = tempica("embed", run, "--scheduler", address)
        assert done.returncode == 0, done.stderr
        assert tree(run / "latents.zarr") == tree(small_run / "latents.zarr")


def test_dask_giving_up_is_told_with_the_command_that_resumes(small_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with _cluster(tmp_path, 1, allowed_failures=0) as (address, workers):
        parent = _start("simulate", small_run.parent / "small.toml", "--out", run, "--scheduler", address)
        _wait_for_marks(run, 1)
        workers[0].kill()
        _, told = parent.communicate(timeout=60)
    assert parent.returncode == 1
    assert "Traceback" not in told
    assert "gave up" in told
    assert f"tempica simulate {small_run.parent / 'small.toml'} --out {run} --scheduler {address}" in told


def test_a_cluster_that_is_not_there_gets_one_clear_error(small_run: Path, tmp_path: Path) -> None:
    recipe = small_run.parent / "small.toml"
    done = tempica("simulate", recipe, "--out", tmp_path / "run", "--scheduler", "tcp://127.0.0.1:9")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "No Dask scheduler answers at tcp://127.0.0.1:9" in done.stderr
    code = "import sys; sys.modules['distributed'] = None; from tempica.cli import main; main()"
    arguments = ["simulate", str(recipe), "--out", str(tmp_path / "run"), "--scheduler", "tcp://127.0.0.1:9"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'tempica[dask]'" in done.stderr
    done = tempica("simulate", recipe, "--jobs", 2, "--replica", 1)
    assert (done.returncode, "only one of" in done.stderr) == (2, True)
    assert not (tmp_path / "run").exists()


def test_array_tasks_give_the_same(small_run: Path, tmp_path: Path) -> None:
    recipe, run = small_run.parent / "small.toml", tmp_path / "run"
    array = ("simulate", recipe, "--out", run, "--replica")
    first = [_start(*array, n) for n in (0, 4)]  # side by side, from nothing; 4 is the ensemble
    _wait_for_marks(run, 1)
    refused = tempica("run", recipe, "--out", run)
    assert refused.returncode == 2
    assert "Array tasks (--replica) are at work" in refused.stderr
    for task in first:
        _, told = task.communicate()
        assert task.returncode == 0, told
    killed = _start(*array, 1)
    _wait_for_marks(run, 5)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    for both in ((1, 2), (1, 3)):
        for task in [_start(*array, n) for n in both]:
            _, told = task.communicate()
            assert task.returncode == 0, told
    assert "all are done" in told
    done = tempica("simulate", recipe, "--out", run)
    assert done.returncode == 0, done.stderr
    assert "10 of 10" in done.stderr.splitlines()[0]  # nothing is computed twice
    _same_simulation(run, small_run)
    assert "every replica is done" in tempica(*array, 1).stderr


@pytest.mark.parametrize("number", [5, -1])
def test_a_replica_that_there_is_not_is_refused(number: int, small_run: Path, tmp_path: Path) -> None:
    done = tempica("simulate", small_run.parent / "small.toml", "--out", tmp_path / "run", "--replica", number)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "--replica" in done.stderr
    assert not (tmp_path / "run").exists()

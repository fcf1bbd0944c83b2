"""The same stores from a Dask cluster and from array tasks, whoever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from tempica.cli import cli
from tempica.errors import ClusterError, RecipeError, StoreError
from tempica.pipeline import run as run_recipe
from tempica.runs import pool
from tempica.runs.folder import open_run

from .conftest import tempica, tempica_process, tree

Process = subprocess.Popen


@contextmanager
def _cluster(
    folder: Path, n_workers: int, *, threads: int = 1, **settings: object
) -> Iterator[tuple[str, list[Process]]]:
    """Address of a real scheduler on loopback, and its worker processes: no nanny, nothing pinned, nothing cached."""
    pytest.importorskip("distributed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if name not in pool.THREADS}
    environment |= {f"DASK_DISTRIBUTED__SCHEDULER__{name.upper()}": str(value) for name, value in settings.items()}
    environment["NUMBA_CACHE_DIR"] = str(folder / "numba")
    commands = [["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]]
    commands += n_workers * [["worker", address, "--nthreads", str(threads), "--no-nanny", "--no-dashboard"]]
    processes = []
    for number, command in enumerate(commands):
        with (folder / f"{number}.txt").open("w") as log:
            processes.append(Process([sys.executable, "-m", "dask", *command], cwd=folder, env=environment, stderr=log))
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
    deadline = time.monotonic() + 300
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


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_fresh_cluster_compiles_in_any_task(threads: int, small_run: Path, tmp_path: Path) -> None:
    """Numba is loaded by one task and compiles in another; a second command finds the worker as the first left it."""
    run = tmp_path / "run"
    with _cluster(tmp_path, 1, threads=threads) as (address, _):
        for until in ("simulate", "train"):
            done = tempica_process(
                "run", small_run.parent / "small.toml", "--out", run, "--until", until, "--scheduler", address
            )
            assert done.returncode == 0, done.stderr
            assert "Traceback" not in done.stderr
    for kind in ("movie", "latents", "sources"):
        assert tree(run / f"{kind}.zarr") == tree(small_run / f"{kind}.zarr")


def test_what_fails_on_a_cluster_is_one_line_with_the_command_that_resumes(tmp_path: Path) -> None:
    code = """
import sys
from tempica import cli, pipeline
from tempica.runs import pool
def run(*_, scheduler, **__):
    with pool.dask_cluster(scheduler) as executor:
        executor.submit(divmod, 1, 0).result()
pipeline.run = run
cli.main()
"""
    with _cluster(tmp_path, 1) as (address, _):
        command = [sys.executable, "-c", code, "run", "r.toml", "--scheduler", address]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"the work on the Dask cluster at {address} failed with ZeroDivisionError" in done.stderr
    assert f"tempica run r.toml --scheduler {address}" in done.stderr


@pytest.mark.slow
def test_a_worker_that_only_seemed_lost_is_waited_for(small_run: Path, tmp_path: Path) -> None:
    """It is suspended until its task has been done by the other, and then goes on writing."""
    run, news = tmp_path / "run", tmp_path / "news.txt"
    with _cluster(tmp_path, 2, worker_ttl="6s") as (address, workers), news.open("w") as stderr:
        command = ["simulate", str(small_run.parent / "small.toml"), "--out", str(run), "--scheduler", address]
        parent = Process([sys.executable, "-m", "tempica.cli", *command], stderr=stderr)
        _wait_for_marks(run, 2)
        workers[0].send_signal(signal.SIGSTOP)
        while parent.poll() is None and "waiting for tasks" not in news.read_text():
            time.sleep(0.1)
        assert not (run / "trajectory.zarr").exists()
        workers[0].send_signal(signal.SIGCONT)
        assert parent.wait(60) == 0
    _same_simulation(run, small_run)


def test_dask_giving_up_is_told_with_the_command_that_resumes(tmp_path: Path) -> None:
    code = """
import os, sys
from tempica import cli, pipeline
from tempica.runs import pool
def run(*_, scheduler, **__):
    with pool.dask_cluster(scheduler) as executor:
        executor.submit(os._exit, 9).result()
pipeline.run = run
cli.main()
"""
    with _cluster(tmp_path, 1, allowed_failures=0) as (address, _):
        command = [sys.executable, "-c", code, "run", "r.toml", "--scheduler", address]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "gave up" in done.stderr
    assert f"tempica run r.toml --scheduler {address}" in done.stderr


def test_a_scheduler_that_is_not_there_gets_one_clear_error(small_run: Path, tmp_path: Path) -> None:
    recipe = small_run.parent / "small.toml"
    done = tempica_process("simulate", recipe, "--out", tmp_path / "run", "--scheduler", "tcp://127.0.0.1:9")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "No Dask scheduler answers at tcp://127.0.0.1:9" in done.stderr
    assert not (tmp_path / "run").exists()


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'tempica\[dask\]'"), pool.dask_cluster("tcp://127.0.0.1:9"):
        pass


def test_only_one_may_say_who_does_the_work() -> None:
    done = CliRunner().invoke(cli, ["simulate", "r.toml", "--jobs", "2", "--replica", "1"])
    assert (done.exit_code, "only one of" in done.output) == (2, True)


def test_array_tasks_give_the_same(small_run: Path, tmp_path: Path) -> None:
    recipe, run = small_run.parent / "small.toml", tmp_path / "run"
    array = ("simulate", recipe, "--out", run, "--replica")
    first = [_start(*array, n) for n in (0, 4)]  # side by side, from nothing; 4 is the ensemble
    _wait_for_marks(run, 1)
    with pytest.raises(StoreError, match="Array tasks"):
        open_run(recipe, run).claim()
    for task in first:
        _, told = task.communicate()
        assert task.returncode == 0, told
    killed = _start(*array, 1)
    _wait_for_marks(run, 5)
    killed.kill()
    killed.communicate()
    again = tempica(*array, 1)
    assert "not done yet: 2, 3" in again.stderr
    done = tempica("simulate", recipe, "--out", run, "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert "6 of 10" in done.stderr.splitlines()[0]  # nothing is computed twice
    _same_simulation(run, small_run)
    assert run_recipe(recipe, out=run, replica=1) == (run, [])


@pytest.mark.parametrize("number", [5, -1])
def test_a_replica_that_there_is_not_is_refused(number: int, small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"--replica {number}: .* 0 … 3, and 4 is the separate ensemble"):
        run_recipe(small_run.parent / "small.toml", out=tmp_path / "run", replica=number)
    assert not (tmp_path / "run").exists()

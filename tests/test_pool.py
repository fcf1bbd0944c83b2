"""The pool: order within chains, errors, and nobody left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tempica.errors import WorkerError
from tempica.runs import pool

from .conftest import ROOT


def test_chains_keep_their_order_and_all_tasks_run() -> None:
    seen: list[tuple[int, int]] = []
    done: list[None] = []
    chains = [[partial(seen.append, (chain, step)) for step in range(5)] for chain in range(4)]
    with ThreadPoolExecutor(3) as executor:
        pool.run_chains(executor, chains, lambda: done.append(None))
    assert len(done) == 20
    for chain in range(4):
        assert [step for c, step in seen if c == chain] == list(range(5))


def test_the_first_error_ends_the_run() -> None:
    after: list[int] = []
    with ThreadPoolExecutor(1) as executor, pytest.raises(ZeroDivisionError):
        pool.run_chains(executor, [[partial(divmod, 1, 0), partial(after.append, 1)]], lambda: None)
    assert after == []


def _threads_of_worker() -> tuple[int, str | None]:
    time.sleep(0.5)
    return os.getpid(), os.getenv("OMP_NUM_THREADS")


def test_workers_have_one_thread_and_leave_the_parent_as_it_was(tmp_path: Path) -> None:
    before = dict(os.environ)
    with pool.process_pool(3) as executor:
        assert dict(os.environ) == before
        answers = [executor.submit(_threads_of_worker) for _ in range(3)]
        workers, threads = zip(*[answer.result() for answer in answers], strict=True)
        assert len(set(workers)) == 3  # none of which was started late, without the environment
        assert set(threads) == {"1"}


def _threads() -> dict[str, int]:
    from threadpoolctl import threadpool_info

    return {library["filepath"]: library["num_threads"] for library in threadpool_info()}


def test_a_task_has_one_thread_whatever_its_worker_loaded_before() -> None:
    """A Dask worker may have loaded its libraries with all cores, and its threads share them."""
    code = """
import os
import numba, scipy.linalg, torch
from concurrent.futures import ThreadPoolExecutor
from tempica.runs import pool
from tests.test_pool import _threads
def look(_):
    with pool.one_thread():
        return max(_threads().values()), torch.get_num_threads(), numba.get_num_threads(), os.environ["OMP_NUM_THREADS"]
before, torch_before, environment = _threads(), torch.get_num_threads(), dict(os.environ)
with ThreadPoolExecutor(4) as executor:
    assert set(executor.map(look, range(8))) == {(1, 1, 1, "1")}
assert before.items() <= _threads().items()  # numba may load one more, with one thread
assert (torch_before, environment) == (torch.get_num_threads(), dict(os.environ))
assert len(os.sched_getaffinity(0)) == 1 or max(before.values()) > 1
"""
    given = {name: value for name, value in os.environ.items() if name != "PYTEST_XDIST_WORKER"}  # has one thread
    many = given | dict.fromkeys(pool.THREADS, "3")
    done = subprocess.run([sys.executable, "-c", code], env=many, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tasks_of_one_process_take_turns() -> None:
    inside: list[int] = []

    def task() -> int:
        with pool.one_thread():
            inside.append(1)
            together = len(inside)
            time.sleep(0.02)
            inside.pop()
            return together

    with ThreadPoolExecutor(4) as executor:
        assert {answer.result() for answer in [executor.submit(task) for _ in range(8)]} == {1}


def test_a_killed_worker_ends_the_run() -> None:
    with pytest.raises(WorkerError, match="killed"), pool.process_pool(2) as executor:
        executor.submit(os._exit, 9).result()


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    code = """
import os, time
from pathlib import Path
from tempica.runs import pool
if __name__ == "__main__":
    with pool.process_pool(2) as executor:
        print(executor.submit(os.getpid).result(), flush=True)
        executor.submit(time.sleep, 60).result()
"""
    script = tmp_path / "parent.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text().split()[2]

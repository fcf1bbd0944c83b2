"""Shared fixtures: a recipe small enough for tests, one run of it, and the command line in this process or its own."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from threadpoolctl import threadpool_limits

from tempica import cli
from tempica.runs import pool

ROOT = Path(__file__).parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; threads of each would only wait for one another
    for _name in pool.THREADS:
        os.environ.setdefault(_name, "1")
    threadpool_limits(1)  # of what is loaded already


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


def tempica_process(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, whose workers are processes too."""
    command = [sys.executable, "-m", "tempica.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def tempica(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line in this process, which also does the work: the same, without the imports of new processes."""
    words = ["tempica", *map(str, arguments)]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, "argv", words))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(contextlib.chdir(cwd or Path.cwd()))
        stack.enter_context(in_this_process())
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.detach().getvalue().decode())  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(words, code, *texts)


class _Sent(pool.Here):
    """Does tasks here as they would arrive in another process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        fn, args, kwargs = pickle.loads(pickle.dumps((fn, args, kwargs)))
        return super().submit(fn, *args, **kwargs)


@contextlib.contextmanager
def in_this_process() -> Iterator[None]:
    """Whatever would start a pool of processes does its tasks here, one after another."""
    with mock.patch.object(pool, "process_pool", return_value=contextlib.nullcontext(_Sent())):
        yield


def tree(folder: Path) -> dict[str, bytes]:
    """Content of every file of a run's results; what is allowed to differ between runs is left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".tempica" not in path.parts and path.name != "log.jsonl"
    }


@pytest.fixture
def one_process() -> Iterator[None]:
    """`in_this_process` for the whole test."""
    with in_this_process():
        yield


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills, once for all workers of pytest-xdist; nobody changes what is in it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared-{name}"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "made").exists():
            assert not (shared / "content").exists(), f"{name} could not be made; the first test that needs it says why"
            (shared / "content").mkdir()
            make(shared / "content")
            (shared / "made").touch()
    return shared / "content"


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the small recipe, made by processes."""

    def make(folder: Path) -> None:
        recipe = folder / "small.toml"
        recipe.write_text(small_recipe_text() + "\n[report]\nn_trace_frames = 20\n")
        done = tempica_process("run", recipe, "--jobs", 2, "--out", folder / "run")
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "small", make) / "run"

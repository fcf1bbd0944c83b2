"""Tasks on any executor: chains of picklable calls, in order within a chain, side by side between chains.

Results travel on disk. By default the executor is a pool of processes that die with their parent; it may be a Dask
cluster, whose workers live on, or this process. Always a task computes with one thread.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from tempica import kernel_cache  # noqa: F401  # one folder for all workers
from tempica.errors import ClusterError, TaskError, TempicaError, WorkerError

Task = Callable[[], object]

_NUMBA = "NUMBA_NUM_THREADS"

# Sums of floating-point numbers depend on how many threads share them; one thread gives one answer.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    _NUMBA,
    "OPENMM_CPU_THREADS",
    "NUMEXPR_NUM_THREADS",
)

_CONNECT_SECONDS = 6
_SHUTDOWN_SECONDS = 10  # an executor whose workers were killed may never end

stuck = threading.Event()  # set when that happens: the interpreter would wait for it at its end
interrupted = threading.Event()  # set with a KeyboardInterrupt, which Python drops when raised in a destructor

_all_started: Barrier  # in a worker
_turn = threading.Lock()  # in a worker with several threads, such as one of Dask's


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit every library to one thread, those loaded before and those loaded now, while this thread works alone.

    Tasks that share a process, as on a Dask worker of several threads, take turns.
    """
    with _turn, _environment([name for name in THREADS if name != _NUMBA]), contextlib.ExitStack() as stack:
        if "torch" in sys.modules:
            import torch

            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        # Numba reads its variable when it is loaded and again whenever it compiles, in this task or a later one, and
        # raises when the number has changed. So the variable stays as it is, and numba is loaded before it is limited.
        if os.environ.get(_NUMBA) != "1" or "numba" in sys.modules:
            import numba

            stack.callback(numba.set_num_threads, numba.get_num_threads())
            numba.set_num_threads(1)
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            yield


@contextlib.contextmanager
def process_pool(jobs: int) -> Iterator[Executor]:
    """A pool of single-threaded worker processes. Raises WorkerError when one of them is killed."""
    # workers inherit the mask: Ctrl-C, which a terminal sends to all, is the parent's to handle
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_prepare, initargs=(os.getpid(), context.Barrier(jobs))
    )
    try:
        try:
            # the executor starts a worker when none is idle; a later one would miss the environment and the mask
            with _environment():
                for started in [executor.submit(_wait_for_all) for _ in range(jobs)]:
                    started.result()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield executor
    except BaseException as error:
        for process in list((getattr(executor, "_processes", None) or {}).values()):
            process.kill()
        ending = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True}, daemon=True)
        ending.start()
        ending.join(_SHUTDOWN_SECONDS)
        if ending.is_alive():
            stuck.set()
        if isinstance(error, BrokenExecutor):
            raise WorkerError("a worker process was killed (out of memory? then use fewer --jobs)") from None
        raise
    executor.shutdown()


class Here(Executor):
    """This process itself, for an array task: it does each task as it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextlib.contextmanager
def dask_cluster(address: str) -> Iterator[Executor]:
    """The workers of a running Dask scheduler.

    Raises ClusterError when there is none, WorkerError when workers are killed again and again or the scheduler goes,
    and its child TaskError when the work fails in a way that nobody foresaw.
    """
    try:
        import distributed
        from distributed.comm import CommClosedError, get_address_host_port
    except ImportError:
        raise ClusterError(
            "--scheduler needs Dask, which is not installed. Install it with: pip install 'tempica[dask]'"
        ) from None
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in ("distributed", "tornado")}
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # failures are reported below, in one line
    try:
        get_address_host_port(address)  # a Client that fails here would hang when it is closed
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(
            f"No Dask scheduler answers at {address} ({type(error).__name__}). Start one with `dask scheduler`, or"
            " correct --scheduler; its form is tcp://HOST:8786."
        ) from None
    try:
        yield client.get_executor(pure=False)
    except distributed.KilledWorker as error:
        raise WorkerError(
            f"Dask gave up on a task: each of the {error.allowed_failures + 1} workers that took it was killed"
            " (out of memory?)"
        ) from None
    except (CancelledError, CommClosedError):
        raise WorkerError(f"the Dask scheduler at {address} went away") from None
    except (TempicaError, OSError, MemoryError):
        raise
    except Exception as error:  # such as a task that a worker, or the scheduler, cannot load
        raise TaskError(
            f"the work on the Dask cluster at {address} failed with {type(error).__name__}: {error}",
            traceback.format_exc(),
        ) from error
    finally:
        client.close()  # the scheduler drops waiting tasks; running ones finish, holding their lease
        for logger, level in loggers.items():
            logger.setLevel(level)


def check_cluster(executor: Executor, folder: Path, version: str, say: Callable[[str], None]) -> None:
    """Raise ClusterError when a worker of a Dask cluster lacks this tempica or does not see the run folder."""
    client = executor._client  # type: ignore[attr-defined]
    try:
        answers = client.run(_look, str(folder))
    except Exception as error:  # whatever a worker without tempica raises
        raise ClusterError(f"A Dask worker cannot run tempica {version}: {error}. Install it there too.") from None
    for worker, (there, sees) in answers.items():
        if there != version:
            raise ClusterError(
                f"The Dask worker {worker} has tempica {there}, and this is {version}. Install the same version."
            )
        if not sees:
            raise ClusterError(
                f"The Dask worker {worker} does not see {folder}. Give --out a folder on a file system that all workers"
                " share."
            )
    threads = sum(client.nthreads().values())
    if not answers:
        say("the Dask scheduler has no workers yet; waiting for some (dask worker --nthreads 1 ADDRESS)")
    elif threads > len(answers):
        say(
            f"the cluster's {len(answers)} workers have {threads} threads; tempica uses one of each. To use them all:"
            " dask worker --nworkers N --nthreads 1"
        )


def run_chains(executor: Executor, chains: Iterable[Sequence[Task]], on_done: Callable[[], None]) -> None:
    """Run every task of every chain; a task starts when its predecessor in the chain has ended.

    `on_done` is called in this process after each task. The first exception ends the run.
    """
    running: dict[Future[object], Iterator[Task]] = {}

    def start(chain: Iterator[Task]) -> None:
        task = next(chain, None)
        if task is not None:
            running[executor.submit(task)] = chain

    for chain in chains:
        start(iter(chain))
    while running:
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        if interrupted.is_set():
            raise KeyboardInterrupt
        for future in ended:
            rest = running.pop(future)
            future.result()
            on_done()
            start(rest)


@contextlib.contextmanager
def _environment(names: Sequence[str] = THREADS) -> Iterator[None]:
    """One thread for every library loaded, and every process started, within this context."""
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _prepare(parent: int, all_started: Barrier) -> None:
    global _all_started
    _all_started = all_started
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _look(folder: str) -> tuple[str, bool]:
    from tempica._version import __version__

    return __version__, os.path.exists(folder)


def _wait_for_all() -> None:
    _all_started.wait()


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)

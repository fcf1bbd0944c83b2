"""Tasks on a pool of processes: chains of picklable calls, in order within a chain, side by side between chains.

Results travel on disk. Workers have one thread each and die with their parent, so that a killed run leaves
nobody behind who still writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from multiprocessing.synchronize import Barrier
from pathlib import Path

from tempica.errors import StoreError

Task = Callable[[], object]

# Sums of floating-point numbers depend on how many threads share them; one thread gives one answer.
_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "OPENMM_CPU_THREADS",
        "NUMEXPR_NUM_THREADS",
    ),
    "1",
)

_all_started: Barrier  # in a worker


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def process_pool(jobs: int, lock: Path) -> Iterator[Executor]:
    """A pool of single-threaded worker processes that share `lock` as long as they live."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    # workers inherit the mask: Ctrl-C, which a terminal sends to all, is the parent's to handle
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(
        jobs,
        mp_context=context,
        initializer=_prepare,
        initargs=(os.getpid(), str(lock), context.Barrier(jobs)),
    )
    try:
        try:
            # the executor starts a worker when none is idle; a later one would miss the environment and the mask
            for started in [executor.submit(_wait_for_all) for _ in range(jobs)]:
                started.result()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value
        yield executor
    except BaseException:
        for process in list((getattr(executor, "_processes", None) or {}).values()):
            process.kill()
        executor.shutdown(wait=True, cancel_futures=True)
        raise
    executor.shutdown()


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
        for future in ended:
            rest = running.pop(future)
            future.result()
            on_done()
            start(rest)


def hold(path: Path, *, shared: bool = False, patience: float = 0.0) -> int:
    """Lock a file for as long as this process lives; returns its descriptor.

    Raises StoreError when somebody else holds it and does not let go within `patience` seconds.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise StoreError(
                    f"Another tempica is at work in {path.parent.parent}. Wait until it has ended, or give"
                    " --out another folder."
                ) from None
            time.sleep(0.05)


def _prepare(parent: int, lock: str, all_started: Barrier) -> None:
    global _all_started
    _all_started = all_started
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hold(Path(lock), shared=True, patience=60.0)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _wait_for_all() -> None:
    _all_started.wait()


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)

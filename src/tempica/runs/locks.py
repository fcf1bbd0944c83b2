"""Who may work in a run folder: locks on its files, and tokens that tell late tasks to stop.

A run holds `lock` alone; array tasks share it. A task holds a *lease* while it works: a file that it locks, shared,
and that contains the token which the task was given. `renew` writes another token and waits until the file is free.
From then on no earlier task is at work, and one that starts late (left in a cluster's queue by a killed run, or
repeated because its worker seemed lost) finds another token and does nothing. A run renews its lease before it
changes a folder and before it seals a store, so no task writes into a store that is complete.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from tempica.errors import StoreError

PATIENCE = 600.0  # seconds to wait for a task that can no longer be stopped


def hold(path: Path, *, shared: bool = False, patience: float = 0.0, refusal: str | None = None) -> int:
    """Lock a file until its descriptor, which is returned, is closed or this process ends.

    Raises StoreError, with `refusal`, when somebody else holds it and does not let go within `patience` seconds.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    deadline = time.monotonic() + patience
    while not _try(descriptor, path, shared):
        if time.monotonic() >= deadline:
            os.close(descriptor)
            raise StoreError(
                refusal
                or f"Another tempica is at work in {path.parent.parent}. Wait until it has ended, or give"
                " --out another folder."
            )
        time.sleep(0.05)
    return descriptor


def renew(lease: Path, *, patience: float = PATIENCE, say: Callable[[str], None] = lambda _: None) -> str:
    """A new token for a lease, returned when no task holds the lease with an earlier one. Raises StoreError."""
    token = uuid.uuid4().hex
    descriptor = os.open(lease, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        os.pwrite(descriptor, token.encode(), 0)
    finally:
        os.close(descriptor)
    grace = min(2.0, patience)
    with contextlib.suppress(StoreError):
        os.close(hold(lease, patience=grace))
        return token
    say("waiting for tasks of an earlier run that are still at work in this folder")
    os.close(
        hold(
            lease,
            patience=patience - grace,
            refusal=f"A task of an earlier run is still at work ({lease} is locked). Wait until it has ended, or"
            " end its worker; then give the same command again.",
        )
    )
    return token


@contextlib.contextmanager
def at_work(lease: Path, token: str) -> Iterator[None]:
    """Hold a lease, shared. Raises StoreError when another token is in force."""
    descriptor = hold(lease, shared=True, patience=60.0)
    try:
        if os.pread(descriptor, len(token) + 1, 0) != token.encode():
            raise StoreError(f"This task belongs to an earlier run: {lease} names another token. Nothing was changed.")
        yield
    finally:
        os.close(descriptor)


def _try(descriptor: int, path: Path, shared: bool) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise StoreError(
                f"The file system of {path} has no locks ({error}), which keep two runs apart. Mount it with locks"
                " (Lustre: -o flock; NFS: version 4), or give --out a folder elsewhere."
            ) from None
        raise
    return True

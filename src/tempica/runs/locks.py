"""Who may work in a run folder: locks on its files, and tokens that outlive a run's workers.

A run holds `lock` alone; array tasks share it. A task works under a *lease*, a file that it locks, shared, while it
works and that names the token it must carry. `renew` writes another token and waits for the file to be free: from
then on nobody who was sent out before is at work, and whoever begins late (left in a cluster's queue by a killed
run, or done again because its worker seemed lost) finds another token and does nothing. This happens before
a run touches a folder and before a store is sealed, so no store is completed under somebody's hands.
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

PATIENCE = 600.0  # seconds that a task which nobody can stop any more is waited for


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
    """A new token for a lease; returns it when nobody is at work with an earlier one. Raises StoreError."""
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
    say("waiting for tasks that were begun earlier and are still at work in this folder")
    os.close(
        hold(
            lease,
            patience=patience - grace,
            refusal=f"A task that was begun earlier is still at work ({lease} is locked). Wait until it has ended, or"
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
            raise StoreError(f"This task is of an earlier run: {lease} names another. Nothing was changed.")
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

"""Locks and leases: nobody who was sent out earlier works on once somebody else has begun."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from tempica.errors import StoreError
from tempica.runs import locks, notices
from tempica.runs.work import _Marked


def test_a_lock_is_exclusive_until_it_is_let_go(tmp_path: Path) -> None:
    first = locks.hold(tmp_path / "lock")
    with pytest.raises(StoreError, match="Another tempica"):
        locks.hold(tmp_path / "lock")
    os.close(first)
    os.close(locks.hold(tmp_path / "lock"))


def test_a_lock_may_be_shared(tmp_path: Path) -> None:
    both = [locks.hold(tmp_path / "lock", shared=True) for _ in range(2)]
    with pytest.raises(StoreError, match="not now"):
        locks.hold(tmp_path / "lock", refusal="not now")
    for descriptor in both:
        os.close(descriptor)


def test_who_is_at_work_is_waited_for(tmp_path: Path) -> None:
    lease, ended, begun = tmp_path / "lease", threading.Event(), threading.Event()

    def work(token: str) -> None:
        with locks.at_work(lease, token):
            begun.set()
            time.sleep(0.5)
            ended.set()

    thread = threading.Thread(target=work, args=(locks.renew(lease),))
    thread.start()
    begun.wait()
    with pytest.raises(StoreError, match="still at work"):
        locks.renew(lease, patience=0.0)
    locks.renew(lease)
    assert ended.is_set()
    thread.join()


def test_who_begins_late_does_nothing(tmp_path: Path) -> None:
    """Left in a cluster's queue by a run that was killed."""
    done: list[int] = []
    lease = tmp_path / "lease"
    kept = notices.Notices(tmp_path, "embed", "")
    late = _Marked(partial(done.append, 1), tmp_path / "mark", (lease, locks.renew(lease)), kept)
    current = _Marked(partial(done.append, 2), tmp_path / "mark", (lease, locks.renew(lease)), kept)
    with pytest.raises(StoreError, match="earlier run"):
        late()
    assert done == []
    current()
    current()  # a cluster may hand out a task again
    assert done == [2]


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_the_umask_decides_who_may_lock(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        os.close(locks.hold(tmp_path / "lock"))
        locks.renew(tmp_path / "lease")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}

"""What a stage is given to work with, and tasks that leave a mark when they are done."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempica.errors import TaskError, TempicaError
from tempica.progress import Progress
from tempica.recipe.experiment import Recipe
from tempica.runs import locks, notices, pool
from tempica.runs.reading import read
from tempica.stores import store

if TYPE_CHECKING:
    import xarray

WARNING = "warning: "
Lease = tuple[Path, str]  # a file of locks.py, and the token that its holder must find there


@dataclass(frozen=True)
class Work:
    """What a stage is handed: the recipe, a folder to work in, and workers."""

    stage: str
    run: Path
    folder: Path
    recipe: Recipe
    recipe_text: str
    fingerprint: str
    executor: Executor
    progress: Progress
    lease: Lease | None = None  # that tasks elsewhere must hold
    replica: int | None = None  # the only one to be simulated
    device: str = "cpu"  # where kernels run that support both

    def run_chains(self, label: str | None, chains: Sequence[Sequence[tuple[str, pool.Task]]]) -> None:
        """Run those tasks of chains of (key, task) that are not done yet; a key names its task within the stage.

        Progress is told under `label`; none is where there is none, for a short step, or a part of what is told.
        """
        marks = self.folder / "done"
        marks.mkdir(exist_ok=True)
        left = [
            [_Marked(task, marks / key, self.lease, self._notices) for key, task in chain if not (marks / key).exists()]
            for chain in chains
        ]
        total = sum(map(len, chains))
        if label is None:
            pool.run_chains(self.executor, left, lambda: None)
            return
        with self.progress.task(self.stage, label, total, total - sum(map(len, left))) as advance:
            pool.run_chains(self.executor, left, advance)

    def remark(self, text: str) -> None:
        """Tell a remark; one that begins with "warning: " is kept for scores.json and the report."""
        self.progress.say(f"{self.stage}: {text}")
        if text.startswith(WARNING):
            self._notices.keep(text.removeprefix(WARNING))

    def warn(self, text: str) -> None:
        """Tell a warning, and keep it in the run's log for scores.json and the report."""
        self.remark(f"{WARNING}{text}")

    @property
    def _notices(self) -> notices.Notices:
        return notices.Notices(self.run, self.stage, self.fingerprint)

    def read(self, kind: str) -> xarray.Dataset:
        """A completed store of the run, if this stage may read it; see `reading.read`."""
        return read(self.run, self.stage, kind)

    def is_done(self, key: str) -> bool:
        return (self.folder / "done" / key).exists()

    def create_store(self, kind: str, sizes: dict[str, int], **options: Any) -> Path:
        """Make the store of a kind in the working folder unless it is there; see `store.create`."""
        path = self.folder / store.file_name(kind)
        about = store.provenance(self.recipe_text, self.recipe.seed, self.fingerprint, f"{self.recipe.name}: {kind}")
        store.create(path, kind, sizes, attributes=about | options.pop("attributes", {}), **options)
        return path


@dataclass(frozen=True)
class _Marked:
    """A task that leaves a mark when it is done, and then is not repeated.

    A cluster that loses contact with a worker gives its task to another while the first still works on it. Both write
    the same bytes, each file under a temporary name until it is complete, so it does not matter which comes last.
    """

    task: pool.Task
    mark: Path
    lease: Lease | None
    notices: notices.Notices  # keeps what the task warns of

    def __call__(self) -> None:
        try:
            with pool.one_thread(), locks.at_work(*self.lease) if self.lease else contextlib.nullcontext():
                if not self.mark.exists():
                    with self.notices.kept():
                        self.task()
                    self.mark.touch()
        except (TempicaError, OSError, MemoryError):
            raise
        except Exception as error:  # as text, since not every exception can be sent to another process
            what = f"a task failed with {type(error).__name__}: {error}"
            raise TaskError(what, traceback.format_exc()) from None


def blocks(n: int, size: int) -> Iterator[tuple[int, int]]:
    """First frame of each block of n frames, and the first after it."""
    return pairwise([0, *range(size, n, size), n])

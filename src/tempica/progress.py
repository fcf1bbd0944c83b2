"""Live progress in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator


class Progress:
    """Tells on stderr how far a run is: a bar in a terminal; elsewhere a line at the start and every ten seconds."""

    def __init__(self, *, terminal: bool | None = None, interval: float = 10.0) -> None:
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self.interval = interval

    def say(self, text: str) -> None:
        """One line of news."""
        print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def task(self, stage: str, label: str, total: int, done: int) -> Iterator[Callable[[], None]]:
        """Follow `total` pieces of work of which `done` are done; yields the function that counts one more."""
        if self.terminal:
            yield from self._bar(f"{stage}: {label}", total, done)
        else:
            yield from self._lines(f"{stage}: {label}", total, done)

    def _bar(self, text: str, total: int, done: int) -> Iterator[Callable[[], None]]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(text, total=total, completed=done)
            yield lambda: bar.advance(task)

    def _lines(self, text: str, total: int, done: int) -> Iterator[Callable[[], None]]:
        count, last = done, time.monotonic()
        if total == 1:  # nothing to count
            if done == 0:
                self.say(text)
            yield lambda: None
            return
        self.say(f"{text}: {count} of {total}")

        def advance() -> None:
            nonlocal count, last
            count += 1
            if count == total or time.monotonic() - last >= self.interval:
                last = time.monotonic()
                self.say(f"{text}: {count} of {total}")

        yield advance

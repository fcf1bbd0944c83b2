"""Live progress in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence


class Progress:
    """Tells on stderr how far a run is: a bar in a terminal; elsewhere a line at the start and every thirty seconds.

    Parameters:
        terminal: whether stderr is one; looked up if none.
        interval: s, between two lines where there is no terminal.
        quiet: whether to tell nothing at all.
    """

    def __init__(self, *, terminal: bool | None = None, interval: float = 30.0, quiet: bool = False) -> None:
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self.interval = interval
        self.quiet = quiet
        self.stages: Sequence[str] = ()  # that are to be done, in order

    def say(self, text: str) -> None:
        """One line of news."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def task(self, stage: str, label: str, total: int, done: int) -> Iterator[Callable[[], None]]:
        """Follow `total` pieces of work of which `done` are done; yields the function that counts one more."""
        text = f"{self._place(stage)}{stage}: {label}"
        if self.quiet:
            yield lambda: None
        elif self.terminal:
            yield from self._bar(text, total, done)
        else:
            yield from self._lines(text, total, done)

    @contextlib.contextmanager
    def watch(self, stage: str, look: Callable[[], str | None]) -> Iterator[None]:
        """While something long is done elsewhere, tell every `interval` seconds what is new of what `look` sees."""
        if self.quiet:
            yield
            return
        ended, last = threading.Event(), None

        def tell() -> None:
            nonlocal last
            while not ended.wait(self.interval):
                if (seen := look()) and seen != last:
                    last = seen
                    self.say(f"{self._place(stage)}{stage}: {seen}")

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join()

    def _place(self, stage: str) -> str:
        """Which of the stages to be done this one is."""
        stages = list(self.stages)
        return f"[{stages.index(stage) + 1} of {len(stages)}] " if stage in stages else ""

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
        count, began = done, time.monotonic()
        last = began
        if total == 1:  # nothing to count
            if done == 0:
                self.say(text)
            yield lambda: None
            return
        self.say(f"{text}: {count} of {total}")

        def advance() -> None:
            nonlocal count, last
            count += 1
            now = time.monotonic()
            if count == total or now - last >= self.interval:
                last = now
                left = (now - began) * (total - count) / (count - done)
                self.say(f"{text}: {count} of {total}" + (f", about {lasting(left)} left" if count < total else ""))

        yield advance


def lasting(seconds: float) -> str:
    """A time as one says it.

    Example:
        >>> lasting(42), lasting(600), lasting(2 * 86400)
        ('42 s', '10 min', '48 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.0f} h"

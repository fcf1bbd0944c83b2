"""Results in a terminal, or wherever stdout leads: lines and tables."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from tempica.errors import WorkerError


def make_safe() -> None:
    """Let no character that stdout cannot hold, and no stream that was closed, end a finished run with an error."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed; a file opened later would get its number, and receive what is printed
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Report a pipe that breaks before all is done; click ends silently with any broken pipe."""
    try:
        yield
    except BrokenPipeError as error:
        raise WorkerError(f"a pipe closed before all was done ({error})") from None


def tell(text: str) -> None:
    """Print a result. The work is done, so it is no error when nobody reads any more."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end


def tell_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
    lines: bool = False,
    width: int = 100,
) -> None:
    """Print a table.

    Parameters:
        title: Shown above it.
        columns: Their headings.
        rows: One text a column each.
        right: Columns that are aligned to the right.
        whole: Columns whose text is never broken into lines.
        lines: Whether to draw lines between rows.
        width: Characters a line where stdout is no terminal.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), show_lines=lines)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=column in whole)
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: square brackets are no markup
    console = Console(width=None if sys.stdout.isatty() else width)
    with console.capture() as shown:
        console.print(table)
    tell(shown.get().rstrip("\n"))

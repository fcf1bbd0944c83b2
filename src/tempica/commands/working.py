"""While a command works: what its errors mean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tempica.errors import WorkerError


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Report a pipe that breaks before all is done; click ends silently with any broken pipe."""
    try:
        yield
    except BrokenPipeError as error:
        raise WorkerError(f"a pipe closed before all was done ({error})") from None

"""`tempica run --dry-run`: what would be done, in the terminal or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tempica import terminal
from tempica.progress import lasting

if TYPE_CHECKING:
    from tempica.starting.rehearsal import Rehearsal


def show(what: Rehearsal, *, as_json: bool) -> None:
    """Print it."""
    from tempica.starting.estimates import FACTOR

    if as_json:
        stages = [
            {
                "stage": stage,
                "state": state,
                "seconds": round(what.estimates[stage].seconds, 1) if stage in what.estimates else 0,
                "bytes": round(what.estimates[stage].n_bytes) if stage in what.estimates else 0,
            }
            for stage, state in what.states.items()
        ]
        terminal.tell(json.dumps({"run": str(what.folder), "stages": stages, "free_bytes": what.free_bytes}))
        return
    terminal.tell(f"Nothing is written. What would be done in {what.folder}:")
    terminal.tell_table(
        "Stages of the run",
        ("stage", "state", "time", "disk"),
        (
            (stage, state, lasting(what.estimates[stage].seconds), size_of(what.estimates[stage].n_bytes))
            if stage in what.estimates
            else (stage, state, "", "")
            for stage, state in what.states.items()
        ),
        right=("time", "disk"),
    )
    if what.estimates:
        terminal.tell(
            f"About {lasting(what.seconds)}, give or take a factor of {FACTOR} if nothing else runs, and"
            f" {size_of(what.n_bytes)} of disk; {size_of(what.free_bytes)} are free."
        )
    if what.n_bytes > what.free_bytes:
        terminal.tell("The disk is too small for it.")


def size_of(n_bytes: float) -> str:
    """Bytes as one says them.

    Example:
        >>> size_of(3_400_000), size_of(12e9)
        ('3 MB', '12.0 GB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{max(1, n_bytes / 1e6):.0f} MB"

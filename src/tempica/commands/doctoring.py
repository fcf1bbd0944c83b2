"""`tempica doctor`: whether this machine can do what tempica does."""

from __future__ import annotations

import json
import sys

import click

from tempica import terminal


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Say what is installed, what works, and what to do about the rest.

    Exit code 0: runs can be made; 2: something that every run needs does not work.
    """
    from tempica.starting.health import examine

    findings = list(examine())
    if as_json:
        terminal.tell(json.dumps([vars(one) for one in findings]))
    else:
        terminal.tell_table(
            "What tempica finds here",
            ("what", "found", "to do"),
            ((one.what, one.found, one.remedy) for one in findings),
            whole=("what",),
            width=120,
        )
        bad = [one.what for one in findings if one.bad]
        terminal.tell(f"Runs will fail: see {', '.join(bad)}." if bad else "Runs can be made here.")
    if any(one.bad for one in findings):
        sys.exit(2)

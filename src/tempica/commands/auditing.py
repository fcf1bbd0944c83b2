"""`tempica audit`: whether the axes of a run, or of latents of any program, can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tempica import terminal

METHODS = ("auto", "fastica", "sobi", "nonstationary", "pcl", "tcl")
OF_FILES = ("replicas", "labels", "array", "features", "out")  # options that a run has no use for
PASSED = {True: "passed", False: "failed", None: "–"}


@click.command("audit")
@click.argument("run_or_latents", type=click.Path(path_type=Path))
@click.option("--method", type=click.Choice(METHODS), default="auto", show_default=True, help="Audit only this one.")
@click.option(
    "--components",
    "n_components",
    type=click.IntRange(1),
    help="Sources; a run's own number, else counted.",
)
@click.option("--lag", type=click.IntRange(1), help="Frames between the two of a pair; 1, or the recipe's.")
@click.option("--replicas", metavar="COLUMN", help="Column of the file with the series of each frame, or another file.")
@click.option("--labels", metavar="COLUMN", help="The same with its condition or delay.")
@click.option("--array", metavar="NAME", help="Which array, of a file with several.")
@click.option("--features", metavar="A,B,…", help="Columns of a table that are latents; all numbers if not given.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file to write; not for a run.")
def audit_axes(run_or_latents: Path, **options: Any) -> None:
    """Say whether the axes that temporal ICA finds can be believed, without a truth.

    RUN_OR_LATENTS is the folder of a trained run, whose audit.json and report then tell; or a latents.zarr; or latents
    of any program in a file that `tempica unmix` reads, with frames in order of time unless labels are given.
    """
    import json

    from tempica import examining
    from tempica.audit.latents import audit_file

    if (run_or_latents / ".tempica").is_dir():
        for name in OF_FILES:
            if options.pop(name) is not None:
                raise click.UsageError(f"--{name} is for latents in a file; a run knows its own.")
        with terminal.working():
            path, done = examining.audit(run_or_latents, **options)
        if not done:
            terminal.tell(f"{path} is up to date; nothing was done.")
        _show(json.loads(path.read_text(encoding="utf-8")))
        return
    with terminal.working():
        found = audit_file(run_or_latents, **options)
    _show(found)
    if options["out"] is not None:
        terminal.tell(f"Written: {options['out']}")


def _show(found: dict[str, Any]) -> None:
    from tempica.audit.results import lines_of

    terminal.tell_table(
        f"{found['name']}: {found['verdict']['kind']}; axes right to about {found['confidence']:.2f}",
        ("test", "", "what was found"),
        ((row["title"], PASSED[row["passed"]], row["sentence"]) for row in found["tests"]),
        whole=("",),
        lines=True,
        width=120,
    )
    for line in lines_of(found):
        terminal.tell(line)

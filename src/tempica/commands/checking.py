"""`tempica check`: bias tests of a run."""

from __future__ import annotations

from pathlib import Path

import click

from tempica import terminal


@click.command("check")
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--frames", type=click.IntRange(40, 100_000), default=600, show_default=True, help="Frames to learn from."
)
@click.option("--against", type=click.Path(path_type=Path), help="Another form of the molecule: PDB or mmCIF.")
@click.option("--jobs", type=click.IntRange(1, 4096), help="Worker processes; all usable cores if not given.")
def check_run(run_folder: Path, frames: int, against: Path | None, jobs: int | None) -> None:
    """Test RUN for bias: noise alone, other molecules and motions, halves of the data.

    What was found is in RUN's checks.json, and in its report if there is one.
    """
    from tempica import examining

    with terminal.working():
        path, done = examining.check(run_folder, frames=frames, against=against, jobs=jobs)
    if not done:
        terminal.tell(f"{path} is up to date; nothing was done.")
    _show_checks(path)


def _show_checks(path: Path) -> None:
    import json

    found = json.loads(path.read_text(encoding="utf-8"))
    terminal.tell_table(
        f"{found['recipe']}: bias tests, {found['frames']['held_out']} held-out frames",
        ("test", "verdict", "what was found"),
        ((row["title"], row["verdict"], row["sentence"]) for row in found["checks"]),
        whole=("verdict",),
        lines=True,
        width=120,
    )

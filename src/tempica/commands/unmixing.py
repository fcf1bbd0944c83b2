"""`tempica unmix` on the command line. Heavy imports happen inside the verb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tempica import terminal


@click.command()
@click.argument("file", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--star", type=click.Path(path_type=Path), help="STAR file or other table with columns FILE lacks.")
@click.option("--ind", type=click.Path(path_type=Path), help="Rows of that table FILE is of: cryoDRGN's --ind.")
@click.option("--labels", metavar="COLUMN", help="Column of conditions or delays.")
@click.option("--replicas", metavar="COLUMN", help="Column of the series, movie or molecule of a row.")
@click.option("--time", metavar="COLUMN", help="Column of times.")
@click.option("--ordered", is_flag=True, help="Rows are in order of time.")
@click.option(
    "--features", metavar="A,B,…", help="Columns of a table that are latents; all other numbers if not given."
)
@click.option("--topology", type=click.Path(path_type=Path), help="Structure, for a trajectory.")
@click.option("--stride", type=click.IntRange(1), help="Use every N-th frame of a trajectory.")
@click.option(
    "--coordinates",
    type=click.Choice(["torsions", "distances", "aligned coordinates"]),
    help="Of a trajectory; those that predict best if not given.",
)
@click.option("--array", metavar="NAME", help="Which array, of a file with several; RECOVAR's number of dimensions.")
@click.option(
    "--method", "methods", metavar="NAME", multiple=True, help="Method; the last one's sources are given out."
)
@click.option("--components", type=click.IntRange(1), help="Number of sources; counted if not given.")
@click.option("--lag", type=click.IntRange(1), default=1, show_default=True, help="Rows between two of a pair.")
@click.option("--seed", "random_state", type=int, default=0, show_default=True, help="Of everything that is drawn.")
@click.option("--nuisance", "nuisances", metavar="COLUMN", multiple=True, help="Measure its leakage; pose: 3 angles.")
@click.option("--given", metavar="COLUMN", multiple=True, help="Nuisance to take out of the latents, and measure.")
@click.option("--audit", "audited", is_flag=True, help="Say whether the axes can be believed; takes several fits.")
@click.option("--where", metavar="CONDITION", help="Write the particles of it: source_1 > 1.5 and source_2 < 0")
@click.option("--drop-nan", is_flag=True, help="Leave out rows with values that are not finite.")
@click.option("--repeated", is_flag=True, help="One image may be in several rows, as expanded by symmetry.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to make; unmixed/<name of FILE> if not given.")
def unmix(file: tuple[Path, ...], features: str | None, where: str | None, **options: Any) -> None:
    """Find meaningful axes in latents of another program.

    FILE holds latents, a row for each particle or frame: .npy, .npz, .csv, .tsv, .parquet, a pickle of arrays
    (cryoDRGN's z.N.pkl), cryoSPARC's .cs of 3D variability or 3D flex, or RECOVAR's output folder. Or trajectories of
    molecular dynamics, one or several: DCD, XTC, TRR, HDF5, NetCDF; internal coordinates are chosen and reduced.

    What identifies axes is time or labels: --time and --replicas for series, as of movies or simulations; --labels
    for conditions or delays of single snapshots. Without either, only linear ICA is left, with what it assumes.

    \b
      tempica unmix z.24.pkl --star particles.star --labels _rlnTimepoint
      tempica unmix features.csv --replicas movie --time t
      tempica unmix run1.xtc run2.xtc --topology system.pdb --lag 10
    """
    from tempica.unmix.selecting import select
    from tempica.unmix.work import unmix as carry_out

    with terminal.working():
        result = carry_out(
            file if len(file) > 1 else file[0], features=None if features is None else features.split(","), **options
        )
        made = [] if where is None else select(result, where)
    _show_unmixed(result)
    for path in made:
        terminal.tell(f"Selected: {path}")


def _show_unmixed(result: Any) -> None:
    record = result.record
    if not result.made:
        terminal.tell(f"{result.folder} is up to date; nothing was done.")
    fitted = record["methods"]
    others: dict[tuple[str, str], list[str]] = {}
    rows = [
        (name, "given out" if name == record["given_out"] else "fitted", about["why"]) for name, about in fitted.items()
    ]
    for row in record["applicable"]:
        if row["name"] not in fitted:
            why = record["failed"].get(row["name"]) or row["lacks"]
            others.setdefault(("–", why) if why else ("applies", "ask for it with --method"), []).append(row["name"])
    rows += [(", ".join(names), *what) for what, names in others.items()]
    terminal.tell_table(
        f"{record['source']}: {record['n_components']} sources of {record['rows_used']} rows",
        ("method", "result", "why"),
        rows,
        whole=("result",),
        lines=True,
        width=120,
    )
    for row in record["leakage"]:
        leaks, r2 = row["of_sources"]["leaks"], row["of_sources"]["r2"]
        found = ", ".join(f"source_{i + 1} (R² {r2[i]:.2f})" for i in range(len(leaks)) if leaks[i])
        how = "taken out of the latents; left in" if row["given"] else "leaks into"
        terminal.tell(f"Nuisance {row['nuisance']}: {how} {found or 'no source beyond chance'}")
    if record["audit"] is not None:
        from tempica.audit.results import lines_of

        for line in ("Audit:", *lines_of(record["audit"])):
            terminal.tell(line)
    terminal.tell(f"Verdict: {record['verdict']}. {record['why']}")
    terminal.tell(f"Sources: {result.folder / 'sources.csv'}\nReport: {result.folder / 'report.html'}")

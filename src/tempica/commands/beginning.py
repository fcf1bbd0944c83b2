"""`tempica new`: from a file to a recipe. Heavy imports happen inside the verb."""

from __future__ import annotations

from pathlib import Path

import click

from tempica import terminal


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@click.option("--chain", "chains", metavar="NAME", multiple=True, help="Chain to take; twice for two forms.")
@click.option("--topology", type=click.Path(path_type=Path), help="Structure of a trajectory, if not among the files.")
@click.option("--example", metavar="NAME", help="Instead of files: copy a recipe of `tempica recipes`.")
@click.option("--out", type=click.Path(path_type=Path), help="Recipe to write; <name of the file>.toml if not given.")
def new(
    files: tuple[Path, ...], chains: tuple[str, ...], topology: Path | None, example: str | None, out: Path | None
) -> None:
    """Write a recipe for files of yours, with comments, that runs as it is.

    \b
      tempica new my.pdb                            one form: hinges by its elastic network
      tempica new open.pdb closed.pdb               two forms: domains by comparing them
      tempica new my.pdb --chain A --chain B        two forms in one file
      tempica new run.dcd --topology system.psf     a trajectory of another program
      tempica new particles.star my.pdb             a particle stack; or with its consensus map
      tempica new --example adenylate_kinase        a recipe that comes with tempica

    What was chosen is told, and nothing is overwritten.
    """
    from tempica.starting import begin

    if (example is None) == (not files):
        raise click.UsageError("Give FILE, or --example NAME; either is enough.")
    if example is not None:
        if chains or topology:
            raise click.UsageError("--chain and --topology are for files; an example has its own.")
        start = begin.example(example, out)
    else:
        with terminal.working():
            start = begin.new(files, chains=chains, topology=topology, out=out, tell=terminal.tell)
    if start.recipe is not None:
        terminal.tell(f"Recipe: {start.recipe}")
    terminal.tell(f"Continue with: {start.type_next}")

"""`tempica cite`."""

from __future__ import annotations

import click

from tempica import terminal


@click.command()
@click.argument("target", default="tempica")
@click.option("--bibtex", is_flag=True, help="As BibTeX instead of text.")
def cite(target: str, bibtex: bool) -> None:
    """Say what to cite: for a METHOD of `tempica methods`, a process, a part, or all of a RECIPE or RUN."""
    from tempica.citations import cite as cited

    terminal.tell(cited(target, bibtex=bibtex))

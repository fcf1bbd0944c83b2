"""What there is: recipes, methods, schemas."""

from __future__ import annotations

from pathlib import Path

import click

from tempica import terminal


@click.command()
@click.option("--copy", type=click.Path(path_type=Path), help="Copy recipes and structures into a new folder.")
def recipes(copy: Path | None) -> None:
    """List the recipes that come with tempica, each of which `tempica run NAME` carries out."""
    from tempica.recipe import shipped

    if copy is not None:
        shipped.copy_to(copy)
        terminal.tell(f"Done: {len(shipped.names())} recipes in {copy}")
        return
    terminal.tell_table(
        "Recipes; carry one out with `tempica run NAME`",
        ("name", "what it is for"),
        ((name, shipped.purpose(name)) for name in shipped.names()),
        whole=("name",),
        lines=True,
        width=120,
    )


@click.command()
def methods() -> None:
    """List the methods that a recipe can train: what each needs, and what it identifies."""
    from tempica.ica.methods import NEEDS, trainable

    terminal.tell_table(
        "Methods, to be named in train.methods, or in [[train.method]] with parameters",
        ("name", "needs", "identifies", "shown by"),
        ((row.name, NEEDS[row.needs], row.identifies, row.theorem) for row in trainable()),
        whole=("name",),
        lines=True,
        width=120,
    )


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("data_schemas"), show_default=True
)
def schema(out: Path) -> None:
    """Write the JSON Schemas of the recipe and of every store."""
    from tempica.stores.json_schemas import write_schemas

    for path in write_schemas(out):
        terminal.tell(str(path))

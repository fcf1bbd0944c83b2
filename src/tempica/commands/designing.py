"""`tempica design`: what an experiment needs, before it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tempica import terminal


@click.command("design")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--score", type=float, default=0.9, show_default=True, help="Held-out mean correlation that is wanted.")
@click.option("--snr", type=float, multiple=True, help="Signal-to-noise ratio, may be repeated; the recipe's if none.")
@click.option("--method", multiple=True, help="Method to try, may be repeated; what the data allow if none.")
@click.option("--lag", type=int, help="Lag in frames; the one at which most is at stake if none.")
@click.option("--draws", type=int, default=3, show_default=True, help="Experiments at each number of frames.")
@click.option("--most-frames", type=int, default=40_000, show_default=True, help="Frames beyond which none is tried.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder; runs/<name>-design if not given.")
@click.option("--jobs", type=click.IntRange(1, 4096), help="Worker processes; all usable cores if not given.")
def design_recipe(recipe: Path, **options: Any) -> None:
    """Foresee what RECIPE's experiment needs: which lag, how many frames, which method.

    A short run says what images tell of the molecule; experiments of any length are then drawn without images. All
    figures are in the folder's design.json.
    """
    from tempica.designs import tables
    from tempica.designs.design import design

    with terminal.working():
        found = design(recipe, **options)
    tables.show(found)

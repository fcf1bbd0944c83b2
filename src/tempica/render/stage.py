"""Makes the movie of a run: with one of the cameras, or from images of another program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tempica.recipe.afm import AfmRecipe
from tempica.recipe.xfel import XfelRecipe

if TYPE_CHECKING:
    from tempica.runs.work import Work


def run(work: Work) -> None:
    """Make the movie with what the recipe names. Imports are deferred: a run needs one of them."""
    if isinstance(work.recipe.render, XfelRecipe):
        from tempica.render.xfel import stage as xfel

        xfel.run(work)
    elif isinstance(work.recipe.render, AfmRecipe):
        from tempica.render.afm import stage as afm

        afm.run(work)
    elif work.recipe.film is not None:
        from tempica.render.film import stage as film

        film.run(work)
    elif work.recipe.particles is not None:
        from tempica.render.particles import stage as particles

        particles.run(work)
    else:
        from tempica.render.electron import stage as electron

        electron.run(work)

"""What moves on the page: the molecule along each axis, and the player."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tempica.recipe.experiment import Recipe
from tempica.report import molecule, player, reel
from tempica.report.recovered import Recovery, Truth

if TYPE_CHECKING:
    import xarray


def sections(
    recipe: Recipe,
    movie: xarray.Dataset,
    latents: xarray.Dataset | None,
    sources: xarray.Dataset,
    methods: Sequence[str],
    trajectory: xarray.Dataset | None = None,
    truth: Sequence[Truth] = (),
    found: Sequence[Recovery] = (),
    matrices: Sequence[dict[str, Any]] = (),
    topology: str | None = None,
) -> str:
    """Both sections as HTML, for use within `style()`; nothing without latents.

    Without a trajectory: recorded frames, recovered motion and traces alone. For the parameters, see
    `molecule.section` and `reel.reel_of`; `movie` has the true poses where there is a trajectory.
    """
    if latents is None:
        return ""
    moved = molecule.section(
        recipe,
        latents,
        sources,
        methods,
        trajectory=trajectory,
        truth=truth,
        matrices=matrices,
        topology=topology,
    )
    played = reel.reel_of(
        recipe,
        movie,
        sources,
        methods,
        latents=latents,
        trajectory=trajectory,
        truth=truth,
        found=found,
        topology=topology,
    )
    return moved + "\n" + player.section(played)

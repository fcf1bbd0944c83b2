"""Runs of a scanning probe's movie, which has no recipe of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tempica.exchange.film_file import read_film
from tempica.pipeline import carry_out_import
from tempica.progress import Progress
from tempica.recipe.completing import recipe_of_film
from tempica.recipe.experiment import read_text


def import_film(
    files: Sequence[str | Path],
    recipe: str | Path | None = None,
    *,
    channel: str | None = None,
    pixel_nm: float | None = None,
    interval_s: float | None = None,
    structure: str | Path | None = None,
    domains: Mapping[str, str] | None = None,
    lying: str | None = None,
    tip_radius_nm: float | None = None,
    out: str | Path | None = None,
    name: str | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> tuple[Path, list[str]]:
    """Make a run's movie from one of a scanning probe: molecules found, followed, cropped and aligned.

    Returns and raises as `run` does.

    Parameters:
        files: .asd, .h5-jpk, .spm, .ibw, .gwy, .tif or .npy (frame, y, x): the movie, or its frames in order.
        recipe: Recipe without the movie; one named after it if none.
        channel, pixel_nm, interval_s: as for `exchange.film_file.read_film`.
        structure: PDB or mmCIF file of one form of the molecule, by which frames are explained.
        domains: of the structure, two or more, name to residue ranges; distances between them are told.
        lying: "flat", "free" or "tumbling": how molecules lie on the support; see `recipe.film`.
        tip_radius_nm: of the tip's end; found from the movie if none.
        out: Run folder; runs/<name of the recipe> if none.
        name: Name of the completed recipe; its own if none.
        jobs: Worker processes; one per usable core if none.
        progress: Where to report; stderr if none.
    """
    paths = [Path(file) for file in files]
    path = Path(recipe) if recipe is not None else Path("recipe.toml")
    about = {"channel": channel, "pixel_nm": pixel_nm, "interval_s": interval_s}
    film = read_film(paths, **about)  # type: ignore[arg-type]
    form = None if structure is None else (Path(structure), dict(domains or {}))
    text = recipe_of_film(
        paths,
        len(film.height),
        text=None if recipe is None else read_text(path),
        path=path,
        name=name,
        form=form,
        lying=lying,
        tip_radius_nm=tip_radius_nm,
        **about,  # type: ignore[arg-type]
    )
    return carry_out_import(text, path, out, ("simulate", "render"), jobs, progress)

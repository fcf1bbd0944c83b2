"""Writes report.html."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempica.recipe.experiment import Recipe
from tempica.runs.reading import read, true_poses
from tempica.runs.stages import has_truth
from tempica.stores import files, store

if TYPE_CHECKING:
    import xarray

    from tempica.runs.work import Work


def run(work: Work) -> None:
    """One task: figures and page."""
    page = partial(write_report, work.recipe, work.recipe_text, work.run, work.fingerprint, work.folder / "report.html")
    work.run_chains("page", [[("page", page)]])


def write_report(recipe: Recipe, recipe_text: str, run: Path, fingerprint: str, out: Path) -> None:
    """The page of a finished run, as a file."""
    stamp = f'<meta name="tempica-fingerprint" content="{fingerprint}">'
    files.write_text(out, page_of(recipe, recipe_text, run).replace("</head>", f"{stamp}</head>", 1))


def page_of(recipe: Recipe, recipe_text: str, run: Path) -> str:
    """The page of a finished run, with or without a truth."""
    page = _of_film if recipe.film is not None else _scored if has_truth(recipe) else _untold
    return page(recipe, recipe_text, run)


def _scored(recipe: Recipe, recipe_text: str, run: Path) -> str:
    from tempica.report.changed import last_of
    from tempica.report.page import render_page

    trajectory, movie, sources = scored_stores(run)
    checks, audit = _beside(run, "checks.json", "embedded", "latents"), _beside(run, "audit.json", "audited", "sources")
    return render_page(
        recipe,
        recipe_text,
        trajectory,
        movie,
        sources,
        scores_of(run),
        checks,
        audit,
        latents=read(run, "report", "latents"),
        before=last_of(run),
        software=store.software(),
    )


def _untold(recipe: Recipe, recipe_text: str, run: Path) -> str:
    from tempica.report.untold import render_untold

    scores, audit = scores_of(run), _beside(run, "audit.json", "audited", "sources")
    return render_untold(
        recipe,
        recipe_text,
        read(run, "report", "movie"),
        read(run, "report", "latents"),
        read(run, "report", "sources"),
        scores if audit is None else scores | {"audit": audit},
        _beside(run, "checks.json", "embedded", "latents"),
        software=store.software(),
    )


def scored_stores(run: Path) -> tuple[xarray.Dataset, xarray.Dataset, xarray.Dataset]:
    """Trajectory, movie and sources of a run with a truth; the movie has the true poses."""
    trajectory, movie, sources = (read(run, "report", kind) for kind in ("trajectory", "movie", "sources"))
    poses = true_poses(run, "report", movie)
    return trajectory, movie.assign({name: poses[name] for name in ("pose_quaternion", "pose_shift_A")}), sources


def scores_of(run: Path) -> dict[str, Any]:
    """What scores.json holds."""
    found: dict[str, Any] = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    return found


def _of_film(recipe: Recipe, recipe_text: str, run: Path) -> str:
    """The page of a scanning probe's movie."""
    from tempica.report.film import render

    movie, sources = (read(run, "report", kind) for kind in ("movie", "sources"))
    latents = read(run, "report", "latents") if recipe.simulate.molecule.structure_files else None
    return render(recipe, recipe_text, movie, sources, scores_of(run), store.software(), latents)


def _beside(run: Path, name: str, of: str, kind: str) -> dict[str, Any] | None:
    """What was found about the store of a kind that the run has now, if that was asked for."""
    path = run / name
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found if found[of] == read(run, "report", kind).attrs["fingerprint"] else None

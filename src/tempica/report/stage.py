"""Writes report.html."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempica.recipe.experiment import Recipe
from tempica.runs.reading import read, true_poses
from tempica.stores import files, store

if TYPE_CHECKING:
    from tempica.runs.work import Work


def run(work: Work) -> None:
    """One task: figures and page."""
    page = partial(write_report, work.recipe, work.recipe_text, work.run, work.fingerprint, work.folder / "report.html")
    work.run_chains("page", [[("page", page)]])


def write_report(recipe: Recipe, recipe_text: str, run: Path, fingerprint: str, out: Path) -> None:
    """The page of a finished run."""
    from tempica.report.page import render_page

    trajectory, movie, sources = (read(run, "report", kind) for kind in ("trajectory", "movie", "sources"))
    poses = true_poses(run, "report", movie)
    movie = movie.assign({name: poses[name] for name in ("pose_quaternion", "pose_shift_A")})
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    checks = _checks(run)
    page = render_page(recipe, recipe_text, trajectory, movie, sources, scores, checks, software=store.software())
    stamp = f'<meta name="tempica-fingerprint" content="{fingerprint}">'
    files.write_text(out, page.replace("</head>", f"{stamp}</head>", 1))


def _checks(run: Path) -> dict[str, Any] | None:
    """Bias tests of the latents that the run has now, if they have been tested."""
    path = run / "checks.json"
    if not path.exists():
        return None
    checks: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return checks if checks["embedded"] == read(run, "report", "latents").attrs["fingerprint"] else None

"""Figures and film of a finished run, as files beside its report."""

from __future__ import annotations

import re
from pathlib import Path

from tempica.errors import ParameterError, StoreError
from tempica.progress import Progress
from tempica.recipe.experiment import Recipe, load_recipe
from tempica.report import stage, video
from tempica.report.embedded import style, taking
from tempica.report.reel import Reel, reel_of
from tempica.runs.reading import read
from tempica.runs.stages import has_truth
from tempica.stores import files

PNG_DPI = 200


def check_folder(folder: Path) -> None:
    """Raise StoreError unless figures can be written into a folder: a new one, or an empty one."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise StoreError(
            f"--figures {folder}: it exists and is no empty folder. Nothing was changed. Give another name."
        )


def write_figures(run: Path, folder: Path) -> list[str]:
    """Every figure of a run's report as SVG and PNG in a folder, numbered in the order of the page; returns names.

    A file says what each figure shows: figures.txt. Raises StoreError when the folder has something in it.
    """
    check_folder(folder)
    recipe, text = load_recipe(run / "recipe.toml")
    with taking() as taken:
        stage.page_of(recipe, text, run)
    fresh = files.fresh_name(folder)
    fresh.mkdir(parents=True)
    told: dict[str, str] = {}
    for figure, alt in taken:
        if alt in told.values():  # the same for narrow screens
            continue
        name = f"{len(told) + 1:02d}-{_slug(alt)}"
        told[name] = alt
        with style():
            figure.savefig(fresh / f"{name}.svg", format="svg", metadata={"Date": None})
            figure.savefig(
                fresh / f"{name}.png", format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None}
            )
    (fresh / "figures.txt").write_text("".join(f"{name}: {alt}\n" for name, alt in told.items()), encoding="utf-8")
    check_folder(folder)
    if folder.exists():
        folder.rmdir()
    fresh.rename(folder)
    return list(told)


def write_video(run: Path, out: Path, progress: Progress | None = None) -> int:
    """The player of a run's report as a film, as long as the traces of the page; returns the number of frames.

    Without a truth: frames as recorded, the recovered structure where there is one, and sources.
    """
    video.check(out)
    recipe, _ = load_recipe(run / "recipe.toml")
    if recipe.film is not None:
        reel = _of_film(run, recipe.report.n_trace_frames)
    else:
        reel = _with_truth(recipe, run) if has_truth(recipe) else _without_truth(recipe, run)
    if reel is None:
        raise ParameterError(f"--video {out}: the run {run} has no method whose sources could be shown.")
    video.write(reel, out, progress or Progress())
    return len(reel.time)


def _with_truth(recipe: Recipe, run: Path) -> Reel | None:
    from tempica.report.judged import best_first
    from tempica.report.recovered import recoveries, truths

    trajectory, movie, sources = stage.scored_stores(run)
    scores = stage.scores_of(run)
    matched = [m for m in scores["matrices"] if (m["split"], m["metric"]) == ("held_out", "spearman")]
    scored = {row["method"] for row in scores["rows"] if row["split"] == "held_out"}
    methods = [about["method"] for about in best_first(scores) if about["method"] in scored]
    truth = truths(trajectory)
    return reel_of(
        recipe,
        movie,
        sources,
        methods,
        latents=read(run, "report", "latents"),
        trajectory=trajectory,
        truth=truth,
        found=recoveries(sources, truth, matched, methods, scores["bands"]),
        n_frames=recipe.report.n_trace_frames,
    )


def _without_truth(recipe: Recipe, run: Path) -> Reel | None:
    from tempica.report.untold import by_agreement

    movie, latents, sources = (read(run, "report", kind) for kind in ("movie", "latents", "sources"))
    methods = by_agreement(stage.scores_of(run))
    return reel_of(recipe, movie, sources, methods, latents=latents, n_frames=recipe.report.n_trace_frames)


def _of_film(run: Path, n_frames: int) -> Reel | None:
    from tempica.report.film import reel

    return reel(read(run, "report", "movie"), read(run, "report", "sources"), n_frames)


def _slug(alt: str) -> str:
    """A file name from the first words of what a figure shows."""
    words = re.sub(r"[^a-z0-9]+", "-", alt.lower()).strip("-").split("-")
    return "-".join(words[:7])[:60].strip("-")

"""The report: one HTML page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica.recipe.experiment import Recipe
from tempica.report import (
    audited,
    changed,
    checked,
    compared,
    dynamics,
    figures,
    judged,
    moving,
    placing,
    provenance,
    scored,
    templating,
    trained,
    words,
)
from tempica.report.embedded import figure_block, responsive, style
from tempica.report.frames import examples
from tempica.report.recovered import Recovery, Truth, recoveries, splits, truths

if TYPE_CHECKING:
    import xarray

SEEN = {
    "movie": "<b>Example frames</b> from held-out replicas. Above: without noise, rendered again from the simulated"
    " structure, pose and defocus. Below: as recorded. The gray scale is the same along each kind; protein is bright.",
    "diffraction": "<b>Example patterns</b> from held-out replicas, square roots of photons. Above: what is expected of"
    " the simulated structure, orientation and pulse. Below: what was counted. The gray scale is the same along each"
    " kind.",
    "heights": "<b>Example frames</b> from held-out replicas, high is bright. Above: the simulated structure under the"
    " tip, taken at once at the start of the frame, without noise. Below: as recorded.",
}


def render_page(
    recipe: Recipe,
    recipe_text: str,
    trajectory: xarray.Dataset,
    movie: xarray.Dataset,
    sources: xarray.Dataset,
    scores: dict[str, Any],
    checks: dict[str, Any] | None = None,
    audit: dict[str, Any] | None = None,
    *,
    latents: xarray.Dataset | None = None,
    before: changed.Before | None = None,
    software: dict[str, str],
) -> str:
    """The report of a run as HTML: verdict, scores, molecule, sources over time, how it was made, provenance.

    Datasets are the stores `trajectory`, `movie` and `sources` of the schema, `scores` the content of scores.json, and
    `checks` and `audit` that of checks.json and audit.json, if there are; of the movie, only the example frames are
    read. With `latents`, the store of embed, the molecule is shown in motion, by scripts inside the page; `before` is
    what an earlier version of the run had found. The page has no outside resource and no time of day: the same inputs
    give the same bytes. What comes from the recipe is escaped.
    """
    held_out = np.flatnonzero(splits(sources) == "held_out")
    titles = {about["name"]: about["title"] for about in scores["methods"]}  # by which readers know the methods
    sources = sources.assign_coords(estimator=[titles[name] for name in sources["estimator"].values])
    rows, matrices, bands = (
        [{**entry, "method": titles[entry["method"]]} for entry in scores[part] if entry.get("split") in own]
        for part, own in (("rows", ("held_out",)), ("matrices", ("held_out",)), ("bands", (None,)))
    )
    spearman = [m for m in matrices if m["metric"] == "spearman"]
    present = {row["method"] for row in rows}
    learned = [method["title"] for method in judged.best_first(scores) if method["title"] in present]
    truth = truths(trajectory)
    found = recoveries(sources, truth, spearman, learned, bands)
    with style():
        sections = [
            scored.section(rows, learned),
            moving.sections(recipe, movie, latents, sources, learned, trajectory, truth, found, spearman),
            compared.traces(recipe, trajectory, truth, found, held_out, learned),
            compared.scatters(truth, found, held_out, learned),
            compared.correlations(spearman, learned),
            _memory(recipe, trajectory, truth, found, held_out, learned),
            _frames(recipe, trajectory, movie, held_out),
            placing.section(scores),
            audited.section(audit),
            checked.section(checks),
            trained.section(scores["methods"]),
            changed.section(before, scores, recipe_text),
            templating.fill("glossary.html", terms=words.GLOSSARY),
            _provenance(recipe, recipe_text, (trajectory, movie, sources), scores, truth, found, held_out, software),
        ]
    return templating.page(recipe.name, _head(recipe, movie, sources, scores), [str(each) for each in sections])


def _head(recipe: Recipe, movie: xarray.Dataset, sources: xarray.Dataset, scores: dict[str, Any]) -> str:
    split = splits(sources)
    time = movie["time"].values
    interval = f", {time[1] - time[0]:g} ps apart" if len(time) > 1 else ""
    facts = {
        "Movies": f"{movie.sizes['replica']} of {movie.sizes['time']} frames{interval}",
        **words.of_camera(movie),
        "Replicas": ", ".join(
            f"{int((split == name).sum())} {label}"
            for name, label in (("train", "train"), ("validation", "validation"), ("held_out", "held out"))
        ),
    }
    title = recipe.name.replace("_", " ")
    return templating.fill(
        "header.html",
        kicker="tempica · what was recovered",
        title=title[:1].upper() + title[1:],
        verdict=judged.verdict(scores),
        facts=facts,
        notes=[],
    )


def _frames(recipe: Recipe, trajectory: xarray.Dataset, movie: xarray.Dataset, held_out: np.ndarray) -> str:
    shown = examples(trajectory, movie, held_out, recipe.report.n_examples)
    if not shown:
        return ""
    kind = movie.attrs["kind"]
    pixel_A = 10 * movie.attrs["pixel_size_nm"] if kind == "heights" else movie.attrs.get("pixel_size_A")
    names = words.enumeration([f"frame {e.frame} of replica {e.replica}" for e in shown])
    draw = partial(figures.example_frames, shown, None if pixel_A is None else float(pixel_A))
    drawn = figure_block([responsive(draw, f"Noise-free and recorded images of {names}.")], SEEN[kind], label="Frames")
    return templating.section("frames", "What the camera saw", [drawn])


def _memory(
    recipe: Recipe,
    trajectory: xarray.Dataset,
    truth: Sequence[Truth],
    found: Sequence[Recovery],
    held_out: np.ndarray,
    learned: Sequence[str],
) -> str:
    time = trajectory["time"].values
    molecules = None
    if recipe.frames_per_molecule != 1 and "molecule" in trajectory:
        molecules = trajectory["molecule"].values
    interval = float(time[1] - time[0]) if len(time) > 1 else 0.0
    return dynamics.section(truth, found, held_out, molecules, interval, learned)


def _provenance(
    recipe: Recipe,
    recipe_text: str,
    stores: Sequence[xarray.Dataset],
    scores: dict[str, Any],
    truth: Sequence[Truth],
    found: Sequence[Recovery],
    held_out: np.ndarray,
    software: dict[str, str],
) -> str:
    kinds = ("trajectory", "movie", "sources")
    made = {kind: store.attrs for kind, store in zip(kinds, stores, strict=True)} | {"scores": scores}
    files = [
        ("scores.csv", "Scores (CSV)", provenance.uri(provenance.scores_csv(scores["rows"]))),
        ("recipe.toml", "Recipe (TOML)", provenance.uri(recipe_text, "text/plain")),
    ]
    if len(held_out) and found:
        replica, time = int(held_out[0]), stores[0]["time"].values[: recipe.report.n_trace_frames]
        text = provenance.sources_csv(truth, found, replica, time)
        files.insert(1, ("sources.csv", "Sources shown (CSV)", provenance.uri(text)))
    used = [about for about in scores["methods"] if not about["baseline"]]
    return provenance.section(recipe, recipe_text, made, software, files, used)

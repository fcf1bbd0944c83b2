"""The report of a run whose truth nobody knows: verdict of the audit, sources by themselves, structures along them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica.recipe.experiment import Recipe
from tempica.report import alone, audited, checked, judged, moving, provenance, templating, trained, words
from tempica.report.embedded import style

if TYPE_CHECKING:
    import xarray

HEADS = [("Question", ""), ("Answer", "text")]
QUESTIONS = {
    "number": "How many sources?",
    "signal_time": "Does time matter (shuffled null)?",
    "signal_labels": "Do labels matter (shuffled null)?",
    "axes": "Do parts of the data, from random starts, agree?",
    "halves": "Do fits to two halves agree?",
    "independence": "Do sources leak into one another?",
    "lags": "Which lag?",
}


NO_AUDIT: dict[str, Any] = {"tests": [], "methods": [], "notes": []}


def render_untold(
    recipe: Recipe,
    recipe_text: str,
    movie: xarray.Dataset,
    latents: xarray.Dataset,
    sources: xarray.Dataset,
    scores: dict[str, Any],
    checks: dict[str, Any] | None = None,
    *,
    software: dict[str, str],
) -> str:
    """The page as HTML; datasets are the stores, `scores` the content of scores.json, which holds the audit."""
    titles = {about["name"]: about["title"] for about in scores["methods"]}
    learned = [titles[name] for name in by_agreement(scores)]
    sources = sources.assign_coords(estimator=[titles[name] for name in sources["estimator"].values])
    told = scores.get("audit")
    audit = told or NO_AUDIT
    with style():
        sections = [
            _answers(audit),
            *(_of_sources(recipe, movie, sources, learned[:1], audit)),
            moving.sections(recipe, movie, latents, sources, learned),
            audited.section(told),
            checked.section(checks),
            trained.section(scores["methods"]),
            _others(recipe, movie, sources, learned[1:]),
            templating.fill("glossary.html", terms=[t for t in words.GLOSSARY if t[0] == "Unmixed, smoothed"]),
            _provenance(recipe, recipe_text, movie, sources, scores, learned, software),
        ]
    return templating.page(recipe.name, _head(recipe, movie, scores), [str(each) for each in sections])


def by_agreement(scores: dict[str, Any]) -> list[str]:
    """Names of learned methods; those that agree most with the audit's own axes first."""
    agreement = {row["method"]: row["agreement"] for row in scores.get("audit", NO_AUDIT)["methods"]}
    learned = [about["name"] for about in scores["methods"] if not about["baseline"]]
    return sorted(learned, key=lambda name: -agreement.get(name, 0.0))


def _head(recipe: Recipe, movie: xarray.Dataset, scores: dict[str, Any]) -> str:
    title = recipe.name.replace("_", " ")
    facts = {
        "Images": f"{movie.sizes['replica']} × {movie.sizes['time']} of {movie.sizes['x']} × {movie.sizes['y']} pixels",
        "Pixel": f"{movie.attrs['pixel_size_A']:.3g} Å",
        "Frames a molecule": str(recipe.frames_per_molecule or "all of a replica"),
    }
    if "audit" in scores:
        facts["Correlation with the truth, estimated"] = f"{scores['audit']['confidence']:.2f}"
    return templating.fill(
        "header.html",
        kicker="tempica · what was found",
        title=title[:1].upper() + title[1:],
        verdict=judged.verdict(scores),
        facts=facts,
        notes=scores.get("audit", NO_AUDIT)["notes"],
    )


def _answers(audit: dict[str, Any]) -> str:
    tests = {test["name"]: test for test in audit["tests"]}
    rows = [[(asked, ""), (tests[name]["sentence"], "text")] for name, asked in QUESTIONS.items() if name in tests]
    rows += [
        [(f"Does a source follow {name.removeprefix('leakage_')}?", ""), (test["sentence"], "text")]
        for name, test in tests.items()
        if name.startswith("leakage_")
    ]
    if not rows:
        return ""
    table = templating.fill("table.html", heads=HEADS, rows=rows, caption="", label="Answers")
    return templating.section("answers", "What the data say", [table])


def _last(sources: xarray.Dataset, title: str) -> tuple[np.ndarray, str]:
    """Sources (replica, time, component) of a method at its last stage, and the stage."""
    names = [str(name) for name in sources["estimator"].values]
    of_method = sources["source"].values[names.index(title)]
    found = np.empty((*of_method.shape[1:3], 0)), "unmixed"
    for stage, series in zip(map(str, sources["stage"].values), of_method, strict=True):
        kept = series[..., ~np.isnan(series).all((0, 1))]
        if kept.shape[-1]:
            found = kept, stage
    return found


def _timed(recipe: Recipe, movie: xarray.Dataset) -> tuple[np.ndarray | None, float, str]:
    """Molecules (replica, time), None where frames have no order, and the interval in ns."""
    time = movie["time"].values
    interval = float(time[1] - time[0]) if len(time) > 1 else 0.0
    return (None if recipe.frames_per_molecule == 1 else movie["molecule"].values), 1e-3 * interval, "ns"


def _of_sources(
    recipe: Recipe, movie: xarray.Dataset, sources: xarray.Dataset, titles: Sequence[str], audit: dict[str, Any]
) -> Sequence[str]:
    """Sources of the first method, their free energy, and the scan of lags."""
    found = []
    for title in titles:
        values, stage = _last(sources, title)
        if not values.shape[-1]:
            continue
        named = f"{title}, {stage}"
        drawn = alone.sources(values, *_timed(recipe, movie), named)
        found.append(templating.section("sources", "Sources by themselves", [drawn]))
        if surface := alone.surface(values, named):
            found.append(templating.section("surface", "Free energy", [surface]))
    if scan := alone.lag_scan(audit):
        found.append(templating.section("lags", "Lags", [scan]))
    return found


def _others(recipe: Recipe, movie: xarray.Dataset, sources: xarray.Dataset, titles: Sequence[str]) -> str:
    blocks = []
    for title in titles:
        values, stage = _last(sources, title)
        if values.shape[-1]:
            blocks.append(alone.sources(values, *_timed(recipe, movie), f"{title}, {stage}"))
    if not blocks:
        return ""
    return templating.section("others", "Other methods", [], folded=blocks, folded_title="Their sources")


def _provenance(
    recipe: Recipe,
    recipe_text: str,
    movie: xarray.Dataset,
    sources: xarray.Dataset,
    scores: dict[str, Any],
    learned: Sequence[str],
    software: dict[str, str],
) -> str:
    made = {"movie": movie.attrs, "sources": sources.attrs}
    files = [("recipe.toml", "Recipe (TOML)", provenance.uri(recipe_text, "text/plain"))]
    if learned:
        values, _ = _last(sources, learned[0])
        text = provenance.components_csv(values[0], movie["time"].values)
        files.insert(0, ("sources.csv", "Sources of the first replica (CSV)", provenance.uri(text)))
    used = [about for about in scores["methods"] if not about["baseline"]]
    return provenance.section(recipe, recipe_text, made, software, files, used)

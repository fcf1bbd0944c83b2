"""The report: one HTML page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica.recipe.experiment import Recipe
from tempica.report import audited, checked, figures, judged, molecule, placing, words
from tempica.report.embedded import figure_block, image, style
from tempica.report.frames import examples
from tempica.report.recovered import Recovery, Truth, recoveries, splits, truths
from tempica.report.table import score_table

if TYPE_CHECKING:
    import xarray


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
    software: dict[str, str],
) -> str:
    """The report of a run as HTML: scores, example frames, sources over time, correlations, provenance.

    Datasets are the stores `trajectory`, `movie` and `sources` of the schema, `scores` the content of scores.json, and
    `checks` and `audit` that of checks.json and audit.json, if there are; of the movie, only the example frames are
    read. With `latents`, the store of embed, the molecule is shown in motion, by scripts inside the page. It has no
    outside resource and no time of day: the same inputs give the same bytes. What comes from the recipe is escaped.
    """
    held_out = np.flatnonzero(splits(sources) == "held_out")
    titles = {about["name"]: about["title"] for about in scores["methods"]}  # by which readers know the methods
    sources = sources.assign_coords(estimator=[titles[name] for name in sources["estimator"].values])
    rows, matrices = (
        [{**entry, "method": titles[entry["method"]]} for entry in scores[part] if entry["split"] == "held_out"]
        for part in ("rows", "matrices")
    )
    spearman = [m for m in matrices if m["metric"] == "spearman"]
    present = {row["method"] for row in rows}
    learned = [m["title"] for m in scores["methods"] if not m["baseline"] and m["title"] in present]
    truth = truths(trajectory)
    found = recoveries(sources, truth, spearman, learned)
    with style():
        body = [
            _head(recipe, movie, sources, scores),
            _scores(rows, learned),
            _frames(recipe, trajectory, movie, held_out),
            placing.section(scores),
            checked.section(checks),
            audited.section(audit),
            molecule.section(
                recipe, latents, sources, learned, trajectory=trajectory, truth=truth, matrices=spearman, rows=rows
            ),
            _traces(recipe, trajectory, truth, found, held_out, learned),
            _correlations(spearman, learned),
            _scatters(truth, found, held_out, learned),
            _glossary(),
            _provenance(recipe, recipe_text, (trajectory, movie, sources), scores, software),
        ]
    css = "".join(
        resources.files("tempica.report").joinpath(name).read_text(encoding="utf-8")
        for name in ("style.css", "motion.css")
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(recipe.name)} – tempica</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(
    recipe: Recipe,
    movie: xarray.Dataset,
    sources: xarray.Dataset,
    scores: dict[str, Any],
) -> str:
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
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    title = escape(recipe.name.replace("_", " "))
    return (
        f'<header>\n<p class="kicker">tempica · what was recovered</p>\n<h1>{title[:1].upper()}{title[1:]}</h1>\n'
        f"{judged.verdict(scores)}\n"
        f'<dl class="facts">{items}</dl>\n</header>'
    )


def _scores(rows: Sequence[dict[str, Any]], learned: Sequence[str]) -> str:
    shown = [row for row in rows if row["metric"] == "mcc_spearman"]
    shown.sort(key=lambda row: row["method"] in learned)
    parts = ["<section>\n<h2>Scores on held-out replicas</h2>"]
    if shown:
        told = "; ".join(f"{words.series_name(r['method'], r['stage'], learned)} {r['value']:.2f}" for r in shown)
        caption = (
            "<b>Scores at a glance.</b> Circles: MCC (Spearman) with its 95 % interval; filled where smoothed in time."
            " Gray bars: the null, up to its 95th percentile, with its mean as a tick. Outlined: the same for random"
            " rotations of the recovered subspace. Dashed: the single-frame"
            " ceiling; dotted: the temporal one. Baselines in gray."
        )
        chart = image(figures.score_chart(shown, learned), f"Chart of the scores: {told}.")
        parts.append(figure_block([chart], caption))
    return "\n".join([*parts, score_table(rows, learned), "</section>"])


def _frames(recipe: Recipe, trajectory: xarray.Dataset, movie: xarray.Dataset, held_out: np.ndarray) -> str:
    shown = examples(trajectory, movie, held_out, recipe.report.n_examples)
    if not shown:
        return ""
    kind = movie.attrs["kind"]
    pixel_A = 10 * movie.attrs["pixel_size_nm"] if kind == "heights" else movie.attrs.get("pixel_size_A")
    figure = figures.example_frames(shown, None if pixel_A is None else float(pixel_A))
    names = words.enumeration([f"frame {e.frame} of replica {e.replica}" for e in shown])
    caption = (
        "<b>Example frames</b> from held-out replicas. Above: without noise, rendered again from the simulated"
        " structure, pose and defocus. Below: as recorded. The gray scale is the same along each kind; protein is"
        " bright."
    )
    if kind == "heights":
        caption = (
            "<b>Example frames</b> from held-out replicas, high is bright. Above: the simulated structure under the"
            " tip, taken at once at the start of the frame, without noise. Below: as recorded."
        )
    if kind == "diffraction":
        caption = (
            "<b>Example patterns</b> from held-out replicas, square roots of photons. Above: what is expected of the"
            " simulated structure, orientation and pulse. Below: what was counted. The gray scale is the same along"
            " each kind."
        )
    drawn = image(figure, f"Noise-free and recorded images of {names}.")
    return "\n".join(["<section>\n<h2>What the camera saw</h2>", figure_block([drawn], caption), "</section>"])


def _traces(
    recipe: Recipe,
    trajectory: xarray.Dataset,
    truth: Sequence[Truth],
    found: Sequence[Recovery],
    held_out: np.ndarray,
    learned: Sequence[str],
) -> str:
    if not len(held_out) or not found:
        return ""
    replica = int(held_out[0])
    name = int(trajectory["replica"].values[replica])
    time = trajectory["time"].values[: recipe.report.n_trace_frames]
    parts = ["<section>\n<h2>True and recovered sources over time</h2>"]
    for method in learned:
        own = [r for r in found if r.method == method]
        if not own:
            continue
        title, variables = method, words.enumeration([t.name for t in truth])
        caption = (
            f"<b>{escape(title)}</b>, held-out replica {name}, first {len(time)} frames. Components have neither unit"
            " nor sign: each is matched, sign-aligned and linearly scaled to the truth by least squares on the"
            " training replicas, so nothing is fitted to what is shown here. |ρ| is that of all held-out replicas."
        )
        alt = f"{title}: {variables} over time, true and recovered, in held-out replica {name}."
        parts.append(figure_block([image(figures.traces(truth, own, replica, time, learned), alt)], caption))
    return "\n".join([*parts, "</section>"])


def _correlations(matrices: Sequence[dict[str, Any]], learned: Sequence[str]) -> str:
    tiles = []
    for entry in sorted(matrices, key=lambda m: m["method"] in learned):
        name = words.series_name(entry["method"], entry["stage"], learned)
        pairs = zip(entry["collective_variables"], entry["assignment"], strict=True)
        told = "; ".join(f"{cv} with component {i + 1}" if i >= 0 else f"{cv} with none" for cv, i in pairs)
        tiles.append(_tile(name, image(figures.heat_map(entry), f"Correlation matrix of {name}. Matched: {told}.")))
    caption = (
        "<b>Spearman correlation</b> of every component (row) with every collective variable (column) on held-out"
        " replicas; red positive, blue negative. Outlined: the pairs matched on the training replicas. Large numbers"
        " outside the outlines are leakage between sources."
    )
    block = figure_block(tiles, caption, layout="tiles")
    return f"<section>\n<h2>Which component is which variable</h2>\n{block}\n</section>"


def _scatters(truth: Sequence[Truth], found: Sequence[Recovery], held_out: np.ndarray, learned: Sequence[str]) -> str:
    parts = ["<section>\n<h2>Recovered against true</h2>"]
    for j, true in enumerate(truth):
        tiles = []
        for recovery in (r for r in found if r.variable == j):
            label = f"{words.series_name(recovery.method, recovery.stage, learned)}: {true.name}"
            alt = f"Scatter of recovered against true {label}, |ρ| = {words.number(recovery.correlation, 2)}."
            tiles.append(image(figures.scatter(true, recovery, held_out, learned), alt))
        caption = f"<b>{escape(true.name)}</b>, frames of all held-out replicas, scaled as above; gray: the diagonal."
        if tiles:
            parts.append(figure_block(tiles, caption, layout="tiles"))
    return "\n".join([*parts, "</section>"]) if len(parts) > 1 else ""


def _glossary() -> str:
    terms = "\n".join(f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in words.GLOSSARY)
    return f"<section>\n<h2>How to read this page</h2>\n<dl>\n{terms}\n</dl>\n</section>"


def _provenance(
    recipe: Recipe,
    recipe_text: str,
    stores: Sequence[xarray.Dataset],
    scores: dict[str, Any],
    software: dict[str, str],
) -> str:
    rows = {"Recipe": recipe.name, "Seed": str(recipe.seed)}
    for kind, store in zip(("trajectory", "movie", "sources"), stores, strict=True):
        rows[f"Fingerprint of {kind}"] = str(store.attrs.get("fingerprint", "unknown"))
    rows["Fingerprint of scores"] = str(scores.get("fingerprint", "unknown"))
    rows |= {f"{name} version": version for name, version in sorted(software.items())}
    lines = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td><code>{escape(value)}</code></td></tr>'
        for name, value in rows.items()
    )
    return (
        f'<section>\n<h2>Provenance</h2>\n<div class="wide" tabindex="0"><table><tbody>\n{lines}\n</tbody></table>'
        f"</div>\n<details><summary>The recipe</summary><pre>{escape(recipe_text)}</pre></details>\n</section>"
    )


def _tile(name: str, content: str) -> str:
    return f'<div class="tile"><h3>{escape(name)}</h3>{content}</div>'

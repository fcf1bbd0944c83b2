"""The page of a scanning probe's movie: tracks, sources, what has memory beside shuffled time, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from tempica.recipe.experiment import Recipe
from tempica.report import audited, formed, player, provenance, sprites, templating, trained
from tempica.report import film_figures as figures
from tempica.report.embedded import figure_block, responsive, style
from tempica.report.reel import Reel, Trace

if TYPE_CHECKING:
    import xarray

MOST_ALONG = 4  # tracks of which frames along a source are shown
CARE = (
    "A source is a way in which crops change that has memory. Whether the molecule does it, or the instrument (a tip"
    " that wears, feedback, a neighbour that comes near), pictures along it and the column “together” help to tell:"
    " what happens in all molecules at the same time is the instrument's before it is theirs."
)
UNNAMED = " No structure was used, and no molecule is named."


def render(
    recipe: Recipe,
    recipe_text: str,
    movie: xarray.Dataset,
    sources: xarray.Dataset,
    scores: dict[str, Any],
    software: Mapping[str, str],
    latents: xarray.Dataset | None = None,
) -> str:
    """The whole page, HTML that needs nothing beside itself.

    Parameters:
        recipe, recipe_text: the recipe, and as it was written.
        movie: a store of crops.
        sources: with the attribute `motion`.
        scores: what scores.json holds: the audit of the latents, and warnings.
        software: versions by name.
        latents: forms and poses, where a structure explains the crops.
    """
    told = sources.attrs["motion"]
    with style():
        sections = [
            _tracks(movie),
            player.section(reel(movie, sources)),
            *([] if latents is None else [formed.section(movie, latents)]),
            *(_method(name, movie, sources, told) for name in told["methods"]),
            _again(told),
            audited.section(scores.get("audit")),
            trained.section([about for about in scores["methods"] if about["name"] in told["methods"]]),
            _provenance(recipe, recipe_text, movie, sources, scores, software),
        ]
    return templating.page(recipe.name, _head(recipe, movie, told, scores), [str(each) for each in sections])


def reel(movie: xarray.Dataset, sources: xarray.Dataset, n_frames: int | None = None) -> Reel | None:
    """Aligned crops of the track that is seen longest, with the sources of the first method; None without a source.

    At most `n_frames`, as many as fit the page if None.
    """
    memory = sources.attrs["motion"]["methods"]
    if not memory:
        return None
    method = next(iter(memory))
    image, track, _ = figures.flat_rows(movie)
    numbers, counts = np.unique(track, return_counts=True)
    number = int(numbers[counts.argmax()])
    rows = np.flatnonzero(track == number)
    rows = rows[: n_frames or sprites.n_shown(len(rows), image.shape[-1], 1)]
    values = values_of(sources, method, len(memory[method]))
    values = (values - values.mean(0)) / np.where(values.std(0) > 0, values.std(0), 1.0)
    unknown = np.full(len(rows), np.nan)
    return Reel(
        method=sources.attrs["methods"][method]["title"],
        stage="unmixed",
        replica=number,
        held_out=False,
        time=movie["frame_time"].values.reshape(-1)[rows],
        recorded=sprites.to_gray(sprites.binned(image[rows].astype(np.float64)), 0.5),
        clean=None,
        structure=None,
        true=None,
        beads=None,
        traces=tuple(
            Trace(f"source {k}", "deviations", series[rows], unknown, None) for k, series in enumerate(values.T, 1)
        ),
        unit="s",
        of="track",
    )


def _head(recipe: Recipe, movie: xarray.Dataset, told: dict[str, Any], scores: dict[str, Any]) -> Markup:
    about = movie.attrs
    tracks, followed = about["tracks"], about["followed"]
    facts = {
        "Movie": ", ".join(name.rsplit("/", 1)[-1] for name in recipe.film.files) if recipe.film else "",
        "Frames": f"{about['n_film_frames']}, {about['frame_interval_s']:g} s apart",
        "Left out": f"{len(about['left_out'])} blank or broken, {len(about['moved'])} while the stage moved",
        "Tracks": f"{len(tracks)} {followed}, {sum(one['n_frames'] for one in tracks)} crops",
        "Pairs of successive frames": str(told["n_pairs"]),
        "Pixel of a crop": f"{about['pixel_size_nm']:.3g} nm",
    }
    notes = []
    together = [number for number, one in enumerate(told["common"], 1) if _is_common(one)]
    if told["verdict"] != "nothing moves" and together:
        which = " and ".join(f"source {number}" for number in together)
        notes.append(f"Of TICA's, {which} changes in all molecules at the same times, as the instrument would make it.")
    if followed == "windows":
        notes.append("No molecule is seen alone: windows of the frame were followed.")
    notes += [
        f"Audit: {scores['verdict']['sentence']}",
        CARE + ("" if recipe.simulate.molecule.structure_files else UNNAMED),
    ]
    verdict = templating.fill(
        "verdict.html",
        verdict={"grade": told["verdict"], "sentence": told["sentence"], "methods": []},
        warnings=scores["warnings"],
        best=None,
    )
    title = recipe.name.replace("_", " ")
    return templating.fill(
        "header.html",
        kicker="tempica · what moves in a movie, without a truth",
        title=title[:1].upper() + title[1:],
        verdict=verdict,
        facts=facts,
        notes=notes,
    )


def _tracks(movie: xarray.Dataset) -> Markup:
    rows = [
        [
            (f"track {one['track']}", ""),
            (f"{one['first']} to {one['last']}", "n"),
            (str(one["n_in_view"]), "n"),
            (str(one["n_frames"]), "n"),
            (f"{100 * one['n_frames'] / max(1, one['n_in_view']):.0f} %", "n"),
        ]
        for one in movie.attrs["tracks"]
    ]
    heads = [("Track", ""), *((name, "n") for name in ("frames", "in view", "followed whole", "share"))]
    caption = (
        "In view: frames between a track's first and last that show something, without those in which it is cut by the"
        " frame's edge. Not followed whole are frames in which it was not found, or joined to something else."
    )
    return templating.section(
        "tracks",
        "Tracks",
        [
            _figure(partial(figures.contact_sheet, movie), "Contact sheet: frames with the outlines of tracks."),
            _figure(
                partial(figures.crops_in_time, movie),
                "Aligned crops of each track; the number is that of the frame.",
            ),
            _table(heads, rows, caption),
        ],
    )


def _method(name: str, movie: xarray.Dataset, sources: xarray.Dataset, told: dict[str, Any]) -> Markup:
    memory = told["methods"][name]
    series = values_of(sources, name, len(memory))
    slowest = told["slowest"]
    common = told["common"] if name == "tica" else [None] * len(memory)
    rows = [
        [
            (f"source {number}", ""),
            (f"{one['autocorrelation'][0]:.2f}", "n"),
            (f"{one['null_95'][0]:.2f}", "n"),
            (f"{one['p']:.3f}", "n"),
            (f"{slowest['null_95']:.2f}", "n"),
            ("–" if each is None or each["correlation"] is None else f"{each['correlation']:.2f}", "n"),
            ("–" if each is None or each["correlation"] is None else f"{each['null_95']:.2f}", "n"),
        ]
        for number, (one, each) in enumerate(zip(memory, common, strict=True), 1)
    ]
    names = ("autocorrelation", "shuffled, 95 %", "p", "fitted to shuffled, 95 %", "together", "by chance, 95 %")
    parts = [
        _table([("Source", ""), *((one, "n") for one in names)], rows),
        _figure(
            partial(figures.memory, memory, movie.attrs["frame_interval_s"]),
            "Autocorrelation by lag; gray: 95 % of the same series with frames shuffled within molecules.",
        ),
    ]
    tracks = [one["track"] for one in movie.attrs["tracks"][:MOST_ALONG]]
    for number, source in enumerate(series.T, 1):
        parts += [
            Markup("<h3>Source {}</h3>").format(number),
            _figure(
                partial(figures.along, movie, source, tracks),
                f"Source {number}: crops averaged over fifths of its values, and the last minus the first.",
            ),
            _figure(partial(figures.traces, movie, source), f"Source {number} in time, by track."),
        ]
    return templating.section(name, sources.attrs["methods"][name]["title"], parts)


def _again(told: dict[str, Any]) -> Markup:
    """Sources that each half teaches: agreement, and memory in the half that did not teach them."""
    parts = []
    for name, found in told["found_again"].items():
        rows = [
            [
                (f"source {one['source']}", ""),
                (f"{one['agreement']:.2f}", "n"),
                *((f"{a:.2f} ({n:.2f})", "n") for a, n in zip(one["autocorrelation"], one["null_95"], strict=True)),
                ("stable" if one["stable"] else "not stable", ""),
            ]
            for one in found
        ]
        heads = ("agreement", "memory in the second (shuffled, 95 %)", "in the first")
        parts.append(Markup("<h3>TICA of {}</h3>").format(name))
        parts.append(_table([("Source", ""), *((one, "n") for one in heads), ("Found again", "")], rows))
    if not told["found_again"]:
        parts.append(Markup("<p>There are too few pairs of frames to compare halves.</p>"))
    parts.append(
        Markup(
            "<p>Agreement is the correlation over all frames of the sources that the two halves teach. Stable: they"
            " have more than half of their variance in common, and each has memory, beyond 95 % of shuffled frames, in"
            " the half that did not teach it.</p>"
        )
    )
    return templating.section("stability", "Found again?", parts)


def values_of(sources: xarray.Dataset, name: str, n: int) -> np.ndarray:
    """Unmixed sources (row, source) of a method, replica after replica."""
    chosen = [str(one) for one in sources["estimator"].values].index(name)
    unmixed = [str(one) for one in sources["stage"].values].index("unmixed")
    source = sources["source"].values[chosen, unmixed]
    values: np.ndarray = source.reshape(-1, source.shape[-1])[:, :n]
    return values


def _is_common(one: dict[str, Any]) -> bool:
    return one["correlation"] is not None and one["correlation"] > one["null_95"]


def _table(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[tuple[str, str]]], caption: str = "") -> Markup:
    return templating.fill("table.html", heads=heads, rows=rows, caption=caption, label="Table")


def _figure(draw: Any, caption: str) -> Markup:
    return figure_block([responsive(draw, caption)], escape(caption), label=caption)


def _provenance(
    recipe: Recipe,
    recipe_text: str,
    movie: xarray.Dataset,
    sources: xarray.Dataset,
    scores: dict[str, Any],
    software: Mapping[str, str],
) -> Markup:
    made = {"movie": movie.attrs, "sources": sources.attrs}
    memory = sources.attrs["motion"]["methods"]
    files = [("recipe.toml", "Recipe (TOML)", provenance.uri(recipe_text, "text/plain"))]
    for name, own in memory.items():
        text = provenance.film_csv(movie, values_of(sources, name, len(own)))
        files.insert(
            -1,
            (
                f"sources-{name}.csv",
                f"Sources by {sources.attrs['methods'][name]['title']} (CSV)",
                provenance.uri(text),
            ),
        )
    used = [about for about in scores["methods"] if about["name"] in memory]
    return provenance.section(recipe, recipe_text, made, software, files, used)

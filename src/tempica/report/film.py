"""The page of a scanning probe's movie: tracks, sources, what has memory beside shuffled time, and a verdict."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from tempica.recipe.experiment import Recipe
from tempica.report import film_figures as figures
from tempica.report.embedded import style

if TYPE_CHECKING:
    import xarray

MOST_ALONG = 4  # tracks of which frames along a source are shown
CARE = (
    "A source is a way in which crops change that has memory. Whether the molecule does it, or the instrument (a tip"
    " that wears, feedback, a neighbour that comes near), pictures along it and the column “together” help to tell:"
    " what happens in all molecules at the same time is the instrument's before it is theirs. No structure was used,"
    " and no molecule is named."
)


def render(
    recipe: Recipe,
    recipe_text: str,
    movie: xarray.Dataset,
    sources: xarray.Dataset,
    audit: str,
    software: Mapping[str, str],
) -> str:
    """The whole page, HTML that needs nothing beside itself.

    Parameters:
        recipe, recipe_text: the recipe, and as it was written.
        movie: a store of crops.
        sources: with the attribute `motion`.
        audit: what the audit says of the latents, in a sentence.
        software: versions by name.
    """
    told = sources.attrs["motion"]
    with style():
        body = [
            _head(recipe, movie, told, audit),
            _tracks(movie),
            *(_method(name, movie, sources, told) for name in told["methods"]),
            _again(told),
            _provenance(recipe_text, movie, sources, software),
        ]
    css = resources.files("tempica.report").joinpath("style.css").read_text(encoding="utf-8")
    title = escape(recipe.name.replace("_", " "))
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><meta name="viewport"'
        f' content="width=device-width, initial-scale=1"><title>{title}</title><style>{css}</style></head>\n'
        f"<body><main>\n{chr(10).join(body)}\n</main></body>\n</html>\n"
    )


def _head(recipe: Recipe, movie: xarray.Dataset, told: dict[str, Any], audit: str) -> str:
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
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    more = [told["sentence"]]
    together = [number for number, one in enumerate(told["common"], 1) if _is_common(one)]
    if told["verdict"] != "nothing moves" and together:
        which = " and ".join(f"source {number}" for number in together)
        more.append(f"Of TICA's, {which} changes in all molecules at the same times, as the instrument would make it.")
    if followed == "windows":
        more.append("No molecule is seen alone: windows of the frame were followed.")
    verdict = f"<p><b>{escape(more[0])}</b></p>" + "".join(f"<p>{escape(one)}</p>" for one in more[1:])
    verdict += f"<p>Audit: {escape(audit)}</p>"
    title = escape(recipe.name.replace("_", " "))
    return (
        f'<header>\n<p class="kicker">tempica · what moves in a movie, without a truth</p>\n'
        f"<h1>{title[:1].upper()}{title[1:]}</h1>\n"
        f'<div class="verdict {told["verdict"].replace(" ", "-")}">{verdict}</div>\n'
        f'<dl class="facts">{items}</dl>\n<p>{escape(CARE)}</p>\n</header>'
    )


def _tracks(movie: xarray.Dataset) -> str:
    rows = [
        (
            str(one["track"]),
            f"{one['first']} to {one['last']}",
            str(one["n_in_view"]),
            str(one["n_frames"]),
            f"{100 * one['n_frames'] / max(1, one['n_in_view']):.0f} %",
        )
        for one in movie.attrs["tracks"]
    ]
    table = _table(("track", "frames", "in view", "followed whole", "share"), rows)
    return (
        '<section id="tracks">\n<h2>Tracks</h2>\n'
        + _figure(figures.contact_sheet(movie), "Contact sheet: frames with the outlines of tracks.")
        + _figure(figures.crops_in_time(movie), "Aligned crops of each track; the number is that of the frame.")
        + f"{table}\n<p>In view: frames between a track's first and last that show something, without those in which it"
        " is cut by the frame's edge. Not followed whole are frames in which it was not found, or joined to something"
        " else.</p>\n</section>"
    )


def _method(name: str, movie: xarray.Dataset, sources: xarray.Dataset, told: dict[str, Any]) -> str:
    memory = told["methods"][name]
    series = values_of(sources, name, len(memory))
    title = sources.attrs["methods"][name]["title"]
    slowest = told["slowest"]
    common = told["common"] if name == "tica" else [None] * len(memory)
    rows = [
        (
            str(number),
            f"{one['autocorrelation'][0]:.2f}",
            f"{one['null_95'][0]:.2f}",
            f"{one['p']:.3f}",
            f"{slowest['null_95']:.2f}",
            "–" if each is None or each["correlation"] is None else f"{each['correlation']:.2f}",
            "–" if each is None or each["correlation"] is None else f"{each['null_95']:.2f}",
        )
        for number, (one, each) in enumerate(zip(memory, common, strict=True), 1)
    ]
    names = (
        "source",
        "autocorrelation",
        "shuffled, 95 %",
        "p",
        "fitted to shuffled, 95 %",
        "together",
        "by chance, 95 %",
    )
    parts = [
        f'<section id="{name}">\n<h2>{escape(title)}</h2>\n{_table(names, rows)}',
        _figure(
            figures.memory(memory, movie.attrs["frame_interval_s"]),
            "Autocorrelation by lag; grey: 95 % of the same series with frames shuffled within molecules.",
        ),
    ]
    tracks = [one["track"] for one in movie.attrs["tracks"][:MOST_ALONG]]
    for number, source in enumerate(series.T, 1):
        parts.append(f"<h3>Source {number}</h3>")
        parts.append(
            _figure(figures.along(movie, source, tracks), "Crops averaged over fifths of the source's values.")
        )
        parts.append(_figure(figures.traces(movie, source), "The source in time, by track."))
    return "\n".join([*parts, "</section>"])


def _again(told: dict[str, Any]) -> str:
    """Sources that each half teaches: agreement, and memory in the half that did not teach them."""
    parts = ['<section id="stability">\n<h2>Found again?</h2>']
    for name, found in told["found_again"].items():
        rows = [
            (
                str(one["source"]),
                f"{one['agreement']:.2f}",
                *(f"{a:.2f} ({n:.2f})" for a, n in zip(one["autocorrelation"], one["null_95"], strict=True)),
                "stable" if one["stable"] else "not stable",
            )
            for one in found
        ]
        heads = ("source", "agreement", "memory in the second (shuffled, 95 %)", "in the first", "")
        parts.append(f"<h3>TICA of {escape(name)}</h3>\n{_table(heads, rows)}")
    if not told["found_again"]:
        parts.append("<p>There are too few pairs of frames to compare halves.</p>")
    parts.append(
        "<p>Agreement is the correlation over all frames of the sources that the two halves teach. Stable: they have"
        " more than half of their variance in common, and each has memory, beyond 95 % of shuffled frames, in the half"
        " that did not teach it.</p>\n</section>"
    )
    return "\n".join(parts)


def values_of(sources: xarray.Dataset, name: str, n: int) -> np.ndarray:
    """Unmixed sources (row, source) of a method, replica after replica."""
    chosen = [str(one) for one in sources["estimator"].values].index(name)
    unmixed = [str(one) for one in sources["stage"].values].index("unmixed")
    source = sources["source"].values[chosen, unmixed]
    values: np.ndarray = source.reshape(-1, source.shape[-1])[:, :n]
    return values


def _is_common(one: dict[str, Any]) -> bool:
    return one["correlation"] is not None and one["correlation"] > one["null_95"]


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th class="n" scope="col">{escape(name)}</th>' for name in names)
    lines = "\n".join("<tr>" + "".join(f'<td class="n">{escape(cell)}</td>' for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>\n{lines}\n</tbody></table></div>'
    )


def _figure(figure: Figure, caption: str) -> str:
    """A figure as PNG: it is made of images."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white", metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<figure><div class="wide" tabindex="0"><img src="data:image/png;base64,{data}" alt="{escape(caption)}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _provenance(recipe_text: str, movie: xarray.Dataset, sources: xarray.Dataset, software: Mapping[str, str]) -> str:
    rows = [("fingerprint of the movie", movie.attrs["fingerprint"]), ("of the sources", sources.attrs["fingerprint"])]
    rows += sorted(software.items())
    return (
        f'<section id="provenance">\n<h2>Provenance</h2>\n{_table(("what", "version"), rows)}\n'
        f"<details><summary>The recipe</summary><pre>{escape(recipe_text)}</pre></details>\n</section>"
    )

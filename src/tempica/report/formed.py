"""What a structure makes of a scanning probe's movie: distances of domains, the tip, and what is left unexplained."""

from __future__ import annotations

from functools import partial
from html import escape

import numpy as np
import xarray
from markupsafe import Markup
from matplotlib.figure import Figure

from tempica.report import templating
from tempica.report.embedded import WIDE, figure_block, responsive
from tempica.report.film_figures import MOST_TRACKS, colour, flat_rows

NOISY = 1.2  # residual variance beyond which structure and tip do not explain a crop


def section(movie: xarray.Dataset, latents: xarray.Dataset) -> Markup:
    """The section of a run whose crops a structure explains.

    Parameters:
        movie: a store of crops.
        latents: of kind "form_latents".
    """
    about, left = latents.attrs, latents["residual_variance"].values
    distance, deviation = (latents[name].values.reshape(-1, len(about["pairs"])) for name in _OF_PAIRS)
    rows = [
        [
            (name, ""),
            (f"{each.mean():.2f}", "n"),
            (f"{each.std():.2f}", "n"),
            (f"{each.min():.2f} to {each.max():.2f}", "n"),
            (f"{np.median(spread):.2f}", "n"),
        ]
        for name, each, spread in zip(about["pairs"], distance.T, deviation.T, strict=True)
    ]
    heads = [("Distance (nm)", ""), *((name, "n") for name in ("mean", "deviation", "range", "error of a frame"))]
    turned = (
        "Frames are taken upside down: read as they are, they show the mirror image of the structure"
        if about["mirrored"]
        else "Frames are the right way round"
    )
    told = (
        f"{turned} ({about['noise_nm']:.2g} nm are left unexplained in a pixel, {about['other_hand_nm']:.2g} nm the"
        f" other way). The tip's end has a radius of {about['tip_radius_nm']:.2g} nm."
        f" {100 * float((left > NOISY).mean()):.0f} % of crops leave more than {NOISY:g} times the noise's variance."
        " Errors are those of the posterior, if the structure, its elastic network and the cone of the tip are right."
    )
    caption = "Between the centroids of domains, crop by crop. Deviation: of crops, the error of a frame included."
    return templating.section(
        "structure",
        "By the structure",
        [
            Markup("<p>{}</p>").format(told),
            templating.fill("table.html", heads=heads, rows=rows, caption=caption, label="Distances"),
            _figure(
                partial(in_time, movie, latents), "Distances in time, by track; bands are one posterior deviation."
            ),
        ],
    )


_OF_PAIRS = ("distance", "distance_deviation")


def in_time(movie: xarray.Dataset, latents: xarray.Dataset, width: float = WIDE) -> Figure:
    """Distances (nm) of each track over time, with their deviations; lines break where frames are missing."""
    names = latents.attrs["pairs"]
    distance, deviation = (latents[name].values.reshape(-1, len(names)) for name in _OF_PAIRS)
    _, track, frame = flat_rows(movie)
    seconds, stretch = movie["frame_time"].values.reshape(-1), movie["molecule"].values.reshape(-1)
    figure = Figure(figsize=(width, 1.5 * len(names) + 0.3), layout="constrained")
    for k, name in enumerate(names):
        axes = figure.add_subplot(len(names), 1, k + 1)
        for number in np.unique(track)[:MOST_TRACKS].tolist():
            for each in np.unique(stretch[track == number]).tolist():
                rows = np.flatnonzero((track == number) & (stretch == each))
                rows = rows[np.argsort(frame[rows])]
                middle, wide = distance[rows, k], deviation[rows, k]
                axes.fill_between(seconds[rows], middle - wide, middle + wide, color=colour(number), alpha=0.2, lw=0)
                axes.plot(seconds[rows], middle, color=colour(number), linewidth=0.9, marker=".", markersize=2)
        axes.set_ylabel("nm")
        axes.set_title(name, fontsize=8)
    axes.set_xlabel("time (s)")
    return figure


def _figure(draw: partial[Figure], caption: str) -> Markup:
    return figure_block([responsive(draw, caption)], escape(caption), label=caption)

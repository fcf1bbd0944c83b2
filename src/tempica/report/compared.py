"""Sections that lay the recovered beside the true: over time, frame by frame, component by component."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from tempica.recipe.experiment import Recipe
from tempica.report import figures, templating, words
from tempica.report.embedded import figure_block, image, responsive
from tempica.report.recovered import Recovery, Truth

if TYPE_CHECKING:
    import xarray


def traces(
    recipe: Recipe,
    trajectory: xarray.Dataset,
    truth: Sequence[Truth],
    found: Sequence[Recovery],
    held_out: np.ndarray,
    learned: Sequence[str],
) -> Markup | str:
    """Sources of every method over time, those of the first unfolded."""
    if not len(held_out) or not found:
        return ""
    replica = int(held_out[0])
    name = int(trajectory["replica"].values[replica])
    time = trajectory["time"].values[: recipe.report.n_trace_frames]
    blocks = []
    for title in learned:
        own = [r for r in found if r.method == title]
        if not own:
            continue
        variables = words.enumeration([t.name for t in truth])
        caption = (
            f"<b>{escape(title)}</b>, held-out replica {name}, first {len(time)} frames. Components have neither unit"
            " nor sign: each is matched, sign-aligned and linearly scaled to the truth by least squares on the"
            " training replicas, so nothing is fitted to what is shown here. |ρ| is that of all held-out replicas."
            f" {_of_bands(own)}"
        )
        alt = f"{title}: {variables} over time, true and recovered, in held-out replica {name}."
        drawn = responsive(partial(figures.traces, truth, own, replica, time, learned), alt)
        blocks.append(figure_block([drawn], caption, label=f"{title} over time"))
    return _folding("over-time", "True and recovered sources over time", blocks, "Other methods over time")


def _of_bands(own: Sequence[Recovery]) -> str:
    """What bands hold, of the last stage of a method."""
    last = [r for r in own if r.stage == own[-1].stage and r.band is not None]
    if not last:
        return ""
    told = "; ".join(
        f"{escape(r.name)} {100 * r.band['coverage']:.0f} % ({100 * r.band['coverage_posterior']:.0f} % before"
        f" widening by {r.band['factor']:.2f})"
        for r in last
        if r.band is not None
    )
    return (
        "Bands are ±2 posterior standard deviations, widened by one factor a variable that makes them hold 95 % of the"
        " true values on training and validation replicas: the posterior leaves out what the straight line from source"
        f" to variable does not tell. Held-out frames within them: {told}."
    )


def correlations(matrices: Sequence[dict[str, Any]], learned: Sequence[str]) -> Markup:
    """Matrices of components and variables; those of the first method, last stage, unfolded."""
    tiles = []
    stages = {entry["method"]: entry["stage"] for entry in matrices}
    place = {name: k for k, name in enumerate(learned)}
    for entry in sorted(
        matrices, key=lambda m: (place.get(m["method"], len(place)), m["stage"] != stages[m["method"]])
    ):
        name = words.series_name(entry["method"], entry["stage"], learned)
        pairs = zip(entry["collective_variables"], entry["assignment"], strict=True)
        told = "; ".join(f"{cv} with component {i + 1}" if i >= 0 else f"{cv} with none" for cv, i in pairs)
        drawn = image(figures.heat_map(entry), f"Correlation matrix of {name}. Matched: {told}.")
        tiles.append(tile(name, drawn))
    caption = (
        "<b>Spearman correlation</b> of every component (row) with every collective variable (column) on held-out"
        " replicas; red positive, blue negative. Outlined: the pairs matched on the training replicas. Large numbers"
        " outside the outlines are leakage between sources."
    )
    blocks = [figure_block(tiles[:1], caption, layout="tiles")] if tiles else []
    rest = [figure_block(tiles[1:], "<b>The same</b> of the other methods and stages.", layout="tiles")]
    blocks += rest if len(tiles) > 1 else []
    return _folding("components", "Which component is which variable", blocks, "Other methods and stages")


def scatters(
    truth: Sequence[Truth], found: Sequence[Recovery], held_out: np.ndarray, learned: Sequence[str]
) -> Markup | str:
    """Recovered against true, a figure a method; that of the first unfolded."""
    blocks = []
    for title in learned:
        tiles = []
        for recovery in (r for r in found if r.method == title):
            true = truth[recovery.variable]
            label = f"{words.series_name(recovery.method, recovery.stage, learned)}: {true.name}"
            alt = f"Scatter of recovered against true {label}, |ρ| = {words.number(recovery.correlation, 2)}."
            tiles.append(image(figures.scatter(true, recovery, held_out, learned), alt))
        caption = f"<b>{escape(title)}</b>, frames of all held-out replicas, scaled as above; gray: the diagonal."
        if tiles:
            blocks.append(figure_block(tiles, caption, layout="tiles"))
    return _folding("scatter", "Recovered against true", blocks, "Other methods") if blocks else ""


def _folding(name: str, title: str, blocks: Sequence[str], folded_title: str) -> Markup:
    return templating.section(name, title, blocks[:1], folded=blocks[1:], folded_title=folded_title)


def tile(name: str, content: str) -> Markup:
    """A figure with a heading, one of several side by side."""
    return Markup('<div class="tile"><h3>{}</h3>{}</div>').format(name, Markup(content))

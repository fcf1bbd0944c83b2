"""Figures of the report, each a matplotlib Figure without global state; sizes in inches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from tempica.report.embedded import WIDE
from tempica.report.frames import Example
from tempica.report.recovered import Recovery, Truth, as_matrix
from tempica.report.words import number, series_name, shortened

INK, MUTED = "#222222", "#6b6b6b"
# Okabe & Ito's palette, safe for colour-blind readers; black is the truth's, grey the baselines'
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BASELINE = "#8a8a8a"
ON_DARK, ON_LIGHT = "#fefefe", "#232323"  # on images and coloured fields, whatever the reader's scheme
MOST_POINTS = 500  # of a scatter panel


def colour(method: str, learned: Sequence[str]) -> str:
    """One colour a method throughout the page."""
    return PALETTE[list(learned).index(method) % len(PALETTE)] if method in learned else BASELINE


def score_chart(rows: Sequence[dict[str, Any]], learned: Sequence[str], width: float = WIDE) -> Figure:
    """Score and interval of each row, with its null and ceiling; names above the bars where there is little room."""
    narrow = width < WIDE
    figure = Figure(figsize=(width, 0.75 + (0.55 if narrow else 0.34) * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    half = 0.2 if narrow else 0.31
    for y, row in enumerate(rows):
        _score(axes, y, row, colour(row["method"], learned), half)
    names = [f"{series_name(r['method'], r['stage'], learned)}\u2003{number(r['value'], 2)}" for r in rows]
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6 - 0.2 * narrow), xlabel="MCC on held-out replicas")
    if narrow:
        axes.set_yticks([])
        for y, name in enumerate(names):
            axes.text(0, y - 0.26, name, color=INK, va="bottom")
    else:
        axes.set_yticks(range(len(rows)), names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#e6e6e6", lw=0.6)
    axes.set_axisbelow(True)
    return figure


def _score(axes: Axes, y: float, row: dict[str, Any], paint: str, half: float) -> None:
    """One row of the chart, `half` its half height."""
    low, high = row["interval"]
    if row["rotation_null_95"] is not None:
        axes.barh(y, row["rotation_null_95"], height=2 * half, color="white", ec="#d4d4d4", lw=0.8, zorder=0.5)
        axes.plot([row["rotation_null"]] * 2, [y - half, y + half], color="#d4d4d4", lw=1.2, zorder=0.6)
    axes.barh(y, row["null_95"], height=2 * half, color="#eeeeee", zorder=1)
    axes.plot([row["null"]] * 2, [y - half, y + half], color="#b0b0b0", lw=1.2, zorder=2)
    for name, dashes in (("ceiling", (2, 1.5)), ("ceiling_temporal", (0.8, 1.2))):
        if row[name] is not None:
            reach = 1.3 * half
            axes.plot([row[name]] * 2, [y - reach, y + reach], color=INK, lw=1, ls=(0, dashes), zorder=2)
    axes.plot([low, high], [y, y], color=paint, lw=2, solid_capstyle="butt", zorder=3)
    fill = paint if row["stage"] == "smoothed" else "white"
    axes.plot(row["value"], y, "o", ms=7, mfc=fill, mec=paint, mew=1.6, zorder=4)


def example_frames(examples: Sequence[Example], pixel_A: float | None, width: float = WIDE) -> Figure:
    """Noise-free images above recorded ones, in bands that fit the width; one gray scale for each kind.

    Without a `pixel_A` there is no scale bar.
    """
    columns = 6 if width >= WIDE else 3
    bands = math.ceil(len(examples) / columns)
    columns = math.ceil(len(examples) / bands)
    left, title, gap = 0.3, 0.3, 0.05
    side = min(1.7, (width - left) / columns - gap)
    width, height = left + columns * (side + gap), bands * (title + 2 * (side + gap))
    figure = Figure(figsize=(width, height))
    clean, noisy = (np.array([getattr(e, kind) for e in examples]) for kind in ("clean", "noisy"))
    limits = (float(clean.min()), float(clean.max())), tuple(np.percentile(noisy, [0.5, 99.5]).tolist())
    for i, example in enumerate(examples):
        band, column = divmod(i, columns)
        for kind, image in enumerate((example.clean, example.noisy)):
            x = left + column * (side + gap)
            y = height - band * (title + 2 * (side + gap)) - title - side - kind * (side + gap)
            axes = _placed(figure, x, y, side, side)
            axes.set_axis_off()
            low, high = limits[kind]
            axes.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower", aspect="auto")
            if column == 0:
                name = ("noise-free", "recorded")[kind]
                axes.text(-0.05, 0.5, name, transform=axes.transAxes, rotation=90, ha="right", va="center", color=INK)
            if kind == 0:
                axes.set_title(f"replica {example.replica}, frame {example.frame}", color=MUTED, size=8, pad=3)
            if i == kind == 0 and pixel_A is not None:
                _scale_bar(axes, image.shape[1], pixel_A)
    return figure


def traces(
    truth: Sequence[Truth],
    found: Sequence[Recovery],
    replica: int,
    time: np.ndarray,
    learned: Sequence[str],
    width: float = WIDE,
) -> Figure:
    """True and recovered collective variables of one method over time (ps), one panel each."""
    scale, unit = (1e-3, "ns") if time[-1] - time[0] >= 2000 else (1.0, "ps")
    t = scale * (time - time[0])
    narrow = width < WIDE
    figure = Figure(figsize=(width, 0.75 + 1.75 * len(truth) + 0.6 * narrow), layout="constrained")
    panels = figure.subplots(len(truth), 1, sharex=True, squeeze=False)[:, 0]
    paint = colour(found[0].method, learned)
    for j, (axes, true) in enumerate(zip(panels, truth, strict=True)):
        shown = true.value[replica, : len(t)]
        axes.plot(t, shown, color=INK, lw=1.0, zorder=3)
        matched = [r for r in found if r.variable == j and r.found]
        for recovery in matched:
            value = recovery.value[replica, : len(t)]
            if recovery is not matched[-1]:
                axes.plot(t, value, ".", color=paint, alpha=0.5, ms=3.6, mew=0, zorder=2)
                continue
            band = 2 * recovery.deviation[replica, : len(t)]
            axes.fill_between(t, value - band, value + band, color=paint, alpha=0.2, lw=0, zorder=1)
            axes.plot(t, value, color=paint, lw=1.4, zorder=4)
        low, high = (np.nanmin(shown), np.nanmax(shown)) if np.isfinite(shown).any() else (0.0, 1.0)
        room = 0.25 * ((high - low) or 1.0)
        axes.set(ylim=(low - room, high + room), ylabel=f"{shortened(true.name, 16)} ({true.unit})", xlim=(t[0], t[-1]))
        note = f"|ρ| = {number(matched[-1].correlation, 2)}" if matched else "no component matched"
        axes.annotate(note, (1, 1), xycoords="axes fraction", ha="right", va="bottom", color=MUTED)
    panels[-1].set_xlabel(f"time ({unit})")
    stages = list(dict.fromkeys(r.stage for r in found))
    keys: list[Any] = [Line2D([], [], color=INK, lw=1.2, label="truth")]
    keys += [Line2D([], [], color=paint, ls="", marker=".", alpha=0.5, label=stage) for stage in stages[:-1]]
    keys += [Line2D([], [], color=paint, lw=1.6, label=stages[-1])]
    if any(np.isfinite(r.deviation[replica]).any() for r in found if r.stage == stages[-1]):
        keys += [Patch(color=paint, alpha=0.2, lw=0, label="±2 standard deviations")]
    panels[0].legend(
        handles=keys, loc="lower left", bbox_to_anchor=(-0.01, 1.08 if narrow else 0.98), ncols=2 if narrow else 4
    )
    return figure


def heat_map(entry: dict[str, Any]) -> Figure:
    """Correlations of components (rows) and collective variables (columns); matched pairs outlined."""
    matrix, names = as_matrix(entry), entry["collective_variables"]
    left, top, width, height = 0.5, 0.27, 0.75 * len(names), 0.42 * max(len(matrix), 1)
    figure = Figure(figsize=(left + width + 0.02, top + height + 0.02))
    axes = _placed(figure, left, 0.02, width, height)
    axes.imshow(matrix, cmap="RdBu_r", vmin=-1.4, vmax=1.4, aspect="auto")  # beyond ±1, so that outlines stand out
    for i, j in np.ndindex(matrix.shape):
        dark = abs(matrix[i, j]) > 0.85
        axes.text(j, i, number(float(matrix[i, j]), 2), ha="center", va="center", color=ON_DARK if dark else ON_LIGHT)
    for j, i in enumerate(entry["assignment"]):
        if i >= 0:
            axes.add_patch(Rectangle((j - 0.46, i - 0.44), 0.92, 0.88, fill=False, ec=ON_LIGHT, lw=1.8))
    axes.set_xticks(range(len(names)), [shortened(name, 10) for name in names])
    axes.set_yticks(range(len(matrix)), [str(i + 1) for i in range(len(matrix))])
    axes.set_ylabel("component")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def scatter(truth: Truth, recovery: Recovery, replicas: np.ndarray, learned: Sequence[str]) -> Figure:
    """Recovered against true value, frame by frame, on the replicas given by position."""
    figure = Figure(figsize=(2.2, 2.24))
    axes = _placed(figure, 0.52, 0.44, 1.54, 1.54)
    x, y = truth.value[replicas].ravel(), recovery.value[replicas].ravel()
    both = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    both = both[:: -(-len(both) // MOST_POINTS) or 1]
    axes.set_title(f"{shortened(recovery.method, 14)}, {recovery.stage}", size=8.5, color=INK)
    axes.set(xlabel=f"true {shortened(truth.name, 14)} ({truth.unit})", ylabel=f"recovered ({truth.unit})")
    if len(both):
        low, high = np.percentile(x[both], [0.2, 99.8])
        room = 0.15 * ((high - low) or 1.0)
        axes.plot([low - room, high + room], [low - room, high + room], color="#b0b0b0", lw=0.8, zorder=1)
        axes.plot(x[both], y[both], ".", ms=3, mew=0, color=colour(recovery.method, learned), alpha=0.55)
        axes.set(xlim=(low - room, high + room), ylim=(low - room, high + room))
        note = f"|ρ| = {number(recovery.correlation, 2)}"
    else:
        note = "no component matched"
        axes.set(xticks=[], yticks=[])
    axes.annotate(note, (0.04, 0.96), xycoords="axes fraction", va="top", color=INK)
    return figure


def _placed(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches; much faster than a layout engine."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _scale_bar(axes: Axes, n_pixels: int, pixel_A: float) -> None:
    """A bar of a round length near a third of the image's edge."""
    third = n_pixels * pixel_A / 3
    decade = 10.0 ** math.floor(math.log10(third))
    length_A = max(step * decade for step in (1, 2, 5) if step * decade <= third)
    x, y = 0.06 * n_pixels, 0.07 * n_pixels
    axes.plot([x, x + length_A / pixel_A], [y, y], color=ON_DARK, lw=2.2, solid_capstyle="butt")
    label = f"{length_A / 10:g} nm"
    axes.text(x, y + 0.03 * n_pixels, label, color=ON_DARK, va="bottom", ha="left", size=7.5)

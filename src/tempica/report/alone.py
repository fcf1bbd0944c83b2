"""Figures of sources without a truth: over time, distributions, memory, and their free-energy surface."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from tempica.report.dynamics import autocorrelation
from tempica.report.embedded import WIDE, figure_block, responsive
from tempica.report.figures import PALETTE
from tempica.report.templating import fill
from tempica.report.words import number

MOST_SOURCES = 6
N_STEPS = 5  # parts of a source's values, of which images are averaged
MOST_FRAMES = 600  # of a trace
MOST_BINS = 40  # of the surface, an axis
FRAMES_A_BIN = 8  # on average, unless there are few frames
LEAST_FRAMES = 50
HIGHEST = 6.0  # kT shown; rarer places are left blank


def sources(values: np.ndarray, molecule: np.ndarray | None, interval: float, unit: str, title: str) -> Markup:
    """Traces, histograms and autocorrelations of sources (replica, time, component) with molecules (replica, time).

    `molecule` is None where frames have no order in time; `interval` is between frames, in `unit`.
    """
    shown = min(values.shape[-1], MOST_SOURCES)
    drawn = responsive(
        partial(draw, values[..., :shown], molecule, interval, unit), f"{title}: {shown} sources over time."
    )
    caption = (
        f"<b>{Markup.escape(title)}</b>: "
        + ("the first molecule's frames, " if molecule is not None else "")
        + "distribution over all frames"
        + (", and autocorrelation over lags. " if molecule is not None else ". ")
        + "Sources have neither unit nor sign. "
        + "; ".join(_time_of(values[..., k], molecule, interval, unit, k) for k in range(shown) if molecule is not None)
    )
    return figure_block([drawn], caption, label=f"{title}: sources")


def draw(values: np.ndarray, molecule: np.ndarray | None, interval: float, unit: str, width: float = WIDE) -> Figure:
    """A row a source: trace, histogram, autocorrelation; a trace is left out where there is little room."""
    n = values.shape[-1]
    kinds = ["histogram"] if molecule is None else ["trace", "histogram", "memory"]
    if width < WIDE:
        kinds = [kind for kind in kinds if kind != "trace"] or kinds
    ratios = [3.0 if kind == "trace" else 1.3 for kind in kinds]
    figure = Figure(figsize=(width, 0.3 + 1.4 * n), layout="constrained")
    panels = figure.subplots(n, len(kinds), squeeze=False, width_ratios=ratios)
    for k, row in enumerate(panels):
        value, paint = values[..., k], PALETTE[k % len(PALETTE)]
        row[0].set_ylabel(f"source {k + 1}")
        for axes, kind in zip(row, kinds, strict=True):
            if kind == "trace":
                axes.plot(interval * np.arange(value.shape[1])[:MOST_FRAMES], value[0, :MOST_FRAMES], color=paint)
                axes.set_xlabel(f"time ({unit})")
            elif kind == "histogram":
                axes.hist(value[np.isfinite(value)], bins=40, color="#b0b0b0")
                axes.set_yticks([])
            elif molecule is not None:
                memory = autocorrelation(value, molecule)
                axes.plot(interval * np.arange(len(memory)), memory, color=paint)
                axes.set(xlabel=f"lag ({unit})", ylim=(None, 1.05))
    return figure


def surface(values: np.ndarray, title: str) -> Markup | str:
    """Free energy −ln p over the first two sources of (replica, time, component), in kT above the lowest place."""
    flat = values.reshape(-1, values.shape[-1])
    flat = flat[np.isfinite(flat).all(1)]
    if flat.shape[1] < 2 or len(flat) < LEAST_FRAMES or (np.ptp(flat[:, :2], axis=0) == 0).any():
        return ""
    energy, edges = free_energy(flat[:, :2])
    lowest = np.unravel_index(int(np.nanargmin(energy)), energy.shape)
    at = [0.5 * (edge[k] + edge[k + 1]) for edge, k in zip(edges, lowest, strict=True)]
    alt = f"Free-energy surface of sources 1 and 2 of {title}; lowest at {number(at[0], 2)}, {number(at[1], 2)}."
    caption = (
        f"<b>Free energy</b> −ln p of sources 1 and 2 ({Markup.escape(title)}), in kT above the lowest place, up to"
        f" {HIGHEST:g} kT. Noise of the sources widens it."
    )
    return figure_block([responsive(partial(draw_surface, energy, edges), alt)], caption, label="Free energy")


def free_energy(pair: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """−ln p (x, y) of frames (frame, 2) in kT above the lowest, NaN where there are none, and the edges of bins."""
    n_bins = int(np.clip(np.sqrt(len(pair) / FRAMES_A_BIN), 6, MOST_BINS))
    grid = [np.linspace(*np.percentile(column, [0.1, 99.9]), n_bins + 1) for column in pair.T]  # type: ignore[call-overload]
    count, *edges = np.histogram2d(pair[:, 0], pair[:, 1], bins=grid)
    with np.errstate(divide="ignore"):
        energy = -np.log(count / count.sum())
    energy -= energy.min()
    return np.where(energy <= HIGHEST, energy, np.nan), edges


def draw_surface(energy: np.ndarray, edges: Sequence[np.ndarray], width: float = WIDE) -> Figure:
    """The surface as a map with its scale."""
    figure = Figure(figsize=(min(width, 5.0), 3.4), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.pcolormesh(edges[0], edges[1], energy.T, cmap="viridis", vmin=0, vmax=HIGHEST, rasterized=True)
    figure.colorbar(drawn, ax=axes, label="kT")
    axes.set(xlabel="source 1", ylabel="source 2")
    return figure


def fifths(flat: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Means (5, y, x) of images (frame, y, x) in the fifths of a value (frame,)."""
    order = np.argsort(np.where(np.isfinite(value), value, np.inf), kind="stable")[: int(np.isfinite(value).sum())]
    return np.array([flat[part].mean(0) for part in np.array_split(order, N_STEPS)])


def lag_scan(audit: dict[str, object]) -> Markup | str:
    """What pairs of frames tell of the sources, lag by lag, from the audit's test of lags."""
    tests = {test["name"]: test for test in audit["tests"]}  # type: ignore[index, attr-defined]
    if "lags" not in tests:
        return ""
    details = tests["lags"]["details"]
    rows = [
        [(str(lag), ""), (number(told, 3), "n"), (number(apart, 1), "n")]
        for lag, told, apart in zip(details["lags"], details["information"], details["apart"], strict=True)
    ]
    heads = [("Lag (frames)", ""), ("Nats a pair tells", "n"), ("Closest autocorrelations apart (SE)", "n")]
    return fill("table.html", heads=heads, rows=rows, caption=tests["lags"]["sentence"], label="Scan of lags")


def _time_of(value: np.ndarray, molecule: np.ndarray | None, interval: float, unit: str, k: int) -> str:
    """The timescale −lag / ln ρ at one frame of source k."""
    assert molecule is not None
    memory = autocorrelation(value, molecule)
    if len(memory) < 2 or not 0 < memory[1] < 1:
        return f"source {k + 1} has no memory beyond a frame"
    return f"source {k + 1} forgets in {-interval / np.log(memory[1]):.3g} {unit} (at one frame)"

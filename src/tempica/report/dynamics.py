"""The section on distributions and memory: of true variables and of what was recovered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from tempica.report import templating
from tempica.report.embedded import WIDE, figure_block, responsive
from tempica.report.figures import INK, colour
from tempica.report.recovered import Recovery, Truth
from tempica.report.words import number, shortened

N_BINS = 40
MOST_LAGS = 60


def section(
    truth: Sequence[Truth],
    found: Sequence[Recovery],
    held_out: np.ndarray,
    molecule: np.ndarray | None,
    interval_ps: float,
    learned: Sequence[str],
) -> Markup | str:
    """Histograms and autocorrelations on held-out replicas, last stage of each method; the first unfolded.

    Parameters:
        molecule: (replica, time) numbers; None where each frame is one molecule, which has no memory to show.
        interval_ps: between frames.
    """
    if not len(held_out) or not found:
        return ""
    blocks = []
    for title in learned:
        own = [r for r in found if r.method == title]
        last = [r for r in own if r.stage == own[-1].stage and r.found]
        if not last:
            continue
        drawn = partial(draw, truth, last, held_out, molecule, interval_ps, learned)
        told = "; ".join(_told(truth[r.variable], r, held_out, molecule, interval_ps) for r in last)
        caption = (
            f"<b>{escape(title)}, {last[0].stage}</b>, held-out replicas, scaled as above: in colour what was"
            f" recovered, the other line the truth. {escape(told)}."
        )
        alt = f"{title}: distributions and autocorrelations, true and recovered. {told}."
        blocks.append(figure_block([responsive(drawn, alt)], caption, label=f"{title}: distributions and memory"))
    return templating.section(
        "memory",
        "Distributions and memory",
        blocks[:1],
        folded=blocks[1:],
        folded_title="Other methods",
    )


def draw(
    truth: Sequence[Truth],
    last: Sequence[Recovery],
    held_out: np.ndarray,
    molecule: np.ndarray | None,
    interval_ps: float,
    learned: Sequence[str],
    width: float = WIDE,
) -> Figure:
    """A row a variable: histogram, and autocorrelation where there is one."""
    columns = 1 if molecule is None else 2
    figure = Figure(figsize=(width, 0.3 + 1.5 * len(last)), layout="constrained")
    panels = figure.subplots(len(last), columns, squeeze=False)
    for row, recovery in zip(panels, last, strict=True):
        true, paint = truth[recovery.variable], colour(recovery.method, learned)
        x, y = true.value[held_out], recovery.value[held_out]
        both = np.concatenate([v[np.isfinite(v)] for v in (x, y)])
        low, high = (float(end) for end in np.percentile(both, [0.1, 99.9]))
        edges: Any = np.linspace(low, high, N_BINS + 1) if high > low else N_BINS
        row[0].hist(x.ravel(), bins=edges, density=True, histtype="step", color=INK, lw=1.2)
        row[0].hist(y[np.isfinite(y)], bins=edges, density=True, histtype="step", color=paint, lw=1.4)
        row[0].set(yticks=[], xlabel=f"{shortened(true.name, 16)} ({true.unit})")
        if molecule is not None:
            for value, shade in ((x, INK), (y, paint)):
                memory = autocorrelation(value, molecule[held_out])
                row[1].plot(1e-3 * interval_ps * np.arange(len(memory)), memory, color=shade, lw=1.4)
            row[1].axhline(0, color="#b0b0b0", lw=0.6)
            row[1].set(xlabel="lag (ns)", ylim=(None, 1.05), ylabel="autocorrelation" if width >= WIDE else "")
    return figure


def autocorrelation(value: np.ndarray, molecule: np.ndarray, most: int = MOST_LAGS) -> np.ndarray:
    """Autocorrelation (lag,) of (replica, time), pairs of one molecule alone, about the mean of all frames.

    Up to `most` lags, or a third of a replica.

    Example:
        >>> x = np.sin(np.arange(400) * np.pi / 10)[None]
        >>> autocorrelation(x, np.zeros((1, 400)))[[0, 10, 20]].round(1).tolist()
        [1.0, -1.0, 1.0]
    """
    z = value - np.nanmean(value)
    total = np.nanmean(z**2)
    found = [1.0]
    for lag in range(1, min(most, value.shape[1] // 3) + 1):
        pair = (molecule[:, lag:] == molecule[:, :-lag]) & np.isfinite(z[:, lag:]) & np.isfinite(z[:, :-lag])
        if not pair.any() or total == 0:
            break
        found.append(float((z[:, lag:] * z[:, :-lag])[pair].mean() / total))
    return np.array(found)


def _told(
    true: Truth, recovery: Recovery, held_out: np.ndarray, molecule: np.ndarray | None, interval_ps: float
) -> str:
    """Standard deviations and times to 1/e, true and recovered."""
    x, y = true.value[held_out], recovery.value[held_out]
    told = f"{true.name}: standard deviation {number(float(np.nanstd(x)), 1)} and {number(float(np.nanstd(y)), 1)}"
    told += f" {true.unit}"
    if molecule is not None:
        times = [_decay(autocorrelation(v, molecule[held_out]), interval_ps) for v in (x, y)]
        told += f", autocorrelation at 1/e after {times[0]} and {times[1]}"
    return told


def _decay(memory: np.ndarray, interval_ps: float) -> str:
    """When an autocorrelation falls below 1/e, interpolated."""
    below = np.flatnonzero(memory < np.exp(-1))
    if not len(below):
        return f"more than {1e-3 * interval_ps * (len(memory) - 1):.3g} ns"
    k = int(below[0])
    part = (memory[k - 1] - np.exp(-1)) / (memory[k - 1] - memory[k])
    return f"{1e-3 * interval_ps * (k - 1 + part):.3g} ns"

"""The section on how the methods were trained, from what they say of their fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from tempica.report import templating
from tempica.report.embedded import WIDE, figure_block, responsive
from tempica.report.figures import INK, PALETTE
from tempica.report.templating import fill
from tempica.report.words import enumeration, number

HEADS = [
    ("Method", ""),
    ("Kept", ""),
    ("Held-out loss", ""),
    ("Second stage", ""),
    ("Restarts agree", ""),
    ("Left open", ""),
]
CAPTION = (
    "Held-out loss (nats): of each model that was tried, the kept one first; a richer model is kept only where it gains"
    " more than its standard error. Restarts agree: absolute correlation of each source with that of the next best"
    " restart. Left open: what the method says from the data alone."
)


def section(methods: Sequence[Mapping[str, Any]]) -> Markup | str:
    """Choice of models, restarts and loss curves; nothing where no method says anything of its fit."""
    rows, curves = [], []
    for about in methods:
        fit = about.get("fit", {})
        if about["baseline"] or not (fit or about.get("model")):
            continue
        cells = _row(about, fit)
        if set(cells[1:]) == {"–"}:
            continue
        rows.append([(cell, "") for cell in cells])
        if fit.get("loss_curve"):
            curves.append((about["title"], np.array(fit["loss_curve"], dtype=np.float64)))
    if not rows:
        return ""
    parts = [fill("table.html", heads=HEADS, rows=rows, caption=CAPTION, label="How methods were trained")]
    folded = []
    for title, curve in curves:
        held = curve[:, 2]
        alt = f"{title}: training and held-out loss over steps; the held-out loss ends at {held[-1]:.3f} nats."
        caption = f"<b>{escape(title)}</b>: loss over steps, in colour on held-out pairs, the thin line in training."
        folded.append(figure_block([responsive(partial(loss_chart, curve), alt)], caption, label=f"{title}: loss"))
    return templating.section(
        "training",
        "How it was trained",
        parts,
        folded=folded,
        folded_title="Loss curves",
    )


def loss_chart(curve: np.ndarray, width: float = WIDE) -> Figure:
    """Loss over steps; rows of `curve` are step, training loss and held-out loss."""
    figure = Figure(figsize=(width, 2.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve[:, 0], curve[:, 1], color=INK, lw=0.8)
    axes.plot(curve[:, 0], curve[:, 2], color=PALETTE[0], lw=1.6)
    axes.set(xlabel="step", ylabel="loss (nats)")
    return figure


def _row(about: Mapping[str, Any], fit: Mapping[str, Any]) -> tuple[str, ...]:
    losses = fit.get("candidates") or {}
    order = sorted(losses, key=lambda name: name != about.get("model"))
    told = "; ".join(f"{name} {number(losses[name])}" for name in order)
    stages = fit.get("second_stage_loss") or {}
    second = about.get("second_stage", "–")
    if len(stages) > 1:
        second += f" ({'; '.join(f'{name} {number(loss)}' for name, loss in stages.items())})"
    stable = [value for value in fit.get("stability") or () if value is not None]
    left = about.get("ambiguity", "–")
    if fit.get("subspaces"):
        left += ": components " + enumeration([" with ".join(str(i + 1) for i in s) for s in fit["subspaces"]])
    return (
        about["title"],
        about.get("model", "–"),
        told or "–",
        second,
        ", ".join(number(value, 2) for value in stable) or "–",
        left,
    )

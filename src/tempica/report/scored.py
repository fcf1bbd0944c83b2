"""The section on scores: a chart of what decides, and the whole table, folded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from markupsafe import Markup

from tempica.report import figures, templating, words
from tempica.report.embedded import figure_block, responsive
from tempica.report.table import score_table

CAPTION = (
    "<b>Scores at a glance.</b> Circles: MCC (Spearman) with its 95 % interval; filled where smoothed in time. Gray"
    " bars: the null, up to its 95th percentile, with its mean as a tick. Outlined: the same for random rotations of"
    " the recovered subspace. Dashed: the single-frame ceiling; dotted: the temporal one. Baselines in gray."
)


def section(rows: Sequence[dict[str, Any]], learned: Sequence[str]) -> Markup:
    """Held-out scores, from their rows in scores.json, by the titles of methods."""
    shown = [row for row in rows if row["metric"] == "mcc_spearman"]
    shown.sort(key=lambda row: row["method"] in learned)
    parts = []
    if shown:
        told = "; ".join(f"{words.series_name(r['method'], r['stage'], learned)} {r['value']:.2f}" for r in shown)
        chart = responsive(partial(figures.score_chart, shown, learned), f"Chart of the scores: {told}.")
        parts.append(figure_block([chart], CAPTION, label="Chart of the scores"))
    return templating.section(
        "scores",
        "Scores on held-out replicas",
        parts,
        folded=[score_table(rows, learned)] if rows else [],
        folded_title="All scores as a table, with nulls, R² and shares of ceilings",
    )

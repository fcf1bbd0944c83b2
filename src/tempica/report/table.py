"""The table of scores."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from tempica.report.words import finds_axes, number

AXES = {True: "found", False: "not shown", None: "–"}
METRICS = {"mcc_spearman": "Spearman", "mcc_pearson": "Pearson"}
HEAD = (
    '<thead><tr><th scope="col">Method</th><th scope="col">Stage</th><th scope="col">Metric</th>'
    '<th scope="col" class="n">MCC</th><th scope="col">95 % interval</th><th scope="col" class="n">Null, mean</th>'
    '<th scope="col" class="n">Null, 95 %</th><th scope="col" class="n">Rotations, mean</th>'
    '<th scope="col" class="n">Rotations, 95 %</th><th scope="col">Axes</th><th scope="col" class="n">R²</th>'
    '<th scope="col" class="n">Aligned</th><th scope="col" class="n">Ceiling</th>'
    '<th scope="col" class="n">Temporal</th><th scope="col" class="n">MCC / ceiling</th></tr></thead>'
)


def score_table(rows: Sequence[dict[str, Any]], learned: Sequence[str]) -> str:
    """Every row, baselines first and apart; the best of each metric in bold."""
    best = {
        metric: max(row["value"] for row in rows if row["metric"] == metric) for metric in {r["metric"] for r in rows}
    }
    groups = (
        ("Baselines, which unmix nothing", [r for r in rows if r["method"] not in learned]),
        ("Learned", sorted((r for r in rows if r["method"] in learned), key=lambda r: learned.index(r["method"]))),
    )
    bodies = []
    for title, members in groups:
        lines, before = [], None
        for row in members:
            lines.append(_line(row, learned, best, new=row["method"] != before))
            before = row["method"]
        if lines:
            heading = f'<tr><th scope="rowgroup" colspan="15">{title}</th></tr>'
            bodies.append(f'<tbody class="group">\n{heading}\n' + "\n".join(lines) + "\n</tbody>")
    caption = (
        "Bold: the highest of each metric. Rotations: the score of random rotations of the recovered subspace; axes"
        " count as found above the 95 % values of both this and the null. Aligned: after the best affine map. Ceiling:"
        " of estimates from single frames, and, temporal, from whole movies."
        " The ratio is to the one that applies: the temporal ceiling where sources are smoothed in time."
    )
    return (
        '<figure><div class="wide" tabindex="0"><table class="scores">\n'
        + "\n".join([HEAD, *bodies])
        + f"\n</table></div><figcaption>{caption}</figcaption></figure>"
    )


def _line(row: dict[str, Any], learned: Sequence[str], best: dict[str, float], *, new: bool) -> str:
    value = number(row["value"])
    if row["value"] == best[row["metric"]]:
        value = f"<strong>{value}</strong>"
    stage = row["stage"] if row["method"] in learned or row["stage"] != "unmixed" else "as is"
    low, high = row["interval"]
    ceiling = (row["ceiling_temporal"] if row["stage"] == "smoothed" else None) or row["ceiling"]
    share = row["value"] / ceiling if ceiling else None
    return (
        f"<tr{' class=' + chr(34) + 'rule' + chr(34) if new else ''}>"
        f'<th scope="row">{escape(row["method"])}</th><td>{escape(stage)}</td>'
        f"<td>{escape(METRICS.get(row['metric'], row['metric']))}</td>"
        f'<td class="n">{value}</td><td class="interval">{number(low)} to {number(high)}</td>'
        f'<td class="n">{number(row["null"])}</td><td class="n">{number(row["null_95"])}</td>'
        f'<td class="n">{number(row["rotation_null"])}</td><td class="n">{number(row["rotation_null_95"])}</td>'
        f"<td>{AXES[finds_axes(row)]}</td>"
        f'<td class="n">{number(row["r2"])}</td><td class="n">{number(row["aligned"])}</td>'
        f'<td class="n">{number(row["ceiling"])}</td><td class="n">{number(row["ceiling_temporal"])}</td>'
        f'<td class="n">{number(share, 2)}</td></tr>'
    )

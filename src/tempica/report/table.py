"""The table of scores."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from tempica.report.words import number
from tempica.stores.scores import axes_found

AXES = {True: "found", False: "not shown", None: "–"}
METRICS = {"mcc_spearman": "Spearman", "mcc_pearson": "Pearson"}
BOUNDS = {
    "ceiling": "single frames",
    "ceiling_temporal": "whole movies",
    "supervised_latents": "told, latents",
    "supervised_images": "told, images",
}
NUMERIC = ' class="n"'
_LEFT = {"95 % interval": "", "Axes": ""}
WORDS = ("Method", "Stage", "Metric")
NUMBERS = ("MCC", "95 % interval", "Null, 95 %", "Rotations, 95 %", "Axes", "R²", "Aligned")


def score_table(rows: Sequence[dict[str, Any]], learned: Sequence[str]) -> str:
    """Every row, baselines first and apart; the best of each metric in bold."""
    best = {
        metric: max(row["value"] for row in rows if row["metric"] == metric) for metric in {r["metric"] for r in rows}
    }
    bounds = [key for key in BOUNDS if any(row[key] is not None for row in rows)]
    groups = (
        ("Baselines, which unmix nothing", [r for r in rows if r["method"] not in learned]),
        ("Learned", sorted((r for r in rows if r["method"] in learned), key=lambda r: learned.index(r["method"]))),
    )
    bodies = []
    for title, members in groups:
        lines, before = [], None
        for row in members:
            lines.append(_line(row, learned, best, bounds, new=row["method"] != before))
            before = row["method"]
        if lines:
            width = len(WORDS) + len(NUMBERS) + len(bounds)
            heading = f'<tr><th scope="rowgroup" colspan="{width}">{title}</th></tr>'
            bodies.append(f'<tbody class="group">\n{heading}\n' + "\n".join(lines) + "\n</tbody>")
    values = {key: max(row[key] for row in rows if row[key] is not None) for key in bounds}
    told = ", ".join(f"{BOUNDS[key]} {number(value)}" for key, value in values.items())
    caption = (
        "Bold: the highest of each metric. Rotations: the score of random rotations of the recovered subspace; axes"
        " count as found above the 95 % values of both this and the null. Aligned: after the best affine map. Last"
        " columns: MCC as a share of what Bayes estimates reach from single frames and from whole movies, and of what"
        " a network reaches that is told the truth of the training replicas"
        + (f" (at the most {told})." if told else "; none could be computed.")
    )
    return (
        '<figure><div class="wide" tabindex="0"><table class="scores">\n'
        + "\n".join([_head(bounds), *bodies])
        + f"\n</table></div><figcaption>{caption}</figcaption></figure>"
    )


def _head(bounds: Sequence[str]) -> str:
    cells = [f'<th scope="col">{name}</th>' for name in WORDS]
    cells += [f'<th scope="col"{_LEFT.get(name, NUMERIC)}>{name}</th>' for name in NUMBERS]
    cells += [f'<th scope="col" class="n">of {BOUNDS[key]}</th>' for key in bounds]
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def share(row: dict[str, Any], bound: str) -> float | None:
    """A score as a share of a bound; None where there is none, or where chance reaches it."""
    reached = row[bound]
    return None if reached is None or reached <= row["null_95"] else row["value"] / reached


def _line(
    row: dict[str, Any], learned: Sequence[str], best: dict[str, float], bounds: Sequence[str], *, new: bool
) -> str:
    value = number(row["value"])
    if row["value"] == best[row["metric"]]:
        value = f"<strong>{value}</strong>"
    stage = row["stage"] if row["method"] in learned or row["stage"] != "unmixed" else "as is"
    low, high = row["interval"]
    shares = "".join(f'<td class="n">{number(share(row, key), 2)}</td>' for key in bounds)
    return (
        f"<tr{' class=' + chr(34) + 'rule' + chr(34) if new else ''}>"
        f'<th scope="row">{escape(row["method"])}</th><td>{escape(stage)}</td>'
        f"<td>{escape(METRICS.get(row['metric'], row['metric']))}</td>"
        f'<td class="n">{value}</td><td class="interval">{number(low)} to {number(high)}</td>'
        f'<td class="n">{number(row["null_95"])}</td><td class="n">{number(row["rotation_null_95"])}</td>'
        f"<td>{AXES[axes_found(row)]}</td>"
        f'<td class="n">{number(row["r2"])}</td><td class="n">{number(row["aligned"])}</td>{shares}</tr>'
    )

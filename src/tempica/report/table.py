"""The table of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from tempica.report.templating import fill
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
_LEFT = {"95 % interval", "Axes"}
WORDS = ("Method", "Stage", "Metric")
NUMBERS = ("MCC", "95 % interval", "Null, 95 %", "Rotations, 95 %", "Axes", "R²", "Aligned")


def score_table(rows: Sequence[dict[str, Any]], learned: Sequence[str]) -> Markup:
    """Every row, baselines first and apart; the best of each metric in bold."""
    best = {
        metric: max(row["value"] for row in rows if row["metric"] == metric) for metric in {r["metric"] for r in rows}
    }
    bounds = [key for key in BOUNDS if any(row[key] is not None for row in rows)]
    groups = (
        ("Baselines, which unmix nothing", [r for r in rows if r["method"] not in learned]),
        ("Learned", sorted((r for r in rows if r["method"] in learned), key=lambda r: learned.index(r["method"]))),
    )
    filled = []
    for title, members in groups:
        lines, before = [], None
        for row in members:
            lines.append(_line(row, learned, best, bounds, first=row["method"] != before))
            before = row["method"]
        if lines:
            filled.append((title, lines))
    heads = [(name, "") for name in WORDS] + [(name, "" if name in _LEFT else "n") for name in NUMBERS]
    heads += [(f"of {BOUNDS[key]}", "n") for key in bounds]
    return fill("scores.html", heads=heads, groups=filled, caption=_caption(rows, bounds))


def _caption(rows: Sequence[dict[str, Any]], bounds: Sequence[str]) -> str:
    values = {key: max(row[key] for row in rows if row[key] is not None) for key in bounds}
    told = ", ".join(f"{BOUNDS[key]} {number(value)}" for key, value in values.items())
    return (
        "Bold: the highest of each metric. Rotations: the score of random rotations of the recovered subspace; axes"
        " count as found above the 95 % values of both this and the null. Aligned: after the best affine map. Last"
        " columns: MCC as a share of what Bayes estimates reach from single frames and from whole movies, and of what"
        " a network reaches that is told the truth of the training replicas"
        + (f" (at the most {told})." if told else "; none could be computed.")
    )


def share(row: dict[str, Any], bound: str) -> float | None:
    """A score as a share of a bound; None where there is none, or where chance reaches it."""
    reached = row[bound]
    return None if reached is None or reached <= row["null_95"] else row["value"] / reached


def stage_name(row: dict[str, Any], learned: Sequence[str]) -> str:
    """The stage of a row; baselines are taken as they are."""
    return str(row["stage"]) if row["method"] in learned or row["stage"] != "unmixed" else "as is"


def _line(
    row: dict[str, Any], learned: Sequence[str], best: dict[str, float], bounds: Sequence[str], *, first: bool
) -> dict[str, Any]:
    cells = [
        (number(row["null_95"]), "n"),
        (number(row["rotation_null_95"]), "n"),
        (AXES[axes_found(row)], ""),
        (number(row["r2"]), "n"),
        (number(row["aligned"]), "n"),
    ]
    return {
        "first": first,
        "method": row["method"],
        "stage": stage_name(row, learned),
        "metric": METRICS.get(row["metric"], row["metric"]),
        "value": number(row["value"]),
        "best": row["value"] == best[row["metric"]],
        "interval": "{} to {}".format(*map(number, row["interval"])),
        "cells": cells + [(number(share(row, key), 2), "n") for key in bounds],
    }

"""The leaderboard: cells into JSON, Markdown, and a page that opens offline."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

STAGES = ("features", "features_fastica", "features_sobi", "unmixed", "smoothed")
BOUNDS = ("supervised",)
OURS = ("fastica", "tica", "sobi", "nonstationary", "pcl", "tcl", "gcl", "ivae", "slowvae", "snica", "hmnlica")


def rows(out: Path) -> list[dict[str, Any]]:
    """One row a world and method, medians over the seeds that are there."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in sorted((out / "cells").rglob("*.json")):
        *world, method = path.relative_to(out / "cells").with_suffix("").parts
        cell = json.loads(path.read_text())
        if len(world) < 2:  # the making of a world
            continue
        name, seed = "/".join(world).rsplit("_", 1)
        found.setdefault((name, method), []).append(cell | {"seed": int(seed)} | _ceilings(out, world))
    return [_row(world, method, cells) for (world, method), cells in found.items()]


def _ceilings(out: Path, world: list[str]) -> dict[str, float]:
    with np.load((out / "worlds").joinpath(*world[:-1], f"{world[-1]}.npz")) as file:
        values = file["ceiling"]
    return {name: float(v) for name, v in zip(("ceiling", "ceiling_temporal"), values, strict=True) if np.isfinite(v)}


def _row(world: str, method: str, cells: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"world": world, "method": method, "seeds": [cell["seed"] for cell in cells]}
    row["failed"] = [cell["failed"] for cell in cells if "failed" in cell]
    for stage in STAGES:
        some = [cell[stage] for cell in cells if stage in cell]
        if some:
            names = ("mcc", "pearson", "aligned", "r2", "null_95", "rotation", "rotation_95")
            row[stage] = {name: _median([each[name] for each in some]) for name in names}
            row[stage] |= {"least": min(each["mcc"] for each in some), "most": max(each["mcc"] for each in some)}
    for name in ("cpu_s", "peak_mb", "ceiling", "ceiling_temporal"):
        if some := [cell[name] for cell in cells if name in cell]:
            row[name] = _median(some)
    for name in ("model", "second_stage", "ambiguity"):
        if some := [cell[name] for cell in cells if name in cell]:
            row[name] = some
    return row


def _median(values: list[float]) -> float:
    return round(float(np.median(values)), 4)


def best(row: dict[str, Any]) -> tuple[float, str]:
    """What a method's own answer scores: unmixed, or smoothed where it answers with nothing else."""
    stage = "unmixed" if "unmixed" in row else "smoothed"
    return (row[stage]["mcc"], stage) if stage in row else (float("nan"), stage)


def leaders(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str, float]]:
    """World, method and score of who leads it, bounds apart."""
    for world in dict.fromkeys(row["world"] for row in rows):
        some = [row for row in rows if row["world"] == world and row["method"] not in BOUNDS and "unmixed" in row]
        if some:
            first = max(some, key=lambda row: row["unmixed"]["mcc"])
            yield world, first["method"], first["unmixed"]["mcc"]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    lead = [{"world": world, "leads": method, "mcc": value} for world, method, value in leaders(rows)]
    cells = sum(len(row["seeds"]) for row in rows)
    failed = {f"{row['world']} {row['method']}": row["failed"] for row in rows if row["failed"]}
    return {"date": datetime.date.today().isoformat(), "cells": cells, "leaders": lead, "failed": failed}


def write(rows: list[dict[str, Any]], out: Path, command: str) -> str:
    """leaderboard.json, .md and .html; returns the Markdown."""
    tables = [("Who recovers what", _matrix(rows)), ("Stage by stage", _stages(rows))]
    words = (
        f"`{command}`, {datetime.date.today().isoformat()}. Median over seeds of the mean absolute rank correlation"
        " with the true sources, on frames that no fit has seen, matched on those that were learned."
    )
    (out / "leaderboard.json").write_text(json.dumps({"command": command, "rows": rows}, indent=1))
    text = "\n\n".join([words, *(f"### {title}\n\n{_markdown(table)}" for title, table in tables)])
    (out / "leaderboard.md").write_text(text + "\n")
    style = resources.files("tempica.report").joinpath("style.css").read_text()
    body = "".join(f"<h2>{escape(title)}</h2>{_html(table)}" for title, table in tables)
    (out / "leaderboard.html").write_text(
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Leaderboard</title><style>{style}</style>"
        f"<main><h1>Leaderboard</h1><p>{escape(words)}</p>{body}</main></html>"
    )
    return text


def _matrix(rows: list[dict[str, Any]]) -> list[list[str]]:
    """A row a world, a column a method; the leader in bold, who may not exceed chance within the subspace."""
    present = dict.fromkeys(row["method"] for row in rows)
    columns = [m for m in ("raw", "state_space", *OURS) if m in present]
    columns += [m for m in present if m not in columns and m not in BOUNDS] + [m for m in BOUNDS if m in present]
    lead = {world: method for world, method, _ in leaders(rows)}
    head = ["world", "seeds", "leads", *columns, "chance in the subspace, of the leader", "ceiling"]
    lines = [head]
    for world in dict.fromkeys(row["world"] for row in rows):
        some = {row["method"]: row for row in rows if row["world"] == world}
        cells = []
        for method in columns:
            value, _ = best(some[method]) if method in some else (float("nan"), "")
            text = f"{value:.2f}" if np.isfinite(value) else "failed" if method in some else "–"
            cells.append(f"**{text}**" if lead.get(world) == method else text)
        first = some.get(lead.get(world, ""), {})
        chance = f"{first['unmixed']['rotation']:.2f} ({first['unmixed']['rotation_95']:.2f})" if first else "–"
        ceiling = f"{first['ceiling']:.2f}" if "ceiling" in first else "–"
        n_seeds = str(len({seed for row in some.values() for seed in row["seeds"]}))
        credited = not first or first["unmixed"]["mcc"] > max(
            first["unmixed"].get(k, 0) for k in ("rotation_95", "null_95")
        )
        leads = lead.get(world, "–") + ("" if credited else ", within chance")
        lines.append([world, n_seeds, leads, *cells, chance, ceiling])
    return lines


def _stages(rows: list[dict[str, Any]]) -> list[list[str]]:
    """A row a world and method, a column a stage."""
    head = ["world", "method", "features", "+ FastICA", "+ SOBI", "unmixed", "range", "aligned", "R²", "smoothed"]
    lines = [[*head, "chance, 95 %", "in the subspace, 95 %", "ambiguity", "CPU s", "MB"]]
    for row in sorted(rows, key=lambda row: (row["world"], -np.nan_to_num(best(row)[0]))):
        own = row.get("unmixed") or row.get("smoothed") or {}
        stages = [f"{row[s]['mcc']:.3f}" if s in row else "–" for s in STAGES]
        spread = f"{own['least']:.3f} to {own['most']:.3f}" if own else "; ".join(sorted(set(row["failed"])))
        rest = [f"{own[key]:.3f}" if own else "–" for key in ("aligned", "r2")]
        nulls = [f"{own[key]:.2f}" if own else "–" for key in ("null_95", "rotation_95")]
        said = " ".join(sorted(set(row.get("ambiguity", []))))
        cost = [f"{row['cpu_s']:.0f}" if "cpu_s" in row else "–", f"{row['peak_mb']:.0f}" if "peak_mb" in row else "–"]
        lines.append([row["world"], row["method"], *stages[:4], spread, *rest, stages[4], *nulls, said, *cost])
    return lines


def _markdown(table: list[list[str]]) -> str:
    head, *body = table
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body])


def _html(table: list[list[str]]) -> str:
    head, *body = table
    first = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rest = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in line) + "</tr>" for line in body)
    return f"<div style='overflow-x:auto'><table><thead><tr>{first}</tr></thead><tbody>{rest}</tbody></table></div>"


def _cell(text: str) -> str:
    return f"<b>{escape(text.strip('*'))}</b>" if text.startswith("**") else escape(text)

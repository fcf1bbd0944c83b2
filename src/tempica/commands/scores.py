"""Scores, verdict and warnings of a run in the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tempica import terminal

AFTER_INTERVAL = ("null_95", "rotation_null_95", "aligned", "r2")
NUMBERS = ("score", "95 % interval", "chance", "rotations", "aligned", "R²")
HOW_TO_READ = (
    "chance: what 95 % of unrelated series stay below; rotations: what 95 % of random rotations of the recovered\n"
    "subspace do. Axes are found only above both. aligned: the score after the best affine map, whose R² is given."
)
BOUNDS = {
    "Bayes estimates": {"ceiling": "from single frames", "ceiling_temporal": "from whole movies"},
    "A network that is told the truth of training replicas": {
        "supervised_latents": "from latents",
        "supervised_images": "from images",
    },
}


def show(folder: Path, *, report: bool) -> None:
    """Print the held-out scores of a run, and where its report is."""
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    rows = [row for row in scores["rows"] if row["split"] == "held_out" and row["metric"] == "mcc_spearman"]
    if rows:
        _tell_scores(scores["recipe"], rows)
    tell_verdict(scores["verdict"])
    tell_warnings(scores["warnings"])
    if report:
        terminal.tell(f"Report: {folder / 'report.html'}")


def _tell_scores(recipe: str, rows: Sequence[dict[str, Any]]) -> None:
    terminal.tell_table(
        f"{recipe}: held-out mean correlation (Spearman) with the truth",
        ("method", "stage", *NUMBERS),
        (
            (
                row["method"],
                row["stage"],
                f"{row['value']:.3f}",
                "{:.3f} … {:.3f}".format(*row["interval"]),
                *("" if row[name] is None else f"{row[name]:.3f}" for name in AFTER_INTERVAL),
            )
            for row in rows
        ),
        right=NUMBERS,
        whole=("method", "stage", "95 % interval"),
    )
    for who, bounds in BOUNDS.items():
        known = [f"{row[key]:.3f} {name}" for row in rows[:1] for key, name in bounds.items() if row[key] is not None]
        if known:
            terminal.tell(f"{who}: {', '.join(known)}")
    terminal.tell(HOW_TO_READ)


def tell_verdict(verdict: dict[str, Any]) -> None:
    """Print the sentences that the report has too."""
    terminal.tell(f"\nVerdict: {verdict['sentence']}")
    for method in verdict["methods"]:
        terminal.tell(f"- {method['sentence']}")
        for effect in (method["unmixing"], method["smoothing"]):
            if effect is not None:
                terminal.tell(f"  {effect['sentence']}")


def tell_warnings(warnings: Sequence[dict[str, str]]) -> None:
    """Print every warning of a run, last of all."""
    if warnings:
        terminal.tell("\nWarnings:")
    for warning in warnings:
        terminal.tell(f"- {warning['stage']}: {warning['text']}")

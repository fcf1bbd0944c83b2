"""Scores of a run in the terminal."""

from __future__ import annotations

import json
from pathlib import Path

from tempica import terminal


def show(folder: Path, *, report: bool) -> None:
    """Print the held-out scores of a run, and where its report is."""
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    numbers = ("score", "95 % interval", "chance", "single-frame ceiling", "temporal ceiling")
    terminal.tell_table(
        f"{scores['recipe']}: held-out mean correlation (Spearman) with the truth",
        ("method", "stage", *numbers),
        (
            (
                row["method"],
                row["stage"],
                f"{row['value']:.3f}",
                "{:.3f} … {:.3f}".format(*row["interval"]),
                f"{row['null']:.3f}",
                *("" if row[name] is None else f"{row[name]:.3f}" for name in ("ceiling", "ceiling_temporal")),
            )
            for row in scores["rows"]
            if row["split"] == "held_out" and row["metric"] == "mcc_spearman"
        ),
        right=numbers,
    )
    if report:
        terminal.tell(f"Report: {folder / 'report.html'}")

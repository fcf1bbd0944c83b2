"""Scores of a run in the terminal."""

from __future__ import annotations

import json
from pathlib import Path

from tempica import terminal


def show(folder: Path, *, report: bool) -> None:
    """Print the held-out scores of a run, and where its report is."""
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    numbers = ("score", "95 % interval", "chance", "rotations", "aligned", "R²", "1-frame ceiling", "temporal ceiling")
    told = ("null_95", "rotation_null_95", "aligned", "r2", "ceiling", "ceiling_temporal")
    terminal.tell_table(
        f"{scores['recipe']}: held-out mean correlation (Spearman) with the truth",
        ("method", "stage", *numbers),
        (
            (
                row["method"],
                row["stage"],
                f"{row['value']:.3f}",
                "{:.3f} … {:.3f}".format(*row["interval"]),
                *("" if row[name] is None else f"{row[name]:.3f}" for name in told),
            )
            for row in scores["rows"]
            if row["split"] == "held_out" and row["metric"] == "mcc_spearman"
        ),
        right=numbers,
        whole=("method", "95 % interval"),
    )
    terminal.tell(
        "chance: unrelated series stay below this 95 times of 100; rotations: so do random rotations of what was"
        " recovered.\nA method finds axes only above both. aligned: score after the best affine map, of R² as given."
    )
    if report:
        terminal.tell(f"Report: {folder / 'report.html'}")

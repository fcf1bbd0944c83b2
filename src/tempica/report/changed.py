"""The section on what changed since the outputs that lie in `superseded/`."""

from __future__ import annotations

import contextlib
import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tempica.report import templating
from tempica.report.templating import fill
from tempica.report.words import number, series_name

HEADS = [("Method", ""), ("Before", "n"), ("Now", "n"), ("Difference", "n")]


@dataclass(frozen=True)
class Before:
    """What an earlier version of the run had found."""

    scores: dict[str, Any]
    recipe: str | None  # its text, where it was another


def last_of(run: Path) -> Before | None:
    """The scores that were set aside last, with the recipe that was set aside with them; None where there are none."""
    shelves = [path for path in (run / "superseded").glob("*") if path.name.isdigit()]
    for shelf in sorted(shelves, key=lambda path: -int(path.name)):
        with contextlib.suppress(OSError, ValueError, KeyError):
            scores = json.loads((shelf / "scores.json").read_text(encoding="utf-8"))
            scores["rows"], scores["methods"]  # of a version that had both
            recipe = shelf / "recipe.toml"
            return Before(scores, recipe.read_text(encoding="utf-8") if recipe.exists() else None)
    return None


def section(before: Before | None, scores: dict[str, Any], recipe_text: str) -> Markup | str:
    """Held-out scores then and now, both verdicts, and the lines of the recipe that differ."""
    if before is None:
        return ""
    then, now = _values(before.scores), _values(scores)
    rows = []
    for name in dict.fromkeys([*now, *then]):
        old, new = then.get(name), now.get(name)
        difference = None if old is None or new is None else new - old
        signed = ("+" if difference is not None and difference > 0 else "") + number(difference)
        rows.append([(name, ""), (number(old), "n"), (number(new), "n"), (signed, "n")])
    parts = []
    if "verdict" in before.scores:
        parts.append(Markup("<p>Verdict before: {}</p>").format(before.scores["verdict"]["sentence"]))
    caption = "Held-out MCC (Spearman) of the run that lies in superseded/, and of this one."
    parts.append(fill("table.html", heads=HEADS, rows=rows, caption=caption, label="Scores before and now"))
    if before.recipe is not None and before.recipe != recipe_text:
        lines = difflib.unified_diff(
            before.recipe.splitlines(), recipe_text.splitlines(), "before", "now", lineterm="", n=1
        )
        parts.append(Markup('<pre tabindex="0">{}</pre>').format("\n".join(lines)))
    else:
        parts.append(Markup("<p>The recipe is the same.</p>"))
    return templating.section("changes", "What changed", parts)


def _values(scores: dict[str, Any]) -> dict[str, float]:
    """Held-out Spearman MCC by method and stage, as readers know them."""
    titles = {about["name"]: about["title"] for about in scores["methods"]}
    learned = [about["title"] for about in scores["methods"] if not about["baseline"]]
    return {
        series_name(titles[row["method"]], row["stage"], learned): row["value"]
        for row in scores["rows"]
        if row["split"] == "held_out" and row["metric"] == "mcc_spearman"
    }

"""The section on bias tests, from checks.json."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from tempica.report import templating
from tempica.report.templating import fill
from tempica.report.words import enumeration

HEADS = [("Test", ""), ("Verdict", ""), ("What was found", "text")]
CAPTION = (
    "Each test compares log-evidence: what a model of the molecule explains of an image, against an empty image or"
    " against another model, in nats a frame, with its standard error. 10 nats are a factor of 22,000 in probability."
)


def section(checks: dict[str, Any] | None) -> Markup | str:
    """Bias tests; nothing where a run has not been checked."""
    if checks is None:
        return ""
    rows = [[(row["title"], ""), (_verdict(row["verdict"]), ""), (row["sentence"], "text")] for row in checks["checks"]]
    return templating.section(
        "bias",
        "Bias tests",
        [Markup("<p>{}</p>").format(_sentence(checks))],
        folded=[fill("table.html", heads=HEADS, rows=rows, caption=CAPTION, label="Bias tests")],
        folded_title="All tests",
    )


def _sentence(checks: dict[str, Any]) -> str:
    """How many passed, and which did not."""
    by = {verdict: [row for row in checks["checks"] if row["verdict"] == verdict] for verdict in ("passed", "failed")}
    told = len(by["passed"]) + len(by["failed"])
    frames = checks["frames"]
    text = f"{len(by['passed'])} of {told} tests that apply are passed, on {frames['held_out']} held-out frames."
    if by["failed"]:
        text += f" Not passed: {enumeration([row['title'] for row in by['failed']])}."
    return text


def _verdict(verdict: str) -> str:
    return Markup("<strong>failed</strong>") if verdict == "failed" else verdict

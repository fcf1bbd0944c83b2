"""The section on bias tests, from checks.json."""

from __future__ import annotations

from html import escape
from typing import Any

from tempica.report.words import enumeration

HEAD = (
    '<thead><tr><th scope="col">Test</th><th scope="col">Verdict</th><th scope="col">What was found</th></tr></thead>'
)
CAPTION = (
    "Each test compares log-evidence: what a model of the molecule explains of an image, against an empty image or"
    " against another model, in nats a frame, with its standard error. 10 nats are a factor of 22,000 in probability."
)


def section(checks: dict[str, Any] | None) -> str:
    """Bias tests as HTML; nothing where a run has not been checked."""
    if checks is None:
        return ""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(row["title"])}</th><td>{_verdict(row["verdict"])}</td>'
        f"<td>{escape(row['sentence'])}</td></tr>"
        for row in checks["checks"]
    )
    return (
        f"<section>\n<h2>Bias tests</h2>\n<p>{escape(_sentence(checks))}</p>\n"
        f'<figure><div class="wide" tabindex="0"><table>{HEAD}<tbody>\n{rows}\n</tbody></table></div>'
        f"<figcaption>{CAPTION}</figcaption></figure>\n</section>"
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
    return f"<strong>{verdict}</strong>" if verdict == "failed" else verdict

"""The section on the audit, from audit.json."""

from __future__ import annotations

from html import escape
from typing import Any

HEAD = '<thead><tr><th scope="col">Test</th><th scope="col"></th><th scope="col">What was found</th></tr></thead>'
CAPTION = (
    "The audit knows nothing of the truth: it asks whether the data meet what a theorem of identifiability assumes, and"
    " whether parts of the data give the same axes."
)
WORDS = {True: "passed", False: "<strong>failed</strong>", None: "–"}


def section(audit: dict[str, Any] | None) -> str:
    """The audit as HTML; nothing where a run has not been audited."""
    if audit is None:
        return ""
    whole = audit["verdict"]
    rows = "\n".join(
        f'<tr><th scope="row">{escape(row["title"])}</th><td>{WORDS[row["passed"]]}</td>'
        f"<td>{escape(row['sentence'])}</td></tr>"
        for row in audit["tests"]
    )
    sentences = [
        f"<strong>{escape(whole['sentence'])}</strong> Correlation with the truth, noise apart, as the data alone say:"
        f" {audit['confidence']:.2f}. By {escape(whole['theorem'])}."
    ]
    if whole["mend"]:
        sentences.append(f"What would help: {escape(whole['mend'])}")
    text = "".join(f"<p>{sentence}</p>" for sentence in sentences)
    return (
        f"<section>\n<h2>Can the axes be believed?</h2>\n{text}\n"
        f'<figure><div class="wide" tabindex="0"><table>{HEAD}<tbody>\n{rows}\n</tbody></table></div>'
        f"<figcaption>{CAPTION}</figcaption></figure>\n</section>"
    )

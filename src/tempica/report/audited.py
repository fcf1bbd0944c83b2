"""The section on the audit, from audit.json."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from tempica.report import templating
from tempica.report.templating import fill

HEADS = [("Test", ""), ("Result", ""), ("What was found", "text")]
CAPTION = (
    "The audit knows nothing of the truth: it asks whether the data meet what a theorem of identifiability assumes, and"
    " whether parts of the data give the same axes."
)
WORDS = {True: "passed", False: Markup("<strong>failed</strong>"), None: "–"}


def section(audit: dict[str, Any] | None) -> Markup | str:
    """The audit; nothing where a run has not been audited."""
    if audit is None:
        return ""
    whole = audit["verdict"]
    rows = [[(row["title"], ""), (WORDS[row["passed"]], ""), (row["sentence"], "text")] for row in audit["tests"]]
    sentences = [
        Markup(
            "<strong>{}</strong> Correlation with the truth, noise apart, as the data alone say: {:.2f}. By {}."
        ).format(whole["sentence"], audit["confidence"], whole["theorem"])
    ]
    if whole["mend"]:
        sentences.append(Markup("What would help: {}").format(whole["mend"]))
    return templating.section(
        "audit",
        "Can the axes be believed?",
        [Markup("<p>{}</p>").format(sentence) for sentence in sentences],
        folded=[fill("table.html", heads=HEADS, rows=rows, caption=CAPTION, label="Tests of the audit")],
        folded_title="All tests",
    )

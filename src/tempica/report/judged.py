"""The verdict and the warnings at the head of the page, in the words of scores.json."""

from __future__ import annotations

from html import escape
from typing import Any


def verdict(scores: dict[str, Any]) -> str:
    """The run's verdict, those of its methods, and what the stages warn of, as HTML."""
    whole = scores["verdict"]
    grade = (whole["grade"] or "not scored").replace(" ", "-")
    parts = [f'<div class="verdict {grade}"><p><b>{escape(whole["sentence"])}</b></p></div>']
    parts += [_method(method) for method in whole["methods"]]
    if scores["warnings"]:
        items = "".join(f"<li>{escape(one['stage'])}: {escape(one['text'])}</li>" for one in scores["warnings"])
        parts.append(f'<div class="warnings"><h2>Warnings</h2><ul>{items}</ul></div>')
    return "\n".join(parts)


def _method(method: dict[str, Any]) -> str:
    """A method's sentence, what its steps add, and its variables one by one, folded."""
    effects = [one["sentence"] for one in (method["unmixing"], method["smoothing"]) if one is not None]
    lines = "".join(f"<li>{escape(source['sentence'])}</li>" for source in method["sources"])
    added = f"<p>{escape(' '.join(effects))}</p>" if effects else ""
    return f"<details><summary>{escape(method['sentence'])}</summary>{added}<ul>{lines}</ul></details>"

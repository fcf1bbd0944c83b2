"""The verdict and the warnings at the head of the page, in the words of scores.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from tempica.report.templating import fill


def verdict(scores: Mapping[str, Any]) -> Markup:
    """The run's verdict, those of its methods, the best one unfolded, and what the stages warn of."""
    order = best_first(scores)
    whole = scores["verdict"] | {"methods": order}
    return fill(
        "verdict.html",
        verdict=whole,
        warnings=scores["warnings"],
        best=order[0]["method"] if order else None,
    )


def best_first(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Verdicts of methods: those that recover most variables first, then by score."""

    def rank(method: dict[str, Any]) -> tuple[int, float]:
        grades = [source["grade"] for source in method["sources"]]
        value = sum(source["spearman"]["value"] for source in method["sources"])
        return -grades.count("recovered"), -value

    return sorted(scores["verdict"]["methods"], key=rank)

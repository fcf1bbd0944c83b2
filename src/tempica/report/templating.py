"""Templates of the page, filled: whatever is no markup already is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

STYLES = ("style.css", "motion.css")
_SECTION = re.compile(r'<section\b[^>]*\bid="([^"]+)"[^>]*>\s*<h2[^>]*>(.*?)</h2>', re.DOTALL)


def fill(template: str, **values: Any) -> Markup:
    """A template of `templates/` with these values."""
    return Markup(_environment().get_template(template).render(**values))


def section(name: str, title: str, parts: Sequence[str], folded: Sequence[str] = (), folded_title: str = "") -> Markup:
    """A section of the page: its anchor and heading, and parts (markup), of which some are folded under a title."""
    return fill("section.html", id=name, title=title, parts=parts, folded=folded, folded_title=folded_title)


def page(title: str, header: str, sections: Sequence[str]) -> str:
    """A whole page, which needs nothing beside itself: style, header, list of contents and sections (markup)."""
    sections = [section for section in sections if section]
    style = "".join(resources.files("tempica.report").joinpath(name).read_text(encoding="utf-8") for name in STYLES)
    filled = fill(
        "page.html",
        title=title,
        style=Markup(style),
        header=Markup(header),
        contents=list(_contents(sections)),
        sections=[Markup(section) for section in sections],
    )
    return str.__str__(filled) + "\n"


def _contents(sections: Sequence[str]) -> Iterator[tuple[str, Markup]]:
    """Anchor and heading of every section that has them."""
    for section in sections:
        for name, heading in _SECTION.findall(section):
            yield name, Markup(heading)


@cache
def _environment() -> Environment:
    def text_of(name: str) -> str:
        return resources.files("tempica.report").joinpath("templates", name).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(text_of), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["id"] = lambda text: re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-")
    return environment

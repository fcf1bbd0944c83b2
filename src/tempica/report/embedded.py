"""Figures inside the page: images as data, captions, alternative texts. The same figure gives the same bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from html import escape
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure

FONT = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
STYLE: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that the layout is the same everywhere
    "font.size": 8.5,
    "text.parse_math": False,  # names come from recipes
    "axes.edgecolor": "#8a8a8a",
    "axes.labelcolor": "#222222",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": "#8a8a8a",
    "ytick.color": "#8a8a8a",
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "tempica",
    "figure.facecolor": "none",
}


def image(figure: Figure, alt: str) -> str:
    """An <img> element that holds the figure as SVG, images in it as PNG. Draw and embed within `style()`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=192, metadata={"Date": None})
    # laid out in the widest of the fonts, shown in the reader's: every label keeps its anchor and has room
    content = buffer.getvalue().replace(b"'DejaVu Sans'", FONT.encode())
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/svg+xml;base64,{data}" width="{width}" height="{height}" alt="{escape(alt)}">'


def style() -> AbstractContextManager[None]:
    """A context in which matplotlib draws as the page wants it."""
    return matplotlib.rc_context(STYLE)


def figure_block(images: Sequence[str], caption: str, *, layout: Literal["wide", "tiles"] = "wide") -> str:
    """A <figure> of one wide image, which scrolls on narrow screens, or of tiles that wrap; caption is HTML."""
    return (
        f'<figure><div class="{layout}" tabindex="0">{"".join(images)}</div><figcaption>{caption}</figcaption></figure>'
    )

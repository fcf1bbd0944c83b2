"""Figures inside the page, as SVG whose text can be searched and whose colours follow the reader's scheme.

The same figure gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from html import escape
from typing import Any, Literal

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from tempica.report.templating import fill

WIDE, NARROW = 9.4, 3.7  # inches: the text's column, and a telephone's
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
    "axes.facecolor": "none",
    "text.color": "#222222",
}
# colours that figures use, by the variable of the style sheet that has their counterpart in the dark
SCHEME = {
    "#222222": "--ink",
    "#6b6b6b": "--muted",
    "#ffffff": "--paper",
    "#8a8a8a": "--axis",
    "#b0b0b0": "--mean",
    "#d4d4d4": "--outline",
    "#e6e6e6": "--grid",
    "#eeeeee": "--null",
    "#0072b2": "--c1",
    "#d55e00": "--c2",
    "#009e73": "--c3",
    "#cc79a7": "--c4",
    "#e69f00": "--c5",
    "#56b4e9": "--c6",
}


_PICTURES = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)")
_GEOMETRY = re.compile(r' (?:d|x|y)="[^"]*"')
_POINTS = re.compile(r'(?:<use href="[^"]*" x="[^"]*" y="[^"]*" style="([^"]*)"/>\s*){2,}')
_taken: ContextVar[list[tuple[Figure, str]] | None] = ContextVar("taken", default=None)


def image(figure: Figure, alt: str) -> Markup:
    """An <svg> element that holds the figure, points of scatters in it as PNG. Draw and embed within `style()`."""
    if (taken := _taken.get()) is not None:
        taken.append((figure, alt))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=144, metadata={"Date": None})
    content = buffer.getvalue().decode()
    content = content[content.index("<svg") :]
    content = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", content, flags=re.DOTALL)
    content = re.sub(r"\s+xmlns(:\w+)?=\"[^\"]*\"", "", content).replace("xlink:href", "href")
    # laid out in the widest of the fonts, shown in the reader's: every label keeps its anchor and has room
    content = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "var(--sans)", content)
    content = re.sub("#[0-9a-f]{6}", lambda found: _in_scheme(found[0]), content)
    # ids are of the whole document
    mark = "s" + hashlib.sha256((alt + content).encode()).hexdigest()[:8]
    content = re.sub(r'\bid="', f'id="{mark}-', content)
    content = re.sub(r'href="#', f'href="#{mark}-', content).replace("url(#", f"url(#{mark}-")
    content = _PICTURES.sub(_lighter, content)
    content = _POINTS.sub(_together, _GEOMETRY.sub(_shortened, content))
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    box = re.search(r'viewBox="[^"]*"', content)
    assert box is not None
    head = f'<svg role="img" aria-label="{escape(alt)}" width="{width}" height="{height}" {box[0]}>'
    return Markup(head + content[content.index(">") + 1 :].strip())


def responsive(draw: Callable[[float], Figure], alt: str) -> Markup:
    """A figure drawn twice, `draw(width)`, for wide screens and for narrow ones; the style sheet shows one of them."""
    wide, narrow = (image(draw(width), alt) for width in (WIDE, NARROW))
    return Markup(f'<div class="on-wide">{wide}</div><div class="on-narrow">{narrow}</div>')


@contextmanager
def taking() -> Iterator[list[tuple[Figure, str]]]:
    """A context whose list gets every figure that is embedded, with its words."""
    taken: list[tuple[Figure, str]] = []
    token = _taken.set(taken)
    try:
        yield taken
    finally:
        _taken.reset(token)


def style() -> AbstractContextManager[None]:
    """A context in which matplotlib draws as the page wants it."""
    return matplotlib.rc_context(STYLE)


def figure_block(
    images: Sequence[str], caption: str, *, layout: Literal["wide", "tiles"] = "wide", label: str = ""
) -> Markup:
    """A <figure> of one wide image, or of tiles that wrap; images and caption are markup."""
    return fill(
        "figure.html", images=[Markup(one) for one in images], caption=Markup(caption), layout=layout, label=label
    )


def _lighter(found: re.Match[str]) -> str:
    """A picture that is gray and opaque in one channel instead of four."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))))
    if pixels.ndim == 3:
        colour, opacity = pixels[..., :3], pixels[..., 3:]
        if (colour == colour[..., :1]).all() and (opacity == 255).all():
            pixels = pixels[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _shortened(attribute: re.Match[str]) -> str:
    """An attribute with places to a hundredth of a point."""
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute[0])


def _together(points: re.Match[str]) -> str:
    """Points of one curve, which share their style."""
    styles = set(re.findall(r'style="([^"]*)"', points[0]))
    if len(styles) > 1:
        return points[0]
    return f'<g style="{points[1]}">' + re.sub(r' style="[^"]*"/>\s*', "/>", points[0]) + "</g>"


def _in_scheme(colour: str) -> str:
    return f"var({SCHEME[colour]})" if colour in SCHEME else colour

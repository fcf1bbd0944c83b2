"""A design as one HTML page: the curves, both tables, and the advice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from matplotlib.figure import Figure

from tempica.designs import tables
from tempica.designs.results import Design
from tempica.report.embedded import WIDE, figure_block, image, style
from tempica.report.figures import INK, PALETTE


def render_page(found: Design) -> str:
    """The page; the same design gives the same bytes."""
    css = resources.files("tempica.report").joinpath("style.css").read_text(encoding="utf-8")
    with style():
        chart = figure_block(
            [image(curves(found), "Foreseen scores over numbers of frames")],
            "Held-out mean correlation at numbers of frames to learn from, with one standard error over draws; the"
            " wanted score (line), and what a linear map that knows the truth would score (dashes).",
        )
    body = [
        f"<h1>{escape(found.recipe)}: what the experiment needs</h1>",
        *(f"<p>{escape(line)}</p>" for line in tables.advice(found)),
        chart,
        _table("Frames to learn from", tables.METHODS, tables.methods(found)),
        _table("Nats at stake, a pair of frames, a frame, or a label", tables.LIGHTS, tables.lights(found)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(found.recipe)}: design</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def curves(found: Design) -> Figure:
    """Scores over numbers of frames, a panel each SNR, a colour each method."""
    names = list(dict.fromkeys(row.method for row in found.rows))
    figure = Figure(figsize=(WIDE, 3.2), layout="constrained")
    panels = figure.subplots(1, len(found.lights), sharey=True, squeeze=False)[0]
    for axes, light in zip(panels, found.lights, strict=True):
        for row in (row for row in found.rows if row.snr == light.snr):
            paint = PALETTE[names.index(row.method) % len(PALETTE)]
            axes.errorbar(row.curve.frames, row.curve.score, row.curve.error, color=paint, marker="o", ms=4, lw=0)
            axes.errorbar(
                row.curve.frames, row.curve.score, row.curve.error, color=paint, fmt="none", elinewidth=1, capsize=2
            )
            axes.plot(row.curve.frames, row.curve.rising(), color=paint, lw=1.5, label=row.method)
        axes.axhline(found.score, color=INK, lw=1)
        axes.axhline(light.ceiling[found.stage], color=INK, lw=1, ls=(0, (2, 1.5)))
        axes.set_xscale("log")
        axes.set_title(f"SNR {light.snr:g}")
        axes.set_xlabel("frames to learn from")
    panels[0].set_ylabel(f"mean correlation, {found.stage}")
    if names:
        panels[-1].legend(frameon=False, loc="lower right")
    return figure


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    first = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return (
        f"<h2>{escape(title)}</h2>\n<table>\n<thead><tr>{first}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody>\n</table>"
    )

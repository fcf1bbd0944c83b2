"""How far each residue moves along each axis, as charts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from tempica.report.beads import Beads
from tempica.report.motion import Axis
from tempica.report.words import number, shortened

N_COLOURS = 6  # of groups, in the style sheet
WIDTH, HEIGHT = 360, 172
LEFT, RIGHT, TOP, BOTTOM = 38, 6, 24, 40
MOST_POINTS = 700


def charts(axes: Sequence[Axis], beads: Beads) -> str:
    """A figure of small charts, one an axis, all on one scale, those of the first method unfolded.

    Nothing for beads that are no residues.
    """
    start = np.flatnonzero(np.concatenate([[True], np.diff(beads.number) != 0]))
    if len(start) < 3:
        return ""
    fields = [_largest(m.displacement, start) for a in axes for m in (a.recovered, a.true) if m is not None]
    top = max((float(field.max()) for field in fields), default=0.0) or 1.0
    drawn: dict[str, str] = {}
    for axis in axes:
        drawn[axis.method] = drawn.get(axis.method, "") + f'<div class="tile">{_chart(axis, beads, start, top)}</div>'
    known = any(axis.true for axis in axes)
    caption = (
        "<b>Displacement of each residue</b> between both ends of an axis, in nm"
        + (": recovered in colour, true as a dashed line" if known else "")
        + ". The bar below shows "
        + (f"{beads.kind}." if beads.names else "the chain.")
    )
    first, *rest = (f'<div class="charts">{tiles}</div>' for tiles in drawn.values())
    folded = f"<details><summary>Displacements of the other methods</summary>{''.join(rest)}</details>" if rest else ""
    return f'<figure class="displacements">{first}<figcaption>{caption}</figcaption></figure>{folded}'


def _largest(displacement: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The largest displacement of the beads of each residue."""
    return np.maximum.reduceat(displacement, start)


def _chart(axis: Axis, beads: Beads, start: np.ndarray, top: float) -> str:
    title = f"{axis.method}: {axis.name}"
    lines, told = [], []
    for kind, motion in (("true", axis.true), ("recovered", axis.recovered)):
        if motion is not None:
            field = _largest(motion.displacement, start)
            lines.append(f'<polyline class="line {kind}" points="{_points(field, top)}"/>')
            most = int(field.argmax())
            told.append(f"{kind}, most {number(float(field[most]), 2)} nm at residue {beads.number[start[most]]}")
    about = f"Displacement along {title}: {'; '.join(told)}."
    n = len(start)
    bar = [
        f'<rect class="group{group % N_COLOURS if group >= 0 else "less"}" x="{_x(first, n):.1f}"'
        f' y="{HEIGHT - BOTTOM + 4}" width="{_x(last, n) - _x(first, n):.1f}" height="5"/>'
        for first, last, group in _runs(beads.group[start])
    ]
    ticks = [
        f'<text class="tick" x="{_x(i, n):.1f}" y="{HEIGHT - BOTTOM + 21}" text-anchor="middle">'
        f"{beads.number[start[i]]}</text>"
        for i in np.linspace(0, n - 1, 5).round().astype(int)[1:-1]
    ]
    scale = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(v, top):.1f}" y2="{_y(v, top):.1f}"/>'
        f'<text class="tick" x="{LEFT - 5}" y="{_y(v, top) + 4:.1f}" text-anchor="end">{v:g}</text>'
        for v in _round_values(top)
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(about)}">'
        f'<text class="title" x="{LEFT}" y="14">{escape(shortened(title, 44))}</text>'
        + "".join([*scale, *bar, *ticks, *lines])
        + f'<text class="tick" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">residue</text>'
        + "</svg>"
    )


def _points(field: np.ndarray, top: float) -> str:
    n, step = len(field), -(-len(field) // MOST_POINTS)
    return " ".join(f"{_x(i, n):.1f},{_y(float(field[i]), top):.1f}" for i in range(0, n, step))


def _x(i: int, n: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * i / max(n - 1, 1)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top


def _round_values(top: float) -> list[float]:
    """0 and a few round values up to the top."""
    decade = 10.0 ** np.floor(np.log10(top))
    step = next((s * decade for s in (0.2, 0.5, 1.0) if top / (s * decade) <= 4), 2 * decade)
    return [float(f"{i * step:.6g}") for i in range(int(top / step) + 1)]


def _runs(group: np.ndarray) -> list[tuple[int, int, int]]:
    """Stretches (first, last, group) of neighbours in the same group."""
    ends = [*(np.flatnonzero(np.diff(group)) + 1).tolist(), len(group)]
    starts = [0, *ends[:-1]]
    return [(first, min(last, len(group) - 1), int(group[first])) for first, last in zip(starts, ends, strict=True)]

"""How far each residue moves along each axis, as charts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tempica.report.beads import Beads
from tempica.report.embedded import image
from tempica.report.motion import Axis
from tempica.report.words import number, shortened

FOUND, TRUE = "#0072b2", "#222222"
GROUPS = ("#8a8a8a", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")  # as in motion.css
NO_GROUP = "#d4d4d4"


def charts(axes: Sequence[Axis], beads: Beads) -> str:
    """Small charts, one an axis, all on one scale, those of the first method unfolded; for use within `style()`.

    Nothing for beads that are no residues.
    """
    start = np.flatnonzero(np.concatenate([[True], np.diff(beads.number) != 0]))
    if len(start) < 3:
        return ""
    fields = [_of_residues(m.displacement, start) for a in axes for m in (a.recovered, a.true) if m is not None]
    top = max((float(field.max()) for field in fields), default=0.0) or 1.0
    drawn: dict[str, str] = {}
    for axis in axes:
        tile = image(_chart(axis, beads, start, top), _told(axis, beads, start))
        drawn[axis.method] = drawn.get(axis.method, "") + f'<div class="tile">{tile}</div>'
    known = any(axis.true for axis in axes)
    caption = (
        "<b>Displacement of each residue</b> between both ends of an axis"
        + (": recovered in colour, true as a dashed line" if known else "")
        + ". The bar below shows "
        + (f"{beads.kind}." if beads.names else "the chain.")
    )
    first, *rest = (f'<div class="charts">{tiles}</div>' for tiles in drawn.values())
    folded = f"<details><summary>Displacements of the other methods</summary>{''.join(rest)}</details>" if rest else ""
    return f'<figure class="displacements">{first}<figcaption>{caption}</figcaption></figure>{folded}'


def _of_residues(displacement: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The largest displacement of the beads of each residue."""
    return np.maximum.reduceat(displacement, start)


def _told(axis: Axis, beads: Beads, start: np.ndarray) -> str:
    told = []
    for kind, motion in (("recovered", axis.recovered), ("true", axis.true)):
        if motion is not None:
            field = _of_residues(motion.displacement, start)
            most = int(field.argmax())
            told.append(f"{kind}, most {number(float(field[most]), 2)} nm at residue {beads.number[start[most]]}")
    return f"Displacement along {axis.name} of {axis.method}: {'; '.join(told)}."


def _chart(axis: Axis, beads: Beads, start: np.ndarray, top: float) -> Figure:
    """One axis; the bar below it shows domains, arms or chains."""
    figure = Figure(figsize=(3.7, 1.9))
    panel = figure.add_axes((0.14, 0.24, 0.84, 0.63))
    place = np.arange(len(start))
    if axis.true is not None:
        panel.plot(place, _of_residues(axis.true.displacement, start), color=TRUE, lw=0.9, ls=(0, (4, 2.5)), zorder=2)
    if axis.recovered is not None:
        panel.plot(place, _of_residues(axis.recovered.displacement, start), color=FOUND, lw=1.3, zorder=3)
    for first, last, group in _runs(beads.group[start]):
        paint = GROUPS[group % len(GROUPS)] if group >= 0 else NO_GROUP
        panel.add_patch(Rectangle((first - 0.5, -0.05 * top), last - first, 0.04 * top, color=paint, lw=0))
    shown = np.linspace(0, len(start) - 1, 5).round().astype(int)[1:-1]
    panel.set_xticks(shown, [str(beads.number[start[i]]) for i in shown])
    panel.set(xlim=(-0.5, len(start) - 0.5), ylim=(-0.06 * top, 1.06 * top), xlabel="residue", ylabel="nm")
    panel.set_title(shortened(f"{axis.method}: {axis.name}", 44), loc="left", size=8.5)
    return figure


def _runs(group: np.ndarray) -> list[tuple[int, int, int]]:
    """Stretches (first, one after the last, group) of neighbours in the same group."""
    ends = [*(np.flatnonzero(np.diff(group)) + 1).tolist(), len(group)]
    return [(first, last, int(group[first])) for first, last in zip([0, *ends[:-1]], ends, strict=True)]

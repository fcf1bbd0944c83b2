"""The section in which frames, structure and sources of a held-out replica move together."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from tempica.report import sprites
from tempica.report.molecule import as_json, packed, script
from tempica.report.reel import Reel, Trace

NO_SCRIPT = "Scripts are switched off, so nothing plays here."


def section(reel: Reel | None) -> str:
    """The player as HTML with its data and script; nothing where there is nothing to play."""
    if reel is None:
        return ""
    pictures = [("recorded", "recorded")]
    pictures[:0] = [("clean", "without noise")] if reel.clean is not None else []
    pictures += [("structure", "structure")] if reel.structure is not None else []
    screens = "".join(
        f'<div class="screen"><h3>{title}</h3><canvas class="{kind}" role="img" aria-label="{_about(kind, reel)}">'
        "</canvas></div>"
        for kind, title in pictures
    )
    n = len(reel.time)
    controls = (
        '<div class="controls" hidden><button type="button" class="play">Play</button>'
        f'<label class="slide">Frame <input type="range" class="frame" min="0" max="{n - 1}" value="0"></label>'
        '<output class="now"></output></div>'
    )
    return "\n".join(
        [
            '<section id="player" class="motion player">\n<h2>Frame by frame</h2>',
            f'<div class="screens">{screens}</div>',
            controls,
            f"<noscript><p>{NO_SCRIPT}</p></noscript>",
            *(_trace(trace, reel) for trace in reel.traces),
            f'<p class="note">{_caption(reel)}</p>',
            f'<script type="application/json" class="data">{_data(reel)}</script>',
            f"<script>\n{script('player.js')}</script>\n</section>",
        ]
    )


def _trace(trace: Trace, reel: Reel) -> str:
    """One trace; its lines scale with the page, its text does not."""
    low, high = trace.limits
    n = len(reel.time)
    y = lambda value: 100 * (high - value) / (high - low)  # noqa: E731
    band = ""
    if np.isfinite(trace.deviation).any():
        for first, last in _whole(trace.found + trace.deviation):
            at = range(first, last)
            upper = [f"{i},{_fits(y(trace.found[i] + 2 * trace.deviation[i]))}" for i in at]
            lower = [f"{i},{_fits(y(trace.found[i] - 2 * trace.deviation[i]))}" for i in reversed(at)]
            band += f'<polygon class="band" points="{" ".join([*upper, *lower])}"/>'
    lines = _line("true", y(trace.true)) if trace.true is not None else ""
    lines += _line("recovered", y(trace.found))
    about = f"{trace.name} over {n} frames, {'true and recovered' if trace.true is not None else 'recovered'}."
    note = f" · {escape(trace.note)}" if trace.note else ""
    return (
        f'<div class="trace"><p class="head"><b>{escape(trace.name)}</b> ({escape(trace.unit)}){note}'
        f'<span class="readout"></span></p><div class="plot"><span class="top">{high:.3g}</span>'
        f'<span class="bottom">{low:.3g}</span><svg viewBox="0 0 {max(n - 1, 1)} 100" preserveAspectRatio="none"'
        f' role="img" aria-label="{escape(about)}">{band}{lines}'
        '<line class="cursor" x1="0" x2="0" y1="0" y2="100"/></svg></div></div>'
    )


def _line(kind: str, y: np.ndarray) -> str:
    d = "".join(
        f"M{first} {_fits(y[first])}" + "".join(f"L{i} {_fits(y[i])}" for i in range(first + 1, last))
        for first, last in _whole(y)
    )
    return f'<path class="line {kind}" d="{d}"/>'


def _fits(y: float) -> str:
    return f"{min(max(y, -50.0), 150.0):.1f}"


def _whole(values: np.ndarray) -> list[tuple[int, int]]:
    """Stretches (first, one after the last) of finite values."""
    edge = np.diff(np.concatenate([[0], np.isfinite(values).astype(int), [0]]))
    return list(zip(np.flatnonzero(edge == 1).tolist(), np.flatnonzero(edge == -1).tolist(), strict=True))


def _data(reel: Reel) -> str:
    """Images, structures and traces as JSON."""
    told: dict[str, Any] = {"time": [float(f"{t:.6g}") for t in reel.time], "unit": reel.unit}
    told["edge"] = reel.recorded.shape[2:0:-1]
    told["recorded"], told["columns"] = sprites.sprite(reel.recorded)
    if reel.clean is not None:
        told["clean"], _ = sprites.sprite(reel.clean)
    if reel.structure is not None and reel.beads is not None:
        shown = [reel.structure] if reel.true is None else [reel.structure, reel.true]
        step = max(float(np.abs(positions).max()) for positions in shown) / 32_000
        told |= {
            "n": len(reel.beads.number),
            "step": step,
            "group": reel.beads.group.tolist(),
            "joined": reel.beads.joined.astype(int).tolist(),
            "structures": [packed(positions, step) for positions in shown],
        }
    told["traces"] = [
        {
            "name": trace.name,
            "unit": trace.unit,
            "found": _numbers(trace.found),
            "true": None if trace.true is None else _numbers(trace.true),
        }
        for trace in reel.traces
    ]
    return as_json(told)


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in values]


def _about(kind: str, reel: Reel) -> str:
    return {
        "clean": "The frame as the camera would see it without noise.",
        "recorded": "The frame as recorded, with noise.",
        "structure": "The recovered structure of the frame"
        + (", in front of the true one in gray." if reel.true is not None else "."),
    }[kind]


def _caption(reel: Reel) -> str:
    text = (
        f"<b>The first {len(reel.time)} frames of {reel.where}</b>, by {escape(reel.method)}"
        f"{', ' + escape(reel.stage) if reel.stage else ''}. Arrow keys move the slider, the space bar plays and"
        " pauses."
    )
    if reel.structure is not None:
        text += " Structure: what training frames with these sources have on average"
        text += ", in front of the simulated one in gray." if reel.true is not None else "."
        text += " Drag it to turn it."
    if any(np.isfinite(trace.deviation).any() for trace in reel.traces):
        widened = ", widened as the section on traces says" if any(t.true is not None for t in reel.traces) else ""
        text += f" Bands: ±2 posterior standard deviations{widened}."
    if any(trace.true is not None for trace in reel.traces):
        text += " Dashed: the truth."
    return text

"""The section in which frames, structure and sources of a held-out replica move together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica.recipe.experiment import Recipe
from tempica.report import sprites
from tempica.report.beads import Beads, beads_of
from tempica.report.frames import clean_frames, recorded_frames
from tempica.report.molecule import as_json, best_first, packed, script, upright
from tempica.report.motion import Learned, superposed
from tempica.report.recovered import Recovery, Truth, splits
from tempica.report.words import number

if TYPE_CHECKING:
    import xarray

MOST_BYTES = 250_000  # of the structures of one kind, before they become text
MOST_TRACES = 8

NO_SCRIPT = "Scripts are switched off, so nothing plays here."


@dataclass(frozen=True, eq=False)
class Trace:
    """One curve over the frames shown: `found` with its deviation, `true` where known; (frame,), in `unit`."""

    name: str
    unit: str
    found: np.ndarray
    deviation: np.ndarray
    true: np.ndarray | None
    note: str = ""

    @property
    def limits(self) -> tuple[float, float]:
        """Lower and upper end of its axis."""
        values = np.concatenate([self.found, self.true if self.true is not None else []])
        values = values[np.isfinite(values)]
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        room = 0.12 * ((high - low) or 1.0)
        return low - room, high + room


@dataclass(frozen=True, eq=False)
class Reel:
    """What plays: images (frame, y, x) in 8 bits, structures (frame, atom, space) in nm, traces; a frame of each kind.

    `clean` and `true` are None without a truth, `structure` where no axis moves one. `time` (frame,) in ps.
    """

    method: str
    stage: str
    replica: int
    held_out: bool
    time: np.ndarray
    recorded: np.ndarray
    clean: np.ndarray | None
    structure: np.ndarray | None
    true: np.ndarray | None
    beads: Beads | None
    traces: tuple[Trace, ...]


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
    where = f"{'held-out ' if reel.held_out else ''}replica {reel.replica}"
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
            f'<p class="note">{_caption(reel, where)}</p>',
            f'<script type="application/json" class="data">{_data(reel)}</script>',
            f"<script>\n{script('player.js')}</script>\n</section>",
        ]
    )


def reel_of(
    recipe: Recipe,
    movie: xarray.Dataset,
    sources: xarray.Dataset,
    methods: Sequence[str],
    *,
    latents: xarray.Dataset | None = None,
    trajectory: xarray.Dataset | None = None,
    truth: Sequence[Truth] = (),
    found: Sequence[Recovery] = (),
    rows: Sequence[dict[str, Any]] = (),
    topology: str | None = None,
    n_frames: int | None = None,
) -> Reel | None:
    """The first frames of the first held-out replica; None without a method.

    Parameters:
        recipe: For domains.
        movie: With the true poses, where a trajectory is given; only the frames shown are read.
        sources: Its coordinate `estimator` holds the names that `methods` uses.
        methods: Names of methods; that with the highest score in `rows` is shown.
        latents: Store of embed; without it, no structure is shown.
        trajectory: Store of simulate, if the truth is known, with its variables in `truth`.
        truth: See `trajectory`.
        found: Recovered variables on the scale of the truth.
        rows: Rows of scores.json.
        topology: JSON of the beads' topology; that of the trajectory if None.
        n_frames: At most so many frames; as many as fit the page if None.
    """
    if not len(methods) or not movie.sizes["time"]:
        return None
    method = best_first(methods, rows)[0]
    held_out = np.flatnonzero(splits(sources) == "held_out")
    replica = int(held_out[0]) if len(held_out) else movie.sizes["replica"] - 1
    kinds = 2 if trajectory is not None else 1
    n = min(movie.sizes["time"], n_frames or sprites.n_shown(movie.sizes["time"], movie.sizes["x"], kinds))
    recorded = recorded_frames(movie, replica, list(range(n)))
    clean = None
    if trajectory is not None:
        clean = sprites.to_gray(sprites.binned(clean_frames(trajectory, movie, replica, list(range(n)))), 0.05)
    beads, structure, true = _structures(recipe, sources, method, latents, trajectory, topology, replica, n)
    traces = _scaled(truth, found, method, replica, n) or _unscaled(sources, method, replica, n)
    return Reel(
        method=method,
        stage=next((r.stage for r in reversed(found) if r.method == method), ""),
        replica=int(movie["replica"].values[replica]),
        held_out=bool(len(held_out)),
        time=movie["time"].values[:n] - movie["time"].values[0],
        recorded=sprites.to_gray(sprites.binned(recorded), 0.5),
        clean=clean,
        structure=structure,
        true=true,
        beads=beads,
        traces=tuple(traces[:MOST_TRACES]),
    )


def _structures(
    recipe: Recipe,
    sources: xarray.Dataset,
    method: str,
    latents: xarray.Dataset | None,
    trajectory: xarray.Dataset | None,
    topology: str | None,
    replica: int,
    n: int,
) -> tuple[Beads | None, np.ndarray | None, np.ndarray | None]:
    """Beads, recovered and true structures, thinned to what fits the page and turned to the view of the page."""
    if latents is None or "mode_shape" not in latents:
        return None, None, None
    if topology is None and trajectory is not None:
        topology = trajectory.attrs.get("topology")
    mean = latents["mean_structure"].values.astype(np.float64)
    beads = beads_of(recipe, topology, mean)
    learned = Learned.of(latents, sources, method, beads.body)
    if learned is None:
        return None, None, None
    thin = -(-len(mean) * 6 * min(n, sprites.MOST) // MOST_BYTES)
    turn, middle = upright(mean), mean.mean(0)

    def shown(structure: np.ndarray) -> np.ndarray:
        whole = np.isfinite(structure).all((1, 2))
        result = np.repeat(mean[None], len(structure), 0)
        result[whole] = superposed(structure[whole], mean, learned.body)
        return (result[:, ::thin] - middle) @ turn.T

    true = None
    if trajectory is not None and trajectory.sizes["atom"] == len(mean):
        true = shown(trajectory["position"].isel(replica=replica, time=slice(0, n)).values.astype(np.float64))
    return beads.thinned(thin), shown(learned.structures(replica, slice(0, n))), true


def _scaled(truth: Sequence[Truth], found: Sequence[Recovery], method: str, replica: int, n: int) -> list[Trace]:
    """Traces of true variables beside what the method's last stage recovered of them."""
    traces = []
    for j, variable in enumerate(truth):
        own = [r for r in found if (r.method, r.variable) == (method, j)]
        if own:
            last = own[-1]
            note = f"|ρ| = {number(last.correlation, 2)}" if last.found else "no component matched"
            value, spread = last.value[replica, :n], last.deviation[replica, :n]
            traces.append(Trace(variable.name, str(variable.unit), value, spread, variable.value[replica, :n], note))
    return traces


def _unscaled(sources: xarray.Dataset, method: str, replica: int, n: int) -> list[Trace]:
    """Traces of a method's components by its last stage, in standard deviations of all frames."""
    m = [str(name) for name in sources["estimator"].values].index(method)
    order = ("stage", "replica", "time", "component")
    series = sources["source"].isel(estimator=m).transpose(*order).values
    variance = sources["source_variance"].isel(estimator=m).transpose(*order).values
    stage = int(np.flatnonzero(np.isfinite(series).any((1, 2, 3)))[-1:].sum())
    traces = []
    for k in np.flatnonzero(np.isfinite(series[stage]).any((0, 1))).tolist():
        middle, size = np.nanmean(series[stage, ..., k]), np.nanstd(series[stage, ..., k]) or 1.0
        spread = np.sqrt(np.maximum(variance[stage, replica, :n, k], 0)) / size
        value = (series[stage, replica, :n, k] - middle) / size
        traces.append(Trace(f"component {k + 1}", "deviations", value, spread, None))
    return traces


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
    told: dict[str, Any] = {"time": [float(f"{t:.6g}") for t in reel.time], "edge": reel.recorded.shape[2:0:-1]}
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


def _caption(reel: Reel, where: str) -> str:
    text = (
        f"<b>The first {len(reel.time)} frames of {where}</b>, by {escape(reel.method)}"
        f"{', ' + escape(reel.stage) if reel.stage else ''}. Arrow keys move the slider, the space bar plays and"
        " pauses."
    )
    if reel.structure is not None:
        text += " Structure: what training frames with these sources have on average"
        text += ", in front of the simulated one in gray." if reel.true is not None else "."
        text += " Drag it to turn it."
    if any(np.isfinite(trace.deviation).any() for trace in reel.traces):
        text += " Bands: ±2 posterior standard deviations."
    if any(trace.true is not None for trace in reel.traces):
        text += " Dashed: the truth."
    return text

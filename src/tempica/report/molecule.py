"""The section on the molecule: its axes as motion, in 3-D and residue by residue."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica.recipe.experiment import Recipe
from tempica.report import displacement
from tempica.report.beads import Beads, beads_of
from tempica.report.motion import Axis, Learned, axes_of, true_motions
from tempica.report.recovered import Truth, splits
from tempica.report.words import number

if TYPE_CHECKING:
    import xarray

MOST_BEADS = 2000
MOST_BYTES = 1_200_000  # of all paths, before they become text

NO_WEBGL = (
    "This browser shows no 3-D graphics (WebGL is missing or switched off), so the molecule cannot be drawn here. The"
    " charts below say how far each residue moves."
)
NO_SCRIPT = "Scripts are switched off, so the molecule does not move. The charts below say how far each residue moves."


def section(
    recipe: Recipe,
    latents: xarray.Dataset | None,
    sources: xarray.Dataset,
    methods: Sequence[str],
    *,
    trajectory: xarray.Dataset | None = None,
    truth: Sequence[Truth] = (),
    matrices: Sequence[dict[str, Any]] = (),
    topology: str | None = None,
) -> str:
    """The section as HTML with its data and script; nothing where there is no axis that moves a structure.

    Parameters:
        recipe: For domains and body.
        latents: Store of embed, with its mean structure and modes; None leaves the section out.
        sources: Store of train; its coordinate `estimator` holds the names that `methods` uses.
        methods: Names of methods, the best first.
        trajectory: Store of simulate, if the truth is known, with the true variables in `truth`.
        truth: See `trajectory`.
        matrices: Entries of scores.json that say which component is which variable.
        topology: JSON of the beads' topology; that of the trajectory if None.
    """
    if latents is None or "mode_shape" not in latents:
        return ""
    if topology is None and trajectory is not None:
        topology = trajectory.attrs.get("topology")
    mean = latents["mean_structure"].values.astype(np.float64)
    beads = beads_of(recipe, topology, mean)
    axes = find_axes(latents, sources, methods, beads.body, trajectory=trajectory, truth=truth, matrices=matrices)
    if not any(axis.recovered for axis in axes):
        return ""
    both = any(axis.true for axis in axes)
    views = _view("recovered", "recovered") + (_view("true", "true") if both else "")
    return "\n".join(
        [
            '<section id="molecule" class="motion">\n<h2>The molecule along each axis</h2>',
            _controls(axes, beads),
            f'<div class="views">{views}</div>',
            f'<p class="fallback" hidden>{NO_WEBGL}</p>\n<noscript><p>{NO_SCRIPT}</p></noscript>',
            _key(beads),
            f'<p class="note">{_caption(axes, both)}</p>',
            displacement.charts(axes, beads),
            _licence(),
            f'<script type="application/json" class="data">{_data(axes, beads, mean)}</script>',
            f'<script type="text/plain" class="viewer3d">{_viewer()}</script>',
            f"<script>\n{script('molecule.js')}</script>\n</section>",
        ]
    )


def find_axes(
    latents: xarray.Dataset,
    sources: xarray.Dataset,
    methods: Sequence[str],
    body: np.ndarray,
    *,
    trajectory: xarray.Dataset | None,
    truth: Sequence[Truth],
    matrices: Sequence[dict[str, Any]],
) -> list[Axis]:
    """Axes of all methods, each beside the true motion that it was matched with."""
    train = splits(sources) == "train"
    mean = latents["mean_structure"].values.astype(np.float64)
    true = [] if trajectory is None else true_motions(trajectory, truth, train, mean, body)
    found = []
    for method in methods:
        learned = Learned.of(latents, sources, method, body)
        if learned is not None:
            entry = next((m for m in matrices if (m["method"], m["stage"]) == (method, learned.stage)), None)
            found += axes_of(learned, truth, true, train, entry)
    return found


def script(name: str) -> str:
    """A script of this package, as text."""
    return resources.files("tempica.report").joinpath(name).read_text(encoding="utf-8")


def packed(array: np.ndarray, step: float) -> str:
    """An array in steps of `step` as little-endian 16-bit integers, in base64."""
    return base64.b64encode(np.round(array / step).astype("<i2").tobytes()).decode("ascii")


def as_json(content: Any) -> str:
    """JSON that may stand in a <script>: no tag can end it."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def upright(mean: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) that lays a structure's longest extent across the view and its shortest along it."""
    _, _, turn = np.linalg.svd(mean - mean.mean(0), full_matrices=False)
    turn = turn * np.sign(turn[np.arange(3), np.abs(turn).argmax(1)])[:, None]
    turn[2] *= np.linalg.det(turn)
    return turn


def _data(axes: Sequence[Axis], beads: Beads, mean: np.ndarray) -> str:
    """Beads, axes and paths as JSON."""
    paths = {id(m): m.path for axis in axes for m in (axis.recovered, axis.true) if m is not None}
    most = min(MOST_BEADS, MOST_BYTES // (6 * len(paths) * len(next(iter(paths.values())))))
    thin = -(-len(mean) // max(most, 2))
    turn, middle, shown = upright(mean), mean.mean(0), beads.thinned(thin)
    turned = {key: (path[:, ::thin] - middle) @ turn.T for key, path in paths.items()}
    step = max(float(np.abs(path).max()) for path in turned.values()) / 32_000
    place = {key: i for i, key in enumerate(turned)}

    def told(motion: Any) -> dict[str, Any] | None:
        if motion is None:
            return None
        return {"path": place[id(motion)], "value": [float(f"{v:.4g}") for v in motion.value], "unit": motion.unit}

    return as_json(
        {
            "n": len(shown.number),
            "step_A": 10 * step,
            "number": shown.number.tolist(),
            "group": shown.group.tolist(),
            "hinge": np.flatnonzero(shown.hinge).tolist(),
            "joined": shown.joined.astype(int).tolist(),
            "traced": shown.traced,
            "paths": [packed(path, step) for path in turned.values()],
            "axes": [{"name": a.name, "recovered": told(a.recovered), "true": told(a.true)} for a in axes],
        }
    )


def _viewer() -> str:
    """3Dmol.js, compressed and in base64: its text would otherwise be half a megabyte of the page."""
    content = resources.files("tempica.report").joinpath("vendor", "3Dmol-min.js").read_bytes()
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")


def _licence() -> str:
    text = resources.files("tempica.report").joinpath("vendor", "3Dmol-LICENSE.txt").read_text(encoding="utf-8")
    return (
        f"<details><summary>Licence of 3Dmol.js, which draws the molecule</summary><pre>{escape(text)}</pre></details>"
    )


def _controls(axes: Sequence[Axis], beads: Beads) -> str:
    methods = list(dict.fromkeys((axis.method, axis.stage) for axis in axes))
    options = "".join(
        f'<optgroup label="{escape(f"{method}, {stage}")}">'
        + "".join(
            f'<option value="{i}">{escape(axis.name)}</option>'
            for i, axis in enumerate(axes)
            if (axis.method, axis.stage) == (method, stage)
        )
        + "</optgroup>"
        for method, stage in methods
    )
    colours = f'<option value="group">{beads.kind}</option>' if beads.names else ""
    return (
        '<div class="controls" hidden>'
        f'<label>Axis <select class="axis">{options}</select></label>'
        f'<label>Colours <select class="colours">{colours}<option value="moved">displacement</option></select></label>'
        '<button type="button" class="play">Play</button>'
        '<label class="slide">Along the axis <input type="range" class="along" min="0" max="100" value="50"></label>'
        "</div>"
    )


def _view(kind: str, title: str) -> str:
    about = f"Molecule, {title} motion. Drag, or use the arrow keys, to turn it; scroll to zoom."
    return (
        f'<div class="view"><h3>{title}</h3>'
        f'<div class="canvas {kind}" role="img" tabindex="0" aria-label="{about}"></div>'
        f'<p class="readout {kind}"></p></div>'
    )


def _key(beads: Beads) -> str:
    """Which colour is which; the script shows it where colours are of groups."""
    items = "".join(
        f'<li><span class="swatch group{i % len(displacement.GROUPS)}"></span>{escape(name)}</li>'
        for i, name in enumerate(beads.names)
    )
    if beads.hinge.any():
        items += '<li><span class="swatch hinge"></span>hinge, where domains meet along the chain</li>'
    return f'<ul class="key">{items}</ul>' if items else ""


def _caption(axes: Sequence[Axis], both: bool) -> str:
    agreement = [
        f"{escape(a.method)}, {escape(a.name)}: {number(a.agreement, 2)}" for a in axes if a.agreement is not None
    ]
    text = (
        "<b>Recovered motion</b>: the structure that training frames have on average at a value of this source, the"
        " other sources at their medians (mean structure and modes of embed; regression of the latents on the sources,"
        " cubic unless frames are few), from the 5th to the 95th percentile."
    )
    if both:
        text += " <b>True motion</b>: the same regression of the simulated positions on the true variable."
    if agreement:
        text += f" Cosine between both displacement fields, end to end: {'; '.join(agreement)}."
    return text

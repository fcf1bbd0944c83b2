"""The section on poses and posteriors: errors against what is possible, calibration, and distances of domains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tempica.report import templating
from tempica.report.embedded import WIDE, figure_block, responsive
from tempica.report.figures import BASELINE, INK, MUTED, PALETTE
from tempica.report.templating import fill
from tempica.report.words import number

SOURCES = {
    "stated": "taken from the movie as it states them",
    "refined": "stated by the movie with an error, and refined against the images",
    "searched": "hidden, and found from the images alone",
}
SPLITS = {"all": "all replicas", "held_out": "held-out replicas"}
SHARE = np.linspace(0, 1, 101)
HEAD = (
    ("frames", False),
    ("rotation, median", True),
    ("95 %", True),
    ("lost", True),
    ("mirrored", True),
    ("bound, median", True),
    ("shift, median", True),
    ("structure", True),
    ("squared error", True),
)


def section(scores: dict[str, Any]) -> Markup:
    """Poses and posteriors, from scores.json."""
    poses, latents = scores["poses"], {row["split"]: row for row in scores["latents"]}
    parts = [Markup("<p>{}</p>").format(_sentence(poses))]
    splits = {row["split"]: row for row in poses["splits"]}
    shown = splits.get("held_out")
    draw = partial(placing, shown, latents.get("held_out"), poses["lost_beyond_deg"])
    if draw() is not None:
        drawn = responsive(draw, _alt(shown, latents.get("held_out")))
        parts.append(figure_block([drawn], _caption(shown, poses), label="Errors of poses, and calibration"))
    told = [sentence for row in [latents.get("held_out")] if row is not None and (sentence := _of_latents(row))]
    parts += [Markup("<p>{}</p>").format(sentence) for sentence in told]
    if distances := [row for row in scores["distances"] if row["split"] == "held_out"]:
        parts.append(_distances(distances))
    return templating.section(
        "poses",
        "Poses and posteriors",
        parts,
        folded=[_table(splits.values())] if splits else [],
        folded_title="Errors of poses as a table",
    )


def placing(pose: dict[str, Any] | None, latent: dict[str, Any] | None, lost_deg: float, width: float = WIDE) -> Any:
    """Distribution of the rotation's error, where there is one, and calibration of posteriors; None for neither.

    Side by side, or one above the other where there is little room.
    """
    levels = [(name, row["level"]) for name, row in (("pose", pose), ("latents", latent)) if row and row["level"]]
    if pose is None and not levels:
        return None
    n_panels = (pose is not None) + bool(levels)
    if width < WIDE:
        figure = Figure(figsize=(width, 3.0 * n_panels), layout="constrained")
        panels = list(figure.subplots(n_panels, 1, squeeze=False)[:, 0])
    else:
        figure = Figure(figsize=(width * (1.0 if n_panels == 2 else 0.5), 3.1), layout="constrained")
        panels = list(figure.subplots(1, n_panels, squeeze=False, width_ratios=(1.7, 1.0)[-n_panels:])[0])
    if pose is not None:
        _errors(panels.pop(0), pose, lost_deg)
    if levels:
        _calibration(panels.pop(0), levels)
    return figure


def _errors(axes: Axes, pose: dict[str, Any], lost_deg: float) -> None:
    """Cumulative distributions of the error of the rotation: what was made, and what is possible."""
    curves = (
        ("bound_deg", "bound of single frames", INK, (0, (2, 1.5)), 1.0),
        ("angle_deg", "error", PALETTE[0], "-", 1.6),
    )
    for name, label, paint, dashes, width in curves:
        if pose[name] is not None:
            angle = np.maximum(pose[name], 1e-3)
            axes.plot(angle, SHARE, color=paint, ls=dashes, lw=width, label=label, solid_capstyle="butt")
    axes.axvline(lost_deg, color=BASELINE, lw=0.8)
    axes.annotate(
        f"lost: {100 * pose['lost']:.2g} %", (lost_deg, 0.04), (3, 0), textcoords="offset points", color=MUTED
    )
    smallest = min(pose[name][5] for name, *_ in curves if pose[name] is not None)
    axes.set(xscale="log", xlim=(max(0.5 * smallest, 1e-3), 200), ylim=(0, 1.02))
    ticks = [tick for tick in (0.01, 0.1, 0.3, 1, 3, 10, 30, 100) if tick >= axes.get_xlim()[0]]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="error of the rotation (°)", ylabel="share of frames below")
    axes.legend(loc="center right")


def _calibration(axes: Axes, levels: Sequence[tuple[str, Sequence[float]]]) -> None:
    """Share of frames within the posterior's ellipsoid of each level: the diagonal where it means what it says."""
    axes.plot([0, 1], [0, 1], color="#b0b0b0", lw=0.8)
    for name, level in levels:
        axes.plot(level, SHARE, color=PALETTE[("pose", "latents").index(name)], lw=1.6, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="level of the posterior’s ellipsoid", ylabel="share of frames within")
    axes.set_aspect("equal")
    axes.annotate("too wide", (0.06, 0.9), color=MUTED)
    axes.annotate("too narrow", (0.94, 0.06), color=MUTED, ha="right")
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 0.86))


def _sentence(poses: dict[str, Any]) -> str:
    if poses["known"]:
        return "Poses are known: the movie states the true ones, so there is no error to show."
    found = f"Poses were {SOURCES[poses['source']]}."
    shown = [row for row in poses["splits"] if row["split"] == "held_out"]
    for row in shown:
        found += (
            f" On held-out replicas the rotation is {number(row['angle_deg'][50], 1)}° off in the median"
            f" ({number(row['angle_deg'][95], 1)}° at 95 %)"
        )
        if row["bound_deg"] is not None:
            found += f", where {number(row['bound_deg'][50], 1)}° is the least that single frames allow"
        found += f"; {_percent(row['lost'])} of the frames are lost."
    return found


def _of_latents(row: dict[str, Any]) -> str:
    """One sentence on the posterior of latents and on what their errors know of the pose."""
    if row["squared_error"] is None or row["leak"] is None:
        return ""
    low, high = row["squared_error_interval"]
    return (
        f"Latents on held-out replicas: squared error over its expectation {number(row['squared_error'], 2)}"
        f" ({number(low, 2)} to {number(high, 2)}); the pose explains {_percent(row['leak'])} of the variance of their"
        f" errors, where chance gives {_percent(row['leak_null'])} (95 %: {_percent(row['leak_null_95'])})."
    )


def _caption(pose: dict[str, Any] | None, poses: dict[str, Any]) -> str:
    on = escape(poses["superposed_on"])
    calibrated = (
        " share of held-out frames within the ellipsoid that the posterior gives a level: on the diagonal it means what"
        " it says, below it is too narrow. Lost frames are left out."
    )
    if pose is None:
        return f"<b>Calibration of posteriors</b>:{calibrated}"
    return (
        f"<b>Errors of rotations</b>: held-out frames by the angle that turns the estimated"
        f" structure onto the true one in the view, superposed on {on}; beyond the line a frame counts as lost. The"
        " bound is that of Cramér and Rao for one frame of unknown conformation; a smoother over time may go below it."
        f" <b>Calibration of posteriors</b>:{calibrated}"
    )


def _alt(pose: dict[str, Any] | None, latent: dict[str, Any] | None) -> str:
    told = []
    if pose is not None:
        told.append(f"median error of the rotation {number(pose['angle_deg'][50], 2)} degrees")
    for name, row in (("pose", pose), ("latents", latent)):
        if row is not None and row["within_95"] is not None:
            told.append(f"{_percent(row['within_95'])} of frames within the 95 % ellipsoid of the {name}")
    return f"Distribution of errors and calibration on held-out replicas: {'; '.join(told)}."


def _table(splits: Any) -> Markup:
    rows = []
    for row in splits:
        low, high = row["squared_error_interval"] or (None, None)
        error = number(row["squared_error"], 2)
        error += f" ({number(low, 2)} to {number(high, 2)})" if low is not None else ""
        cells = (
            f"{number(row['angle_deg'][50], 2)}°",
            f"{number(row['angle_deg'][95], 2)}°",
            _percent(row["lost"]),
            _percent(row["mirrored"]),
            "–" if row["bound_deg"] is None else f"{number(row['bound_deg'][50], 2)}°",
            f"{number(row['shift_median_A'], 2)} Å",
            "–" if row["structure_A"] is None else f"{number(row['structure_A'], 2)} Å",
            error,
        )
        name = f"{SPLITS[row['split']]}, {row['n_frames']} frames"
        rows.append([(name, ""), *((cell, "n") for cell in cells)])
    heads = [(name, "n" if is_number else "") for name, is_number in HEAD]
    caption = (
        "Structure: root mean square distance of the superposed structures, median over frames. Squared error: that"
        " of the pose over its expectation, with its 95 % interval; 1 where posteriors mean what they say."
    )
    return fill("table.html", heads=heads, rows=rows, caption=caption, label="Errors of poses")


def _distances(rows: Sequence[dict[str, Any]]) -> Markup:
    """Distances between domains as structures of single frames have them, beside the truth."""
    cells = [
        [
            (" to ".join(row["domains"]), ""),
            (f"{number(row['error_nm'], 3)} nm", "n"),
            (f"{number(row['null_nm'], 3)} nm", "n"),
            ("–" if row["correlation"] is None else number(row["correlation"], 2), "n"),
        ]
        for row in rows
    ]
    heads = [("Distance", ""), ("mean error", "n"), ("of the training mean", "n"), ("correlation", "n")]
    caption = (
        "Distances between centroids of domains, on held-out replicas: in structures that embed finds of single frames,"
        " against the true ones. Beside it, the error of taking the mean of training replicas for every frame."
    )
    return fill("table.html", heads=heads, rows=cells, caption=caption, label="Distances of domains")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{number(100 * share, 2 if share < 0.1 else 1)} %"

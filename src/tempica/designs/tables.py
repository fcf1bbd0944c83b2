"""A design in the terminal: what is at stake, what every method needs, and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tempica import terminal
from tempica.designs.lights import Light
from tempica.designs.results import Design, Row

LIGHTS = ("SNR", "single frames", "ceiling", "lag", "nats at stake", "of it, second order", "10 nats from")
METHODS = ("SNR", "method", "lag", "frames", "within", "10 nats from", "foreseen at numbers of frames")


def show(found: Design) -> None:
    """Print tables and advice."""
    terminal.tell_table(
        f"{found.recipe}: what tells the axes, a pair of frames, a frame, or a label",
        LIGHTS,
        lights(found),
        right=LIGHTS,
        width=120,
    )
    terminal.tell_table(
        f"{found.recipe}: frames to learn from for a held-out mean correlation of {found.score:g} ({found.stage})",
        METHODS,
        methods(found),
        right=("SNR", "lag", "frames", "10 nats from"),
        whole=("method", "within"),
        width=120,
    )
    for line in advice(found):
        terminal.tell(line)


def lights(found: Design) -> Iterator[list[str]]:
    """A row for each SNR and lag, for labels, and for frames in any order."""
    for light in found.lights:
        told = [
            f"{light.snr:g}",
            " ".join(f"{one:.2f}" for one in light.correlation),
            f"{light.ceiling[found.stage]:.3f}",
        ]
        for row in light.lags:
            yield [*told, f"{row['lag']:g}", *_stake(row["stake"], row["second_order"])]
            told = [""] * 3
        if light.labels is not None:
            yield [*told, "labels", *_stake(light.labels, None)]
            told = [""] * 3
        yield [*told, "any order", *_stake(light.order_free, None)]


def _stake(value: float, second_order: float | None) -> list[str]:
    part = "" if second_order is None or not value else f"{100 * min(1.0, second_order / value):.0f} %"
    return [f"{value:.4f}" if value else "nothing", part, _frames(10 / value if value else math.inf)]


def methods(found: Design) -> Iterator[list[str]]:
    """A row for each SNR and method."""
    for row in found.rows:
        curve = "  ".join(f"{n}: {one:.3f}" for n, one in zip(row.curve.frames, row.curve.score, strict=True))
        low, high = row.interval
        yield [
            f"{row.snr:g}",
            row.method,
            "" if row.lag is None else str(row.lag),
            _needed(row),
            "" if row.frames is None else f"{_frames(low)} to {'…' if high is None else _frames(high)}",
            "never" if row.least is None else _frames(row.least) if row.least else "",
            curve,
        ]


def _needed(row: Row) -> str:
    if row.frames is None:
        return "–"
    return ("≤ " if row.frames == row.curve.frames[0] else "") + _frames(row.frames)


def _frames(number: float) -> str:
    """Two digits are all that is known."""
    if math.isinf(number):
        return "–"
    if number <= 0:
        return "0"
    digits = max(0, math.floor(math.log10(number)) - 1)
    return f"{round(number / 10**digits) * 10**digits:,d}"


def advice(found: Design) -> Iterator[str]:
    """What to do, a sentence or two for each SNR."""
    for group in found.alike:
        yield f"{' and '.join(group)} are declared alike, and the pilot cannot tell them apart: taken as alike."
    for light in found.lights:
        yield _frames_wanted(found, light)
        if light.modulation is not None:
            yield _labels_wanted(light)


def _frames_wanted(found: Design, light: Light) -> str:
    row, ceiling = found.best(light.snr), light.ceiling[found.stage]
    at = f"SNR {light.snr:g}:"
    if light.verdict == "nothing" and len(found.variables) > 1:
        return (
            f"{at} no number of frames will do. Nothing is at stake at any lag"
            + (", nor by the labels" if light.labels is not None else "")
            + ": every rotation of the sources explains the frames as well. Only their subspace can be found. Give them"
            " different rates, innovations that are not normal, or labels that act on each in its own way."
        )
    if row is None:
        return f"{at} no method was tried."
    if row.frames is not None:
        each = math.ceil(row.frames / found.replicas)
        lag = f" at lag {row.lag}" if row.lag is not None else ""
        return (
            f"{at} {row.method}{lag} reaches {found.score:g} from about {_frames(row.frames)} frames on: n_frames ="
            f" {each} in each of the {found.replicas} replicas that are not held out."
        )
    if ceiling < found.score:
        return (
            f"{at} {found.score:g} cannot be reached with any number of frames: a linear map of the latents that knows"
            f" the truth would score {ceiling:.3f}. {row.method} comes to {row.most:.3f}. Raise the SNR."
        )
    return (
        f"{at} no method was foreseen to reach {found.score:g}; {row.method} comes to {row.most:.3f} with"
        f" {row.curve.frames[-1]:,d} frames, where the truth would give {ceiling:.3f}."
    )


def _labels_wanted(light: Light) -> str:
    acts = light.modulation
    assert acts is not None
    at = f"SNR {light.snr:g}: {acts.n_labels} labels act on {acts.n_sources} sources with rank {acts.rank}"
    if acts.rank < acts.n_sources:
        return (
            f"{at}. TCL and iVAE need rank {acts.n_sources}: let the labels act on each source in its own way (by a"
            " control or a rate of its own), and use more of them than there are sources."
        )
    few = "; ".join(
        f"{len(labels)} suffice at {', '.join(map(str, labels))} (condition {condition:.1f})"
        for labels, condition in acts.chosen
    )
    return f"{at} and condition {acts.condition:.1f}." + (f" With equal shares of frames, {few}." if few else "")

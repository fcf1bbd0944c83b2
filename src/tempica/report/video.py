"""The player as a film: MP4 or GIF."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from tempica.errors import ParameterError, StoreError
from tempica.progress import Progress
from tempica.report.displacement import FOUND, GROUPS, NO_GROUP
from tempica.report.embedded import style
from tempica.report.reel import Reel, Trace
from tempica.stores import files

RATE = 12  # frames a second
DPI = {".mp4": 100, ".gif": 60}
COLOURS = 64  # of a GIF
GIF_STEP = 2  # every second frame: noise hardly compresses
TRUE, BEHIND = "#222222", "#d2d2d2"
WIDTH, PICTURES, TRACE, TIME = 9.6, 3.5, 1.0, 0.5  # inches


def check(out: Path) -> None:
    """Raise ParameterError or StoreError unless a film can be written to a path: its kind, its codec, its place."""
    if out.suffix.lower() not in DPI:
        raise ParameterError(f"--video {out}: its name must end in .mp4 or .gif. Give such a name.")
    if out.exists():
        raise StoreError(f"--video {out}: it exists already. Nothing was changed. Give another name.")
    if not out.parent.is_dir():
        raise StoreError(f"--video {out}: there is no folder {out.parent}. Make it, or give another one.")
    if out.suffix.lower() == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise ParameterError(
            f"--video {out}: MP4 needs imageio-ffmpeg, which is not installed. Install it with: pip install"
            " 'tempica[video]', or give a name that ends in .gif."
        )


def write(reel: Reel, out: Path, progress: Progress) -> None:
    """Write a film; it appears under its name when it is complete."""
    check(out)
    kind = out.suffix.lower()
    step = 1 if kind == ".mp4" else GIF_STEP
    fresh = files.fresh_name(out)
    try:
        with style(), progress.task("video", out.name, len(range(0, len(reel.time), step)), 0) as advance:
            shown = _counted(frames(reel, DPI[kind], step), advance)
            _write_mp4(shown, fresh) if kind == ".mp4" else _write_gif(shown, fresh)
        fresh.rename(out)
    finally:
        fresh.unlink(missing_ok=True)


def frames(reel: Reel, dpi: int, step: int = 1) -> Iterator[np.ndarray]:
    """Every `step`-th frame (y, x, colour) of 8 bits, even in both edges, for use within `style()`."""
    height = PICTURES + TRACE * len(reel.traces) + TIME
    wide, high = (2 * round(0.5 * dpi * inches) / dpi for inches in (WIDTH, height))
    figure = Figure(figsize=(wide, high), dpi=dpi, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    pictures = _pictures(figure, reel, height)
    cursors = [_trace(figure, trace, i, reel, height) for i, trace in enumerate(reel.traces)]
    when = figure.text(0.5, 0.12 / height, "", ha="center", va="bottom")
    moving = [*(artist for artists, _ in pictures for artist in artists), *cursors, when]
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    for frame in range(0, len(reel.time), step):
        canvas.restore_region(still)
        for _, show in pictures:
            show(frame)
        for cursor in cursors:
            cursor.set_xdata([frame, frame])
        when.set_text(f"frame {frame + 1} of {len(reel.time)}, {reel.time[frame]:g} {reel.unit}")
        for artist in moving:
            figure.draw_artist(artist)
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _pictures(figure: Figure, reel: Reel, height: float) -> list[Any]:
    """What moves in each picture, and the function that shows a frame of it."""
    kinds = [("without noise", reel.clean), ("recorded", reel.recorded), ("structure", reel.structure)]
    kinds = [(title, content) for title, content in kinds if content is not None]
    edge, gap = 3.0, 0.15
    left = 0.5 * (WIDTH - len(kinds) * edge - (len(kinds) - 1) * gap)
    shows = []
    for i, (title, content) in enumerate(kinds):
        x, y = left + i * (edge + gap), height - 0.3 - edge
        axes = figure.add_axes((x / WIDTH, y / height, edge / WIDTH, edge / height))
        axes.set_axis_off()
        axes.set_title(title, size=9, color=TRUE)
        shows.append(_structure(axes, reel) if title == "structure" else _image(axes, content))
    return shows


def _image(axes: Axes, levels: Any) -> Any:
    shown = axes.imshow(
        levels[0], cmap="gray", vmin=0, vmax=255, origin="lower", aspect="auto", interpolation="nearest"
    )
    return [shown], lambda frame: shown.set_data(levels[frame])


def _structure(axes: Axes, reel: Reel) -> Any:
    """The recovered structure in front of the true one; beads that nothing joins are drawn as dots."""
    assert reel.structure is not None
    assert reel.beads is not None
    kinds = [("true", reel.true), ("recovered", reel.structure)]
    reach = max(float(np.linalg.norm(positions, axis=-1).max()) for _, positions in kinds if positions is not None)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    group, joined = reel.beads.group, np.flatnonzero(reel.beads.joined)
    paint = np.array([GROUPS[g % len(GROUPS)] if g >= 0 else (FOUND if joined.size else NO_GROUP) for g in group])
    shown: list[tuple[np.ndarray, Any, bool]] = []
    artists: list[Any] = []
    for kind, positions in kinds:
        if positions is None:
            continue
        wide = 4.0 if kind == "true" else 1.8
        if joined.size:
            lines = LineCollection([], lw=wide, capstyle="round", colors=BEHIND if kind == "true" else paint[joined])
            artists.append(axes.add_collection(lines))
            shown.append((positions, lines.set_segments, True))
        else:
            x, y = positions[0, :, :2].T
            dots = axes.scatter(x, y, s=6 * wide, lw=0, c=BEHIND if kind == "true" else paint)
            artists.append(dots)
            shown.append((positions, dots.set_offsets, False))

    def show(frame: int) -> None:
        for positions, put, is_line in shown:
            place = positions[frame, :, :2]
            put(np.stack([place[joined - 1], place[joined]], 1) if is_line else place)

    return artists, show


def _trace(figure: Figure, trace: Trace, i: int, reel: Reel, height: float) -> Any:
    """One trace; returns its cursor."""
    left, right = 0.75, 0.15
    bottom = height - PICTURES - TRACE * (i + 1) + 0.12
    axes = figure.add_axes((left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, (TRACE - 0.3) / height))
    place = np.arange(len(reel.time))
    if trace.true is not None:
        axes.plot(place, trace.true, color=TRUE, lw=0.9, ls=(0, (4, 2.5)))
    if np.isfinite(trace.deviation).any():
        low, high = trace.found - 2 * trace.deviation, trace.found + 2 * trace.deviation
        axes.fill_between(place, low, high, color=FOUND, alpha=0.22, lw=0)
    axes.plot(place, trace.found, color=FOUND, lw=1.2)
    low, high = trace.limits
    axes.set(xlim=(0, max(len(place) - 1, 1)), ylim=(low, high), xticks=[])
    axes.set_title(f"{trace.name} ({trace.unit})", loc="left", size=8.5, pad=2)
    return axes.axvline(0, color=TRUE, lw=0.9)


def _counted(shown: Iterator[np.ndarray], advance: Callable[[], None]) -> Iterator[np.ndarray]:
    for frame in shown:
        yield frame
        advance()


def _write_mp4(shown: Iterator[np.ndarray], path: Path) -> None:
    import imageio_ffmpeg

    first = next(shown)
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (first.shape[1], first.shape[0]),
        fps=RATE,
        codec="libx264",
        quality=5,
        macro_block_size=2,
        output_params=["-f", "mp4", "-movflags", "+faststart"],
    )
    writer.send(None)
    try:
        writer.send(np.ascontiguousarray(first))
        for frame in shown:
            writer.send(np.ascontiguousarray(frame))
    finally:
        writer.close()


def _write_gif(shown: Iterator[np.ndarray], path: Path) -> None:
    from PIL import Image

    first, *rest = (Image.fromarray(frame).quantize(COLOURS, dither=Image.Dither.NONE) for frame in shown)
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=round(1000 * GIF_STEP / RATE), loop=0)

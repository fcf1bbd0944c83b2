"""Figures of a scanning probe's movie: contact sheet, crops in time, frames along a source, memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from tempica.report.alone import N_STEPS, fifths
from tempica.report.embedded import WIDE
from tempica.report.figures import PALETTE

if TYPE_CHECKING:
    import xarray

COLOURS = (
    "#e6550d", "#3182bd", "#31a354", "#e6ab02", "#d33f9a", "#17becf", "#8c6d31", "#756bb1",
)  # fmt: skip
MOST_TRACKS = 16  # that are shown
N_TIMES = 12
TITLE, NAME = 0.2, 0.55  # inches above each picture, and in front of each row
GAP = 0.04  # of a picture's edge, between pictures
NULL = "#eeeeee"


def colour(track: int) -> str:
    """A track's colour in all figures."""
    return COLOURS[track % len(COLOURS)]


def contact_sheet(movie: xarray.Dataset, width: float = WIDE) -> Figure:
    """Flattened frames spread over the movie, with the outlines of tracks; fewer where there is little room."""
    columns = 4 if width >= WIDE else 2
    shown = np.unique(
        np.linspace(0, movie.sizes["shot"] - 1, min(movie.sizes["shot"], 3 * columns)).round().astype(int)
    )
    sheet, owner = (movie[name].values[shown] for name in ("sheet", "sheet_owner"))
    grid = _Grid(width, -(-len(sheet) // columns), columns, sheet.shape[1] / sheet.shape[2], margin=0.0)
    tall = max(float(np.quantile(sheet, 0.995)), 1e-6)
    for number, (frame, owners) in enumerate(zip(sheet, owner, strict=True)):
        axes = grid.cell(*divmod(number, columns))
        axes.imshow(frame, cmap="gray", vmin=-0.2 * tall, vmax=tall, interpolation="nearest")
        for track in np.unique(owners[owners >= 0]).tolist():
            axes.contour(owners == track, [0.5], colors=[colour(track)], linewidths=1.0)
            y, x = np.argwhere(owners == track).mean(0)
            axes.text(x, y, str(track), color=colour(track), ha="center", va="center", fontsize=8, weight="bold")
        axes.set_title(f"frame {int(movie['sheet_frame'].values[shown[number]])}", fontsize=8, pad=2)
    return grid.figure


def crops_in_time(movie: xarray.Dataset, width: float = WIDE) -> Figure:
    """Aligned crops of each track, spread over the frames in which it is seen."""
    image, track, frame = flat_rows(movie)
    numbers = np.unique(track)[:MOST_TRACKS].tolist()
    n_times = N_TIMES if width >= WIDE else N_TIMES // 2
    grid = _Grid(width, len(numbers), n_times)
    for row, number in enumerate(numbers):
        rows = np.flatnonzero(track == number)
        shown = rows[np.unique(np.linspace(0, len(rows) - 1, n_times).round().astype(int))]
        tall = max(float(np.quantile(image[rows].mean(0), 0.995)), 1e-6)
        grid.name(row, f"track {number}", colour(number))
        for column, each in enumerate(shown.tolist()):
            axes = grid.cell(row, column)
            axes.imshow(image[each], cmap="gray", vmin=-0.2 * tall, vmax=1.2 * tall, interpolation="nearest")
            axes.set_title(str(frame[each]), fontsize=7, pad=1)
    return grid.figure


def along(movie: xarray.Dataset, source: np.ndarray, tracks: Sequence[int], width: float = WIDE) -> Figure:
    """Crops averaged over fifths of a source's values (row,), from low to high, and the last minus the first."""
    image, track, _ = flat_rows(movie)
    grid = _Grid(width, len(tracks), N_STEPS + 1)
    for row, number in enumerate(tracks):
        own = track == number
        means = fifths(image[own], source[own])
        tall = max(float(np.quantile(means, 0.998)), 1e-6)
        change = means[-1] - means[0]
        limit = max(float(np.abs(change).max()), 1e-6)
        grid.name(row, f"track {number}", colour(number))
        for column, mean in enumerate([*means, change]):
            axes = grid.cell(row, column)
            if column < N_STEPS:
                axes.imshow(mean, cmap="gray", vmin=-0.2 * tall, vmax=tall, interpolation="nearest")
            else:
                axes.imshow(mean, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
            if row == 0:
                title = "change" if column == N_STEPS else ("low", "", "", "", "high")[column]
                axes.set_title(title, fontsize=8, pad=2)
    return grid.figure


def traces(movie: xarray.Dataset, source: np.ndarray, width: float = WIDE) -> Figure:
    """A source (row,) of each track over time; lines break where frames are missing."""
    _, track, frame = flat_rows(movie)
    seconds, stretch = movie["frame_time"].values.reshape(-1), movie["molecule"].values.reshape(-1)
    figure = Figure(figsize=(width, 1.9), layout="constrained")
    axes = figure.add_subplot()
    for number in np.unique(track)[:MOST_TRACKS].tolist():
        for each in np.unique(stretch[track == number]).tolist():
            rows = np.flatnonzero((track == number) & (stretch == each))
            rows = rows[np.argsort(frame[rows])]
            axes.plot(seconds[rows], source[rows], color=colour(number), linewidth=0.9, marker=".", markersize=2)
    axes.set_xlabel("time (s)")
    axes.set_ylabel("source")
    return figure


def memory(told: Sequence[dict[str, Any]], interval_s: float, width: float = WIDE) -> Figure:
    """Autocorrelations of sources at several lags, each beside 95 % of shuffled frames."""
    columns = min(len(told), 3 if width >= WIDE else 1)
    rows = -(-len(told) // columns)
    figure = Figure(figsize=(min(width, 3.1 * columns), 2.0 * rows), layout="constrained")
    for number, one in enumerate(told):
        axes = figure.add_subplot(rows, columns, number + 1)
        seconds = interval_s * np.array(one["lags"])
        axes.fill_between(seconds, -1, one["null_95"], color=NULL, linewidth=0)
        axes.plot(seconds, one["autocorrelation"], color=PALETTE[0], marker="o", markersize=3, linewidth=1)
        axes.set_ylim(min(-0.2, *one["autocorrelation"]) - 0.05, 1.05)
        axes.set_xscale("log")
        axes.set_xticks(seconds, [f"{lag:g}" for lag in seconds], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(f"source {number + 1}", fontsize=8)
        axes.set_xlabel("lag (s)")
    return figure


class _Grid:
    """Pictures in rows, as wide as the figure, with a margin for the name of each row."""

    def __init__(self, width: float, n_rows: int, n_columns: int, aspect: float = 1.0, margin: float = NAME) -> None:
        self.wide = (width - margin) / n_columns
        self.tall, self.margin, self.size = aspect * self.wide, margin, (width, n_rows * (aspect * self.wide + TITLE))
        self.figure = Figure(figsize=self.size)

    def cell(self, row: int, column: int) -> Axes:
        """Axes without ticks."""
        (width, height), bottom = self.size, self.size[1] - (row + 1) * (self.tall + TITLE)
        left, shown = (self.margin + column * self.wide) / width, 1 - GAP
        axes = self.figure.add_axes((left, bottom / height, shown * self.wide / width, shown * self.tall / height))
        axes.set_axis_off()
        return axes

    def name(self, row: int, text: str, paint: str) -> None:
        """Text in front of a row."""
        middle = self.size[1] - row * (self.tall + TITLE) - TITLE - 0.5 * self.tall
        self.figure.text(0, middle / self.size[1], text, fontsize=7.5, color=paint, va="center")


def flat_rows(movie: xarray.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops (row, y, x), and track and frame (row,) of each, replica after replica."""
    image = movie["image"].values
    track, frame = (movie[name].values.reshape(-1) for name in ("track", "frame"))
    return image.reshape(-1, *image.shape[2:]), track, frame

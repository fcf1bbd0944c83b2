"""Figures of a scanning probe's movie: contact sheet, crops in time, frames along a source, memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from tempica.report.alone import N_STEPS, fifths

if TYPE_CHECKING:
    import xarray

COLOURS = (
    "#e6550d", "#3182bd", "#31a354", "#e6ab02", "#d33f9a", "#17becf", "#8c6d31", "#756bb1",
)  # fmt: skip
MOST_TRACKS = 16  # that are shown
N_TIMES = 12


def colour(track: int) -> str:
    """A track's colour in all figures."""
    return COLOURS[track % len(COLOURS)]


def contact_sheet(movie: xarray.Dataset) -> Figure:
    """Flattened frames spread over the movie, with the outlines of tracks."""
    sheet, owner = movie["sheet"].values, movie["sheet_owner"].values
    columns = 4
    rows = -(-len(sheet) // columns)
    figure = Figure(figsize=(10, 2.6 * rows))
    tall = max(float(np.quantile(sheet, 0.995)), 1e-6)
    for number, (frame, owners) in enumerate(zip(sheet, owner, strict=True)):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.imshow(frame, cmap="gray", vmin=-0.2 * tall, vmax=tall, interpolation="nearest")
        for track in np.unique(owners[owners >= 0]).tolist():
            axes.contour(owners == track, [0.5], colors=[colour(track)], linewidths=1.0)
            y, x = np.argwhere(owners == track).mean(0)
            axes.text(x, y, str(track), color=colour(track), ha="center", va="center", fontsize=8, weight="bold")
        axes.set_title(f"frame {int(movie['sheet_frame'].values[number])}", fontsize=8, pad=2)
        axes.set_axis_off()
    figure.subplots_adjust(0, 0, 1, 0.97, 0.02, 0.08)
    return figure


def crops_in_time(movie: xarray.Dataset) -> Figure:
    """Aligned crops of each track, spread over the frames in which it is seen."""
    image, track, frame = flat_rows(movie)
    numbers = np.unique(track)[:MOST_TRACKS].tolist()
    figure = Figure(figsize=(10, 0.85 * len(numbers) + 0.2))
    for row, number in enumerate(numbers):
        rows = np.flatnonzero(track == number)
        shown = rows[np.unique(np.linspace(0, len(rows) - 1, N_TIMES).round().astype(int))]
        tall = max(float(np.quantile(image[rows].mean(0), 0.995)), 1e-6)
        for column, each in enumerate(shown.tolist()):
            axes = figure.add_subplot(len(numbers), N_TIMES, row * N_TIMES + column + 1)
            axes.imshow(image[each], cmap="gray", vmin=-0.2 * tall, vmax=1.2 * tall, interpolation="nearest")
            axes.set_title(str(frame[each]), fontsize=6, pad=1)
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(f"track {number}", fontsize=7, color=colour(number))
    figure.subplots_adjust(0.04, 0.01, 1, 0.97, 0.03, 0.2)
    return figure


def along(movie: xarray.Dataset, source: np.ndarray, tracks: Sequence[int]) -> Figure:
    """Crops averaged over fifths of a source's values (row,), from low to high, and the last minus the first."""
    image, track, _ = flat_rows(movie)
    figure = Figure(figsize=(1.35 * (N_STEPS + 1), 1.4 * len(tracks) + 0.25))
    for row, number in enumerate(tracks):
        own = track == number
        means = fifths(image[own], source[own])
        tall = max(float(np.quantile(means, 0.998)), 1e-6)
        change = means[-1] - means[0]
        limit = max(float(np.abs(change).max()), 1e-6)
        for column, mean in enumerate([*means, change]):
            axes = figure.add_subplot(len(tracks), N_STEPS + 1, row * (N_STEPS + 1) + column + 1)
            if column < N_STEPS:
                axes.imshow(mean, cmap="gray", vmin=-0.2 * tall, vmax=tall, interpolation="nearest")
            else:
                axes.imshow(mean, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                title = "change" if column == N_STEPS else ("low", "", "", "", "high")[column]
                axes.set_title(title, fontsize=8, pad=2)
            if column == 0:
                axes.set_ylabel(f"track {number}", fontsize=7, color=colour(number))
    figure.subplots_adjust(0.05, 0.01, 1, 0.93, 0.03, 0.04)
    return figure


def traces(movie: xarray.Dataset, source: np.ndarray) -> Figure:
    """A source (row,) of each track over time; lines break where frames are missing."""
    _, track, frame = flat_rows(movie)
    seconds, stretch = movie["frame_time"].values.reshape(-1), movie["molecule"].values.reshape(-1)
    figure = Figure(figsize=(10, 1.9))
    axes = figure.add_subplot()
    for number in np.unique(track)[:MOST_TRACKS].tolist():
        for each in np.unique(stretch[track == number]).tolist():
            rows = np.flatnonzero((track == number) & (stretch == each))
            rows = rows[np.argsort(frame[rows])]
            axes.plot(seconds[rows], source[rows], color=colour(number), linewidth=0.9, marker=".", markersize=2)
    axes.set_xlabel("time (s)")
    axes.set_ylabel("source")
    figure.subplots_adjust(0.06, 0.24, 0.995, 0.97)
    return figure


def memory(told: Sequence[dict[str, Any]], interval_s: float) -> Figure:
    """Autocorrelations of sources at several lags, each beside 95 % of shuffled frames."""
    figure = Figure(figsize=(2.6 * len(told), 1.9))
    for number, one in enumerate(told):
        axes = figure.add_subplot(1, len(told), number + 1)
        seconds = interval_s * np.array(one["lags"])
        axes.fill_between(seconds, -1, one["null_95"], color="#d9d9d9", linewidth=0)
        axes.plot(seconds, one["autocorrelation"], color="#1f6fb4", marker="o", markersize=3, linewidth=1)
        axes.set_ylim(min(-0.2, *one["autocorrelation"]) - 0.05, 1.05)
        axes.set_xscale("log")
        axes.set_title(f"source {number + 1}", fontsize=8)
        axes.set_xlabel("lag (s)")
    figure.subplots_adjust(0.09, 0.25, 0.98, 0.88, 0.28)
    return figure


def flat_rows(movie: xarray.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops (row, y, x), and track and frame (row,) of each, replica after replica."""
    image = movie["image"].values
    track, frame = (movie[name].values.reshape(-1) for name in ("track", "frame"))
    return image.reshape(-1, *image.shape[2:]), track, frame

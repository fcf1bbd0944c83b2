"""Writes a result's files: stores, the table of sources, and the Python that gives the same sources."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tempica.stores import store
from tempica.unmix.fitting import Fitted, data_of
from tempica.unmix.frames import Frames

ROWS_AT_ONCE = 65_536
SCRIPT = """from tempica.ica import {estimator}
from tempica.unmix import {reader}

frames = {reader}({arguments})
model = {call}.fit(frames.X{given})
sources = frames.in_input_order(model.transform(frames.X{options}))
"""


def write_stores(
    folder: Path, frames: Frames, fits: Sequence[Fitted], smooth: np.ndarray | None, attributes: Mapping[str, Any]
) -> None:
    """latents.zarr and sources.zarr, rows in the order of the input; `smooth` are sources of the last fit."""
    n, width = frames.n_rows, max(one.sources.shape[1] for one in fits)
    numbers = {"row": np.arange(n), "used": np.isin(np.arange(n), frames.row).astype(np.uint8)}
    known = numbers | {
        "table_row": _integers(frames, frames.table_row),
        "series": _integers(frames, frames.replicas),
        "time": frames.in_input_order(np.full(len(frames.X), np.nan) if frames.time is None else frames.time),
        "label": _texts(frames, frames.labels),
    }
    variance = np.full(frames.X.shape, np.nan) if frames.variance is None else frames.variance
    values = known | {
        "feature": list(frames.features),
        "latent": frames.in_input_order(frames.X if frames.raw is None else frames.raw),
        "latent_variance": frames.in_input_order(variance),
    }
    _write(folder, "latent_table", {"row": n, "feature": len(frames.features)}, values, attributes)
    source = np.full((len(fits), n, width), np.nan)
    for number, one in enumerate(fits):
        source[number, :, : one.sources.shape[1]] = frames.in_input_order(one.sources)
    smoothed = np.full((n, width), np.nan)
    if smooth is not None:
        smoothed[:, : smooth.shape[1]] = frames.in_input_order(smooth)
    values = known | {"estimator": [one.name for one in fits], "source": source, "smoothed_source": smoothed}
    _write(folder, "source_table", {"estimator": len(fits), "row": n, "component": width}, values, attributes)


def _write(
    folder: Path, kind: str, sizes: Mapping[str, int], values: Mapping[str, Any], attributes: Mapping[str, Any]
) -> None:
    path = folder / store.file_name(kind)
    shutil.rmtree(path, ignore_errors=True)  # of a command that was killed
    store.create(path, kind, sizes, attributes=attributes, chunks={"row": ROWS_AT_ONCE, "estimator": 1})
    store.write(path, values)
    store.seal(path)


def _integers(frames: Frames, values: np.ndarray | None) -> np.ndarray:
    out = np.full(frames.n_rows, -1)
    if values is not None:
        out[frames.row] = values
    return out


def _texts(frames: Frames, values: np.ndarray | None) -> list[str]:
    out = [""] * frames.n_rows
    if values is not None:
        for row, value in zip(frames.row.tolist(), values.tolist(), strict=True):
            out[row] = str(value)
    return out


def write_csv(path: Path, frames: Frames, sources: np.ndarray, smooth: np.ndarray | None = None) -> None:
    """One line a row of the input, in its order: row, image, label and series where known, sources, smoothed ones."""
    given: dict[str, Sequence[Any]] = {"row": range(frames.n_rows)}
    if frames.image is not None:
        given["image"] = _texts(frames, frames.image)
    if frames.labels is not None:
        given["label"] = _texts(frames, frames.labels)
    if frames.replicas is not None:
        given["series"] = _texts(frames, frames.replicas)
    columns = {f"source_{i + 1}": column for i, column in enumerate(sources.T)}
    if smooth is not None:
        columns |= {f"smoothed_{i + 1}": column for i, column in enumerate(smooth.T)}
    values = frames.in_input_order(np.stack(list(columns.values()), axis=1))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*given, *columns])
        for start in range(0, frames.n_rows, ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            known = zip(*(each[part] for each in given.values()), strict=True)
            lines = (("" if v != v else f"{v:.9g}" for v in line) for line in values[part].tolist())
            writer.writerows([*one, *line] for one, line in zip(known, lines, strict=True))


def script(
    one: Fitted, frames: Frames, arguments: Mapping[str, Any], options: Mapping[str, Any], reader: str = "read"
) -> str:
    """Python that reads the same input and gives the same sources.

    `arguments` are those of the reader that are not its defaults, the data first; `options` those of `transform`.
    """
    data, *rest = arguments.items()
    return SCRIPT.format(
        estimator=one.call.partition("(")[0],
        reader=reader,
        arguments=", ".join([repr(data[1]), *(f"{key}={value!r}" for key, value in rest)]),
        call=one.call,
        given="".join(f", {key}=frames.{attribute}" for key, attribute in data_of(one.name, frames).items()),
        options="".join(f", {key}={value!r}" for key, value in options.items()),
    )

"""Frames to unmix: latents, and what is known of each row: series, order in time, label, nuisances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.exchange.latents import Latents, latents_of, read_latents
from tempica.series import brief
from tempica.unmix.matching import columns_of
from tempica.unmix.nuisances import POSES, groups, names_of, regressed_out

SHOWN = 5  # rows that a message names
SAME_STEP = 0.01  # share of the usual step in time up to which two steps count as equal


@dataclass(frozen=True)
class Internal:
    """What X is of a molecule's internal coordinates v: X = M (v − v̄).

    Attributes:
        kind: torsions, distances or aligned coordinates.
        atoms: (coordinate, 2 or 4) numbers of atoms, as the trajectory numbers them; None for aligned coordinates.
        matrix: (feature, value) M.
        mean: (value,) v̄.
    """

    kind: str
    atoms: np.ndarray | None
    matrix: np.ndarray
    mean: np.ndarray


@dataclass(frozen=True)
class Frames:
    """Rows of latents in the order in which they are fitted: by series and time where there is a time.

    Attributes:
        source: what the latents were read from.
        X: (frame, feature) the latents, less what nuisances explain of them where that was asked for.
        features: their names.
        row: (frame,) the row of the input, from 0, that each frame is.
        n_rows: rows of the input, those left out included.
        replicas: (frame,) number of the series of each frame; pairs of frames never leave one. None without time.
        labels: (frame,) condition or delay of each frame. None without labels.
        time: (frame,) of the column of times. None without.
        variance: (frame, feature), where the input states one. None without.
        raw: (frame, feature) the latents as they were read. None where X is that.
        columns: (frame,) each, nuisances.
        given: names of those of them that were taken out of X.
        image: (frame,) image of each row, as NUMBER@STACK. None where nothing says.
        table: the STAR file or table that further columns came from. None without.
        table_row: (frame,) its row that each frame is. None without.
        n_table: how many rows it has.
        internal: what X is of a molecule, of trajectories. None else.
        counted: number of sources and the sentence that says how it was found, where the reader has counted. None else.
        notes: what a reader of the results should know.
    """

    source: str
    X: np.ndarray
    features: list[str]
    row: np.ndarray
    n_rows: int
    replicas: np.ndarray | None = None
    labels: np.ndarray | None = None
    time: np.ndarray | None = None
    variance: np.ndarray | None = None
    raw: np.ndarray | None = None
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    given: tuple[str, ...] = ()
    image: np.ndarray | None = None
    table: Path | None = None
    table_row: np.ndarray | None = None
    n_table: int = 0
    internal: Internal | None = None
    counted: tuple[int, str] | None = None
    notes: tuple[str, ...] = ()

    __repr__ = brief

    def in_input_order(self, values: np.ndarray) -> np.ndarray:
        """Values (frame, …) as (row, …) in the order of the input; NaN in rows that were left out."""
        out = np.full((self.n_rows, *values.shape[1:]), np.nan)
        out[self.row] = values
        return out


# long: most of it says what its parameters are
def read(
    data: Any,
    *,
    array: str | None = None,
    features: Sequence[str] | None = None,
    star: str | Path | None = None,
    ind: str | Path | None = None,
    labels: str | None = None,
    replicas: str | None = None,
    time: str | None = None,
    ordered: bool = False,
    nuisances: Sequence[str] = (),
    given: Sequence[str] = (),
    drop_nan: bool = False,
    repeated: bool = False,
) -> Frames:
    """Latents of any program as frames to unmix.

    Parameters:
        data: path of a file or RECOVAR folder (see `read_latents`), an array, a DataFrame, or an xarray object.
        array: which array of a file with several.
        features: columns that are latents, of a table.
        star: STAR file, .cs or other table with a row for each row of the latents, for columns that these lack. Rows
            are matched by the names of images where both have them, else by their order.
        ind: numbers of the rows of `star` that the latents are of, from 0, as .pkl or .npy (cryoDRGN's --ind).
        labels: column of the condition or delay of each row.
        replicas: column of the series, molecule or movie of each row.
        time: column of times; a step unlike the usual one begins a new series.
        ordered: rows are in order of time, in each series where `replicas` is given.
        nuisances: columns whose leakage into sources is to be measured: numbers or names; "pose" stands for the three
            angles of RELION or cryoSPARC.
        given: nuisances that are regressed out of the latents as well (`regressed_out`).
        drop_nan: whether to leave out rows with values that are not finite.
        repeated: whether one image may be in several rows, as in sets expanded by symmetry.

    Raises FormatError for files, and DataError for contents, that cannot be used. Example:
        >>> import numpy as np
        >>> frames = read(np.random.default_rng(0).normal(size=(100, 3)), ordered=True)
        >>> frames.X.shape, frames.replicas[:2].tolist()
        ((100, 3), [0, 0])
    """
    main, more = [name for name in (labels, replicas, time) if name is not None], [*nuisances, *given]
    others = [*main, *more, *(name for angles in POSES for name in angles)]
    if isinstance(data, str | Path):
        found = read_latents(data, array=array, features=features, other=others)
    else:
        found = latents_of(data, features=features, other=others)
    taken_out, more = (names_of(each, list(found.columns)) for each in (given, more))
    asked = [*main, *more]
    columns, notes, n_table = columns_of(found, asked, star, ind, repeated)
    kept, told = _finite(found, [columns[name] for name in asked], drop_nan)
    notes += told
    if labels is not None:
        kept, told = _with_company(columns[labels], kept, labels)
        notes += told
    order, series = _in_time(columns, kept, replicas, time, ordered)
    if series is not None:
        notes += _of_series(series, time)
    chosen = {name: columns[name][order] for name in more}
    raw = np.asarray(found.values[order], dtype=np.float64)
    X = regressed_out(raw, groups({name: chosen[name] for name in taken_out})) if taken_out else raw
    image = columns.get("image")
    return Frames(
        source=found.source,
        X=X,
        raw=raw if taken_out else None,
        given=tuple(taken_out),
        features=found.features,
        row=order,
        n_rows=len(found),
        replicas=series,
        labels=None if labels is None else columns[labels][order],
        time=None if time is None else columns[time][order],
        variance=None if found.variance is None else found.variance[order],
        columns=chosen,
        image=None if image is None else image[order],
        table=None if star is None else Path(star),
        table_row=None if star is None else columns["table_row"][order],
        n_table=n_table,
        notes=(*found.notes, *notes),
    )


def _finite(found: Latents, columns: Sequence[np.ndarray], drop_nan: bool) -> tuple[np.ndarray, list[str]]:
    """Rows (row,) whose numbers are all finite, and a note on the others."""
    good = np.isfinite(found.values).all(1) if found.values.dtype.kind == "f" else np.ones(len(found), bool)
    for each in columns:
        good &= np.isfinite(each) if each.dtype.kind == "f" else each != "nan"
    bad = np.flatnonzero(~good)
    if not len(bad):
        return np.arange(len(found)), []
    named = ", ".join(map(str, bad[:SHOWN].tolist())) + (", …" if len(bad) > SHOWN else "")
    if not drop_nan:
        raise DataError(
            f"{found.source} has {len(bad)} of {len(found)} rows with values that are not finite: rows {named} (from"
            " 0). Leave them out with --drop-nan."
        )
    if not good.any():
        raise DataError(f"{found.source} has no row with finite values. Check the file.")
    return np.flatnonzero(good), [f"{len(bad)} rows with values that are not finite were left out: {named} (from 0)"]


def _with_company(labels: np.ndarray, kept: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """Rows whose label another row has too, and a note on the others. Raises DataError for labels without use."""
    each, at, count = np.unique(labels[kept], return_inverse=True, return_counts=True)
    if len(each) < 2:
        raise DataError(
            f"All {len(kept)} rows have the same {name}, {each[0]}; labels tell sources apart only where they differ."
            " Leave --labels out, or give another column."
        )
    if np.median(count) < 2:
        raise DataError(
            f"The column {name} has {len(each)} values in {len(kept)} rows: a label is a condition with many rows."
            " Round or bin it first, or give it as --time."
        )
    alone = each[count == 1]
    if not len(alone):
        return kept, []
    told = ", ".join(map(str, alone[:SHOWN].tolist())) + (", …" if len(alone) > SHOWN else "")
    return kept[count[at] > 1], [f"left out, since no other row has their {name}: rows of {told}"]


def _in_time(
    columns: dict[str, np.ndarray], kept: np.ndarray, replicas: str | None, time: str | None, ordered: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows in the order of series and time, and the series of each; in the input's order where there is no time."""
    if time is None and not ordered:
        if replicas is not None:
            raise DataError(
                f"--replicas {replicas} says which series a row is of, and nothing says its place in time. Give --time"
                " COLUMN, or --ordered if rows are in order of time."
            )
        return kept, None
    if time is not None and ordered:
        raise DataError("Give only one of --time and --ordered: each says what the order in time is.")
    number = np.zeros(len(kept), int)
    if replicas is not None:
        number = np.unique(columns[replicas][kept], return_inverse=True)[1]
    if time is None:
        order = np.argsort(number, kind="stable")
        number, step = number[order], np.diff(kept[order])
        # a row that was left out is a gap in time, where rows of a series follow each other at all
        follows = np.median(step[np.diff(number) == 0]) if (np.diff(number) == 0).any() else 1
        begins = step != follows
    else:
        t = columns[time][kept]
        if t.dtype.kind not in "fiub":
            raise DataError(f"The column {time} must hold numbers, since it is a time; it holds text as '{t[0]}'.")
        order = np.lexsort((t, number))
        number, step = number[order], np.diff(t[order].astype(np.float64))
        begins = _other_steps(number, step, time, replicas)
    starts = np.r_[False, (np.diff(number) != 0) | begins]
    return kept[order], np.cumsum(starts)


def _other_steps(number: np.ndarray, step: np.ndarray, time: str, replicas: str | None) -> np.ndarray:
    """Where the step in time (frame − 1,) within a series is not the usual one."""
    inside = np.diff(number) == 0
    if not inside.any():
        raise DataError(f"No series has two rows; --replicas {replicas} gives every row another one.")
    if (step[inside] <= 0).any():
        where = "in one series" if replicas is None else f"with the same {replicas}"
        raise DataError(
            f"The column {time} has the same time twice {where}. Give the column of series with --replicas."
        )
    usual = float(np.median(step[inside]))
    other = inside & (np.abs(step - usual) > SAME_STEP * usual)
    if other.sum() > 0.5 * inside.sum():
        raise DataError(
            f"The column {time} has no usual step: {other.sum()} of {inside.sum()} steps differ from the median,"
            f" {usual:g}, by more than {SAME_STEP:.0%}. A lag needs rows at equal distances in time; interpolate."
        )
    return other


def _of_series(series: np.ndarray, time: str | None) -> list[str]:
    length = np.bincount(series)
    by = "order of the rows" if time is None else f"column {time}"
    return [f"{len(length)} series of {length.min()} to {length.max()} rows, by the {by}"]

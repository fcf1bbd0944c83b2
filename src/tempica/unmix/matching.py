"""Columns for rows of latents: from the same file, or from another table whose rows are matched to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempica.errors import DataError, FormatError
from tempica.exchange import columns as tables
from tempica.exchange.latents import Latents
from tempica.exchange.plain_pickle import read_pickle


def columns_of(
    found: Latents, asked: list[str], star: str | Path | None, ind: str | Path | None, repeated: bool
) -> tuple[dict[str, np.ndarray], list[str], int]:
    """Columns (row,) that are asked for, and how they were matched.

    With them `image`, where known, and `table_row`, the row of the table, where there is one; notes; and how many rows
    the table has.
    """
    missing = [name for name in asked if not _has(found.columns, name)]
    columns = tables.choose(found.columns, [name for name in asked if name not in missing], found.source)
    own = tables.image_names(found.columns)
    if star is None:
        if missing:
            raise FormatError(
                f"{found.source} has no column '{missing[0]}'. Its columns:"
                f" {', '.join([*found.features, *found.columns])}. Give the table that has it with --star."
            )
        if ind is not None:
            raise FormatError("--ind says which rows of a table the latents are of. Give the table with --star.")
        if own is not None:
            _refuse_repeated(own, found.source, repeated)
            columns["image"] = own
        return columns, [], 0
    others = tables.read_columns(star, missing)
    n = len(next(iter(others.values())))
    rows = np.arange(n) if ind is None else _indices(Path(ind), n, star)
    theirs = tables.image_names(others)
    if theirs is not None:
        theirs = theirs[rows]
        _refuse_repeated(theirs, star, repeated)
    if own is not None and theirs is not None:
        _refuse_repeated(own, found.source, repeated)
        match, notes = _matched(own, theirs, found.source, star)
    elif len(rows) != len(found):
        raise DataError(
            f"{found.source} has {len(found)} rows and {star} has {len(rows)}{' of --ind' if ind else ''}; they must"
            " be of the same particles. Give the table that the latents were made of, or the selection with --ind."
        )
    else:
        match, notes = np.arange(n)[: len(rows)], [f"rows of {star} were matched by their order"]
    columns |= {name: others[name][rows][match] for name in missing}
    if theirs is not None:
        columns["image"] = theirs[match]
    columns["table_row"] = rows[match]
    return columns, notes, n


def _has(columns: dict[str, np.ndarray], name: str) -> bool:
    return any(each in columns for each in (name, name.lstrip("_"), f"_{name}"))


def _indices(path: Path, n: int, star: object) -> np.ndarray:
    """Row numbers of a file, checked against a table of n rows."""
    if not path.is_file():
        raise FormatError(f"There is no file {path}. Check the path.")
    try:
        (found,) = read_pickle(path) if path.suffix == ".pkl" else [np.load(path, allow_pickle=False)]
        rows = np.asarray(found)
    except ValueError as error:
        raise FormatError(f"{path} cannot be read as row numbers: {error}") from None
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or (len(rows) and not 0 <= rows.min() <= rows.max() < n):
        raise DataError(f"{path} must hold whole numbers from 0 to {n - 1}, rows of {star}.")
    return rows


def _refuse_repeated(image: np.ndarray, source: object, repeated: bool) -> None:
    names, count = np.unique(image, return_counts=True)
    if count.max() > 1 and not repeated:
        name = names[count.argmax()]
        rows = np.flatnonzero(image == name)[:2].tolist()
        raise DataError(
            f"{source} has the image {name} in {count.max()} rows, {rows[0]} and {rows[1]} from 0. Remove duplicates,"
            " or give --repeated for a set expanded by symmetry."
        )


def _matched(own: np.ndarray, theirs: np.ndarray, source: object, star: object) -> tuple[np.ndarray, list[str]]:
    """Rows of a table (row,) by names of images."""
    if len(own) == len(theirs) and (own == theirs).all():
        return np.arange(len(own)), []
    order = np.argsort(theirs, kind="stable")
    place = np.clip(np.searchsorted(theirs[order], own), 0, len(theirs) - 1)
    match = order[place]
    absent = np.flatnonzero(theirs[match] != own)
    if len(absent):
        raise DataError(
            f"{len(absent)} images of {source} are not in {star}, the first {own[absent[0]]} in row {absent[0]}."
            " Give the table that the latents were made of."
        )
    if len(np.unique(own)) < len(own):
        raise DataError(f"{source} and {star} repeat images in different orders; rows cannot be matched. Sort them.")
    return match, [f"rows of {star} are in another order than those of {source}; they were matched by image"]

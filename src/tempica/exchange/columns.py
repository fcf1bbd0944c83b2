"""Columns of tables of other programs: STAR, cryoSPARC, CSV, Parquet; what they say of each particle or frame."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tempica.errors import FormatError
from tempica.exchange import particle_columns

Columns = dict[str, np.ndarray]  # (row,) each, numbers or text
IMAGE_NAMES = ("rlnImageName", "_rlnImageName", "image_name", "blob/path")
_OF_CRYOSPARC = re.compile(r"^\d{15,}_")  # the number that cryoSPARC puts before the names of imported files
ROW = "row of the table"
READABLE = (".star", ".cs", ".npy", ".csv", ".tsv", ".parquet")


def read_columns(path: str | Path, wanted: Iterable[str]) -> Columns:
    """Columns of a table by name, a leading underscore or not; of a STAR file with optics groups, theirs as well.

    Columns of numbers are numbers, all others text. Names of images are read too, where the table has them. Raises
    FormatError for a column that is not there, with those that are.
    """
    path, wanted = Path(path), list(wanted)
    if not path.is_file():
        raise FormatError(f"There is no table {path}. Check the path.")
    ending = path.suffix.lower()
    if ending not in READABLE:
        raise FormatError(f"{path} ends in '{path.suffix}'; tables are read from {', '.join(READABLE)}.")
    if ending == ".star":
        return _of_star(path, wanted)
    if ending in (".cs", ".npy"):
        try:
            records = np.load(path, allow_pickle=False)
        except Exception as error:  # of many kinds, for damaged headers
            raise FormatError(f"{path} cannot be read: {error}.") from None
        columns = columns_of_records(records)
    else:
        columns = columns_of_frame(read_frame(path))
    if not columns:
        raise FormatError(f"{path} has no columns. Give a table with a row for each particle or frame.")
    rows = {ROW: np.arange(len(next(iter(columns.values()))))}  # so that no column wanted still has a length
    return choose(columns, wanted, path) | {name: columns[name] for name in row_names(columns)} | rows


def choose(columns: Columns, wanted: Sequence[str], source: object) -> Columns:
    """The wanted columns, by the names they were asked for. Raises FormatError for one that is not there."""
    found = {}
    for name in wanted:
        known = next((each for each in (name, name.lstrip("_"), f"_{name}") if each in columns), None)
        if known is None:
            raise FormatError(f"{source} has no column '{name}'. Its columns: {', '.join(columns) or 'none'}.")
        found[name] = columns[known]
    return found


def _of_star(path: Path, wanted: Sequence[str]) -> Columns:
    labels = {name: name.lstrip("_") for name in wanted}
    asked = [*labels.values(), "rlnImageName", "rlnOpticsGroup"]
    found = particle_columns.read_columns(path, dict.fromkeys(asked, str) | {"rlnOpticsGroup": float})
    absent = [name for name, label in labels.items() if label not in found]
    if absent:
        known = ", ".join(f"_{label}" for label in dict.fromkeys(found.labels))
        raise FormatError(f"{path} has no column '{absent[0]}'. Its columns: {known}.")
    columns = {name: as_numbers(found.values[label]) for name, label in labels.items()}
    if "rlnImageName" in found:
        columns["rlnImageName"] = np.array(found.values["rlnImageName"].tolist())
    return columns | {ROW: np.arange(found.n)}


def read_frame(path: Path) -> Any:
    """A CSV, TSV or Parquet file as a pandas DataFrame. Raises FormatError."""
    import pandas

    if not path.stat().st_size:
        raise FormatError(f"{path} is empty: it has 0 bytes. Copy it again.")
    try:
        if path.suffix.lower() == ".parquet":
            return pandas.read_parquet(path)
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        with path.open(encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "").strip().split(separator)
        header = None if all(_is_number(each) for each in first) and not _counts(first) else 0
        frame = pandas.read_csv(path, sep=separator, header=header, skipinitialspace=True, encoding="utf-8-sig")
    except ImportError:
        raise FormatError(f"Reading {path} needs pyarrow: pip install 'tempica[parquet]'.") from None
    except MemoryError:
        raise
    except Exception as error:  # of many kinds
        raise FormatError(f"{path} cannot be read as a table ({str(error).strip().splitlines()[0]}).") from None
    if header is None:
        frame.columns = [f"z{i + 1}" for i in range(frame.shape[1])]
    index = "Unnamed: 0"  # what pandas calls the nameless column of row numbers that it writes itself
    return frame.drop(columns=index) if index in frame.columns and _counts(frame[index].astype(str)) else frame


def columns_of_frame(frame: Any) -> Columns:
    """Columns of a pandas DataFrame: those of numbers as numbers, all others as text."""
    return {str(name): as_numbers(frame[name].to_numpy()) for name in frame.columns}


def columns_of_records(records: np.ndarray) -> Columns:
    """Columns of a structured array; one with several numbers a row becomes as many columns, NAME/0, NAME/1 …"""
    found: Columns = {}
    for name in records.dtype.names or ():
        values = np.asarray(records[name])
        parts = {name: values} if values.ndim == 1 else {f"{name}/{i}": values[:, i] for i in range(values.shape[1])}
        found |= {key: np.char.decode(each, "utf-8") if each.dtype.kind == "S" else each for key, each in parts.items()}
    return found


def as_numbers(values: np.ndarray) -> np.ndarray:
    """Values as numbers where all of them are, else as text."""
    if values.dtype.kind in "fiub":
        return values
    text = np.array([str(value) for value in values.tolist()])
    try:
        return text.astype(np.float64)
    except ValueError:
        return text


def row_names(columns: Columns) -> list[str]:
    """Names of columns that say which image a row is of."""
    return [name for name in (*IMAGE_NAMES, "blob/idx") if name in columns]


def image_names(columns: Columns) -> np.ndarray | None:
    """The image of each row, NUMBER@FILE counted from 1, without folders; None where the columns do not say."""
    if "blob/path" in columns and "blob/idx" in columns:
        pairs = zip(columns["blob/idx"].tolist(), columns["blob/path"].tolist(), strict=True)
        return np.array([f"{int(i) + 1}@{_stack(str(path))}" for i, path in pairs])
    name = next((name for name in IMAGE_NAMES[:3] if name in columns), None)
    return None if name is None else np.array([_normal(str(each)) for each in columns[name].tolist()])


def _normal(name: str) -> str:
    number, at, path = name.partition("@")
    return f"{int(number)}@{_stack(path)}" if at and number.isdecimal() else _stack(name)


def _stack(path: str) -> str:
    return _OF_CRYOSPARC.sub("", path.rpartition("/")[2])


def _counts(texts: Iterable[str]) -> bool:
    """Whether texts are 0, 1, 2 …, as pandas numbers columns without names; the first may be left out."""
    found = list(texts)
    found = found[1:] if found and not found[0] else found
    return found == [str(i) for i in range(len(found))]


def _is_number(text: str) -> bool:
    try:
        float(text.strip().strip('"') or "nan")
    except ValueError:
        return False
    return True

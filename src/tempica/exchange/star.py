"""STAR files as RELION writes them: named blocks, each one table.

Source: Hall, J. Chem. Inf. Comput. Sci. 31, 326 (1991), in the subset that RELION reads: loop_ tables of one line a
row, blocks of single values, quotes around values with spaces, # comments; a blank line ends a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from tempica.errors import FormatError

ROWS_AT_ONCE = 10_000
_TOKEN = re.compile(r"""'((?:[^']|'(?=\S))*)'(?=\s|$)|"((?:[^"]|"(?=\S))*)"(?=\s|$)|(\S+)""")


@dataclass
class Table:
    """Columns of one block; numbers as float64, text as numpy strings. `labels` also has those not asked for."""

    labels: list[str]
    line: int  # where the block begins
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    n_rows: int = 0


def read_star(path: Path, wanted: Mapping[str, type]) -> dict[str, Table]:
    """Tables of a STAR file by block name ("optics" of data_optics), with the columns that are wanted.

    `wanted` gives each label, without its underscore, as float or str; labels not wanted are left unread, so that
    memory goes with what is used. Raises FormatError, with the line, for everything wrong with the file.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:  # Windows editors put a mark before the text
            return _read(path, file, wanted)
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is no STAR file: it is not text in UTF-8 ({error}).") from None
    except FileNotFoundError:
        raise FormatError(f"There is no STAR file {path}.") from None
    except OSError as error:
        raise FormatError(f"The STAR file {path} cannot be read: {error}.") from None


def _read(path: Path, file: TextIO, wanted: Mapping[str, type]) -> dict[str, Table]:
    blocks: dict[str, Table] = {}
    columns: _Columns | None = None
    looping = False
    for number, line in enumerate(file, 1):
        text = line.strip()
        where = f"{path}, line {number}"
        if text.startswith("#"):
            continue
        if not text:
            looping = looping and not (columns and columns.n_rows)  # a blank line ends a table that has begun
            continue
        if text.lower().startswith("data_") and len(text.split()) == 1:
            if columns:
                columns.finish()
            name, looping = text[5:], False
            if name in blocks:
                raise FormatError(f"{where}: a second block data_{name}. A STAR file has each block once.")
            blocks[name] = Table([], number)
            columns = _Columns(blocks[name], f"data_{name}", wanted)
        elif columns is None:
            raise FormatError(f"{where}: text before any data_ block: {_short(text)}. This is no STAR file.")
        elif text.lower() == "loop_":
            if columns.table.labels:
                raise FormatError(f"{where}: a second table in {columns.name}. RELION's blocks have one each.")
            looping = True
        elif text.startswith("_"):
            values = split_row(text)
            if looping and columns.n_rows == 0:
                columns.declare(values[0][1:], where)
            elif looping or len(values) != 2 or columns.looped:
                raise FormatError(
                    f"{where}: {_short(text)} is neither a column's label, which come before the first row, nor a"
                    " label with one value."
                )
            else:
                columns.single(values[0][1:], values[1], where)
        elif looping:
            columns.add(split_row(text), where)
        else:
            raise FormatError(f"{where}: values outside a table: {_short(text)}. Before them must stand loop_.")
    if columns:
        columns.finish()
    return blocks


class _Columns:
    """Rows of one block on their way into columns, some thousand at a time."""

    def __init__(self, table: Table, name: str, wanted: Mapping[str, type]) -> None:
        self.table, self.name, self.wanted = table, name, wanted
        self.looped = False
        self.rows: list[list[str]] = []
        self.places: list[str] = []
        self.parts: dict[str, list[np.ndarray]] = {}

    @property
    def n_rows(self) -> int:
        return self.table.n_rows

    def declare(self, label: str, where: str) -> None:
        if label in self.table.labels:
            raise FormatError(f"{where}: {self.name} has the column _{label} twice.")
        self.table.labels.append(label)
        self.looped = True

    def single(self, label: str, value: str, where: str) -> None:
        if label in self.table.labels:
            raise FormatError(f"{where}: {self.name} has _{label} twice.")
        self.table.labels.append(label)
        self.table.n_rows = 1
        if label in self.wanted:
            self.table.columns[label] = self._convert(label, [value], [where])

    def add(self, values: list[str], where: str) -> None:
        if len(values) != len(self.table.labels):
            raise FormatError(
                f"{where}: {len(values)} values in a row of {self.name}, which has {len(self.table.labels)} columns."
                " The file may be cut off or damaged; export it again."
            )
        self.rows.append(values)
        self.places.append(where)
        self.table.n_rows += 1
        if len(self.rows) == ROWS_AT_ONCE:
            self._flush()

    def finish(self) -> None:
        if not self.looped:
            return
        self._flush()
        for label in self.table.labels:
            if label in self.wanted:
                found = self.parts.get(label)
                self.table.columns[label] = np.concatenate(found) if found else self._convert(label, [], [])

    def _flush(self) -> None:
        if self.rows:
            for label, values in zip(self.table.labels, zip(*self.rows, strict=True), strict=True):
                if label in self.wanted:
                    self.parts.setdefault(label, []).append(self._convert(label, values, self.places))
        self.rows, self.places = [], []

    def _convert(self, label: str, values: Sequence[str], places: Sequence[str]) -> np.ndarray:
        if self.wanted[label] is str:
            return np.array(values, dtype=np.dtypes.StringDType())
        try:
            numbers = np.array([float(value) for value in values], dtype=np.float64)
        except ValueError:
            numbers = np.array([_number(value) for value in values])
        bad = np.flatnonzero(~np.isfinite(numbers))
        if len(bad):
            raise FormatError(f"{places[bad[0]]}: _{label} = {_short(values[bad[0]])} must be a finite number.")
        return numbers


def write_block(
    file: TextIO, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]], comment: str = ""
) -> None:
    """Write one block as a table; `columns` are labels without underscore. Numbers keep every bit they have."""
    file.write(f"# version 30001\n{comment}\ndata_{name}\n\nloop_\n")
    file.writelines(f"_{label} #{number}\n" for number, label in enumerate(columns, 1))
    file.writelines(" ".join(map(_text, row)) + "\n" for row in rows)
    file.write("\n")


def _text(value: object) -> str:
    if isinstance(value, float | np.floating):
        return repr(float(value))
    text = str(value)
    return f'"{text}"' if not text or any(c.isspace() for c in text) or text[0] in "#_'\"" else text


def split_row(text: str) -> list[str]:
    """Values of a row, without their quotes."""
    return list(_values(text))


def _values(text: str) -> Iterator[str]:
    if '"' not in text and "'" not in text and "#" not in text:
        yield from text.split()
        return
    for match in _TOKEN.finditer(text):
        if match[3] is not None and match[3].startswith("#"):
            return
        yield next(group for group in match.groups() if group is not None)


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return np.nan


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")

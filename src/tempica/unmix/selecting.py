"""The particles behind a state: rows that fulfil a condition, as a table and as row numbers."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np

from tempica.errors import DataError
from tempica.exchange.columns import as_numbers, columns_of_frame, read_frame
from tempica.exchange.selecting import SELECTABLE, write_rows
from tempica.stores import store
from tempica.stores.files import fresh_name
from tempica.stores.opening import open_stored
from tempica.unmix.expressions import rows_where
from tempica.unmix.work import Result

FOLDER = "selections"


def select(result: Result, condition: str) -> list[Path]:
    """Write the rows of sources.csv that fulfil a condition into the folder of a result; returns the files.

    NAME_rows.pkl, row numbers of the input from 0 (cryoDRGN's --ind), and, where there is a STAR or .cs file of the
    particles, its rows as NAME.star or NAME.cs. Raises DataError for a condition that cannot be read or that no row
    fulfils.
    """
    folder = result.folder
    columns = {
        name: as_numbers(values) for name, values in columns_of_frame(read_frame(folder / "sources.csv")).items()
    }
    chosen = rows_where(condition, columns)
    if not chosen.any():
        raise DataError(f"No row fulfils {condition!r}. The columns of {folder / 'sources.csv'} are what it is about.")
    name = re.sub(r"\W+", "_", _in_words(condition)).strip("_")[:80]
    (folder / FOLDER).mkdir(exist_ok=True)
    rows = folder / FOLDER / f"{name}_rows.pkl"
    fresh = fresh_name(rows)
    fresh.write_bytes(pickle.dumps(np.flatnonzero(chosen)))
    fresh.rename(rows)
    made = [rows]
    table = None if result.record["table"] is None else Path(result.record["table"])
    if table is not None and table.suffix.lower() in SELECTABLE:
        kept = np.zeros(result.record["table_rows"], dtype=bool)
        stored = open_stored(folder / store.file_name("source_table"), "source_table")
        kept[stored["table_row"].values[chosen]] = True
        out = folder / FOLDER / f"{name}{table.suffix.lower()}"
        write_rows(table, kept, out)
        made.append(out)
    return made


def _in_words(condition: str) -> str:
    words = (
        (">=", " ge "),
        ("<=", " le "),
        ("==", " eq "),
        ("!=", " ne "),
        (">", " gt "),
        ("<", " lt "),
        ("-", " minus "),
    )
    for sign, word in words:
        condition = condition.replace(sign, word)
    return condition.replace(".", "p")

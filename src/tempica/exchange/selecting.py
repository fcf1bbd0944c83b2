"""Some rows of a table of particles, as a table of the same kind; everything else stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempica.errors import FormatError
from tempica.stores.files import fresh_name

SELECTABLE = (".star", ".cs")


def write_rows(table: Path, kept: np.ndarray, out: Path) -> None:
    """Write the rows of a STAR file's particles, or of a .cs file, that a mask (row,) keeps; in one step.

    Of a STAR file, all lines but those of other particles are the same to the letter. Raises FormatError where the
    table has another number of rows.
    """
    fresh = fresh_name(out)
    try:
        n = _write_star(table, kept, fresh) if table.suffix.lower() == ".star" else _write_cs(table, kept, fresh)
        if n != len(kept):
            raise FormatError(f"{table} has {n} particles, and the selection is of {len(kept)}. It has changed since.")
        fresh.rename(out)
    finally:
        fresh.unlink(missing_ok=True)


def _write_cs(table: Path, kept: np.ndarray, out: Path) -> int:
    records = np.load(table, allow_pickle=False)
    if len(records) == len(kept):
        with out.open("wb") as file:
            np.save(file, records[kept])
    return len(records)


def _write_star(table: Path, kept: np.ndarray, out: Path) -> int:
    """Number of particles of the table that was filtered."""
    blocks = _blocks(table)
    name = next((name for name in ("particles", "", "images") if name in blocks), None)
    if name is None:
        raise FormatError(f"{table} has no table of particles.")
    number, inside, looping = 0, False, False
    with table.open(encoding="utf-8", newline="") as source, out.open("w", encoding="utf-8", newline="") as target:
        for line in source:
            text = line.strip().removeprefix("\ufeff")
            if _begins_block(text):
                inside, looping = text[5:] == name, False
            elif inside and text.lower() == "loop_":
                looping = True
            elif inside and looping and text and text[0] not in "_#":
                if number < len(kept) and not kept[number]:
                    number += 1
                    continue
                number += 1
            target.write(line)
    return number


def _blocks(table: Path) -> set[str]:
    with table.open(encoding="utf-8-sig") as file:
        return {line.strip()[5:] for line in file if _begins_block(line.strip())}


def _begins_block(text: str) -> bool:
    return text.lower().startswith("data_") and len(text.split()) == 1

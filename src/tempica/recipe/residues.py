"""Residue ranges as recipes write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise


def residues(text: str) -> tuple[tuple[str, int], ...]:
    """Residues of a range such as "1-29, 68-117" or "A:1-29, B:5": (chain, number), sorted, each once.

    The chain is "" where none is given. Raises ValueError.
    """
    found: set[tuple[str, int]] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(?:(\w+)\s*:)?\s*(-?\d+)(?:\s*-\s*(-?\d+))?\s*", part)
        if match is None:
            raise ValueError(f"residue range '{part.strip()}' of '{text}' must look like '1-29, 68-117' or 'A:1-29'")
        first, last = int(match[2]), int(match[3] or match[2])
        if last < first:
            raise ValueError(f"residue range '{part.strip()}' runs backwards; write the smaller number first")
        if last - first > 100_000:
            raise ValueError(f"residue range '{part.strip()}' spans more than 100,000 residues")
        found.update((match[1] or "", number) for number in range(first, last + 1))
    return tuple(sorted(found))


def told(residue: tuple[str, int]) -> str:
    """A residue as recipes write it: "5", "A:5"."""
    return f"{residue[0]}:{residue[1]}" if residue[0] else str(residue[1])


def spans(numbers: Iterable[int], most: int = 5) -> str:
    """Whole numbers as a recipe writes them, "1-29, 68"; the first ranges alone when there are many."""
    numbers = sorted(numbers)
    breaks = [i for i in range(1, len(numbers)) if numbers[i] > numbers[i - 1] + 1]
    parts = [numbers[a:b] for a, b in pairwise([0, *breaks, len(numbers)])]
    told = [f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts]
    return ", ".join([*told[:most], *(["…"] if len(told) > most else [])])

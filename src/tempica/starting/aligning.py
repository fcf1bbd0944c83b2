"""Which residues of two chains are the same: by their numbers, and failing that by their sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tempica.errors import StructureError

MATCH, MISMATCH, GAP = 2.0, -1.0, -2.0
BY_NUMBER = 0.9  # of the residues with a number in common, those with the same name, for numbers to be believed
LEAST_COVERED = 0.3  # of the shorter chain


@dataclass(frozen=True)
class Pairs:
    """Residues of two chains that correspond, in the order of the chains."""

    first: np.ndarray  # (pair,) place in the first chain
    second: np.ndarray  # (pair,)
    by: str  # "numbers" or "sequence"
    identity: float  # share of the pairs whose names agree


def pair_residues(
    numbers: tuple[Sequence[int], Sequence[int]], names: tuple[Sequence[str], Sequence[str]], least: int
) -> Pairs:
    """Residues that two chains have in common.

    Parameters:
        numbers: residue numbers of both chains, each once.
        names: of the same residues.
        least: how many there must be.

    Raises StructureError when the chains have too little in common.

    Example:
        >>> found = pair_residues(([1, 2, 3], [2, 3, 4]), (["ALA", "GLY", "SER"], ["GLY", "SER", "LYS"]), 2)
        >>> found.by, found.first.tolist(), found.second.tolist()
        ('numbers', [1, 2], [0, 1])
    """
    found = [_by_number(numbers, names), _by_sequence(names)]
    shorter = min(len(numbers[0]), len(numbers[1]))
    for pairs in found:
        enough = len(pairs.first) >= max(least, LEAST_COVERED * shorter)
        if enough and pairs.identity >= (BY_NUMBER if pairs.by == "numbers" else least_identity(len(pairs.first))):
            return pairs
    best = found[1]
    number, share = max(least, int(LEAST_COVERED * shorter)), least_identity(len(best.first))
    raise StructureError(
        f"The two forms have too little in common: of {len(numbers[0])} and {len(numbers[1])} residues"
        f" {len(best.first)} can be aligned by sequence, {100 * best.identity:.0f} % of them identical; needed are"
        f" {number}, and {100 * share:.0f} %. Give two forms of one protein, and name their chains with --chain if a"
        " file has several."
    )


def least_identity(length: int) -> float:
    """Share of identical residues above which aligned sequences of a length have one fold: 2.9 L^−0.562, at least 0.25.

    (Sander & Schneider, Proteins 9, 56 (1991).)
    """
    return float(np.clip(2.9 * max(1, length) ** -0.562, 0.25, 1.0))


def _by_number(numbers: tuple[Sequence[int], Sequence[int]], names: tuple[Sequence[str], Sequence[str]]) -> Pairs:
    place = {number: i for i, number in enumerate(numbers[1])}
    pairs = [(i, place[number]) for i, number in enumerate(numbers[0]) if number in place]
    return _pairs(pairs, names, "numbers")


def _by_sequence(names: tuple[Sequence[str], Sequence[str]]) -> Pairs:
    """Global alignment (Needleman & Wunsch 1970) with linear gaps, free at the ends."""
    one, other = (np.array(each) for each in names)
    n, m = len(one), len(other)
    score = np.zeros((n + 1, m + 1))
    along = GAP * np.arange(m + 1)
    for i in range(1, n + 1):
        diagonal = score[i - 1, :-1] + np.where(other == one[i - 1], MATCH, MISMATCH)
        best = np.concatenate([[0.0], np.maximum(diagonal, score[i - 1, 1:] + GAP)])
        score[i] = np.maximum.accumulate(best - along) + along  # gaps along the row, all at once
    i, j = (n, int(score[n].argmax())) if score[n].max() >= score[:, m].max() else (int(score[:, m].argmax()), m)
    pairs = []
    while i and j:
        step = score[i - 1, j - 1] + (MATCH if one[i - 1] == other[j - 1] else MISMATCH)
        if np.isclose(score[i, j], step):
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif np.isclose(score[i, j], score[i - 1, j] + GAP):
            i -= 1
        else:
            j -= 1
    return _pairs(pairs[::-1], names, "sequence")


def _pairs(pairs: list[tuple[int, int]], names: tuple[Sequence[str], Sequence[str]], by: str) -> Pairs:
    first, second = (np.array([pair[k] for pair in pairs], dtype=int) for k in (0, 1))
    same = sum(names[0][i] == names[1][j] for i, j in pairs)
    return Pairs(first, second, by, same / max(1, len(pairs)))

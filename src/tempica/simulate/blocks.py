"""Frames that are simulated or read in one task."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise


def block_frames() -> int:
    """Frames of a block, as the engine says."""
    from tempica.simulate import engine

    return engine.BLOCK_FRAMES


def blocks(n: int) -> Iterator[tuple[int, int]]:
    """First frame of each block of n frames, and the first after it."""
    return pairwise([0, *range(block_frames(), n, block_frames()), n])

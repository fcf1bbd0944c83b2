"""Random numbers that depend on what they are for, never on who draws them or in which order."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, purpose: str, *where: int) -> np.random.Generator:
    """A generator for one purpose at one place (replica, frame, block …) of a run.

    Counter-based (Philox) below a `SeedSequence` whose spawn key is (CRC of the purpose, *where), so that the
    same recipe draws the same numbers whatever the chunking, the worker count or the order.
    """
    return np.random.Generator(np.random.Philox(_sequence(seed, purpose, where)))


def integer(seed: int, purpose: str, *where: int) -> int:
    """A seed in 1 … 2³¹ − 1 for programs that take a positive 32-bit one (OpenMM draws its own for 0)."""
    return 1 + int(_sequence(seed, purpose, where).generate_state(1)[0]) % (2**31 - 1)


def key(seed: int, purpose: str, *where: int) -> int:
    """A key of 64 bits for generators of our own."""
    return int(_sequence(seed, purpose, where).generate_state(1, np.uint64)[0])


def _sequence(seed: int, purpose: str, where: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()), *where))

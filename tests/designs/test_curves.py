"""Curves of scores, and the number of frames at which one is reached."""

from __future__ import annotations

import numpy as np
import pytest

from tempica.designs.curves import Curve


def search(truth, score: float, first: int, least: int = 50, most: int = 100_000) -> Curve:
    """A curve as `design` makes it, of scores without noise."""
    scores = {}
    size: int | None = first
    while size is not None:
        scores[size] = [truth(size), truth(size)]
        curve = Curve.of(scores)
        size = curve.next(score, least, most, 2.0)
    return curve


@pytest.mark.parametrize("first", [60, 700, 90_000])
def test_a_search_brackets_the_number(first: int) -> None:
    def truth(n: int) -> float:
        return 0.95 - 3.0 / np.sqrt(n)

    curve = search(truth, 0.9, first)
    assert curve.needed(0.9) == pytest.approx(3600, rel=0.1)
    assert len(curve.frames) < 10


def test_what_is_not_reached_takes_infinitely_many_frames() -> None:
    curve = search(lambda n: 0.7, 0.9, 1000)
    assert curve.needed(0.9) == np.inf
    assert curve.frames[-1] == 100_000


def test_what_is_always_reached_takes_none() -> None:
    curve = search(lambda n: 0.95, 0.9, 1000)
    assert curve.needed(0.9) == 0
    assert curve.frames[0] == 50


def test_noise_is_pooled_to_a_rising_curve() -> None:
    curve = Curve((100, 200, 400), (0.8, 0.7, 0.9), (0.01, 0.01, 0.01))
    assert curve.rising() == pytest.approx([0.75, 0.75, 0.9])
    assert curve.needed(0.85, shift=1) < curve.needed(0.85) < curve.needed(0.85, shift=-1)

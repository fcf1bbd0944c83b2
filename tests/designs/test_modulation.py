"""Rank, condition and choice of labels, where they are known."""

from __future__ import annotations

import numpy as np
import pytest

from tempica.designs.modulation import condition, modulation, most_telling

N_LABELS, EACH = 20, 2000


def relaxing(*rates: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sources that decay after a pulse, with normal scatter, and the delay of each frame."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(N_LABELS), EACH)
    mean = 4 * np.exp(-labels[:, None] / np.array(rates))
    y = mean + rng.standard_normal((len(labels), len(rates)))
    return (y - y.mean(0)) / y.std(0), labels


def test_different_rates_have_full_rank_and_equal_ones_have_not() -> None:
    y, labels = relaxing(2.0, 8.0)
    found = modulation(y, labels, ordered=True)
    assert found.rank == 2
    assert 1 < found.condition < 10
    equal = modulation(*relaxing(4.0, 4.0), ordered=True)
    assert equal.condition == np.inf or equal.condition > 5 * found.condition


def test_labels_that_do_nothing_have_rank_0() -> None:
    rng = np.random.default_rng(0)
    found = modulation(rng.standard_normal((40_000, 2)), np.tile(np.arange(20), 2000), ordered=True)
    assert (found.rank, found.condition, found.chosen) == (0, np.inf, ())


def test_scales_count_as_means_do() -> None:
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(20), 2000)
    scale = rng.uniform(0.3, 1, (20, 2))
    assert modulation(rng.standard_normal((40_000, 2)) * scale[labels], labels, ordered=False).rank == 2
    common = modulation(rng.standard_normal((40_000, 2)) * scale[labels, :1], labels, ordered=False)
    assert common.condition > 20


def test_exchange_finds_the_best_of_all_subsets() -> None:
    from itertools import combinations

    rng = np.random.default_rng(0)
    columns = rng.standard_normal((16, 2))

    def worth(some: tuple[int, ...]) -> float:
        part = columns.reshape(2, 8, 2)[:, some]
        part = (part - part.mean(1, keepdims=True)).reshape(-1, 2)
        return float(np.linalg.det(part.T @ part))

    best = max(worth(some) for some in combinations(range(8), 3))
    assert worth(tuple(most_telling(columns, 8, 3))) == pytest.approx(best, rel=0.05)


def test_condition_is_that_of_unit_columns() -> None:
    assert condition(np.array([[5.0, 0], [0, 0.1]])) == pytest.approx(1)
    assert condition(np.array([[1.0, 1], [1, 1]])) == np.inf

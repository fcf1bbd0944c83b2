"""Information at stake: nothing where theory says so, and as much as theory says where it does."""

from __future__ import annotations

import numpy as np
import pytest

from tempica.designs import stakes
from tempica.simulate.protocols import ar1

N = 40_000


def sources(rho, innovation: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([ar1(N, one, innovation, rng) for one in rho], 1)


MOLECULE = np.repeat(np.arange(N // 1000), 1000)


@pytest.mark.parametrize("seed", range(2))
def test_normal_sources_of_equal_rate_have_nothing_at_stake(seed: int) -> None:
    y = sources((0.8, 0.8), "gaussian", seed)
    assert stakes.of_pairs(y, MOLECULE, 1).frames == np.inf
    assert stakes.of_frames(y).frames == np.inf


def test_normal_sources_of_different_rates_have_the_difference_of_their_information() -> None:
    y = sources((0.9, 0.3), "gaussian")
    found = stakes.of_pairs(y, MOLECULE, 1)
    # turned by 45°, both axes have the mean autocorrelation 0.6
    exact = -0.5 * np.log((1 - 0.9**2) * (1 - 0.3**2)) + np.log(1 - 0.6**2)
    assert found.second_order == pytest.approx(exact, abs=5 * found.errors[0])
    assert abs(found.beyond) < 5 * found.errors[1]


def test_innovations_that_are_not_normal_are_seen_beyond_second_order() -> None:
    found = stakes.of_pairs(sources((0.8, 0.8), "laplace"), MOLECULE, 1)
    assert found.second_order < 5 * found.errors[0]
    assert found.beyond > 10 * found.errors[1]
    assert found.frames == pytest.approx(10 / found.beyond)


def test_labels_tell_sources_apart_only_if_they_act_on_each_in_its_own_way() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(8, size=N)
    scale = rng.uniform(0.3, 1.5, (8, 2))
    own = rng.standard_normal((N, 2)) * scale[labels]
    common = rng.standard_normal((N, 2)) * scale[labels, :1]
    assert stakes.of_labels(stakes.whitened(own), labels).value > 0
    assert stakes.of_labels(stakes.whitened(common), labels).value == 0


def test_the_hardest_pair_decides() -> None:
    y = np.concatenate([sources((0.9, 0.5), "gaussian"), sources((0.5,), "gaussian", 1)], 1)
    found = stakes.of_pairs(y, MOLECULE, 1)
    assert found.pair == (1, 2)
    assert found.value == 0

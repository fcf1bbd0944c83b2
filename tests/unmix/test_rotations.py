"""Axes that labels move are called fixed where theory says so, and not where any rotation would do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from tempica.unmix.rotations import are_fixed, shifted, within_labels

N, K = 300, 6
LABELS = np.repeat(np.arange(K), N)


def scatter(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Sources (frame, 2) independent given the label, whose means differ."""
    means = 3 * rng.normal(size=(K, 2))[LABELS]
    if kind == "laplace":
        return means + rng.laplace(size=(N * K, 2))
    spread = np.ones((K, 2))
    if kind == "apart":
        spread = np.stack([np.linspace(0.4, 2, K), np.linspace(2, 0.4, K)], axis=1)
    elif kind == "alike":  # all spreads grow together, as with a temperature
        spread = np.repeat(np.linspace(0.4, 2, K)[:, None], 2, axis=1)
    return means + spread[LABELS] * rng.normal(size=(N * K, 2))


@pytest.mark.parametrize(("kind", "fixed"), [("normal", False), ("alike", False), ("laplace", True), ("apart", True)])
def test_axes_are_fixed_by_what_the_theorems_ask_for(kind: str, fixed: bool) -> None:
    """Each null is of 95 %: of 5 draws with nothing to find, 3 or more that pass are 1 in 800."""
    found = []
    for seed in range(2 if fixed else 5):
        rng = np.random.default_rng(seed)
        S = scatter(kind, rng) @ special_ortho_group.rvs(2, random_state=seed)  # whatever the method's rotation
        found.append(are_fixed(S, LABELS, seed) is not None)
    assert all(found) if fixed else sum(found) < 3


@pytest.mark.parametrize("bend", [lambda x: x, lambda x: np.tanh(0.4 * x) + 0.05 * x, np.exp])
def test_a_function_of_a_source_does_not_hide_that_labels_only_shift_it(bend) -> None:
    """However a method has bent it: of normal scatter, and not of what is not normal in any scale."""
    rng = np.random.default_rng(3)
    label = rng.integers(8, size=16_000)
    means = np.linspace(0, 3, 8)[label]
    assert shifted(bend(means + rng.normal(size=16_000)), label)
    assert not shifted(bend(means + rng.laplace(size=16_000) / np.sqrt(2)), label)
    assert not shifted(bend(means + (0.6 + 0.2 * means) * rng.normal(size=16_000)), label)
    other = np.linspace(3, 0, 8)[label] ** 2 / 3
    laplace = other + rng.laplace(size=16_000) / np.sqrt(2)
    for second in (other + rng.normal(size=16_000), laplace):
        assert are_fixed(np.stack([bend(means + rng.normal(size=16_000)), bend(second)], axis=1), label) is None


def test_many_labels_of_few_rows_tell_no_shift() -> None:
    rng = np.random.default_rng(4)
    assert not shifted(rng.normal(size=4000), np.repeat(np.arange(2000), 2))
    assert not shifted(np.zeros(4000), np.repeat(np.arange(4), 1000))
    label = np.repeat(np.arange(500), 400)
    assert not shifted(rng.normal(size=500)[label] / 3 + rng.normal(size=len(label)), label)
    label = np.r_[np.repeat(np.arange(7), 5000), np.full(100, 7)]  # one of few rows beside others
    assert shifted(0.3 * label + rng.normal(size=len(label)), label)


def test_one_source_has_no_rotation() -> None:
    assert are_fixed(np.random.default_rng(0).normal(size=(N * K, 1)), LABELS) == "one source alone"


def test_means_and_deviations_of_labels_are_taken_off() -> None:
    rest, standard = within_labels(scatter("apart", np.random.default_rng(0)), LABELS)
    for k in range(K):
        np.testing.assert_allclose(rest[k == LABELS].mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(standard[k == LABELS].std(0), 1, atol=1e-12)

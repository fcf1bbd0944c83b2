"""Single tests of the audit against what theory says of their statistic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from tempica.audit.dynamics import rate_ratio
from tempica.audit.given import Given, given
from tempica.audit.independence import measure
from tempica.audit.pairs import quasi_gaussian_gain
from tempica.audit.ranks import rank_test
from tempica.audit.rotation import _planar_null, _random_agreements, random_agreement
from tempica.audit.width import width_test
from tempica.errors import DataError
from tempica.evaluate.leakage import leakage
from tempica.evaluate.stability import stability


def series(noise: np.ndarray, rho: float) -> np.ndarray:
    return lfilter([1], [1, -rho], noise, axis=0)[200:]


def data_of(S: np.ndarray, **more: object) -> Given:
    return given(S, more.get("replicas"), more.get("labels"), more.get("covariance"), 1)


def test_an_ornstein_uhlenbeck_process_relaxes_at_twice_the_rate() -> None:
    """Eigenvalues of its transfer operator are ρ, ρ², …, whatever ρ is."""
    s = series(np.random.default_rng(0).normal(size=40_200), 0.8)
    ratio, error = rate_ratio(s, np.zeros(len(s), dtype=int))
    assert abs(ratio - 2) < max(0.2, 3 * error)


def test_a_chain_of_three_states_relaxes_as_its_matrix_says() -> None:
    rng = np.random.default_rng(0)
    T = np.array([[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.0, 0.1, 0.9]])
    below, draws = np.cumsum(T, axis=1), rng.random(30_000)
    states = np.zeros(len(draws), dtype=int)
    for t in range(1, len(states)):
        states[t] = np.searchsorted(below[states[t - 1]], draws[t])
    s = states + 0.01 * rng.normal(size=len(states))
    value = np.sort(np.linalg.eigvalsh(T))[::-1]
    ratio, _ = rate_ratio(s, np.zeros(len(s), dtype=int))
    assert ratio == pytest.approx(np.log(value[2]) / np.log(value[1]), rel=0.1)


def test_only_pairs_beyond_gaussian_ones_gain_from_a_free_function() -> None:
    rng = np.random.default_rng(0)
    normal = series(rng.normal(size=8200), 0.7)
    jumps = series(rng.normal(size=8200) * (rng.random(8200) < 0.1), 0.7)
    gain, error = quasi_gaussian_gain(normal, data_of(normal[:, None]))
    assert gain < 3 * error
    gain, error = quasi_gaussian_gain(jumps, data_of(jumps[:, None]))
    assert gain > 3 * error


def test_dependence_is_within_chance_for_slow_independent_series() -> None:
    S = series(np.random.default_rng(0).normal(size=(4200, 3)), 0.98)
    found = measure(S, data_of(S), np.random.default_rng(1))
    assert found.p > 0.01
    assert found.coupled == 0


def test_a_bend_is_a_leak_and_a_common_scale_is_a_coupling() -> None:
    rng = np.random.default_rng(0)
    S = series(rng.normal(size=(6200, 2)), 0.5)
    bent = np.stack([S[:, 0], S[:, 1] + 0.5 * S[:, 0] ** 2], axis=1)
    found = measure(bent, data_of(bent), np.random.default_rng(1))
    assert found.leak[1, 0] > 0.3
    scaled = rng.normal(size=(6000, 2)) * np.exp(series(rng.normal(size=(6200, 1)), 0.5))
    found = measure(scaled, data_of(scaled), np.random.default_rng(1))
    assert found.coupled > 0.3
    assert found.leak.max() < 0.1


def test_rank_is_that_of_the_modulation() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 100)
    for rank in (0, 1, 2, 3):
        log = rng.normal(size=(60, rank)) @ rng.normal(size=(rank, 3)) if rank else np.zeros((60, 3))
        S = np.exp(log)[labels] * rng.normal(size=(6000, 3))
        assert rank_test(S, data_of(S, labels=labels), rng).statistic == rank


def test_random_rotations_agree_as_theory_says() -> None:
    """Two axes, each matched to a third pair: the angle between them is triangular up to 90°, its mean cosine 8/π²."""
    assert _random_agreements(2, 2).mean() == pytest.approx(8 / np.pi**2, abs=0.05)
    assert random_agreement(2, 8) < random_agreement(2, 2)
    assert _planar_null(2).mean() == pytest.approx(0.5 - 2 / np.pi**2, abs=0.02)


def test_width_is_that_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    clean = series(rng.normal(size=(20_200, 2)), 0.9)
    clean /= clean.std(0)
    X = clean + rng.normal(size=clean.shape) * [0.5, 1.0]
    test = width_test(X, data_of(X, covariance=np.diag([0.25, 1.0])))
    seen = [abs(np.corrcoef(X[:, i], clean[:, i])[0, 1]) for i in range(2)]
    assert test.details["single"] == pytest.approx(seen, abs=0.01)
    assert all(test.details["smoothed"] > test.details["single"])


def test_leakage_finds_words_numbers_and_replicas() -> None:
    rng = np.random.default_rng(0)
    words = rng.choice(["a", "b", "c"], size=3000)
    S = np.stack([(words == "a") + rng.normal(size=3000), rng.normal(size=3000)], axis=1)
    found = leakage(S, words)
    assert found.leaks.tolist() == [True, False]
    assert found.interval[0, 0] > 0
    replicas = np.repeat(np.arange(30), 100)
    level = rng.normal(size=30)[replicas]
    assert leakage(S + [[0, 1]] * level[:, None], level, replicas=replicas).leaks.tolist() == [False, True]


def test_leakage_of_unrelated_slow_series_is_chance() -> None:
    rng = np.random.default_rng(0)
    said = [
        leakage(series(rng.normal(size=(800, 1)), 0.95), series(rng.normal(size=800), 0.98), random_state=k)
        for k in range(16)
    ]
    assert np.mean([one.leaks[0] for one in said]) <= 0.25  # 5 % expected; more than 4 of 16 in one of 1,000 cases


def test_stability_tells_rotations_from_other_fits() -> None:
    S = np.random.default_rng(0).laplace(size=(2000, 3))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    same, turned = stability([S, -S[:, ::-1]]), stability([S, S @ turn])
    assert (round(same.score, 6), same.score > same.null_95) == (1, True)
    assert turned.affine == pytest.approx(1)
    assert turned.score < 0.97
    assert same.interval[1] == pytest.approx(1)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="give two or more"):
        stability([np.zeros((5, 2))])
    with pytest.raises(DataError, match="one value for each"):
        leakage(np.zeros((50, 2)), np.zeros(49))

"""Axes that noise of known covariance has drawn aside come back, and no others are touched."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from tempica.errors import DataError
from tempica.ica import PCL
from tempica.ica.linear.cumulants import noise_of_means, turn

NOISE = np.array([[0.25, -0.15], [-0.15, 0.4]])
REPLICAS = np.repeat(np.arange(4), 1500)


def kicked(seed: int, p: float = 0.2, rho: float = 0.85) -> np.ndarray:
    """Two sources (frame, 2) of unit variance and equal rate, kicked in a share p of frames."""
    rng = np.random.default_rng(seed)
    S = np.zeros((4, 1600, 2))
    kick = rng.normal(size=S.shape) * (rng.random(S.shape) < p) * np.sqrt((1 - rho**2) / p)
    for t in range(1, 1600):
        S[:, t] = rho * S[:, t - 1] + kick[:, t]
    return S[:, 100:].reshape(-1, 2)


def turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def noisy(S: np.ndarray, seed: int) -> np.ndarray:
    return S + np.random.default_rng(seed).multivariate_normal([0, 0], NOISE, len(S))


def test_noise_of_posterior_means_is_that_of_the_linear_gaussian_model():
    rng = np.random.default_rng(0)
    prior = np.array([[2.0, 0.3], [0.3, 1.0]])
    s = rng.multivariate_normal([0, 0], prior, 200_000)
    gain = prior @ np.linalg.inv(prior + NOISE)
    means = (s + rng.multivariate_normal([0, 0], NOISE, len(s))) @ gain.T
    found = noise_of_means(means, prior - gain @ prior)
    np.testing.assert_allclose(found, gain @ NOISE @ gain.T, atol=0.01)


@pytest.mark.parametrize("degrees", [-20, 12])
def test_a_turn_by_noise_is_undone(degrees):
    S, R = kicked(1), turned(degrees)
    T = turn(noisy(S, 2) @ R.T, R @ NOISE @ R.T, REPLICAS)
    assert T is not None
    mixing = T @ R
    left = np.abs(mixing[[0, 1], [1, 0]] / np.diagonal(mixing))
    assert left.max() < 0.1  # 6°: three errors
    assert left.max() < 0.5 * np.tan(np.radians(abs(degrees)))


def test_axes_that_are_right_are_kept():
    turns = [turn(noisy(kicked(seed), seed + 100), NOISE, REPLICAS) for seed in range(10)]
    assert sum(T is not None and np.array_equal(T, np.eye(2)) for T in turns) >= 9  # each with a probability of 0.99
    np.testing.assert_array_equal(turn(kicked(3), np.zeros((2, 2)), REPLICAS), np.eye(2))
    apart = np.diag([0.05, 4.0])  # noise of very unequal strength
    unequal = [
        turn(S + np.random.default_rng(seed + 200).normal(size=S.shape) * np.sqrt(np.diag(apart)), apart, REPLICAS)
        for seed, S in enumerate(map(kicked, range(10)))
    ]
    assert all(T is None or np.array_equal(T, np.eye(2)) for T in unequal)
    unknown = [turn(kicked(seed), None, REPLICAS) for seed in range(10)]
    assert sum(T is not None and np.array_equal(T, np.eye(2)) for T in unknown) >= 9


def test_sources_that_nothing_tells_apart_are_not_turned():
    rng = np.random.default_rng(5)
    assert turn(rng.normal(size=(6000, 2)), 0.3 * np.eye(2), REPLICAS) is None


def test_noise_as_strong_as_the_frames_turns_nothing():
    S = kicked(4)
    assert turn(S @ turned(20).T, np.eye(2), REPLICAS) is None


@pytest.mark.filterwarnings("ignore:.*not identifiable:tempica.errors.IdentifiabilityWarning")
@pytest.mark.parametrize("known", [True, False])
def test_pcl_takes_noise_into_account(known):
    S, R = np.concatenate([kicked(6), kicked(16)]), np.array([[1.0, 0.4], [-0.2, 1.0]])
    replicas = np.repeat(np.arange(8), 1500)
    frames, noise = noisy(S, 7) @ R.T, R @ NOISE @ R.T
    prior = np.cov(frames.T) - noise
    gain = prior @ np.linalg.inv(prior + noise)
    means, covariance = (frames - frames.mean(0)) @ gain.T, prior - gain @ prior

    given = covariance if known else None
    pcl = PCL(n_restarts=1, max_steps=150, random_state=0).fit(means, replicas=replicas, covariance=given)
    assert pcl.second_stage_ == "cumulants"
    np.testing.assert_allclose(pcl.transform(means).std(0), 1, atol=0.05)

    def mixed(stage):
        mixing = np.abs(np.linalg.lstsq(S, pcl.transform(means, stage=stage), rcond=None)[0].T)
        mixing = mixing if mixing[0, 0] > mixing[0, 1] else mixing[::-1]
        return (mixing[[0, 1], [1, 0]] / np.diagonal(mixing)).max()

    assert mixed("sources") < 0.5 * mixed("features")


LAWS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size) - 1,
    "of changing strength": lambda rng, size: rng.normal(size=size) * rng.gamma(0.5, 2, (*size[:-1], 1)) ** 0.5,
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("seed", range(3))
def test_noise_of_any_law_is_told_from_sources_by_what_it_forgets(law, seed):
    S, R = kicked(seed), turned(15)
    e = LAWS[law](np.random.default_rng(seed + 50), S.shape) @ np.linalg.cholesky(NOISE).T
    T = turn((S + e) @ R.T, None, REPLICAS)
    assert T is not None
    mixing = T @ R
    assert np.abs(mixing[[0, 1], [1, 0]] / np.diagonal(mixing)).max() < 0.13  # half of what there was


def test_the_unit_of_a_source_does_not_matter():
    X, units = noisy(kicked(1), 2) @ turned(15).T, np.array([1.0, 8.0])
    N = turned(15) @ NOISE @ turned(15).T
    for known in (N, None):
        scaled = None if known is None else known * np.outer(units, units)
        T, other = turn(X, known, REPLICAS), turn(X * units, scaled, REPLICAS)
        np.testing.assert_allclose(T, other * units / units[:, None], atol=1e-6)


@pytest.mark.parametrize("length", [3, 4])
def test_short_series_tell_noise_from_sources_too(length):
    S = np.concatenate([kicked(seed) for seed in range(3)])
    T = turn(noisy(S, 5) @ turned(17).T, None, np.arange(len(S)) // length)
    assert T is not None
    mixing = T @ turned(17)
    assert np.abs(mixing[[0, 1], [1, 0]] / np.diagonal(mixing)).max() < 0.15


def test_what_has_no_memory_is_not_turned():
    rng = np.random.default_rng(8)
    assert turn(rng.laplace(size=(6000, 2)) @ turned(20).T, None, REPLICAS) is None
    assert turn(kicked(1) @ turned(20).T, None, np.repeat(np.arange(3000), 2)) is None


def test_gaussian_sources_of_one_rate_are_not_told_apart_by_noise():
    """Not though the noise is unequal and not normal: its axes are not theirs."""
    rng = np.random.default_rng(9)
    S = lfilter([1], [1, -0.85], rng.normal(size=(6000, 2)), axis=0)
    e = rng.laplace(size=S.shape) * [0.3, 1.5]
    assert turn((S + e) @ turned(20).T, None, REPLICAS) is None


def test_images_have_no_covariance():
    with pytest.raises(DataError, match="covariance is of latents"):
        PCL(1).fit(torch.zeros(40, 8, 8).numpy() + np.arange(40)[:, None, None], covariance=np.eye(64))

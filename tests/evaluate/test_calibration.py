"""Calibration of posteriors and leak of the pose, with both planted and absent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.evaluate.calibration import calibrate, leak, spread_of_angle

F, P = 3000, 4


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def errors(rng):
    root = rng.normal(size=(F, P, P)) + 2 * np.eye(P)
    return np.einsum("fpq,fq->fp", root, rng.normal(size=(F, P))), root @ root.swapaxes(1, 2)


def test_a_posterior_that_means_what_it_says(rng):
    said = calibrate(*errors(rng))
    assert said.interval[0] < 1 < said.interval[1]
    assert said.interval[1] - said.interval[0] < 0.15
    assert said.within_95 == pytest.approx(0.95, abs=0.015)
    np.testing.assert_allclose(said.level, np.linspace(0, 1, len(said.level)), atol=0.04)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_posterior_that_is_too_narrow_or_too_wide_is_told(rng, factor):
    error, covariance = errors(rng)
    said = calibrate(error, factor * covariance)
    assert said.squared_error == pytest.approx(1 / factor, rel=0.1)
    assert not said.interval[0] < 1 < said.interval[1]


def test_too_few_frames_say_nothing():
    assert calibrate(np.zeros((1, 2)), np.ones((1, 1, 1)) * np.eye(2)) is None


def test_angles_drawn_from_a_covariance(rng):
    turn = Rotation.random(5, random_state=0).as_matrix()
    covariance = turn @ np.diag([0.0, 0.0, 0.01]) @ turn.swapaxes(1, 2)
    angle = spread_of_angle(np.repeat(covariance, 200, 0), rng)
    assert np.sqrt((angle**2).mean()) == pytest.approx(0.1, rel=0.02)


def test_a_leak_is_found_and_chance_is_chance(rng):
    rotation = Rotation.random(F, random_state=1).as_matrix()
    shuffles = [rng.permutation(F) for _ in range(40)]
    noise = rng.normal(size=(F, P))
    share, null, null_95 = leak(noise, rotation, shuffles)
    assert null == pytest.approx(14 / F, rel=0.1)  # nine entries and the five squares that are no constant
    assert share < 2 * null_95
    view = rotation[:, 2]
    planted = np.stack([view[:, 0] * view[:, 1], rotation[:, 0, 0], 0 * view[:, 0], 0 * view[:, 0]], 1)
    share, _, null_95 = leak(noise + planted, rotation, shuffles)
    assert share == pytest.approx(planted.var(0).sum() / (noise + planted).var(0).sum(), abs=0.03)
    assert share > 5 * null_95
    assert leak(np.zeros((F, P)), rotation, shuffles) == (0, 0, 0)

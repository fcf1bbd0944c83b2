"""The supervised bound: no worse than least squares, better where inputs are curved, blind where they know nothing."""

import re

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from tempica.errors import DataError
from tempica.evaluate import supervised


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def parts(x, truth):
    return x[:400], truth[:400], x[400:600], truth[400:600], x[600:]


def error(told, truth):
    return ((told - truth) ** 2).mean() / truth.var(0).mean()


@pytest.mark.parametrize("n_truth", [1, 2])
def test_linear_inputs_are_read_as_least_squares_would(rng, n_truth):
    truth = 3.0 + 5.0 * rng.normal(size=(1000, n_truth))
    x = truth @ rng.normal(size=(n_truth, 4)) + 0.3 * rng.normal(size=(1000, 4))
    told = supervised.predict(*parts(x, truth), n_restarts=1)
    assert told.shape == (400, n_truth)
    best = LinearRegression().fit(x[:600], truth[:600]).predict(x[600:])
    assert error(told, truth[600:]) < 1.3 * error(best, truth[600:])


def test_curved_inputs_need_the_network(rng):
    truth = rng.uniform(-1, 1, size=(1000, 2))
    x = np.stack([truth.sum(1), np.exp(2 * truth[:, 0] - 2 * truth[:, 1])], 1)
    told = supervised.predict(*parts(x, truth))
    line = LinearRegression().fit(x[:600], truth[:600]).predict(x[600:])
    assert error(told, truth[600:]) < 0.3 * error(line, truth[600:])


def test_inputs_that_know_nothing_give_nothing(rng):
    truth, x = rng.normal(size=(1000, 2)), rng.normal(size=(1000, 3))
    told = supervised.predict(*parts(x, truth), n_restarts=1)
    assert error(told, truth[600:]) == pytest.approx(1, abs=0.1)
    nothing = supervised.predict(*parts(np.ones((1000, 2)), truth), n_restarts=1)
    np.testing.assert_allclose(nothing, np.broadcast_to(truth[:400].mean(0), nothing.shape))


def test_components_of_images_are_those_of_training_frames(rng):
    train = np.arange(300) < 200
    shape = rng.normal(size=(2, 8, 8))
    amplitude = rng.normal(size=(300, 2))
    images = np.tensordot(amplitude, shape, 1) + 0.01 * rng.normal(size=(300, 8, 8))
    found = supervised.image_components(images, train)
    assert found.shape == (300, 64)
    fit = LinearRegression().fit(found[train, :2], amplitude[train])
    assert fit.score(found[~train, :2], amplitude[~train]) > 0.99
    images[~train] = 0
    np.testing.assert_allclose(supervised.image_components(images, train)[train], found[train], atol=1e-8)


def test_bad_input_is_named(rng):
    truth, x = rng.normal(size=(100, 2)), rng.normal(size=(100, 3))
    for call, message in (
        ((x, truth[:99], x, truth, x), "S has 100 frames and truth 99"),
        ((x, truth, x[:2], truth[:2], x), "2 frames"),
        ((x, truth * np.nan, x, truth, x), "truth[0, 0] is nan"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            supervised.predict(*call)
    with pytest.raises(DataError, match="n_restarts = 0"):
        supervised.predict(x, truth, x, truth, x, n_restarts=0)

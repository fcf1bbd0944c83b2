"""Autoregressions fitted to slow series, the nulls that are simulated from them, and intervals by influence."""

import numpy as np
import pytest
from scipy import signal, stats

from tempica.evaluate import mcc
from tempica.evaluate.metrics import autoregressions, chance
from tempica.evaluate.metrics.arrays import ranks, standardised
from tempica.evaluate.metrics.intervals import influence, interval


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def series(rng, phi, n_replicas, n_frames, n=1):
    """Autoregressions (frame, n) about 0 in replicas, after a long start."""
    e = rng.standard_normal((n_replicas, n_frames + 4000, n))
    return signal.lfilter([1], np.r_[1, -np.array(phi)], e, axis=1)[:, 4000:].reshape(-1, n)


def spans(n_replicas, n_frames):
    return np.arange(n_replicas) * n_frames, np.full(n_replicas, n_frames)


@pytest.mark.parametrize("phi", [(), (0.7,), (0.5, 0.3), (1.2, -0.5)])
def test_a_long_series_gives_back_its_autoregression(rng, phi):
    start, length = spans(4, 4000)
    found = autoregressions.fit(series(rng, phi, 4, 4000)[:, 0], start, length, rng)
    expected = np.zeros(autoregressions.MOST_LAGS)
    expected[: len(phi)] = phi
    got = np.zeros(autoregressions.MOST_LAGS)
    got[: len(found.phi)] = found.phi
    np.testing.assert_allclose(got, expected, atol=0.05)
    assert found.variance == pytest.approx(1, rel=0.05)
    assert found.long_run == pytest.approx(1 / (1 - sum(phi)) ** 2, rel=0.15)


def test_short_series_are_not_taken_for_faster_than_they_are(rng):
    """The correction is what theory says that least squares alone is off by, (1 + 3φ)/N."""
    start, length = spans(1, 200)
    least_squares, corrected = [], []
    for _ in range(40):
        x = series(rng, (0.95,), 1, 200)[:, 0]
        centred = x - x.mean()
        least_squares.append((centred[1:] @ centred[:-1]) / (centred[:-1] @ centred[:-1]))
        model = autoregressions.fit(x, start, length, rng)
        corrected.append(model.phi.sum())
    assert np.mean(corrected) - np.mean(least_squares) == pytest.approx((1 + 3 * 0.95) / 200, rel=0.3)


def test_simulated_series_are_stationary_from_their_first_frame(rng):
    model = autoregressions.Autoregression(np.array([1.2, -0.5]), 2.0)
    x = model.simulate(rng.standard_normal((20_000, 6)), rng.standard_normal((20_000, 2)))
    np.testing.assert_allclose(x.std(0), model.deviation, rtol=0.03)
    slow = series(rng, (1.2, -0.5), 1, 200_000)[:, 0] * np.sqrt(2)
    assert model.deviation == pytest.approx(slow.std(), rel=0.03)
    assert (x[:, 5] * x[:, 4]).mean() == pytest.approx((slow[1:] * slow[:-1]).mean(), rel=0.05)


def test_surrogates_are_as_slow_and_as_coupled_and_know_nothing(rng):
    start, length = np.array([0, 300, 1000]), np.array([300, 700, 500])
    e = rng.standard_normal((1500, 2)) @ np.linalg.cholesky([[1, 0.6], [0.6, 1]]).T
    z = standardised(signal.lfilter([1], [1, -0.9], e, axis=0))
    drawn = np.array(list(chance.surrogates(z, start, length, 200, rng)))
    assert drawn.shape == (200, 1500, 2)
    np.testing.assert_allclose(drawn.std(1), 1)
    assert (drawn[:, 1:300] * drawn[:, :299]).mean() == pytest.approx(0.9, abs=0.04)
    assert (drawn[..., 0] * drawn[..., 1]).mean() == pytest.approx((e[:, 0] * e[:, 1]).mean(), abs=0.1)
    assert np.abs((drawn * z).mean((0, 1))).max() < 0.03
    # at the seam of two replicas nothing is remembered
    assert abs((drawn[:, 300] * drawn[:, 299]).mean()) < 0.15


@pytest.mark.parametrize("tau", [1, 400])
def test_p_values_of_unrelated_series_are_uniform_however_slow(tau):
    p, rho = [], np.exp(-1 / tau)
    for seed in range(50):
        rng = np.random.default_rng([tau, seed])
        S, truth = (series(rng, (rho,), 2, 500) for _ in range(2))
        found = mcc(S, truth, kind="pearson", replicas=np.repeat([0, 1], 500), n_null=39)
        p.append((1 + (found.null_scores >= found.score).sum()) / 40)
    assert stats.kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_influence_is_the_derivative_of_the_score_by_the_weight_of_a_frame(rng, kind):
    """The slow twin adds frames one at a time, and scales what they change."""
    x = rng.laplace(size=(900, 1))
    y = np.round(0.7 * x + rng.laplace(size=x.shape), 1)  # some ties

    def value(x, y):
        return (stats.pearsonr if kind == "pearson" else stats.spearmanr)(x, y).statistic

    u = influence(x, y, kind)[:, 0]
    before = value(x[:, 0], y[:, 0])
    some = np.arange(0, 900, 60)
    slow = [901 * (value(np.append(x[:, 0], x[i, 0]), np.append(y[:, 0], y[i, 0])) - before) for i in some]
    np.testing.assert_allclose(u[some], slow, atol=0.06)
    assert np.corrcoef(u[some], slow)[0, 1] > 0.999
    assert u.mean() == pytest.approx(0, abs=1e-9)


def test_an_interval_is_wider_where_series_are_slower(rng):
    widths = []
    for phi in (0.0, 0.9, 0.99):
        y, other = series(rng, (phi,), 1, 2000), series(rng, (phi,), 1, 2000)
        x = standardised(y) + standardised(other)
        low, high = interval(0.7, influence(x, y, "pearson")[:, 0], *spans(1, 2000), rng)
        assert 0 <= low <= 0.7 <= high <= 1
        widths.append(high - low)
    assert widths[0] < 0.5 * widths[1] < 0.25 * widths[2] * 2
    assert interval(1.0, np.zeros(50), *spans(1, 50), rng) == pytest.approx((1, 1))
    assert interval(0.0, np.zeros(50), *spans(1, 50), rng) == (0, 0)


def test_ranks_share_ties(rng):
    x = rng.integers(0, 5, 300).astype(float)
    np.testing.assert_allclose(ranks(x) + 1, stats.rankdata(x))


def test_blocks_keep_replicas_apart_and_lose_no_product_of_slow_series(rng):
    start, length = np.array([0, 7]), np.array([7, 4])
    z_S, slow = rng.standard_normal((11, 2)), np.repeat([1.0, 2.0, 3.0, -1.0, -2.0], [3, 3, 1, 3, 1])[:, None]
    sums, means, first, number = chance.coarse(z_S, slow, start, length, 3)
    assert (first.tolist(), number.tolist()) == ([0, 3], [3, 2])
    assert means[:, 0].tolist() == [1, 2, 3, -1, -2]
    np.testing.assert_allclose(sums.T @ means, z_S.T @ slow)
    for one, other in zip(chance.coarse(z_S, slow, start, length, 1), (z_S, slow, start, length), strict=True):
        np.testing.assert_allclose(one, other)

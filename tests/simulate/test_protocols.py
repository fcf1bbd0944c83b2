import numpy as np
import pytest
from scipy import stats

from tempica.simulate.protocols import ar1

N = 100_000


@pytest.mark.parametrize("innovation", ["laplace", "gaussian"])
@pytest.mark.parametrize("coefficient", [0.0, 0.3, 0.8, 0.95])
def test_a_stationary_series_of_unit_variance_and_the_stated_memory(innovation, coefficient):
    series = ar1(N, coefficient, innovation, np.random.default_rng(8))
    assert series.shape == (N,)
    rho = coefficient
    # standard errors of an autoregression (Bartlett); a Laplace innovation has excess kurtosis 3
    excess = (3 if innovation == "laplace" else 0) * (1 - rho**2) / (1 + rho**2)
    assert abs(series.mean()) < 4 * np.sqrt((1 + rho) / (1 - rho) / N)
    assert abs(series.var() - 1) < 4 * np.sqrt((2 + excess) * (1 + rho**2) / (1 - rho**2) / N)
    for lag in (1, 2, 5):
        found = np.corrcoef(series[lag:], series[:-lag])[0, 1]
        assert abs(found - rho**lag) < 4 * np.sqrt(max(1 - rho**2, 0.02) * (1 + 2 * lag) / N)


@pytest.mark.parametrize(("innovation", "excess"), [("laplace", 3.0), ("gaussian", 0.0)])
def test_innovations_have_the_stated_distribution(innovation, excess):
    rho = 0.8
    series = ar1(N, rho, innovation, np.random.default_rng(9))
    noise = (series[1:] - rho * series[:-1]) / np.sqrt(1 - rho**2)
    assert abs(noise.var() - 1) < 0.03
    assert abs(stats.kurtosis(noise) - excess) < (0.5 if excess else 0.07)
    shape = stats.laplace(scale=np.sqrt(0.5)) if innovation == "laplace" else stats.norm()
    assert stats.kstest(noise, shape.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(np.abs(noise[1:]), np.abs(noise[:-1]))[0, 1]) < 4 / np.sqrt(N)  # independent, not just white


@pytest.mark.parametrize("innovation", ["laplace", "gaussian"])
def test_the_first_value_is_like_any_other(innovation):
    first = np.array([ar1(1, 0.5, innovation, np.random.default_rng(i))[0] for i in range(4000)])
    later = ar1(N, 0.5, innovation, np.random.default_rng(10))[::20]
    assert stats.ks_2samp(first, later).pvalue > 1e-3


def test_a_longer_series_begins_with_the_shorter_one():
    for innovation in ("laplace", "gaussian"):
        short, long = (ar1(n, 0.9, innovation, np.random.default_rng(1)) for n in (10, 500))
        np.testing.assert_array_equal(long[:10], short)


@pytest.mark.parametrize("coefficient", [0.999999, 1 - 1e-12, np.nextafter(1, 0)])
def test_a_memory_longer_than_any_run_is_still_a_series(coefficient):
    """Every coefficient that a recipe may state must come to an end."""
    series = ar1(10, coefficient, "laplace", np.random.default_rng(1))
    assert np.isfinite(series).all()
    assert np.ptp(series) < 0.1

import numpy as np
import pytest
from scipy import stats

from tempica.errors import DataError
from tempica.imaging import poisson

N = 40_000


@pytest.mark.parametrize("mean", [0.0, 0.3, 4.0, 9.99, 10.0, 20.0, 90.0, 5_000.0])
def test_counts_have_poissons_distribution(mean):
    count = poisson(np.full(N, mean), key=7)
    assert count.min() >= 0
    assert abs(count.mean() - mean) <= 4 * np.sqrt(mean / N)
    assert abs(count.var() - mean) <= 4 * np.sqrt((2 * mean**2 + mean) / N)  # fourth moment 3 λ² + λ
    if mean == 0:
        return
    edges = np.unique(stats.poisson.ppf(np.linspace(0.02, 0.98, 15), mean))
    cumulative = stats.poisson.cdf(edges, mean)
    expected = N * np.diff(np.concatenate([[0.0], cumulative, [1.0]]))
    seen = np.bincount(np.searchsorted(edges, count), minlength=len(edges) + 1)
    assert stats.chi2.sf(((seen - expected) ** 2 / expected).sum(), len(expected) - 1) > 1e-4


def test_a_count_depends_on_key_place_and_mean_alone():
    mean = np.random.default_rng(0).uniform(0, 60, (30, 40))
    count = poisson(mean, key=3)
    np.testing.assert_array_equal(poisson(mean[:11], key=3), count[:11])
    changed = mean.copy()
    changed[5:] = 2.0
    np.testing.assert_array_equal(poisson(changed, key=3)[:5], count[:5])
    assert (poisson(mean, key=4) != count).mean() > 0.7


def test_neighbouring_pixels_and_keys_are_independent():
    count = np.array([poisson(np.full(400, 25.0), key=key) for key in range(400)]) - 25.0
    for axis in (0, 1):
        ahead, behind = (np.take(count, range(s, 399 + s), axis).ravel() for s in (0, 1))
        assert abs(np.corrcoef(ahead, behind)[0, 1]) < 4 / np.sqrt(ahead.size)


@pytest.mark.parametrize("mean", [-1.0, np.nan, np.inf])
def test_a_mean_that_is_none_is_refused(mean):
    with pytest.raises(DataError, match="must be from 0"):
        poisson(np.array([1.0, mean]), key=0)

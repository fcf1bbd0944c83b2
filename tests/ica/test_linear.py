import pickle

import numpy as np
import pytest
from scipy import linalg
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tempica.errors import DataError
from tempica.ica import TICA
from tempica.series import check_replicas, pairs, runs

RHO = np.array([0.97, 0.8, 0.4])
MIXING = np.array([[1.0, 0.7, -0.2], [0.4, 1.0, 0.9], [-0.8, 0.3, 1.0]])


def slow_pairs(labels, lag):
    return [t for t in range(len(labels) - lag) if labels[t] == labels[t + lag]]


def slow_eigenvalues(X, labels, lags):
    """Generalised eigenproblem C_τ w = λ C₀ w of moments summed frame by frame."""
    X = X - X.mean(0)
    instant = sum(np.outer(x, x) for x in X) / len(X)
    lagged = np.zeros_like(instant)
    for lag in lags:
        first = slow_pairs(labels, lag)
        lagged += sum(np.outer(X[t], X[t + lag]) for t in first) / len(first) / len(lags)
    return linalg.eigh((lagged + lagged.T) / 2, instant, eigvals_only=True)[::-1]


@pytest.fixture
def sources(rng, autoregression):
    return autoregression(rng, 20_000, RHO)


def test_linearly_mixed_sources_are_recovered_slowest_first(sources):
    S = TICA().fit_transform(sources @ MIXING.T + [5.0, 0.0, -100.0])
    correlation = np.abs(np.corrcoef(S.T, sources.T)[:3, 3:])
    assert np.diag(correlation).min() > 0.995
    assert (correlation - np.diag(np.diag(correlation))).max() < 0.1


def test_sources_of_equal_autocorrelation_stay_mixed(rng, autoregression):
    sources = autoregression(rng, 20_000, [0.8, 0.8, 0.2])
    S = TICA().fit_transform(sources @ MIXING.T)
    assert abs(np.corrcoef(S[:, 2], sources[:, 2])[0, 1]) > 0.99  # alone with its rate
    pair = S[:, :2] - S[:, :2].mean(0)
    fit, *_ = np.linalg.lstsq(pair, sources[:, :2], rcond=None)
    assert np.corrcoef((pair @ fit)[:, 0], sources[:, 0])[0, 1] > 0.99  # the plane is found


@pytest.mark.parametrize("lag", [1, 4])
def test_eigenvalues_are_the_autocorrelations(sources, lag):
    model = TICA(lag=lag)
    S = model.fit_transform(sources @ MIXING.T)
    np.testing.assert_allclose(model.autocorrelation_, (S[lag:] * S[:-lag]).mean(0), atol=1e-10)
    np.testing.assert_allclose(model.autocorrelation_, RHO**lag, atol=0.03)
    np.testing.assert_allclose(model.timescales_, -1 / np.log(RHO), rtol=0.2)


def test_sources_are_uncorrelated_centred_and_of_unit_variance(sources):
    S = TICA(2).fit_transform(sources @ MIXING.T)
    np.testing.assert_allclose(S.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(np.cov(S.T, bias=True), np.eye(2), atol=1e-10)


def test_sources_do_not_depend_on_the_mixing(rng, sources):
    X = sources[:2000]
    one, other = TICA().fit_transform(X), TICA().fit_transform(X @ rng.normal(size=(3, 3)) + 7)
    sign = np.sign((one * other).mean(0))
    np.testing.assert_allclose(one, sign * other, atol=1e-7)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_of_the_features_do_not_matter(sources, scale):
    X = sources[:500] @ MIXING.T
    np.testing.assert_allclose(TICA().fit_transform(scale * X), TICA().fit_transform(X), atol=1e-7)


def test_pairs_agree_with_a_slow_twin(rng):
    labels = np.repeat(np.arange(6), [5, 1, 2, 9, 1, 3])
    for lag in (1, 2, 4):
        assert pairs(labels, lag).tolist() == slow_pairs(labels, lag)


def test_pairs_never_cross_a_replica():
    level = np.array([1.0, 1.0, -1.0, -1.0] * 10)[:, None]  # replicas of two equal frames, of changing sign
    replicas = np.repeat(np.arange(20), 2)
    assert TICA().fit(level, replicas=replicas).autocorrelation_[0] == pytest.approx(1)
    assert TICA().fit(level).autocorrelation_[0] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("lags", [(1,), (3,), (1, 2, 5), [2, 7]])
def test_lags_and_replicas_agree_with_a_slow_twin(rng, lags):
    labels = np.repeat([4, 2, 9], [40, 12, 30])
    X = rng.normal(size=(82, 4)).cumsum(0)
    model = TICA(lag=lags).fit(X, replicas=labels)
    np.testing.assert_allclose(model.autocorrelation_, slow_eigenvalues(X, labels, lags), atol=1e-10)


def test_several_lags_separate_what_one_cannot(rng, autoregression):
    turning = np.zeros((20_000, 2))
    noise = rng.normal(size=turning.shape)
    # autoregressions of second order with one autocorrelation a₁/(1 − a₂) = 0.5 at lag 1, two at lag 2
    for column, (a1, a2) in enumerate([(0.2, 0.6), (0.8, -0.6)]):
        for t in range(2, len(turning)):
            turning[t, column] = a1 * turning[t - 1, column] + a2 * turning[t - 2, column] + noise[t, column]
    X = turning @ MIXING[:2, :2].T
    model = TICA(lag=(1, 2)).fit(X)
    found = np.abs(np.corrcoef(model.transform(X).T, turning.T)[:2, 2:])
    assert np.diag(found).min() > 0.99
    np.testing.assert_allclose(model.timescales_, -1 / np.log(0.5), rtol=0.1)  # of the first lag


def test_features_that_repeat_others_are_left_out(rng, sources):
    wide = sources[:, :2] @ rng.normal(size=(2, 5))
    model = TICA().fit(wide)
    assert model.components_.shape == (2, 5)
    assert model.get_feature_names_out().tolist() == ["tica0", "tica1"]
    assert np.abs(np.corrcoef(model.transform(wide).T, sources[:, :2].T)[[0, 1], [2, 3]]).min() > 0.99
    with pytest.raises(DataError, match=r"n_components = 3 must be from 1 to 2"):
        TICA(3).fit(wide)


def posterior(rng, latents, precision):
    """Posterior means and covariances under the prior N(0, 1) of frames seen with a precision (frame, n, n)."""
    covariance = np.linalg.inv(precision + np.eye(latents.shape[1]))
    noise = (np.linalg.cholesky(precision) @ rng.normal(size=(*latents.shape, 1)))[..., 0]
    evidence = (precision @ latents[..., None])[..., 0] + noise
    return (covariance @ evidence[..., None])[..., 0], covariance


def test_posterior_means_are_unmixed_as_if_they_were_known(rng, sources):
    """Views that tell of some sums of sources more than of others draw sources together."""
    direction = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, -1.0]])[rng.integers(0, 2, len(sources))]
    precision = 0.3 * np.eye(3) + 3 * direction[:, :, None] * direction[:, None]
    turn = linalg.qr(MIXING)[0]
    mean, covariance = posterior(rng, sources @ turn.T, turn @ precision @ turn.T)
    plain, corrected = TICA().fit(mean), TICA().fit(mean, covariance=covariance)

    def mixed(model):
        left = np.abs(model.components_ @ turn)
        return ((left.sum(1) - left.max(1)) / left.max(1)).max()

    assert mixed(corrected) < 0.15 < 0.3 < mixed(plain)
    np.testing.assert_allclose(corrected.autocorrelation_, RHO, atol=0.05)
    np.testing.assert_allclose(corrected.transform(mean).std(0), 1.0)
    same = TICA().fit(mean, covariance=np.zeros((3, 3)))
    np.testing.assert_allclose(same.components_, plain.components_, atol=1e-9)


def test_a_direction_that_frames_do_not_tell_of_is_not_slow(rng, sources):
    """What noise leaves of its autocorrelation is not blown up to that of a source."""
    precision = np.broadcast_to(np.diag([2.0, 2.0, 1e-3]), (2000, 3, 3))
    mean, covariance = posterior(rng, sources[:2000, [0, 1, 2]], precision)
    found = TICA().fit(mean, covariance=covariance).autocorrelation_
    assert found[2] < 0.4
    assert abs(found[:2] - RHO[:2]).max() < 0.1


def test_transform_covariance_is_that_of_noisy_input(rng, sources):
    X = sources[:1000] @ MIXING.T
    model = TICA(2).fit(X)
    root = rng.normal(size=(4, 3, 3))
    covariance = root @ root.transpose(0, 2, 1)
    expected = model.transform_covariance(X[:4], covariance)
    assert expected.shape == (4, 2, 2)
    for frame in range(4):
        draws = X[frame] + rng.normal(size=(200_000, 3)) @ root[frame].T
        empirical = np.cov(model.transform(draws).T)
        np.testing.assert_allclose(expected[frame], empirical, atol=0.02 * np.trace(empirical))


@pytest.mark.parametrize(
    ("model", "X", "replicas", "message"),
    [
        (TICA(), np.ones((50, 2)), None, "constant"),
        (TICA(), np.full((50, 2), 0.1) * 1e6, None, "constant"),
        (TICA(lag=50), None, None, "longest replica has 50 frames"),
        (TICA(lag=10), None, np.repeat(np.arange(5), 10), "longest replica has 10 frames"),
        (TICA(lag=0), None, None, "lag = 0 must be at least 1"),
        (TICA(lag=()), None, None, r"lag = \(\) must be a whole number"),
        (TICA(lag=(1, 1.5)), None, None, "must be a whole number"),
        (TICA(), None, np.zeros(49), "one label for each of the 50 frames"),
        (TICA(), None, np.repeat([7, 1, 7], [20, 20, 10]), "replica 7 lies in 2 places"),
        (TICA(4), None, None, "n_components = 4 must be from 1 to 3"),
        (TICA(0), None, None, "n_components = 0 must be from 1 to 3"),
    ],
)
def test_what_cannot_be_fitted_is_named(rng, model, X, replicas, message):
    with pytest.raises(DataError, match=message):
        model.fit(rng.normal(size=(50, 3)) if X is None else X, replicas=replicas)


def test_not_finite_features_are_refused(rng):
    X = rng.normal(size=(50, 3))
    X[7, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        TICA().fit(X)


def test_runs_end_at_gaps_and_at_replicas():
    labels = np.repeat([0, 1, 2], [6, 3, 4])
    chosen = np.array([1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1], dtype=bool)
    assert runs(labels, chosen).tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert runs(labels, ~chosen).tolist() == [0, 1, 1, 1]
    assert runs(labels, labels > 5).tolist() == []


def test_replicas_are_numbered_in_order_of_time():
    assert check_replicas(["b", "b", "a"], 3).tolist() == [0, 0, 1]
    assert check_replicas(None, 2).tolist() == [0, 0]


def test_clone_pickle_and_pipeline(sources):
    X = sources[:1000] @ MIXING.T
    model = TICA(2, lag=(1, 3))
    fitted = clone(model).fit(X)
    assert clone(fitted).get_params() == model.get_params() == {"n_components": 2, "lag": (1, 3)}
    S = fitted.transform(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(X), S)
    pipeline = make_pipeline(StandardScaler(), TICA(2, lag=(1, 3)))
    replicas = np.repeat([0, 1], 500)
    np.testing.assert_allclose(pipeline.fit_transform(X), S, atol=1e-8)
    labelled = pipeline.fit(X, tica__replicas=replicas).transform(X)
    np.testing.assert_allclose(labelled, clone(model).fit(X, replicas=replicas).transform(X), atol=1e-8)


@parametrize_with_checks([TICA(), TICA(n_components=1, lag=(1, 2))])
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)

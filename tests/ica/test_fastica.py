import numpy as np
import pytest
from sklearn.decomposition import FastICA as Reference
from sklearn.utils.estimator_checks import parametrize_with_checks

from tempica.errors import DataError
from tempica.ica import FastICA

MIXING = np.array([[1.0, 0.7, -0.2], [0.4, 1.0, 0.9], [-0.8, 0.3, 1.0]])


@pytest.fixture
def truth(rng):
    wells = rng.choice([-1, 1], 6000) + 0.2 * rng.normal(size=6000)
    return np.stack([wells, rng.laplace(size=6000), rng.uniform(size=6000)], axis=1)


def test_non_gaussian_sources_are_recovered_least_gaussian_first(truth):
    model = FastICA().fit(truth @ MIXING.T + 3)
    S = model.transform(truth @ MIXING.T + 3)
    found = np.abs(np.corrcoef(S.T, truth.T)[:3, 3:])
    assert found.max(0).min() > 0.99
    assert found.argmax(1)[0] == 0  # the two wells
    assert (np.diff(model.negentropy_) <= 0).all()
    np.testing.assert_allclose(np.cov(S.T, bias=True), np.eye(3), atol=1e-6)


def test_the_axes_are_scikit_learns(truth):
    X = truth @ MIXING.T
    ours, theirs = FastICA().fit_transform(X), Reference(whiten="unit-variance", random_state=0).fit_transform(X)
    assert np.abs(ours.T @ theirs / len(X)).max(1).min() > 0.9999


def test_the_score_prefers_the_right_axes_on_frames_not_fitted(rng, truth):
    X = truth @ MIXING.T
    model, turned, sheared = (FastICA().fit(X[:3000]) for _ in range(3))
    turned.components_ = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ turned.components_
    sheared.components_ = sheared.components_ + 0.9 * sheared.components_[[1, 2, 0]]
    assert model.score(X[3000:]) > turned.score(X[3000:]) + 0.05
    assert model.score(X[3000:]) > sheared.score(X[3000:]) + 0.05


def test_what_cannot_be_fitted_is_named(rng):
    with pytest.raises(DataError, match="constant"):
        FastICA().fit(np.ones((20, 2)))
    with pytest.raises(DataError, match="3 frames are too few to unmix"):
        FastICA().fit(rng.normal(size=(3, 3)))
    with pytest.raises(DataError, match="one label for each of the 20 frames"):
        FastICA().fit(rng.laplace(size=(20, 2)), replicas=[0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # the checks' data are Gaussian
@parametrize_with_checks([FastICA(), FastICA(n_components=1)])
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)

import itertools

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from sklearn.utils.estimator_checks import parametrize_with_checks

from tempica.errors import DataError
from tempica.ica import SOBI, TICA
from tempica.ica.linear.joint import rotate, unmix

MIXING = np.array([[1.0, 0.7, -0.2], [0.4, 1.0, 0.9], [-0.8, 0.3, 1.0]])


def second_order(rng, n_frames):
    """Three series with one autocorrelation at lag 1, a₁/(1 − a₂) = 0.5, and different ones at lag 2."""
    noise = rng.normal(size=(n_frames, 3))
    pairs = [(0.2, 0.6), (0.8, -0.6), (0.5, 0.0)]
    return np.stack([lfilter([1], [1, -a, -b], e) for (a, b), e in zip(pairs, noise.T, strict=True)], axis=1)


def matched(S, truth):
    found = np.abs(np.corrcoef(S.T, truth.T)[: S.shape[1], S.shape[1] :])
    return max(sum(found[i, p] for i, p in enumerate(order)) for order in itertools.permutations(range(3))) / 3


def diagonalisable(rng, n_matrices, n, orthogonal):
    A = np.linalg.qr(rng.normal(size=(n, n)))[0] if orthogonal else rng.normal(size=(n, n)) + 2 * np.eye(n)
    return A, np.array([A @ np.diag(rng.uniform(0.2, 3, n)) @ A.T for _ in range(n_matrices)])


def off(C):
    return sum(((c - np.diag(np.diag(c))) ** 2).sum() for c in C)


def likelihood(C, weights, V):
    turned = [V @ c @ V.T for c in C]
    return sum(w * (np.log(np.diag(c)).sum() - np.linalg.slogdet(c)[1]) for w, c in zip(weights, turned, strict=True))


def test_a_rotation_common_to_all_matrices_is_found(rng):
    A, C = diagonalisable(rng, 4, 6, orthogonal=True)
    turned, V = C.copy(), np.eye(6)
    assert 0 < rotate(turned, V, 1e-12, 50) < 12
    np.testing.assert_allclose(V @ V.T, np.eye(6), atol=1e-12)
    assert off(V @ C @ V.T) < 1e-20
    np.testing.assert_allclose(turned, V @ C @ V.T, atol=1e-12)
    np.testing.assert_allclose(np.sort(np.abs(V @ A), axis=1)[:, :-1], 0, atol=1e-9)


def test_no_rotation_of_two_rows_does_better_than_the_one_found(rng):
    """The slow twin: each pair of rows turned by every angle of a fine grid."""
    C = rng.normal(size=(5, 4, 4))
    C, V = C + C.transpose(0, 2, 1), np.eye(4)
    turned = C.copy()
    assert rotate(turned, V, 1e-10, 500) > 0
    best = off(turned)
    for p, q in itertools.combinations(range(4), 2):
        for angle in np.linspace(0, np.pi, 181):
            G = np.eye(4)
            G[[p, q], [p, q]], G[p, q], G[q, p] = np.cos(angle), np.sin(angle), -np.sin(angle)
            assert off(G @ turned @ G.T) >= best - 1e-9


def test_matrices_of_a_common_mixing_are_made_diagonal(rng):
    A, C = diagonalisable(rng, 5, 4, orthogonal=False)
    turned, V = C.copy(), np.eye(4)
    assert 0 < unmix(turned, np.full(5, 0.2), V, 1e-20, 50) < 30
    np.testing.assert_allclose(turned, V @ C @ V.T, rtol=1e-8, atol=1e-10)
    gain = np.abs(V @ A)
    assert (np.sort(gain / gain.max(1, keepdims=True), axis=1)[:, :-1] < 1e-6).all()


def test_the_likelihood_has_no_better_neighbour(rng):
    """The slow twin: the criterion by determinants, at small changes in every direction."""
    roots = rng.normal(size=(6, 3, 8))
    C, weights = roots @ roots.transpose(0, 2, 1), rng.dirichlet(np.ones(6))
    V = np.eye(3)
    assert unmix(C.copy(), weights, V, 1e-18, 500) > 0
    best = likelihood(C, weights, V)
    assert best < likelihood(C, weights, np.eye(3)) - 0.01
    for i, j in itertools.permutations(range(3), 2):
        for step in (-1e-3, 1e-3):
            near = V.copy()
            near[i] += step * V[j]
            assert likelihood(C, weights, near) > best


@pytest.mark.parametrize("refine", [False, True])
def test_sources_that_one_lag_cannot_tell_apart_are_recovered(rng, refine):
    truth = second_order(rng, 20_000)
    X = truth @ MIXING.T + 4
    assert matched(TICA().fit_transform(X), truth) < 0.95
    assert matched(SOBI(refine=refine).fit_transform(X), truth) > 0.995


def test_the_likelihood_tells_close_rates_better(autoregression):
    gain = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        truth = autoregression(rng, 3000, [0.9, 0.85, 0.8])
        X = truth @ MIXING.T
        gain.append(matched(SOBI().fit_transform(X), truth) - matched(SOBI(refine=False).fit_transform(X), truth))
    assert np.mean(gain) > 0.005


def test_sources_have_unit_variance_whatever_the_mixing_and_units(rng, autoregression):
    truth = autoregression(rng, 2000, [0.9, 0.5, -0.5])
    one = SOBI().fit(truth @ MIXING.T)
    S = one.transform(truth @ MIXING.T)
    np.testing.assert_allclose(S.var(0), 1, atol=1e-9)
    np.testing.assert_allclose(S.mean(0), 0, atol=1e-9)
    other = SOBI().fit_transform(1e6 * truth @ rng.normal(size=(3, 3)) + 7)
    np.testing.assert_allclose(np.abs((S * other).mean(0)), 1, atol=1e-5)


def test_what_is_kept_is_what_has_memory(rng, autoregression):
    truth = autoregression(rng, 5000, [0.8, -0.7, 0.0])
    model = SOBI(2).fit(truth @ MIXING.T)
    found = np.abs(np.corrcoef(model.transform(truth @ MIXING.T).T, truth.T)[:2, 2:])
    assert found[:, :2].max(1).min() > 0.99
    assert (np.diff(model.strength_) <= 0).all()
    assert model.get_feature_names_out().tolist() == ["sobi0", "sobi1"]


def test_lags_are_chosen_within_the_replicas(rng, autoregression):
    slow = autoregression(rng, 4000, [0.98, 0.9])
    assert SOBI().fit(slow).lags_.max() > 50
    assert SOBI().fit(slow, replicas=np.repeat(np.arange(100), 40)).lags_.tolist() == [1, 2, 3, 4, 6, 8]
    assert SOBI(lag=(3, 1)).fit(slow).lags_.tolist() == [3, 1]


def test_pairs_never_cross_a_replica(rng):
    level = np.repeat([1.0, -1.0] * 10, 2)  # replicas of two equal frames, of changing sign
    X = np.stack([level, rng.normal(size=40)], axis=1)
    replicas = np.repeat(np.arange(20), 2)
    assert SOBI(lag=1, refine=False).fit(X, replicas=replicas).autocorrelation_[0, 0] == pytest.approx(1, abs=0.01)


def test_the_score_prefers_the_right_axes_on_frames_not_fitted(rng):
    truth = second_order(rng, 8000)
    X = truth @ MIXING.T
    right, wrong = SOBI().fit(X[:4000]), SOBI().fit(X[:4000])
    wrong.components_ = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ wrong.components_
    collapsed = SOBI().fit(X[:4000])
    collapsed.components_ = right.components_[[0, 0, 0]]
    assert right.score(X[4000:]) > wrong.score(X[4000:]) + 0.1
    assert right.score(X[4000:]) > collapsed.score(X[4000:]) + 0.1
    half = TICA(2).fit(X[:4000])
    assert half.score(X[4000:]) < TICA().fit(X[:4000]).score(X[4000:])


@pytest.mark.parametrize("model", [TICA(2), SOBI(2)])
def test_tensors_maps_and_single_precision(rng, autoregression, tmp_path, model):
    X = autoregression(rng, 3000, [0.9, 0.5, -0.5]) @ MIXING.T
    S = model.fit(X).transform(X)
    np.testing.assert_array_equal(model.fit(torch.tensor(X, requires_grad=True)).transform(torch.as_tensor(X)), S)
    np.save(tmp_path / "X.npy", X.astype(np.float32))
    narrow = np.load(tmp_path / "X.npy", mmap_mode="r")
    found = model.fit(narrow).transform(narrow)
    assert found.dtype == np.float32
    assert model.components_.dtype == np.float64
    np.testing.assert_allclose(found, S, atol=1e-3)


def test_blocks_of_frames_agree_with_all_at_once(rng, monkeypatch):
    from tempica.ica import base

    X, labels = rng.normal(size=(1000, 3)).cumsum(0), np.repeat([0, 1], [300, 700])
    whole = base.lagged_covariance(X, X.mean(0), labels, 7), *base.whitening(X)
    monkeypatch.setattr(base, "in_blocks", lambda n, _: (slice(a, a + 37) for a in range(0, n, 37)))
    parts = base.lagged_covariance(X, X.mean(0), labels, 7), *base.whitening(X)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(np.abs(one), np.abs(other), atol=1e-9)


@pytest.mark.parametrize(
    ("model", "X", "replicas", "message"),
    [
        (SOBI(), np.ones((50, 2)), None, "constant"),
        (SOBI(lag=50), None, None, "longest replica has 50 frames"),
        (SOBI(), None, np.arange(50), "longest replica has 1 frames"),
        (SOBI(lag=(1, 0)), None, None, "lag = 0 must be at least 1"),
        (SOBI(lag="all"), None, None, "lag = 'all' must be a whole number"),
        (SOBI(4), None, None, "n_components = 4 must be from 1 to 3"),
        (SOBI(1.5), None, None, "n_components = 1.5 must be from 1 to 3"),
    ],
)
def test_what_cannot_be_fitted_is_named(rng, model, X, replicas, message):
    with pytest.raises(DataError, match=message):
        model.fit(rng.normal(size=(50, 3)) if X is None else X, replicas=replicas)


@parametrize_with_checks([SOBI(), SOBI(n_components=1, lag=(1, 2))])
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)

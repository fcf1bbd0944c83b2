import itertools

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tempica.errors import DataError
from tempica.ica import NonstationaryICA
from tempica.ica.labels import cut_into_segments

MIXING = np.array([[1.0, 0.7, -0.2], [0.4, 1.0, 0.9], [-0.8, 0.3, 1.0]])


def modulated(rng, n_segments=40, length=200):
    segments = np.repeat(np.arange(n_segments), length)
    return segments, rng.uniform(0.2, 1.5, size=(n_segments, 3))[segments] * rng.normal(size=(len(segments), 3))


def recovered(S, truth):
    found = np.abs(np.corrcoef(S.T, truth.T)[: S.shape[1], S.shape[1] :])
    return max(min(found[i, p] for i, p in enumerate(order)) for order in itertools.permutations(range(3)))


def test_sources_of_changing_variance_are_recovered_in_any_order_of_frames(rng):
    segments, truth = modulated(rng)
    shuffled = rng.permutation(len(truth))
    X, segments, truth = (
        (truth @ MIXING.T + 5)[shuffled],
        np.array([f"c{s}" for s in segments])[shuffled],
        truth[shuffled],
    )
    model = NonstationaryICA().fit(X, segments)
    S = model.transform(X)
    assert recovered(S, truth) > 0.995
    np.testing.assert_allclose(S.var(0), 1, atol=1e-6)
    for name in ("c0", "c7"):
        at = model.labels_.tolist().index(name)
        np.testing.assert_allclose(model.variance_[at], S[segments == name].var(0), rtol=0.1, atol=0.02)


def test_segments_are_made_when_none_are_given(rng):
    _, truth = modulated(rng)
    X = truth @ MIXING.T
    assert recovered(NonstationaryICA(n_segments=25).fit_transform(X), truth) > 0.98
    assert recovered(NonstationaryICA().fit_transform(X), truth) > 0.98


def test_made_segments_do_not_cross_replicas():
    replicas = np.repeat([0, 1, 2], [10, 1, 7])
    segments = cut_into_segments(replicas, 6)
    assert segments.tolist() == [0] * 4 + [1] * 3 + [2] * 3 + [3] + [4] * 4 + [5] * 3
    with pytest.raises(DataError, match="n_segments = 19 must be from 1 to 18"):
        cut_into_segments(replicas, 19)


def test_only_the_direction_that_changes_is_kept(rng):
    scale = np.repeat(rng.uniform(0.2, 1.5, 30), 100)
    truth = rng.normal(size=(3000, 3))
    truth[:, 0] *= scale
    model = NonstationaryICA(1).fit(truth @ MIXING.T, np.repeat(np.arange(30), 100))
    assert abs(np.corrcoef(model.transform(truth @ MIXING.T)[:, 0], truth[:, 0])[0, 1]) > 0.99


def test_short_segments_do_no_harm(rng):
    segments, truth = modulated(rng, n_segments=1500, length=4)
    segments[:3] = [-1, -2, -3]  # of one frame each
    assert recovered(NonstationaryICA().fit(truth @ MIXING.T, segments).transform(truth @ MIXING.T), truth) > 0.98


def test_the_score_prefers_the_right_axes_on_frames_not_fitted(rng):
    segments, truth = modulated(rng)
    X, train = truth @ MIXING.T, np.arange(len(truth)) % 2 == 0
    model, turned = (NonstationaryICA().fit(X[train], segments[train]) for _ in range(2))
    turned.components_ = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ turned.components_
    good, bad = (m.score(X[~train], segments[~train]) for m in (model, turned))
    assert bad + 0.02 < good <= 0


@pytest.mark.parametrize(
    ("model", "X", "segments", "message"),
    [
        (NonstationaryICA(), None, np.zeros(60), "All 60 frames are of one segment"),
        (NonstationaryICA(n_segments=1), None, None, "All 60 frames are of one segment"),
        (NonstationaryICA(n_segments=0), None, None, "n_segments = 0 must be from 1 to 60"),
        (NonstationaryICA(), None, np.zeros(59), r"labels has shape \(59,\); it must hold one label"),
        (NonstationaryICA(), np.ones((60, 2)), None, "constant"),
        (NonstationaryICA(4), None, None, "n_components = 4 must be from 1 to 3"),
    ],
)
def test_what_cannot_be_fitted_is_named(rng, model, X, segments, message):
    with pytest.raises(DataError, match=message):
        model.fit(rng.normal(size=(60, 3)) if X is None else X, segments)


def test_labels_have_two_names_and_are_given_once(rng):
    segments, truth = modulated(rng, n_segments=5)
    one, other = NonstationaryICA().fit(truth, segments), NonstationaryICA().fit(truth, labels=segments)
    np.testing.assert_array_equal(one.components_, other.components_)
    with pytest.raises(DataError, match="given twice"):
        NonstationaryICA().fit(truth, segments, labels=segments)


@parametrize_with_checks([NonstationaryICA(), NonstationaryICA(n_components=1, n_segments=3)])
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)

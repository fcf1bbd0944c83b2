"""GCL: the score against its formula, sources that only the auxiliary variable tells apart, and what it refuses."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tempica.errors import DataError, IdentifiabilityWarning
from tempica.ica import GCL, TICA, NonstationaryICA, load, save
from tempica.ica.contrastive.auxiliary import Auxiliary, SeparableScore
from tempica.ica.contrastive.gcl import _with_history
from tempica.ica.labels import last_of_each

MIXING = np.array([[1.0, 0.6], [-0.5, 1.0]])


def bend(s):
    return np.where(s @ MIXING.T > 0, s @ MIXING.T, 0.2 * (s @ MIXING.T)) @ MIXING


def shifted(rng, n_labels=12, length=300):
    """Sources whose place and width both depend on the label: two statistics, which TCL's |h| cannot follow."""
    labels = np.repeat(np.arange(n_labels), length)
    place, width = rng.uniform(-2, 2, size=(n_labels, 2)), rng.uniform(0.2, 1, size=(n_labels, 2))
    return labels, place[labels] + width[labels] * rng.normal(size=(len(labels), 2))


def recovered(S, truth):
    found = np.abs(np.corrcoef(S.T, truth.T)[:2, 2:])
    return max(found[0, 0] + found[1, 1], found[0, 1] + found[1, 0]) / 2


@pytest.mark.parametrize("n_labels", [None, 4])
def test_the_score_is_a_sum_over_components(rng, n_labels):
    """Each frame and candidate by itself, in plain numpy."""
    score = SeparableScore(2, n_labels, 3, 8).requires_grad_(False)
    if n_labels:
        score.slopes.weight.copy_(torch.as_tensor(rng.normal(size=score.slopes.weight.shape)))
    h = rng.normal(size=(5, 2)).astype(np.float32)
    u = torch.arange(4) if n_labels else torch.as_tensor(rng.normal(size=(4, 3)), dtype=torch.float32)
    found, slopes, knots = score(torch.as_tensor(h), u).numpy(), score.slopes(u).numpy(), score.knots.numpy()
    for b in range(5):
        for q in range(4):
            expected, (each, offset) = 0.0, (slopes[q, :-1].reshape(2, -1), slopes[q, -1])
            for i in range(2):
                expected += each[i, 0] * h[b, i] + (each[i, 1:] * np.maximum(h[b, i] - knots[i], 0)).sum()
            assert found[b, q] == pytest.approx(expected + offset, abs=1e-4)


def test_losses_are_cross_entropies_of_the_right_candidate(rng):
    Z = torch.as_tensor(rng.normal(size=(30, 2)), dtype=torch.float32)
    held = np.arange(30) >= 20
    number = torch.as_tensor(rng.integers(0, 3, 30))
    share = np.array([0.5, 0.3, 0.2])
    data = Auxiliary(Z, np.arange(30), number, held, torch.as_tensor(np.log(share), dtype=torch.float32))
    score = data.score_function(2, 4, 0)
    # slopes are zero and offsets the shares: nothing is told of the frames, and the loss is that of not looking
    np.testing.assert_allclose(data.losses(torch.nn.Identity(), score), 0, atol=1e-6)
    score.slopes.weight.data[:, 0] += torch.as_tensor([1.0, -1.0, 0.0])
    r = np.log(share) + np.outer(Z[held, 0].numpy(), [1, -1, 0])
    own = number[held].numpy()
    expected = np.log(np.exp(r).sum(1)) - r[np.arange(10), own] + np.log(share)[own]
    np.testing.assert_allclose(data.losses(torch.nn.Identity(), score), expected, atol=1e-5)

    history = Auxiliary(Z, np.arange(5, 30), Z[:25], held[5:])
    score = history.score_function(2, 4, 0).requires_grad_(False)
    r = score(Z[20:], Z[15:25]).numpy()
    expected = np.log(np.exp(r).sum(1)) - np.diagonal(r) - np.log(10)
    np.testing.assert_allclose(history.losses(torch.nn.Identity(), score), expected, atol=1e-5)


def test_labels_that_shift_and_widen_are_enough_to_unbend(rng):
    labels, truth = shifted(rng)
    X = bend(truth)
    model = GCL(max_steps=300, n_restarts=1, training={"width": 16}).fit(X, labels)
    assert (model.auxiliary_, model.ambiguity_, model.model_) == ("label", "none", "network")
    assert recovered(model.transform(X), truth) > recovered(NonstationaryICA().fit_transform(X, labels), truth) + 0.02
    assert model.score(X, labels) > model.score(X, rng.permutation(labels)) + 1


def test_a_history_is_enough_to_unbend(rng):
    e = rng.laplace(size=(6000, 2))
    truth = np.stack([lfilter([1], [1, -0.8], e[:, i]) for i in range(2)], 1)
    X = bend(truth)
    model = GCL(max_steps=300, n_restarts=1, training={"width": 16}).fit(X, replicas=np.repeat([0, 1, 2], 2000))
    assert (model.auxiliary_, model.ambiguity_) == ("history", "none")
    assert recovered(model.transform(X), truth) > recovered(TICA().fit_transform(X), truth) + 0.02
    assert model.score(X) > model.score(X[rng.permutation(len(X))]) + 0.3


@pytest.mark.parametrize("which", ["label", "history"])
def test_api(rng, tmp_path, which):
    labels, truth = shifted(rng, length=60)
    X = bend(truth)
    if which == "history":
        X = bend(lfilter([1], [1, -0.95], rng.laplace(size=(720, 2)), axis=0))
    given = {"labels": labels} if which == "label" else {"replicas": np.repeat([0, 1], 360)}
    model = GCL(2, lag=(1, 2), max_steps=40, training={"width": 8})
    S = model.fit(X, **given).transform(X)
    assert S.shape == (len(X), 2)
    np.testing.assert_array_equal(clone(model).fit(X, **given).transform(X), S)
    np.testing.assert_array_equal(load(save(model, tmp_path / "model")).transform(X), S)
    assert model.transform(X, stage="features").shape == S.shape
    assert len(model.get_feature_names_out()) == 2
    if which == "label":
        assert make_pipeline(StandardScaler(), clone(model)).fit(X, labels).transform(X).shape == S.shape
    step = 1e-3 * np.eye(2)
    jacobian = np.stack([(model.transform(X + d) - model.transform(X - d)) / 2e-3 for d in step], axis=2)
    covariance = np.array([[0.5, 0.1], [0.1, 0.3]])
    found = model.transform_covariance(X, np.broadcast_to(covariance, (len(X), 2, 2)))
    expected = jacobian @ covariance @ jacobian.transpose(0, 2, 1)
    assert np.isclose(found, expected, rtol=0.02, atol=0.01).all((1, 2)).mean() > 0.95


def test_labels_that_say_nothing_are_warned_of(rng):
    X = rng.laplace(size=(600, 2))
    with pytest.warns(IdentifiabilityWarning, match="Nothing is identifiable: the label"):
        model = GCL(max_steps=20, training={"width": 4}).fit(X, rng.permutation(np.repeat(np.arange(4), 150)))
    assert model.ambiguity_ == "all"
    labels, truth = shifted(rng, n_labels=2)
    with pytest.warns(IdentifiabilityWarning, match="from 2 labels"):
        assert GCL(max_steps=20, training={"width": 4}).fit(truth, labels).ambiguity_ == "subspace"


def test_splits():
    labels = np.array([0] * 10 + [1] * 3 + [2])
    assert np.flatnonzero(last_of_each(labels)).tolist() == [8, 9, 12]
    assert _with_history(np.repeat([0, 1], [4, 3]), (1, 2)).tolist() == [2, 3, 6]


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (GCL(), {"labels": np.zeros(60)}, "one label"),
        (GCL(), {"labels": np.zeros(7)}, r"shape \(7,\)"),
        (GCL(), {"X": np.ones((60, 2))}, "constant"),
        (GCL(4), {}, "n_components = 4 must be from 1 to 3"),
        (GCL(), {"replicas": np.arange(60)}, "longest replica has 1"),
        (GCL(lag=0), {}, "at least 1 frame"),
        (GCL(second_stage="sobi"), {"labels": np.repeat([0, 1], 30)}, "needs series"),
        (GCL(), {"validation": np.ones(60)}, "0 training and 59 validation"),
        (GCL(max_steps=0), {}, "max_steps = 0 must be at least 1"),
        (GCL(training={"n_layers": 1.5}), {}, "n_layers = 1.5 must be a whole number"),
        (GCL(n_restarts=1.5), {}, "n_restarts = 1.5 must be a whole number"),
        (GCL(training={"learning_rate": 0}), {}, "learning_rate = 0 must be a number above 0"),
        (GCL(), {"X": 1e200 * (np.arange(120).reshape(60, 2) % 7)}, "squares that are not finite"),
        (GCL(), {"labels": np.array(["a", None] * 30, dtype=object)}, "of types NoneType, str"),
    ],
)
def test_what_cannot_be_fitted_is_named(rng, model, data, message):
    with pytest.raises(DataError, match=message):
        model.fit(data.pop("X", rng.normal(size=(60, 3))), **data)


@pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")
@parametrize_with_checks([GCL(max_steps=3, training={"width": 4})])
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)

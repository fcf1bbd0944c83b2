from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from tempica.errors import DataError, IdentifiabilityWarning
from tempica.ica import HMNLICA, FastICA, NonstationaryICA, Training, load, save
from tempica.ica.generative.forward_backward import chain_likelihood, forward_backward

MIXING = np.array([[1.0, 0.6], [-0.5, 1.0]])
QUICK = {"max_steps": 3, "training": Training(n_layers=2), "n_restarts": 1}


def bend(s):
    return np.where(s @ MIXING.T > 0, s @ MIXING.T, 0.2 * (s @ MIXING.T)) @ MIXING


def hidden(rng, n_frames=6000, n_states=5):
    """States that last 25 frames on average, and two sources whose means and deviations they set."""
    place, width = rng.uniform(-2, 2, size=(n_states, 2)), rng.uniform(0.2, 1, size=(n_states, 2))
    state = np.repeat(rng.integers(n_states, size=n_frames), rng.geometric(0.04, size=n_frames))[:n_frames]
    return state, place[state] + width[state] * rng.normal(size=(n_frames, 2))


def recovered(S, truth):
    found = np.abs(np.corrcoef(S.T, truth.T)[:2, 2:])
    return max(found[0, 0] + found[1, 1], found[0, 1] + found[1, 0]) / 2


def by_paths(emission, first, transition):
    """Sum over every path of states of one chunk: ln p, posterior (T, S), posterior of pairs (S, S)."""
    n_frames, n = emission.shape
    paths = list(product(range(n), repeat=n_frames))
    each = [
        np.log(first[path[0]])
        + sum(np.log(transition[i, j]) for i, j in pairwise(path))
        + sum(emission[t, k] for t, k in enumerate(path))
        for path in paths
    ]
    total = logsumexp(each)
    state, pair = np.zeros((n_frames, n)), np.zeros((n, n))
    for path, weight in zip(paths, np.exp(each - total), strict=True):
        state[np.arange(n_frames), path] += weight
        np.add.at(pair, (path[:-1], path[1:]), weight)
    return total, state, pair


def chains(rng, shape=(2, 3, 5, 3)):
    return (
        rng.normal(scale=3, size=shape),
        rng.dirichlet(np.ones(shape[-1]), size=shape[0]),
        rng.dirichlet(np.ones(shape[-1]), size=(shape[0], shape[-1])),
    )


def test_forward_backward_is_the_sum_over_all_paths(rng):
    emission, first, transition = chains(rng)
    total, state, pair = forward_backward(emission, first, transition)
    for r, c in np.ndindex(*total.shape):
        expected = by_paths(emission[r, c], first[r], transition[r])
        for found, right in zip((total[r, c], state[r, c], pair[r, c]), expected, strict=True):
            np.testing.assert_allclose(found, right, atol=1e-12)


def test_forward_backward_stays_finite_far_from_the_laws(rng):
    emission, first, transition = chains(rng, (1, 1, 4000, 3))
    total, state, pair = forward_backward(emission * 1e4 - 1e6, first, transition)
    assert np.isfinite(total).all()
    np.testing.assert_allclose(state.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(pair.sum(), 3999, rtol=1e-6)


def test_gradients_are_those_of_the_likelihood(rng):
    emission, first, transition = chains(rng)
    given = [torch.as_tensor(x).requires_grad_() for x in (emission, np.log(first), np.log(transition))]
    assert torch.autograd.gradcheck(chain_likelihood, given)


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    state, truth = hidden(rng)
    model = HMNLICA(2, n_states=5, max_steps=800, training=Training(n_layers=6), n_restarts=2).fit(bend(truth))
    return model, state, truth


def test_it_unbends_what_no_linear_map_can(fitted):
    model, state, truth = fitted
    found = recovered(model.transform(bend(truth)), truth)
    assert found > 0.97
    for linear in (FastICA(2), NonstationaryICA(2, n_segments=300)):
        assert found > recovered(linear.fit_transform(bend(truth)), truth) + 0.03
    assert model.ambiguity_ == "none"
    assert min(model.validation_loss_) < model.loss_curve_[0][1] - 0.1
    guess = model.states(bend(truth)).argmax(1)
    counts = np.zeros((5, 5))
    np.add.at(counts, (guess, state), 1)
    assert counts.max(1).sum() / len(state) > 0.95  # each state found is one of the true ones
    assert len(set(counts.argmax(1))) == 5


def test_laws_are_those_of_the_sources_in_each_state(fitted):
    model, _, truth = fitted
    S, guess = model.transform(bend(truth)), model.states(bend(truth)).argmax(1)
    np.testing.assert_allclose(model.share_, np.bincount(guess) / len(guess), atol=0.02)
    assert (np.diff(model.share_) <= 0).all()
    np.testing.assert_allclose(model.means_, [S[guess == k].mean(0) for k in range(5)], atol=0.1)
    np.testing.assert_allclose(model.deviations_, [S[guess == k].std(0) for k in range(5)], atol=0.1)
    np.testing.assert_allclose(model.transition_.sum(1), 1)
    assert (np.diag(model.transition_) > 0.9).all()


def test_the_score_asks_for_states_that_last(fitted, rng):
    model, _, truth = fitted
    X = bend(truth)
    assert model.score(X) > model.score(X[rng.permutation(len(X))]) + 0.1
    halves = np.arange(len(X)) // 3000
    assert model.score(X) == pytest.approx(model.score(X, replicas=halves), abs=0.01)
    assert np.abs(model.states(X, replicas=halves).sum(1) - 1).max() < 1e-6


def test_covariances_follow_the_jacobian(fitted):
    model, _, truth = fitted
    X = bend(truth)[:200]
    jacobian = np.stack([(model.transform(X + d) - model.transform(X - d)) / 2e-2 for d in 1e-2 * np.eye(2)], axis=2)
    covariance = np.broadcast_to([[0.5, 0.1], [0.1, 0.3]], (200, 2, 2))
    found = model.transform_covariance(X, covariance)
    close = np.isclose(found, jacobian @ covariance @ jacobian.transpose(0, 2, 1), rtol=0.05, atol=0.02).all((1, 2))
    assert close.mean() > 0.95


def test_what_is_loaded_does_what_was_saved(fitted, tmp_path):
    model, _, truth = fitted
    found = load(save(model, tmp_path / "model"))
    X = bend(truth)[:500]
    np.testing.assert_array_equal(found.transform(X), model.transform(X))
    np.testing.assert_array_equal(found.states(X), model.states(X))
    assert found.score(X) == model.score(X)


@pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")
def test_the_seed_decides_and_torchs_own_is_left_alone(rng):
    X = bend(hidden(rng, 600)[1])
    before = torch.get_rng_state()
    S = HMNLICA(2, **QUICK).fit(X).transform(X)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    np.testing.assert_array_equal(HMNLICA(2, **QUICK).fit(X).transform(X), S)
    assert np.abs(HMNLICA(2, **QUICK, random_state=1).fit(X).transform(X) - S).max() > 1e-3
    torch.set_rng_state(before)


@pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")
def test_features_beyond_the_components_are_no_sources(rng):
    truth = hidden(rng, 2000)[1]
    X = np.column_stack([truth, rng.normal(size=(2000, 2))]) @ rng.normal(size=(4, 4))
    model = HMNLICA(2, n_states=5, max_steps=200, training=Training(n_layers=2), n_restarts=2).fit(X)
    assert recovered(model.transform(X), truth) > 0.95


@pytest.mark.parametrize(
    ("truth", "n_states"),
    [(lambda rng: rng.normal(size=(1200, 2)), 3), (lambda rng: hidden(rng, 1200)[1], 1)],
    ids=["no_state_lasts", "one_state"],
)
def test_data_that_identify_nothing_are_told(rng, truth, n_states):
    model = HMNLICA(2, n_states=n_states, max_steps=30, training=Training(n_layers=2), n_restarts=1)
    with pytest.warns(IdentifiabilityWarning, match="Nothing is identifiable"):
        model.fit(truth(rng))
    assert model.ambiguity_ == "all"


def test_too_few_states_are_told(rng):
    model = HMNLICA(2, n_states=2, max_steps=60, training=Training(n_layers=2), n_restarts=1)
    with pytest.warns(IdentifiabilityWarning, match="not identifiable from the 2 states"):
        model.fit(hidden(rng, 3000)[1])
    assert model.ambiguity_ == "subspace"


@pytest.mark.parametrize(
    ("model", "X", "message"),
    [
        (HMNLICA(n_states=0), None, "n_states = 0 must be at least 1"),
        (HMNLICA(max_steps=0), None, "max_steps = 0 must be at least 1"),
        (HMNLICA(n_states=2.5), None, "n_states = 2.5 must be a whole number"),
        (HMNLICA(random_state="a"), None, "random_state = 'a' must be a whole number"),
        (HMNLICA(4), None, "n_components = 4 must be from 1 to 3"),
        (HMNLICA(), np.ones((60, 3)), "constant"),
        (HMNLICA(), np.eye(3), "too few"),
    ],
)
def test_what_cannot_be_fitted_is_named(rng, model, X, message):
    with pytest.raises(DataError, match=message):
        clone(model).fit(rng.normal(size=(60, 3)) if X is None else X)


@pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")
@parametrize_with_checks([HMNLICA(n_states=2, **QUICK)])
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)

"""Chance within the subspace: its distribution where theory knows it, and what it must not depend on."""

import numpy as np
import pytest
from scipy import stats

from tempica.evaluate import mcc
from tempica.evaluate.metrics.matching import assign, score
from tempica.evaluate.metrics.rotations import fit_subspace, haar, rotated_each


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def white(rng, n_frames, n):
    """Columns with covariance 1 to the last digit."""
    x = rng.standard_normal((n_frames, n))
    x -= x.mean(0)
    return np.linalg.qr(x)[0] * np.sqrt(n_frames)


def test_two_perfect_sources_score_the_cosine_of_a_uniform_angle(rng):
    truth = white(rng, 500, 2)
    scores = rotated_each(fit_subspace(truth, truth), truth, truth, kind="pearson", n_draws=2000).mean(1)
    angle = np.arccos(scores)  # uniform between 0 and 45°
    assert stats.kstest(angle / (np.pi / 4), "uniform").pvalue > 1e-3
    assert np.percentile(scores, 95) == pytest.approx(np.cos(np.pi / 80), abs=5e-4)


def test_rotations_are_uniform(rng):
    Q = haar(3, 4000, rng)
    np.testing.assert_allclose(Q @ Q.swapaxes(1, 2), np.broadcast_to(np.eye(3), Q.shape), atol=1e-12)
    # a coordinate of a uniform point of the sphere in three dimensions is uniform
    for i, j in np.ndindex(3, 3):
        assert stats.kstest(np.abs(Q[:, i, j]), "uniform").pvalue > 1e-4


def test_a_method_that_finds_the_subspace_alone_exceeds_the_null_as_often_as_chance_says(rng):
    above = 0
    for _ in range(200):
        truth = rng.laplace(size=(400, 3))
        S = (truth + 0.3 * rng.standard_normal(truth.shape)) @ haar(3, 1, rng)[0]
        white_S = S @ np.linalg.cholesky(np.linalg.inv(np.cov(S.T)))
        turned = white_S @ haar(3, 1, rng)[0]
        found = mcc(turned, truth, kind="pearson", n_null=60)
        above += found.score > found.rotation_null_95
    assert stats.binomtest(above, 200, 0.05).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_the_null_does_not_depend_on_the_axes_that_were_found(rng, kind):
    truth = rng.laplace(size=(1500, 2))
    S = truth + 0.4 * rng.standard_normal(truth.shape)
    one, other = (mcc(x, truth, kind=kind, n_null=3000) for x in (S, S @ [[2.0, 1.0], [-0.5, 3.0]]))
    assert one.score > one.rotation_null_95
    assert other.score < other.rotation_null_95
    assert one.rotation_null == pytest.approx(other.rotation_null, abs=0.01)
    assert one.rotation_null_95 == pytest.approx(other.rotation_null_95, abs=0.002)
    assert (one.r2, one.aligned) == pytest.approx((other.r2, other.aligned), abs=1e-9)


def test_further_components_do_not_weaken_the_null(rng):
    truth = white(rng, 3000, 2)
    S = np.concatenate([truth, rng.standard_normal((3000, 3))], 1) @ rng.standard_normal((5, 5))
    train = np.arange(3000) < 1500
    found = mcc(S, truth, kind="pearson", train=train)
    assert found.rotation_null == pytest.approx(0.9003, abs=0.02)
    assert found.aligned == pytest.approx(1, abs=1e-9)
    assert found.r2 == pytest.approx(1, abs=1e-9)


def test_fewer_components_rotate_among_themselves_and_one_does_not(rng):
    truth = white(rng, 1000, 3)
    two = mcc(truth[:, :2], truth, kind="pearson")
    assert two.rotation_null == pytest.approx(0.9003 * 2 / 3, abs=0.02)
    for S, T in ((truth[:, :1], truth), (truth, truth[:, :1]), (np.ones((1000, 2)), truth)):
        one = mcc(S, T)
        assert (one.rotation_null, one.rotation_null_95, one.rotation_scores.shape) == (None, None, (0,))


def test_a_subspace_that_knows_nothing_has_the_null_of_unrelated_series(rng):
    S, truth = rng.standard_normal((2, 4000, 2))
    found = mcc(S, truth, replicas=np.repeat([0, 1], 2000), train=np.arange(4000) < 2000)
    assert found.rotation_null == pytest.approx(found.null, abs=0.03)
    assert found.r2 == pytest.approx(0, abs=0.01)


def test_map_and_matching_are_fitted_on_training_frames_alone(rng):
    truth = rng.laplace(size=(800, 2))
    S = truth @ [[1.0, 0.5], [-0.5, 1.0]] + 0.2 * rng.standard_normal(truth.shape)
    train = np.arange(800) < 400
    swapped = S.copy()
    swapped[400:] = S[400:, ::-1]  # held-out frames in which the components have changed places
    found = mcc(swapped, truth, train=train)
    assert found.assignment.tolist() == mcc(S[:400], truth[:400]).assignment.tolist()
    assert found.score < 0.6
    assert found.r2 < 0
    z = fit_subspace(S[:400], truth[:400])
    expected = 1 - ((truth[400:] - z.aligned(swapped[400:])) ** 2).sum(0) / truth[400:].var(0) / 400
    assert found.r2 == pytest.approx(expected.mean(), abs=1e-9)


def test_the_null_of_ranks_agrees_with_a_slow_twin(rng):
    truth = rng.laplace(size=(12_000, 2))
    S = truth + 0.5 * rng.standard_normal(truth.shape)
    found = fit_subspace(S, truth)
    fast = rotated_each(found, S, truth, kind="spearman", n_draws=12, random_state=1).mean(1)
    slow = []
    for Q in haar(2, 12, np.random.default_rng(1)):
        turned = found.whitened(S) @ Q.T
        matrix = np.array([[stats.spearmanr(a, b).statistic for b in truth.T] for a in turned.T])
        slow.append(score(matrix, assign(matrix)))
    np.testing.assert_allclose(fast, slow, atol=0.003)  # it ranks every third frame
    few = rotated_each(found, S[:900], truth[:900], kind="spearman", n_draws=12, random_state=1).mean(1)
    for value, Q in zip(few, haar(2, 12, np.random.default_rng(1)), strict=True):
        turned = found.whitened(S[:900]) @ Q.T
        matrix = np.array([[stats.spearmanr(a, b).statistic for b in truth[:900].T] for a in turned.T])
        assert value == pytest.approx(score(matrix, assign(matrix)), abs=1e-9)

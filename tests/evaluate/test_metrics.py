import re

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from tempica.errors import DataError
from tempica.evaluate import MCC, mcc
from tempica.evaluate.metrics import assign, correlation_matrix, correlation_time

HELD_OUT = np.repeat([7, 8], 700)  # two replicas, as in the committed recipe


def autoregression(rng, n_frames, n_columns, rho):
    """Stationary Gaussian AR(1) series (frame, column) of unit variance."""
    burn = int(10 / (1 - rho))
    noise = rng.normal(size=(n_frames + burn, n_columns)) * np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], noise, axis=0)[burn:]


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_perfect_recovery_scores_one_under_permutation_sign_and_scale(rng, kind):
    truth = rng.laplace(size=(300, 3))
    S = truth[:, [2, 0, 1]] * [-1.0, 40.0, -1e-6] + [3.0, 0.0, 0.5]
    result = mcc(S, truth, kind=kind)
    assert isinstance(result, MCC)
    assert result.score == pytest.approx(1, abs=1e-12)
    assert result.assignment.tolist() == [1, 2, 0]
    assert result.interval == pytest.approx((1, 1), abs=1e-9)
    assert result.kind == kind
    assert result.null_scores.shape == (400,)


def test_spearman_is_invariant_under_monotone_maps_and_pearson_is_not(rng):
    truth = rng.normal(size=(400, 2))
    S = truth + rng.normal(size=(400, 2))
    bent = np.exp(S) * [1, -1]
    assert mcc(bent, truth).score == pytest.approx(mcc(S, truth).score, abs=1e-12)
    assert mcc(bent, truth, kind="pearson").score < mcc(S, truth, kind="pearson").score - 0.02


def test_the_matrix_agrees_with_scipy(rng):
    truth = rng.integers(0, 12, size=(250, 2)).astype(float)  # many ties
    S = np.round(truth @ rng.normal(size=(2, 3)) + 3 * rng.normal(size=(250, 3)))
    spearman, pearson = correlation_matrix(S, truth), correlation_matrix(S, truth, "pearson")
    for i in range(3):
        for j in range(2):
            assert spearman[i, j] == pytest.approx(stats.spearmanr(S[:, i], truth[:, j]).statistic, abs=1e-12)
            assert pearson[i, j] == pytest.approx(stats.pearsonr(S[:, i], truth[:, j]).statistic, abs=1e-12)


@pytest.mark.parametrize("assignment", [None, [3, 0]])
def test_independent_series_score_within_the_null(assignment):
    above = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        S, truth = autoregression(rng, 1400, 4, 0.95), autoregression(rng, 1400, 2, 0.95)
        result = mcc(S, truth, kind="pearson", replicas=HELD_OUT, assignment=assignment, n_null=100)
        above += result.score > result.null_95
    assert above <= 5  # 1.25 expected


def test_slow_series_correlate_by_chance(rng):
    rho = np.exp(-1 / 200)
    results = [mcc(autoregression(rng, 2000, 5, rho), autoregression(rng, 2000, 5, rho), n_null=100) for _ in range(6)]
    assert 0.25 < np.mean([result.null for result in results]) < 0.5
    assert np.mean([r.null for r in results]) == pytest.approx(np.mean([r.score for r in results]), abs=0.08)
    fast = mcc(rng.normal(size=(2000, 5)), rng.normal(size=(2000, 5)), n_null=50)
    assert fast.null < 0.06


def test_the_null_has_the_freedom_of_matching_that_the_score_had(rng):
    S, truth = autoregression(rng, 1400, 4, 0.95), autoregression(rng, 1400, 2, 0.95)
    given = mcc(S, truth, replicas=HELD_OUT, assignment=[0, 1])
    refitted = mcc(S, truth, replicas=HELD_OUT)
    assert given.null < refitted.null
    assert given.score <= refitted.score
    assert given.assignment.tolist() == [0, 1]


@pytest.mark.parametrize("length", [[700, 700], [1400], [500, 600, 300]])
def test_the_null_forgets_what_a_perfect_recovery_knew(rng, length):
    labels = np.repeat(np.arange(len(length)), length)
    truth = np.concatenate([autoregression(rng, n, 2, 0.95) for n in length])
    known = mcc(truth, truth, replicas=labels)
    blind = mcc(autoregression(rng, 1400, 2, 0.95), truth, replicas=labels)
    assert known.score == pytest.approx(1)
    assert known.null == pytest.approx(blind.null, abs=0.1)
    assert known.null_scores.max() < 0.75


def test_the_null_of_short_replicas_does_not_keep_their_means(rng):
    level = np.repeat(rng.normal(size=(40, 1)), 5, axis=0)  # constant in each replica of five frames
    assert mcc(level, level, replicas=np.arange(200) // 5).null < 0.3


@pytest.mark.parametrize("length", [[3], [1, 1, 1], [1, 2], [2, 2, 1, 4], [1, 50], [1] * 30])
def test_short_and_unequal_replicas_give_finite_results(rng, length):
    labels = np.repeat(np.arange(len(length)), length)
    S, truth = rng.normal(size=(2, sum(length), 2))
    result = mcc(S, truth, replicas=labels, n_null=20)
    numbers = [result.score, result.null, result.null_95, *result.interval, *result.null_scores]
    assert np.isfinite(numbers).all()
    assert min(numbers) >= 0
    assert max(numbers) <= 1


@pytest.mark.parametrize("rho", [0.8, 0.95])
def test_the_interval_covers_the_true_correlation(rng, rho):
    covered = 0
    for _ in range(60):
        truth, other = autoregression(rng, 1400, 2, rho), autoregression(rng, 1400, 2, rho)
        result = mcc(-0.6 * truth + 0.8 * other, truth, kind="pearson", replicas=HELD_OUT, assignment=[0, 1], n_null=1)
        covered += result.interval[0] <= 0.6 <= result.interval[1]
    assert stats.binomtest(covered, 60, 0.95).pvalue > 1e-3


@pytest.mark.parametrize("value", [0.1, np.nan, 0.0, 1e300])
@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_a_collapsed_or_absent_component_scores_zero(rng, value, kind):
    truth, column = rng.normal(size=(200, 2)), np.full(200, value)
    result = mcc(np.stack([truth[:, 0], column], axis=1), truth, kind=kind)
    assert result.score == pytest.approx(0.5, abs=0.01)
    assert (result.matrix[1] == 0).all()
    nothing = mcc(column[:, None], truth, kind=kind)
    assert (nothing.score, nothing.null, nothing.interval) == (0, 0, (0, 0))


def test_fewer_components_than_truths_leave_truths_unmatched(rng):
    truth = rng.normal(size=(300, 3))
    result = mcc(truth[:, [1]], truth)
    assert result.assignment.tolist() == [-1, 0, -1]
    assert result.score == pytest.approx(1 / 3)
    assert result.interval == pytest.approx((1 / 3, 1 / 3))
    assert result.null <= 1 / 3


def test_assign_finds_the_best_matching_of_all(rng):
    from itertools import permutations

    matrix = rng.uniform(-1, 1, size=(5, 3))
    best = max(permutations(range(5), 3), key=lambda p: sum(abs(matrix[i, j]) for j, i in enumerate(p)))
    assert tuple(assign(matrix)) == best


def test_a_given_assignment_is_scored_not_improved(rng):
    truth = rng.normal(size=(300, 2))
    result = mcc(truth, truth, assignment=np.array([1, 0]))
    assert result.score < 0.2
    assert result.assignment.tolist() == [1, 0]


def test_the_correlation_time_of_an_autoregression(rng):
    start, length = np.arange(0, 80_000, 20_000), np.full(4, 20_000)
    for rho in (0.0, 0.8, 0.95):
        series = np.concatenate([autoregression(rng, 20_000, 1, rho) for _ in range(4)])
        expected = (1 + rho) / (1 - rho)
        assert correlation_time(series, start, length) == pytest.approx(expected, rel=0.15, abs=0.05)
    assert correlation_time(np.ones((50, 1)), np.array([0]), np.array([50])) == 1


def test_the_same_seed_gives_the_same_result(rng):
    S, truth = rng.normal(size=(100, 2)), rng.normal(size=(100, 2))
    first, second, third = (mcc(S, truth, random_state=seed) for seed in (3, 3, 4))
    assert (first.interval, first.null) == (second.interval, second.null)
    assert (first.null_scores != third.null_scores).any()
    fewer = mcc(S, truth, random_state=3, n_null=10)
    assert fewer.interval == first.interval
    assert (fewer.null_scores == first.null_scores[:10]).all()


X = np.random.default_rng(0).normal(size=(10, 2))
HOLED = np.where(np.arange(20).reshape(10, 2) == 7, np.nan, X)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"truth": X[:9]}, "S has 10 frames and truth 9"),
        ({"truth": HOLED}, "truth[3, 1] is nan"),
        ({"S": HOLED}, "S[3, 1] is nan"),
        ({"S": np.where(np.isnan(HOLED), np.inf, X)}, "S[3, 1] is inf"),
        ({"S": X[:0], "truth": X[:0]}, "0 frames"),
        ({"S": X[:2], "truth": X[:2]}, "2 frames; a correlation needs at least 3"),
        ({"S": X[:, 0]}, "S has shape (10,)"),
        ({"S": X[:, :0]}, "at least one column"),
        ({"S": [["a", "b"]] * 10}, "S must be an array of real numbers"),
        ({"S": [[1.0], [1.0, 2.0]]}, "S must be an array of real numbers"),
        ({"kind": "kendall"}, "kind = 'kendall'"),
        ({"replicas": [0, 0, 1, 1, 0, 0, 1, 1, 1, 1]}, "replica 0 lies in 2 places"),
        ({"replicas": [0, 1]}, "replicas has shape (2,)"),
        ({"replicas": [None, "a"] * 5}, "replicas must be numbers throughout, or text throughout"),
        ({"S": 1j * X}, "S must be an array of real numbers"),
        ({"n_null": 10.5}, "n_null = 10.5"),
        ({"assignment": [0]}, "must hold 2 integers"),
        ({"assignment": [0, 2]}, "components 0 to 1"),
        ({"assignment": [0, -2]}, "components 0 to 1"),
        ({"assignment": [1, 1]}, "twice"),
        ({"assignment": [0.0, 1.0]}, "must hold 2 integers"),
        ({"n_null": 0}, "n_null = 0"),
        ({"train": [True] * 9}, "train has shape (9,)"),
        ({"train": [1] * 10}, "dtype int64; it must hold True or False"),
        ({"train": [True] * 8 + [False] * 2}, "8 frames True and 2 False"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_value_and_the_rule(call, message):
    with pytest.raises(DataError, match=re.escape(message)):
        mcc(**({"S": X, "truth": X} | call))


def kinds_of(values):
    """The same columns as everything that an estimator's `fit` takes."""
    import pandas
    import torch

    yield "list", values.tolist()
    yield "table", pandas.DataFrame(values, columns=["a", "b"])
    yield "tensor", torch.tensor(values)
    yield "tensor with gradients", torch.tensor(values, requires_grad=True)
    yield "strided", np.asfortranarray(np.repeat(values, 2, axis=0))[::2]


def test_what_fit_takes_is_scored(rng):
    truth = rng.normal(size=(300, 2)).cumsum(0)
    S = truth[:, ::-1] + rng.normal(size=(300, 2))
    expected = mcc(S, truth, n_null=20)
    for (name, one), (_, other) in zip(kinds_of(S), kinds_of(truth), strict=True):
        found = mcc(one, other, assignment=None, n_null=20)
        assert (found.score, found.null, found.interval) == (expected.score, expected.null, expected.interval), name
        np.testing.assert_array_equal(correlation_matrix(one, other), expected.matrix)


@pytest.mark.parametrize(
    "names", [["run a", "run b", "run c"], [2.0, 0.0, 1.0], [True, False, True], [b"x", b"y", b"z"], [-5, 7, 2**40]]
)
def test_replicas_may_have_any_names(rng, names):
    import pandas

    truth, S = rng.normal(size=(2, 90, 2)).cumsum(1)
    expected = mcc(S, truth, replicas=np.repeat([0, 1, 2], 30), n_null=20)
    labels = [name for name in names for _ in range(30)]
    if names[0] is True:
        expected = mcc(S[:60], truth[:60], replicas=np.repeat([0, 1], 30), n_null=20)
        labels, S, truth = labels[:60], S[:60], truth[:60]
    for replicas in (labels, np.array(labels), pandas.Series(labels), pandas.Series(labels).astype("category")):
        found = mcc(S, truth, replicas=replicas, n_null=20)
        assert (found.null, found.interval) == (expected.null, expected.interval)

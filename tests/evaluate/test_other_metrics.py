"""Metrics beside the MCC: against slow twins and formulas written out, on what each must see and must not."""

import re

import numpy as np
import pytest
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mutual_info_score, r2_score
from sklearn.neighbors import NearestNeighbors

from tempica.errors import DataError
from tempica.evaluate import metrics
from tempica.evaluate.metrics import (
    angle_error,
    dci,
    infomec,
    information,
    information_imbalance,
    mig,
    monotone_mcc,
    neighbourhood_similarity,
    r2,
    sap,
)
from tempica.evaluate.metrics.disentanglement import disentanglement
from tempica.evaluate.metrics.measuring import N_STRETCHES, T_975, Measured, folds
from tempica.evaluate.metrics.neighbours import imbalance

TRAIN = np.arange(400) < 200
TURN = np.array([[0.8, -0.6], [0.6, 0.8]])


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.fixture
def truth(rng):
    return rng.uniform(-1, 1, size=(400, 2))


def test_linear_r2_is_that_of_scikit_learn_on_held_out_frames(rng, truth):
    S = truth @ rng.normal(size=(2, 3)) + 0.5 * rng.normal(size=(400, 3))
    found = r2(S, truth, train=TRAIN, n_null=2)
    model = LinearRegression().fit(S[TRAIN], truth[TRAIN])
    expected = r2_score(truth[~TRAIN], model.predict(S[~TRAIN]), multioutput="raw_values")
    np.testing.assert_allclose(found.each, expected, atol=1e-9)
    assert found.value == pytest.approx(expected.mean())
    assert found.interval[0] < found.value < found.interval[1]
    assert found.null < 0.05


def test_the_interval_is_a_jackknife_of_ten_stretches(rng, truth):
    S = truth + rng.normal(size=truth.shape)
    found = r2(S, truth, train=TRAIN, n_null=1)
    model = LinearRegression().fit(S[TRAIN], truth[TRAIN])
    held, estimate = truth[~TRAIN], model.predict(S[~TRAIN])
    stretch = np.arange(200) * N_STRETCHES // 200
    values = [r2_score(held[stretch != k], estimate[stretch != k]) for k in range(N_STRETCHES)]
    half = T_975 * np.sqrt(0.9 * np.square(values - np.mean(values)).sum())
    assert found.interval == pytest.approx((found.value - half, found.value + half), abs=1e-9)


def test_without_train_whole_replicas_are_held_out(rng):
    labels = np.repeat(np.arange(12), 10)
    seen = np.zeros(120)
    for fitted, scored in folds(labels):
        assert not set(labels[fitted]) & set(labels[scored])
        assert (fitted ^ scored).all()
        seen += scored
    assert (seen == 1).all()
    level = np.repeat(rng.normal(size=(12, 1)), 10, axis=0)  # known of a replica as soon as one of its frames is
    S = np.repeat(rng.normal(size=(12, 8)), 10, axis=0)
    assert r2(S, level, kind="nonlinear", replicas=labels, n_null=1).value < 0.3


def test_curved_components_are_explained_by_trees_alone(truth):
    S = np.stack([truth[:, 0] ** 2 * np.sign(truth[:, 0]), np.cos(3 * truth[:, 1]), truth[:, 1] ** 2], 1)
    folded = r2(S, truth[:, :1] ** 2, kind="nonlinear", train=TRAIN, n_null=1)
    assert folded.value > 0.9 > r2(S, truth[:, :1] ** 2, train=TRAIN, n_null=1).value + 0.3


@pytest.mark.parametrize("unit", ["rad", "deg"])
def test_errors_are_in_degrees_and_know_the_axes(rng, truth, unit):
    S = truth @ TURN + 0.05 * rng.normal(size=truth.shape)
    axes, space = (angle_error(S, truth, axes=a, unit=unit, train=TRAIN, n_null=20) for a in (True, False))
    model = LinearRegression().fit(S[TRAIN], truth[TRAIN])
    scale = 180 / np.pi if unit == "rad" else 1
    expected = scale * np.median(np.abs(truth[~TRAIN] - model.predict(S[~TRAIN])), axis=0)
    np.testing.assert_allclose(space.each, expected, rtol=1e-9)
    assert space.value < axes.value < axes.null_95 < axes.null


def test_the_monotone_fit_is_isotonic_regression_either_way(rng, truth):
    S = np.stack([-np.exp(2 * truth[:, 1]), truth[:, 0] + 0.2 * rng.normal(size=400)], 1)
    found = monotone_mcc(S, truth, train=TRAIN, n_null=20)
    slow = []
    for t, s, rising in ((truth[:, 0], S[:, 1], True), (truth[:, 1], S[:, 0], False)):
        bend = IsotonicRegression(increasing=rising, out_of_bounds="clip").fit(s[TRAIN], t[TRAIN])
        slow.append(abs(stats.pearsonr(bend.predict(s[~TRAIN]), t[~TRAIN]).statistic))
    np.testing.assert_allclose(found.each, slow, atol=1e-9)
    assert found.value > found.null_95
    turned = truth @ TURN
    assert monotone_mcc(turned, truth, align=True, train=TRAIN, n_null=1).value == pytest.approx(1, abs=1e-3)
    assert monotone_mcc(turned, truth, train=TRAIN, n_null=1).value < 0.9
    assert monotone_mcc(turned[:, :1], truth, train=TRAIN, n_null=1).value < 0.5  # the other truth counts as 0


def test_information_is_that_of_scikit_learn_on_the_same_bins(truth):
    S = truth @ TURN
    found = information.mutual_information(S, truth, 9)
    edges = [np.linspace(x.min(), x.max(), 10)[1:-1] for x in (*S.T, *truth.T)]
    binned = [np.digitize(x, e) for x, e in zip((*S.T, *truth.T), edges, strict=True)]
    for i, j in np.ndindex(2, 2):
        assert found[i, j] == pytest.approx(mutual_info_score(binned[i], binned[2 + j]), abs=1e-6)
    expected = [stats.entropy(np.bincount(x)) for x in binned[2:]]
    np.testing.assert_allclose(information.entropy(truth, 9), expected, atol=1e-9)


def test_gaps_are_the_formulas_of_the_literature(rng, truth):
    S = np.concatenate([truth @ TURN, rng.normal(size=(400, 1))], 1)
    table = information.mutual_information(S, truth)
    ordered = np.sort(table, axis=0)[::-1]
    expected = (ordered[0] - ordered[1]) / information.entropy(truth)
    np.testing.assert_allclose(mig(S, truth, n_null=1).each, expected, atol=1e-12)
    square = np.array([[stats.pearsonr(s, t).statistic ** 2 for t in truth.T] for s in S.T])
    ordered = np.sort(square, axis=0)[::-1]
    np.testing.assert_allclose(sap(S, truth, n_null=1).each, ordered[0] - ordered[1], atol=1e-9)
    table = table / information.entropy(truth)
    modular = ((table.max(1) / table.sum(1)).mean() - 1 / 2) / (1 - 1 / 2)
    compact = ((table.max(0) / table.sum(0)).mean() - 1 / 3) / (1 - 1 / 3)
    found = infomec(S, truth, n_null=1)
    assert found["modularity"].value == pytest.approx(modular)
    assert found["compactness"].value == pytest.approx(compact)
    assert found["explicitness"].value == pytest.approx(r2(S, truth, n_null=1).value)


def test_dci_weighs_entropies_by_importance():
    P = np.array([[0.6, 0.1], [0.2, 0.7], [0.0, 0.2]])
    slow = 0.0
    for row in P:
        slow += row.sum() / P.sum() * (1 - stats.entropy(row / row.sum()) / np.log(2))
    assert disentanglement(P) == pytest.approx(slow, abs=1e-6)
    assert disentanglement(np.eye(3)) == pytest.approx(1, abs=1e-6)
    assert disentanglement(np.ones((3, 3))) == pytest.approx(0, abs=1e-6)
    assert disentanglement(np.zeros((2, 2))) == pytest.approx(0, abs=1e-6)


def test_axes_that_are_turned_lose_every_metric_of_axes_and_no_other(truth):
    for name, of in {
        "mig": lambda S: mig(S, truth, n_null=5),
        "sap": lambda S: sap(S, truth, n_null=5),
        "modularity": lambda S: infomec(S, truth, n_null=5)["modularity"],
        "disentanglement": lambda S: dci(S, truth, train=TRAIN, n_null=1)["disentanglement"],
    }.items():
        right, turned = of(truth), of(truth @ [[1, 1], [1, -1]])
        assert right.value > max(0.6, right.null_95), name
        assert turned.value < right.value / 3, name
    for S in (truth, truth @ [[1, 1], [1, -1]]):
        assert neighbourhood_similarity(S, truth, n_null=2).value > 0.9
        assert r2(S, truth, n_null=2).value == pytest.approx(1)


def test_neighbours_agree_with_scikit_learn(rng, truth):
    S = truth @ TURN + 0.3 * rng.normal(size=truth.shape)
    near = []
    for x in (S, truth):
        z = (x - x.mean(0)) / x.std(0)
        near.append(NearestNeighbors(n_neighbors=13).fit(z).kneighbors(z)[1][:, 1:])
    shared = np.mean([len(set(a) & set(b)) / 12 for a, b in zip(*near, strict=True)])
    assert neighbourhood_similarity(S, truth, k=12, n_null=1).value == pytest.approx(shared, abs=1e-9)


def test_the_imbalance_is_the_mean_rank_of_the_nearest(rng):
    """The slow twin sorts all distances."""
    a, b = rng.normal(size=(60, 2)), rng.normal(size=(60, 1))
    b[:, 0] += a[:, 0]
    total = 0
    for i in range(60):
        others = np.delete(np.arange(60), i)
        nearest = others[np.argmin(((a[others] - a[i]) ** 2).sum(1))]
        order = others[np.argsort(((b[others] - b[i]) ** 2).sum(1))]
        total += 1 + int(np.flatnonzero(order == nearest)[0])
    assert imbalance(a, b) == pytest.approx(2 * total / 60**2, abs=1e-12)


def test_the_imbalance_tells_which_space_knows_more(rng, truth):
    forth, back = information_imbalance(truth[:, :1], truth, n_null=20)
    assert back.value < 0.1 < forth.value
    assert forth.value < forth.null_95 < forth.null
    unrelated = information_imbalance(rng.normal(size=(400, 2)), truth, n_null=20)
    assert all(0.85 < each.value < 1.15 for each in unrelated)


MEASURES = {
    "r2": r2,
    "nonlinear r2": lambda S, t, **k: r2(S, t, kind="nonlinear", **k),
    "angle_error": angle_error,
    "monotone_mcc": monotone_mcc,
    "mig": mig,
    "sap": sap,
    "infomec": lambda S, t, **k: infomec(S, t, **k)["modularity"],
    "dci": lambda S, t, **k: dci(S, t, **k)["completeness"],
    "similarity": neighbourhood_similarity,
    "imbalance": lambda S, t, **k: information_imbalance(S, t, **k)[0],
}


@pytest.mark.parametrize("name", MEASURES)
def test_bad_input_is_one_message_and_odd_input_a_number(rng, name):
    of = MEASURES[name]
    truth, S = rng.normal(size=(60, 2)), rng.normal(size=(60, 2))
    holed = S.copy()
    holed[7, 1] = np.nan
    for bad, message in (
        ((S[:50], truth), "S has 50 frames and truth 60"),
        ((holed, truth), "S[7, 1] is nan"),
        ((S, holed), "truth[7, 1] is nan"),
        ((S[:20], truth[:20]), "20 frames; at least 30"),
        ((S[:2], truth[:2]), "2 frames"),
        ((S * np.nan, truth), "S has no component that is present"),
        ((S[:, 0], truth), "S has shape (60,)"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            of(*bad, n_null=1)
    with pytest.raises(DataError, match="n_null = 0"):
        of(S, truth, n_null=0)
    with pytest.raises(DataError, match="replicas has shape"):
        of(S, truth, n_null=1, replicas=[0, 1])
    constant = np.stack([S[:, 0], np.full(60, 3.0)], 1)
    fitted = {"train": np.arange(60) < 30} if name in ("dci", "nonlinear r2") else {}  # folds would take time
    for x, t in ((constant, truth), (S, constant), (constant[:, 1:], truth), (S[:, :1], truth[:, :1])):
        found = of(x, t, n_null=1, **fitted)
        assert isinstance(found, Measured)
        assert np.isfinite([found.value, found.null, found.null_95, *found.interval, *found.each]).all()


def test_other_mistakes_are_named(rng):
    truth, S = rng.normal(size=(60, 2)), rng.normal(size=(60, 2))
    for call, message in (
        (lambda: r2(S, truth, kind="cubic"), "kind = 'cubic'"),
        (lambda: angle_error(S, truth, unit="turn"), "unit = 'turn'"),
        (lambda: neighbourhood_similarity(S, truth, k=60), "k = 60 must be below"),
        (lambda: mig(S, truth, bins=0), "bins = 0"),
        (lambda: r2(S, truth, train=np.ones(60, dtype=bool)), "60 frames True and 0 False"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            call()
    assert set(metrics.__all__) >= {"mcc", "r2", "dci", "mig", "sap", "infomec", "monotone_mcc", "angle_error"}

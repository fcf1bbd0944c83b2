"""TCL: modulated sources through a bent mixing, and the modulations that cannot identify anything."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone

from tempica.errors import DataError, IdentifiabilityWarning
from tempica.ica import TCL
from tempica.ica.synthetic import Problem, modulated, random_mixing


def mcc(a, b):
    c = np.abs(np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :])
    return c[linear_sum_assignment(-c)].mean()


@pytest.fixture(scope="module")
def bent_case() -> tuple[Problem, TCL]:
    problem = modulated(2, 40, 250, n_layers=2, seed=3)
    return problem, TCL(2, n_restarts=1, max_steps=900).fit(problem.X, problem.labels)


def test_recovers_absolute_sources_through_a_bent_mixing(bent_case) -> None:
    problem, tcl = bent_case
    assert mcc(tcl.transform(problem.X), np.abs(problem.S)) > 0.95
    assert tcl.model_ == "network"
    assert tcl.ambiguity_ == "none"
    assert tcl.rank_ == 2


def test_stages_are_kept_apart(bent_case) -> None:
    problem, tcl = bent_case
    S, features = tcl.transform(problem.X), tcl.transform(problem.X, stage="features")
    fit, *_ = np.linalg.lstsq(np.column_stack([features, np.ones(len(features))]), S, rcond=None)
    np.testing.assert_allclose(features @ fit[:2] + fit[2], S, atol=1e-8)
    skew = (S**3).mean(0)
    assert (skew > 0).all()  # |s| has its long tail above


def test_the_score_is_information_about_the_segment(bent_case) -> None:
    problem, tcl = bent_case
    assert tcl.score(problem.X, problem.labels) > 0.3
    assert tcl.score(problem.X, np.random.default_rng(0).permutation(problem.labels)) < 0


@pytest.mark.parametrize("stage", ["sources", "signed"])
def test_covariances_go_through_the_jacobian(bent_case, stage) -> None:
    problem, tcl = bent_case
    frames, step = problem.X[:60], 1e-4

    def moved(d: np.ndarray) -> np.ndarray:
        return (tcl.transform(frames + d, stage=stage) - tcl.transform(frames - d, stage=stage)) / (2 * step)

    J = np.stack([moved(d) for d in step * np.eye(2)], axis=-1)
    found = tcl.transform_covariance(frames, np.broadcast_to(np.eye(2), (60, 2, 2)), stage=stage)
    expected = J @ J.transpose(0, 2, 1)
    size = np.linalg.norm(expected, axis=(1, 2))
    # all but the frames next to a kink, where the two sides differ
    assert np.mean(np.linalg.norm(found - expected, axis=(1, 2)) < 0.03 * size) > 0.9


def test_signs_come_with_the_activations(bent_case) -> None:
    problem, tcl = bent_case
    signed = tcl.transform(problem.X, stage="signed")
    assert mcc(signed, problem.S) > 0.9
    np.testing.assert_allclose((signed**2).mean(0), 1, rtol=0.1)
    alike = np.abs(np.corrcoef(np.abs(signed).T, tcl.transform(problem.X).T)[:2, 2:])
    assert np.diag(alike).min() > 0.9  # in the order of the sources


def test_it_pickles_and_clones(bent_case) -> None:
    problem, tcl = bent_case
    X = problem.X[:9]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tcl)).transform(X), tcl.transform(X))
    assert clone(tcl).get_params() == tcl.get_params()


def test_a_single_control_is_not_enough() -> None:
    """Both amplitudes go together: rank 1, whatever the mixing."""
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.1, 1, size=(30, 1, 1))
    S = (scale * rng.laplace(size=(30, 200, 2))).reshape(-1, 2)
    with pytest.warns(IdentifiabilityWarning, match="not identifiable from modulations of rank 1"):
        tcl = TCL(2, n_restarts=1, max_steps=300).fit(S, np.repeat(np.arange(30), 200))
    assert tcl.ambiguity_ == "subspace"


def test_equal_segments_identify_nothing() -> None:
    X = np.random.default_rng(0).normal(size=(2000, 2))
    with pytest.warns(IdentifiabilityWarning, match="Nothing is identifiable"):
        tcl = TCL(2, n_restarts=1, max_steps=200).fit(X, np.repeat(np.arange(10), 200))
    assert tcl.ambiguity_ == "all"


def test_an_interrupted_fit_goes_on_to_the_same_sources(tmp_path) -> None:
    problem = modulated(2, 12, 60, n_layers=2, seed=1)
    options = {"n_restarts": 2, "max_steps": 60, "second_stage": "none"}
    checks = []

    def interrupt(run: int, step: int, loss: float) -> None:
        checks.append(step)
        if len(checks) == 9:
            raise KeyboardInterrupt

    with pytest.warns(IdentifiabilityWarning):
        whole = TCL(2, **options).fit(problem.X, problem.labels)
    with pytest.raises(KeyboardInterrupt):
        TCL(2, **options).fit(problem.X, problem.labels, callback=interrupt, checkpoint=tmp_path / "state")
    with pytest.warns(IdentifiabilityWarning):
        resumed = TCL(2, **options).fit(problem.X, problem.labels, checkpoint=tmp_path / "state")
    np.testing.assert_array_equal(resumed.transform(problem.X), whole.transform(problem.X))


@pytest.mark.parametrize(
    ("options", "segments", "message"),
    [
        ({}, None, "needs the segment of each frame"),
        ({}, np.zeros(40), "There are 1 segments"),
        ({}, np.arange(40), "the shortest of 1 frames"),
        ({}, np.zeros(7), "one label for each of the 40 frames"),
        ({"n_components": 3}, np.repeat([0, 1], 20), "n_components = 3 must be from 1 to 2"),
        ({"second_stage": "sobi"}, np.repeat([0, 1], 20), "needs series"),
        ({"second_stage": "magic"}, np.repeat([0, 1], 20), "second_stage = 'magic'"),
        ({"training": {"n_layers": 0}}, np.repeat([0, 1], 20), "n_layers = 0 must be at least 1"),
        ({"training": {"n_layers": 1.5}}, np.repeat([0, 1], 20), "n_layers = 1.5 must be a whole number"),
        ({}, np.array(["a", None] * 20, dtype=object), "of types NoneType, str"),
    ],
)
def test_bad_input_is_named(options, segments, message: str) -> None:
    X = random_mixing(2, 1)(np.random.default_rng(0).normal(size=(40, 2)))
    with pytest.raises(DataError, match=message):
        TCL(**options).fit(X, segments)


def test_the_score_knows_segments_by_their_labels(bent_case) -> None:
    problem, tcl = bent_case
    np.testing.assert_array_equal(tcl.labels_, np.unique(problem.labels))
    last = problem.labels >= 20
    parts = [tcl.score(problem.X[part], problem.labels[part]) for part in (last, ~last)]
    assert np.average(parts, weights=[last.sum(), (~last).sum()]) == pytest.approx(
        tcl.score(problem.X, problem.labels), abs=1e-5
    )
    with pytest.raises(DataError, match="segments that were not fitted"):
        tcl.score(problem.X, problem.labels + 1)

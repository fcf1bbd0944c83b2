"""Verdicts on made-up latents whose answer theory gives."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.signal import lfilter

from tempica.audit.features import Features
from tempica.audit.given import given
from tempica.audit.independence import Dependence
from tempica.audit.results import AFTER_STAGE, IDENTIFIABLE, NOT, NOTHING, SUBSPACE, Test
from tempica.audit.rotation import Axes
from tempica.audit.verdict import Evidence, judge
from tempica.errors import DataError
from tempica.evaluate import audit
from tempica.evaluate.metrics import mcc
from tempica.ica.synthetic import random_mixing

N = 4000


def series(rho: tuple[float, ...], *, seed: int = 0, n: int = N) -> np.ndarray:
    """Normal AR(1) sources (frame, source) of unit variance."""
    noise = np.random.default_rng(seed).normal(size=(n + 200, len(rho)))
    columns = [lfilter([1], [1, -r], np.sqrt(1 - r * r) * e) for r, e in zip(rho, noise.T, strict=True)]
    return np.stack(columns, axis=1)[200:]


def mixed(S: np.ndarray, seed: int = 0) -> np.ndarray:
    return random_mixing(S.shape[1], 1, seed=seed)(S)


def evidence(method: str = "pcl", largest: float = 0.05, raw: float = 0.97) -> Evidence:
    """Two sources whose axes every part of the data fixes, and whose coupling nothing shows."""
    h = np.random.default_rng(0).normal(size=(1000, 2))
    tests = {
        "signal_time": Test("signal_time", "", True, ""),
        "halves": Test("halves", "", True, "", details={"raw": raw}),
    }
    axes = Axes("innovations", np.eye(2), np.zeros((2, 2)), np.full((2, 2), 1e-9), 1.0, 8)
    dependence = Dependence((0, 1), largest, 0.1, 0.01, np.zeros((2, 2)), 0.0, 0.0)
    features = Features(method, h, {}, affine=0.97)
    return Evidence(given(h, None, None, None, 1), features, axes, axes.determined, dependence, tests)


def test_a_network_that_leaves_sources_dependent_identifies_nothing() -> None:
    assert judge(evidence())[0].kind == IDENTIFIABLE
    whole, each = judge(evidence(largest=0.2))
    assert {whole.kind, *(one.kind for one in each)} == {NOT}
    assert "is not undone" in whole.sentence
    assert judge(evidence("linear", largest=0.2))[0].kind == IDENTIFIABLE  # nothing is bent, whatever else may be


def test_what_networks_of_two_halves_agree_on_bounds_the_confidence() -> None:
    assert judge(evidence(raw=0.8))[0].kind == NOT
    assert evidence(raw=0.8).confidence() < 0.81
    assert evidence("linear", raw=0.8).confidence() > 0.96


def test_distinct_rates_are_found_by_sobi() -> None:
    S = series((0.95, 0.8, 0.3))
    found = audit(mixed(S), method="sobi")
    assert (found.verdict.kind, found.pipeline.stage) == (AFTER_STAGE, "sobi")
    assert mcc(found.sources, S).score > 0.95
    assert found.confidence > 0.95
    assert all(one.kind == AFTER_STAGE for one in found.verdicts)


def test_any_seed_of_a_run_will_do() -> None:
    S = series((0.95, 0.3), n=1200)
    assert audit(mixed(S), method="fastica", n_components=2, random_state=2**31 - 1).sources.shape == (1200, 2)


def test_equal_rates_leave_a_subspace() -> None:
    found = audit(mixed(series((0.8, 0.8, 0.8))), method="sobi")
    assert found.verdict.kind == SUBSPACE
    assert not found.test("separation").passed
    assert found.verdict.mend


def test_one_source_apart_from_two_alike_is_believed_alone() -> None:
    S = series((0.95, 0.5, 0.5))
    found = audit(mixed(S), method="sobi")
    alone = int(np.argmax(np.abs(np.corrcoef(found.sources.T, S[:, 0])[:-1, -1])))
    assert found.verdict.kind == SUBSPACE
    assert alone not in found.verdict.subspace
    assert {one.kind for i, one in enumerate(found.verdicts) if i == alone} == {AFTER_STAGE}


def test_unequal_noise_is_not_taken_for_unequal_rates() -> None:
    """Noise of another strength in one direction fixes axes, and the same ones in every part of the data."""
    clean = series((0.8, 0.8), n=8000)
    X = clean @ np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    X = X + np.random.default_rng(1).normal(size=X.shape) * [0.2, 1.5]
    found = audit(X, method="sobi")
    assert found.test("axes").passed
    assert found.verdict.kind == SUBSPACE


def test_nuisances_without_memory_are_named() -> None:
    """Reproducible in every part of the data, independent and not normal: a pose that leaks, and a batch."""
    rng, replicas = np.random.default_rng(0), np.repeat(np.arange(8), N // 8)
    S = np.stack([lfilter([1], [1, -r], rng.laplace(size=(8, N // 8)), axis=1).ravel() for r in (0.8, 0.6)], axis=1)
    pose, batch = rng.laplace(size=N), 3 * rng.normal(size=8)[replicas] + rng.laplace(size=N)
    X = mixed(np.column_stack([S / S.std(0), pose, batch]))
    found = audit(X, replicas=replicas, n_components=4)
    moving = [i for i, one in enumerate(found.verdicts) if one.kind == IDENTIFIABLE]
    assert (found.verdict.kind, len(moving)) == (NOT, 2)
    assert "n_components = 2" in found.verdict.mend
    assert mcc(found.sources[:, moving], S).score > 0.98
    assert audit(X, replicas=replicas).verdict.kind == IDENTIFIABLE


def test_noise_without_memory_does_not_move() -> None:
    found = audit(np.random.default_rng(0).normal(size=(N, 3)))
    assert (found.verdict.kind, found.pipeline, found.confidence) == (NOTHING, None, 0.0)


def test_shuffled_frames_leave_linear_ica_alone() -> None:
    S = np.random.default_rng(0).laplace(size=(N, 2))
    found = audit(mixed(S))
    assert found.verdict.kind == NOT
    assert "only the tests of linear ICA apply" in found.verdict.sentence


@pytest.mark.parametrize("together", [False, True])
def test_labels_must_act_on_each_source(together: bool) -> None:
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.1, 1, size=(40, 1, 1 if together else 2))
    S = (scale * rng.normal(size=(40, 100, 2))).reshape(-1, 2)
    found = audit(mixed(S), method="nonstationary", labels=np.repeat(np.arange(40), 100))
    if together:
        assert (found.verdict.kind, found.test("rank").statistic) == (NOT, 1)
        assert "3 conditions" in found.verdict.mend
    else:
        assert found.verdict.kind == IDENTIFIABLE
        assert mcc(found.sources, S).score > 0.98


def test_sources_on_a_shell_are_coupled() -> None:
    """Motion on a ring: no map makes its two coordinates independent."""
    angle = np.cumsum(0.3 * np.random.default_rng(0).normal(size=N))
    X = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.05 * np.random.default_rng(1).normal(size=(N, 2))
    found = audit(X, method="fastica")
    assert found.verdict.kind == NOT
    assert not found.test("independence").passed


def test_what_is_said_is_json_and_the_same_each_time() -> None:
    X = mixed(series((0.9, 0.4), n=1000))
    one, other = (audit(X, method="sobi") for _ in range(2))
    assert json.dumps(one.as_dict(), allow_nan=False) == json.dumps(other.as_dict(), allow_nan=False)
    assert all(test.sentence for test in one.tests)


def test_many_frames_are_thinned_and_it_is_said() -> None:
    X = np.random.default_rng(0).normal(size=(100_000, 2))
    found = audit(X)
    assert len(found.frames) == 20_000
    assert "20,000" in found.notes[0]


X = np.random.default_rng(0).normal(size=(1000, 2))


@pytest.mark.parametrize(
    ("frames", "given", "says"),
    [
        (np.c_[X, np.ones(1000)], {}, "Feature 2 is constant"),
        (np.where(np.arange(2000).reshape(1000, 2) == 7, np.nan, X), {}, r"X\[3, 1\] is nan"),
        (X[:100], {}, "100 frames of 2 features are too few"),
        (X.reshape(-1), {}, "shape"),
        ([["a", "b"]] * 500, {}, "array of numbers"),
        (X, {"labels": np.zeros(10)}, "one label for each of the 1000"),
        (X, {"labels": np.zeros(1000)}, "have the label 0"),
        (X, {"labels": np.arange(1000)}, "has 1 frames"),
        (X, {"replicas": np.zeros(10)}, "one label for each of the 1000"),
        (X, {"replicas": np.arange(1000)}, "no pair of frames"),
        (X, {"lag": 1000}, "no pair of frames"),
        (X, {"lag": 950}, "Only 50 pairs of frames are 950 apart"),
        (X, {"labels": np.r_[np.nan, np.arange(999) % 2]}, r"labels\[0\] is nan"),
        (X, {"labels": np.arange(1000) % 2, "method": "pcl"}, "give replicas beside labels"),
        (X, {"labels": np.arange(1000) % 2, "method": "sobi"}, "give replicas beside labels"),
        (X, {"method": "tcl"}, "'tcl' needs labels"),
        (X, {"covariance": np.eye(3)}, r"covariance has shape \(3, 3\)"),
        (X, {"n_components": 5}, "n_components = 5"),
        (X, {"method": "magic"}, "method = 'magic'"),
    ],
)
def test_what_cannot_be_audited_is_refused(frames: object, given: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        audit(frames, **given)


def test_features_of_two_values_are_audited() -> None:
    two = series((0.95, 0.5)) > 0
    assert audit(two, method="sobi").sources.shape == (N, 2)


def test_a_finder_that_does_not_settle_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: object, **__: object) -> None:
        raise DataError("Joint diagonalisation did not settle.")

    monkeypatch.setattr("tempica.audit.rotation.NonstationaryICA.fit", fit)
    frames = mixed(series((0.95, 0.3), n=1000))
    found = audit(frames, method="auto")
    assert "variances" not in found.test("stages").details
    with pytest.raises(DataError, match="did not settle"):
        audit(frames, method="nonstationary")


def test_what_is_coupled_counts_as_a_leak_of_that_size() -> None:
    amplitude = np.repeat(np.random.default_rng(0).uniform(0, 2, 100), 20)
    found = audit(series((0.5, 0.5), n=2000) * amplitude[:, None], method="fastica", n_components=2)
    details = found.test("independence").details
    coupled = max(details["coupling"], details["from_past"])
    assert coupled > 0.2
    assert found.verdict.kind == NOT
    assert found.confidence <= np.sqrt(1 - coupled**2)

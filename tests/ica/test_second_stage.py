"""The second stage is chosen from the data, and what no stage can tell apart is said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from tempica.errors import IdentifiabilityWarning
from tempica.ica import PCL, TICA
from tempica.ica.contrastive.second_stage import _entropy, _turned_apart, find_ambiguity, fit_stage

INFORMATION = np.full(100, 0.5) + np.linspace(-0.1, 0.1, 100)
TURN = np.array([[0.8, 0.6], [-0.6, 0.8]])


@pytest.mark.parametrize(
    ("rho", "innovation", "stage", "kind", "subspaces"),
    [
        ([0.7, 0.7], "laplace", "none", "none", []),
        ([0.9, 0.6], "normal", "sobi", "linear", []),
        ([0.9, 0.6], "normal", "none", "linear", [[0, 1]]),
        ([0.7, 0.7], "normal", "sobi", "subspace", [[0, 1]]),
        ([0.9, 0.5, 0.5], "normal", "sobi", "subspace", [[1, 2]]),
    ],
)
def test_sources_are_judged_by_what_a_rotation_changes(
    rng, autoregression, rho, innovation, stage, kind, subspaces
) -> None:
    S = autoregression(rng, 20_000, rho, innovation)
    found = find_ambiguity(S, np.zeros(len(S), dtype=int), 1, stage, INFORMATION)
    assert (found.kind, found.subspaces) == (kind, subspaces)
    assert ("identifiable" in found.why) == bool(subspaces)


def test_unmixing_does_not_make_up_differences(rng, autoregression) -> None:
    """SOBI takes the rotation with the largest difference of autocorrelations: still no proof of one."""
    for _ in range(5):
        S = autoregression(rng, 3000, [0.8, 0.8])
        labels = np.zeros(len(S), dtype=int)
        assert find_ambiguity(fit_stage("sobi", S, labels)(S), labels, 1, "sobi", INFORMATION).kind == "subspace"


def test_values_may_tell_apart_what_dynamics_do_not(rng) -> None:
    """Slow switching between two levels: normal steps, equal rates, two humps."""
    level = np.sign(np.sin(np.arange(20_000)[:, None] / np.array([70, 90]) + [0.0, 1.0]))
    S = level + 0.5 * rng.normal(size=level.shape)
    found = find_ambiguity(S, np.zeros(len(S), dtype=int), 1, "fastica", INFORMATION)
    assert found.subspaces == []


def test_without_information_nothing_is_identifiable(rng) -> None:
    S = rng.laplace(size=(2000, 2))
    found = find_ambiguity(S, np.zeros(2000, dtype=int), 1, "none", rng.normal(size=300))
    assert (found.kind, found.subspaces) == ("all", [[0, 1]])
    assert "identifiable" in found.why


@pytest.mark.parametrize("name", ["none", "fastica", "sobi"])
def test_stages_give_unit_variance_whatever_the_units(rng, autoregression, name) -> None:
    S = autoregression(rng, 5000, [0.9, 0.5], "laplace")
    stage = fit_stage(name, 1e5 * S @ TURN.T + 7, np.zeros(5000, dtype=int))
    found = stage(1e5 * S @ TURN.T + 7)
    np.testing.assert_allclose(found.std(0), 1, rtol=1e-6)
    if name != "none":
        assert np.abs(np.corrcoef(found.T, S.T)[:2, 2:]).max(0).min() > 0.98


def test_degenerate_features_pass_through() -> None:
    features = np.repeat(np.random.default_rng(0).normal(size=(100, 1)), 2, axis=1)
    for name in ("fastica", "sobi"):
        assert np.isfinite(fit_stage(name, features, np.zeros(100, dtype=int))(features)).all()


def test_entropy_of_known_densities(rng) -> None:
    assert _entropy(rng.uniform(size=20_000)) == pytest.approx(0, abs=0.03)
    assert _entropy(rng.normal(size=20_000)) == pytest.approx(0.5 * np.log(2 * np.pi * np.e), abs=0.05)


def test_pcl_unmixes_normal_sources_of_different_rates_by_sobi(rng, autoregression) -> None:
    S = autoregression(rng, 10_000, [0.9, 0.5])
    pcl = PCL(2, n_restarts=1, max_steps=200).fit(S @ TURN.T)
    assert (pcl.second_stage_, pcl.ambiguity_) == ("sobi", "linear")
    assert np.abs(np.corrcoef(pcl.transform(S @ TURN.T).T, S.T)[:2, 2:]).max(0).min() > 0.98


def test_pcl_warns_of_what_cannot_be_identified(rng, autoregression) -> None:
    S = autoregression(rng, 10_000, [0.7, 0.7])
    with pytest.warns(IdentifiabilityWarning, match="not identifiable one by one"):
        pcl = PCL(2, n_restarts=1, max_steps=200).fit(S)
    assert (pcl.ambiguity_, pcl.subspaces_) == ("subspace", [[0, 1]])
    with pytest.warns(IdentifiabilityWarning, match="Nothing is identifiable"):
        pcl = PCL(2, n_restarts=1, max_steps=200).fit(rng.normal(size=(4000, 2)))
    assert pcl.ambiguity_ == "all"


@pytest.mark.parametrize("seed", range(3))
def test_white_features_are_unmixed_by_a_rotation(seed):
    """What TCL hands over: exactly white, singular values all alike, on which an SVD has lost directions."""
    rng = np.random.default_rng(seed)
    n, scale = 20, rng.uniform(size=(400, 1, 20))
    S = np.abs(scale * rng.laplace(size=(400, 50, n))).reshape(-1, n)
    mixed = S @ rng.normal(size=(n, n))
    value, vector = np.linalg.eigh(np.cov(mixed.T))
    stage = fit_stage("fastica", (mixed - mixed.mean(0)) @ vector / np.sqrt(value), np.zeros(len(S), dtype=int))
    np.testing.assert_allclose(stage.matrix @ stage.matrix.T, np.eye(n), atol=1e-3)
    alike = np.abs(np.corrcoef(stage((mixed - mixed.mean(0)) @ vector / np.sqrt(value)).T, S.T)[:n, n:])
    assert alike.max(0).min() > 0.95


def test_a_pair_that_was_left_mixed_is_turned_apart_and_no_other(rng) -> None:
    S = np.column_stack([np.abs(rng.laplace(size=(6000, 2))), rng.normal(size=(6000, 2))])
    S = (S - S.mean(0)) / S.std(0)
    half = np.sqrt(0.5)
    mixing = np.eye(4)
    mixing[:2, :2] = [[half, -half], [half, half]]
    turn = _turned_apart(S @ mixing.T)
    np.testing.assert_allclose(turn @ turn.T, np.eye(4), atol=1e-12)
    back = np.abs(turn @ mixing)
    np.testing.assert_allclose(back[:2, :2].max(1), 1, atol=1e-3)
    np.testing.assert_array_equal(turn[2:, 2:], np.eye(2))  # normal ones look alike from all sides
    np.testing.assert_array_equal(_turned_apart(S), np.eye(4))


def double_wells(rng, n_frames: int, n_replicas: int, barriers: list[float]) -> np.ndarray:
    """Overdamped motion in wells at -1 and 1, barriers in kT, whose frames are farther apart than a well remembers."""
    x, frames = rng.choice([-1.0, 1.0], size=(n_replicas, len(barriers))), []
    for _ in range(n_frames):
        for _ in range(20):
            x = x + 0.04 * np.array(barriers) * x * (1 - x**2) + np.sqrt(0.02) * rng.normal(size=x.shape)
        frames.append(x)
    return np.stack(frames, 1).reshape(-1, len(barriers))


@pytest.mark.parametrize("seed", [1, 2])
def test_double_wells_are_not_bent_to_suit_a_score(seed) -> None:
    """A network that tells the wells apart gains much under the reference score, and knows less of what lies within."""
    rng = np.random.default_rng(seed)
    S, replicas = double_wells(rng, 500, 8, [2.5, 3.0]), np.repeat(np.arange(8), 500)
    X = np.column_stack([S / S.std(0), np.zeros_like(S)]) + 0.3 * rng.normal(size=(len(S), 4))
    X, seen, fresh = X @ np.linalg.qr(rng.normal(size=(4, 4)))[0], replicas < 6, replicas > 5

    def score(found: np.ndarray) -> float:
        alike = np.abs(spearmanr(found[fresh], S[fresh])[0][:2, 2:])
        return max(np.trace(alike), np.trace(alike[:, ::-1])) / 2

    options = {"n_restarts": 2, "max_steps": 600}
    found = PCL(2, **options).fit(X[seen], replicas=replicas[seen])
    assert found.candidates_["network"] < found.candidates_["tica"] - 0.05
    assert score(found.transform(X)) > 0.86 > score(TICA(2).fit(X[seen], replicas=replicas[seen]).transform(X))


def test_unequal_noise_is_not_taken_for_unequal_rates(rng, autoregression) -> None:
    """Noise without memory fixes axes of its own, here halfway between the sources: TICA's, and reproducibly so."""
    S = autoregression(rng, 20_000, [0.8, 0.8])
    X = S @ np.array([[1, 1], [1, -1]]) / np.sqrt(2) + rng.normal(size=S.shape) * [0.2, 1.5]
    found = find_ambiguity(X / X.std(0), np.zeros(len(S), dtype=int), 1, "none", INFORMATION)
    assert (found.kind, found.subspaces) == ("subspace", [[0, 1]])


def test_nuisances_of_single_frames_and_of_whole_replicas_are_no_sources(rng, autoregression) -> None:
    """They are as independent and as non-normal as the sources, and lack nothing but a memory."""
    S, labels = autoregression(rng, 8000, [0.8, 0.6], "laplace"), np.repeat(np.arange(8), 1000)
    pose, batch = rng.laplace(size=(8000, 1)), 3 * rng.normal(size=(8, 1))[labels] + rng.laplace(size=(8000, 1))
    found = find_ambiguity(np.hstack([S, pose, batch]), labels, 1, "none", INFORMATION)
    assert (found.kind, found.subspaces) == ("subspace", [[2, 3]])
    assert "n_components = 2" in found.why
    assert find_ambiguity(S, labels, 1, "none", INFORMATION).kind == "none"

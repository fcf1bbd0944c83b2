"""Grades: properties of planted sources, and that no grade comes from luck more often than chance allows."""

import numpy as np
import pytest
from scipy.signal import lfilter

from tempica.evaluate import each, verdicts
from tempica.evaluate.metrics import mcc

N_REPLICAS, N_FRAMES = 8, 200
METHOD = {"name": "m", "title": "M"}


def series(n, rng, rho=0.7):
    """Independent autoregressions (frame, n) of all replicas, one after the other."""
    e = rng.laplace(size=(N_REPLICAS, N_FRAMES + 50, n))
    return lfilter([1], [1, -rho], e, axis=1)[:, 50:].reshape(-1, n) * np.sqrt((1 - rho**2) / 2)


def judged(S, truth, *, seed=0, method=METHOD, audit=None):
    replicas = np.repeat(np.arange(N_REPLICAS), N_FRAMES)
    train = replicas < N_REPLICAS // 2
    names = [f"v{j}" for j in range(truth.shape[1])]
    score = mcc(S, truth, replicas=replicas, train=train, n_null=100, random_state=seed)
    told = each.each_variable(
        S, truth, replicas=replicas, train=train, score=score, names=names, n_null=100, random_state=seed
    )
    row = {"stage": "smoothed", "value": score.score, "null_95": score.null_95}
    row |= {"rotation_null_95": score.rotation_null_95, "ceiling": None, "ceiling_temporal": 0.0}
    return verdicts.judge(method, row, told, audit)


def grades(verdict):
    return [source["grade"] for source in verdict["sources"]]


def turned(angle):
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def test_sources_with_noise_are_recovered():
    rng = np.random.default_rng(0)
    truth = series(2, rng)
    verdict = judged(truth * [-2, 0.5] + 0.2 * rng.normal(size=truth.shape) * [2, 0.5], truth)
    assert grades(verdict) == ["recovered", "recovered"]
    assert verdict["grade"] == "recovered"
    assert "v0 is recovered" in verdict["sources"][0]["sentence"]


def test_turned_sources_are_mixed_with_each_other_and_nothing_else():
    rng = np.random.default_rng(1)
    truth = series(4, rng)
    S = truth.copy()
    S[:, 2:] = S[:, 2:] @ turned(np.pi / 5)
    verdict = judged(S, truth)
    assert grades(verdict) == ["recovered", "recovered", "mixed", "mixed"]
    assert [source["mixed_with"] for source in verdict["sources"][2:]] == [["v3"], ["v2"]]
    assert verdict["grade"] == "partly recovered"


def test_what_the_method_or_the_audit_doubts_is_not_identifiable():
    rng = np.random.default_rng(2)
    truth = series(2, rng)
    doubting = METHOD | {"ambiguity": "subspace", "ambiguity_why": "Both are Gaussian."}
    verdict = judged(truth @ turned(0.6), truth, method=doubting)
    assert grades(verdict) == ["not identifiable"] * 2
    assert "M says of itself: Both are Gaussian." in verdict["sentence"]
    resolved = METHOD | {"ambiguity": "linear", "second_stage": "fastica"}
    assert grades(judged(truth @ turned(0.6), truth, method=resolved)) == ["mixed"] * 2
    audit = {"verdict": {"kind": "subspace not separable", "sentence": "Sources 0 and 1 turn freely."}}
    verdict = judged(truth @ turned(0.6), truth, audit=audit)
    assert grades(verdict) == ["not identifiable"] * 2
    assert "The audit says: Sources 0 and 1 turn freely." in verdict["sentence"]
    assert "could not be known" in judged(truth, truth, audit=audit)["sentence"]


def test_a_component_that_turns_freely_is_not_recovered_however_near_its_axis():
    rng = np.random.default_rng(7)
    truth = series(3, rng)
    some = METHOD | {"ambiguity": "subspace", "ambiguity_why": "1 and 2.", "fit": {"subspaces": [[1, 2]]}}
    verdict = judged(truth, truth, method=some)
    assert grades(verdict) == ["recovered", "not identifiable", "not identifiable"]
    assert "the data alone do not say so" in verdict["sources"][1]["sentence"]
    audit = {"verdict": {"kind": "not identifiable from these data", "sentence": "Nothing is known."}}
    assert grades(judged(truth, truth, audit=audit)) == ["not identifiable"] * 3


def test_unrelated_flat_and_missing():
    rng = np.random.default_rng(3)
    truth = series(3, rng)
    S = truth + 0.1 * rng.normal(size=truth.shape)
    truth[:, 1] = series(1, rng)[:, 0]  # nothing knows it
    truth[:, 2] = 3.0
    verdict = judged(S[:, :2], truth)
    assert grades(verdict)[1:] == ["at chance", "nothing moves"]
    assert grades(judged(S[:, [0]], series(2, rng))) == ["at chance", "at chance"]
    assert "v2 does not move" in verdict["sources"][2]["sentence"]


def test_slow_variables_whose_interval_reaches_chance_are_not_recovered():
    """Random walks correlate by chance; whatever the seed, an unrelated one must rarely be called recovered."""
    said = []
    for seed in range(12):
        rng = np.random.default_rng(100 + seed)
        truth, S = series(1, rng, rho=0.995), series(2, rng, rho=0.995)
        said += grades(judged(S, truth, seed=seed))
    assert said.count("at chance") >= 9  # of 12; where 5 % err, 4 or more do with a probability of 0.2 %


def test_random_axes_are_seldom_called_recovered():
    said = []
    for seed in range(16):
        rng = np.random.default_rng(200 + seed)
        truth = series(3, rng)
        q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        said.append(judged(truth @ q + 0.2 * rng.normal(size=truth.shape), truth, seed=seed)["grade"])
    assert sum(grade != "mixed" for grade in said) <= 4  # 10 % at most by construction; 5 or more of 16: 1.7 %


def test_a_variable_spread_over_components_is_mixed():
    rng = np.random.default_rng(4)
    truth, other = series(1, rng), series(1, rng)
    both = np.concatenate([truth, other], 1)
    assert grades(judged(both, truth)) == ["recovered"]
    (source,) = judged(both @ turned(0.6), truth)["sources"]
    assert source["grade"] == "mixed"
    assert "over several components" in source["sentence"]


def test_shares_of_a_ceiling_at_chance_are_not_told():
    rng = np.random.default_rng(5)
    truth = series(2, rng)
    assert "whole movies allow no more than chance" in judged(truth, truth)["sentence"]


@pytest.mark.parametrize(("noise", "effect"), [((1.0, 0.3), "gain"), ((0.3, 1.0), "harm"), ((0.5, 0.5), "nothing")])
def test_what_a_step_adds(noise, effect):
    rng = np.random.default_rng(6)
    truth, same = series(2, rng), np.arange(2)
    replicas = np.repeat(np.arange(N_REPLICAS), N_FRAMES)
    before, after = (truth + s * rng.normal(size=truth.shape) for s in noise)
    gain = each.gain((before, same), (after, same), truth, replicas, random_state=0)
    told = verdicts.effect("Smoothing", "unmixing", gain)
    assert told["effect"] == effect
    assert told["interval"][0] < told["value"] < told["interval"][1]
    assert each.gain((before, same), (before, same), truth, replicas, random_state=0)["interval"] == [0, 0]


def test_the_run_takes_the_best_grade_of_each_variable_and_names_its_methods():
    def method(title, *given):
        value = {"spearman": {"value": 0.5}}
        return {"title": title, "sources": [{"variable": f"v{j}", "grade": g} | value for j, g in enumerate(given)]}

    both = [method("A", "mixed", "recovered"), method("B", "at chance", "mixed")]
    verdict = verdicts.judge_run(both, ["v0", "v1"])
    assert verdict["sentence"] == "Recovered by A: v1. Mixed: v0 (nearest by A, |ρ| 0.50)."
    assert verdict["grade"] == "partly recovered"
    assert verdicts.judge_run([], ["v0"])["grade"] is None
    assert verdicts.summary(["at chance", "mixed"]) == "mixed"

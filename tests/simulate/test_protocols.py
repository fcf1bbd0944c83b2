"""Every driven process against what its docstring states; protocols alone, without a molecule."""

import numpy as np
import pytest
from scipy import stats

from tempica import seeds
from tempica.recipe.experiment import Recipe
from tempica.simulate import protocols
from tempica.simulate.protocols import ar1

N = 100_000


@pytest.mark.parametrize("innovation", ["laplace", "gaussian"])
@pytest.mark.parametrize("coefficient", [0.0, 0.3, 0.8, 0.95])
def test_a_stationary_series_of_unit_variance_and_the_stated_memory(innovation, coefficient):
    series = ar1(N, coefficient, innovation, np.random.default_rng(8))
    assert series.shape == (N,)
    rho = coefficient
    # standard errors of an autoregression (Bartlett); a Laplace innovation has excess kurtosis 3
    excess = (3 if innovation == "laplace" else 0) * (1 - rho**2) / (1 + rho**2)
    assert abs(series.mean()) < 4 * np.sqrt((1 + rho) / (1 - rho) / N)
    assert abs(series.var() - 1) < 4 * np.sqrt((2 + excess) * (1 + rho**2) / (1 - rho**2) / N)
    for lag in (1, 2, 5):
        found = np.corrcoef(series[lag:], series[:-lag])[0, 1]
        assert abs(found - rho**lag) < 4 * np.sqrt(max(1 - rho**2, 0.02) * (1 + 2 * lag) / N)


@pytest.mark.parametrize(("innovation", "excess"), [("laplace", 3.0), ("gaussian", 0.0)])
def test_innovations_have_the_stated_distribution(innovation, excess):
    rho = 0.8
    series = ar1(N, rho, innovation, np.random.default_rng(9))
    noise = (series[1:] - rho * series[:-1]) / np.sqrt(1 - rho**2)
    assert abs(noise.var() - 1) < 0.03
    assert abs(stats.kurtosis(noise) - excess) < (0.5 if excess else 0.07)
    shape = stats.laplace(scale=np.sqrt(0.5)) if innovation == "laplace" else stats.norm()
    assert stats.kstest(noise, shape.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(np.abs(noise[1:]), np.abs(noise[:-1]))[0, 1]) < 4 / np.sqrt(N)  # independent, not just white


@pytest.mark.parametrize("innovation", ["laplace", "gaussian"])
def test_the_first_value_is_like_any_other(innovation):
    first = np.array([ar1(1, 0.5, innovation, np.random.default_rng(i))[0] for i in range(4000)])
    later = ar1(N, 0.5, innovation, np.random.default_rng(10))[::20]
    assert stats.ks_2samp(first, later).pvalue > 1e-3


def test_a_longer_series_begins_with_the_shorter_one():
    for innovation in ("laplace", "gaussian"):
        short, long = (ar1(n, 0.9, innovation, np.random.default_rng(1)) for n in (10, 500))
        np.testing.assert_array_equal(long[:10], short)


@pytest.mark.parametrize("coefficient", [0.999999, 1 - 1e-12, np.nextafter(1, 0)])
def test_a_memory_longer_than_any_run_is_still_a_series(coefficient):
    """Every coefficient that a recipe may state must come to an end."""
    series = ar1(10, coefficient, "laplace", np.random.default_rng(1))
    assert np.isfinite(series).all()
    assert np.ptp(series) < 0.1


def build(dynamics, **simulate):
    content = {
        "name": "test",
        "simulate": {
            "molecule": {"kind": "arms", "n_arms": len(dynamics)},
            "dynamics": [{"collective_variable": f"arm_{i + 1}"} | entry for i, entry in enumerate(dynamics)],
            "n_replicas": 3,
            "n_frames": 1000,
            "equilibration_frames": 5,
        }
        | simulate,
        "train": {"methods": [], "held_out_replicas": 1, "n_components": 1},
    }
    return Recipe.model_validate(content).simulate


def targets(simulate, n_frames=N, replica=0, seed=3):
    """Targets (frame, source) without those of the equilibration."""

    def generator(purpose, shared):
        return seeds.generator(seed, purpose, *(() if shared else (replica,)))

    return protocols.targets(simulate, n_frames, generator)[simulate.equilibration_frames :]


AR1 = {"process": "ar1", "mean": 140.0, "deviation": 8.0, "coefficient": 0.7}
MODULATED = {"process": "modulated", "mean": 140.0, "deviation": 8.0}


def innovations(series, rho):
    return (series[1:] - rho * series[:-1]) / np.sqrt(1 - rho**2)


@pytest.mark.parametrize("degrees_of_freedom", [3.0, 5.0])
def test_students_innovations(degrees_of_freedom):
    entry = AR1 | {"innovation": "student", "degrees_of_freedom": degrees_of_freedom}
    noise = innovations((targets(build([entry]))[:, 0] - 140) / 8, 0.7)
    scaled = noise / np.sqrt(1 - 2 / degrees_of_freedom)
    assert stats.kstest(scaled, stats.t(degrees_of_freedom).cdf).pvalue > 1e-3
    assert stats.kstest(scaled, stats.t(1.3 * degrees_of_freedom).cdf).pvalue < 1e-3  # other tails are told apart


def test_jumps_of_sparse_innovations():
    p = 0.2
    noise = innovations((targets(build([AR1 | {"innovation": "jump", "jump_probability": p}]))[:, 0] - 140) / 8, 0.7)
    moves = np.abs(noise) > 1e-9
    assert stats.binomtest(int(moves.sum()), len(noise), p).pvalue > 1e-3
    assert stats.kstest(noise[moves] * np.sqrt(p), "norm").pvalue > 1e-3
    # the frames with a jump are independent of each other
    assert abs(np.corrcoef(moves[1:], moves[:-1])[0, 1]) < 4 / np.sqrt(N)


@pytest.mark.parametrize("coupling", [0.6, -0.4])
def test_coupled_sources_have_the_stated_correlation(coupling):
    both = targets(build([AR1, AR1 | {"coupled_to": "arm_1", "coupling": coupling, "coefficient": 0.5}]))
    found = np.corrcoef(both.T)[0, 1]
    assert abs(found - coupling) < 4 * np.sqrt(3 / N) * np.sqrt(2)  # (1 + ρ²)/(1 − ρ²) ≈ 3 for ρ = 0.7
    assert abs(both[:, 1].std() - 8) < 0.2
    apart = targets(build([AR1, AR1]))
    assert abs(np.corrcoef(apart.T)[0, 1]) < 4 * np.sqrt(3 / N)


@pytest.mark.parametrize("control", ["independent", "common"])
def test_segments_have_scales_of_their_own(control):
    length = 200
    simulate = build([MODULATED | {"control": control}] * 2, segment_frames=length)
    first, second = (targets(simulate, replica=r).reshape(-1, length, 2) - 140 for r in (0, 1))
    # Laplace: the mean of |s| in a segment is its scale over √2; both replicas share their segments' scales
    scale = np.sqrt(2) * np.abs(np.concatenate([first, second], 1)).mean(1)
    assert abs(np.sqrt((first**2).mean()) - 8) < 0.4
    low, high = scale.min(), scale.max()
    assert low < 1.0
    assert 12.4 < high < 15.5  # uniform in [0, λ], of mean square 8²: λ = 8 √3 = 13.9
    assert stats.kstest(scale[:, 0] / (8 * np.sqrt(3)), "uniform").pvalue > 1e-3
    same = np.corrcoef(scale.T)[0, 1]
    assert same > 0.97 if control == "common" else abs(same) < 4 / np.sqrt(len(scale))
    a, b = np.sqrt(2) * np.abs(first).mean(1), np.sqrt(2) * np.abs(second).mean(1)
    assert np.corrcoef(a[:, 0], b[:, 0])[0, 1] > 0.95
    assert abs(np.corrcoef(first[:, :, 0].ravel(), second[:, :, 0].ravel())[0, 1]) < 4 * np.sqrt(2 / N)


def test_the_mean_relaxes_at_the_stated_rate_after_each_pulse():
    tau, amplitude, period = 6.0, -20.0, 40
    entry = {"process": "relaxation", "mean": 140.0, "deviation": 4.0, "amplitude": amplitude, "time_constant": tau}
    simulate = build([entry], segment_frames=period)
    values = targets(simulate).reshape(-1, period)
    delay = np.arange(period)
    error = 4.0 / np.sqrt(len(values))
    np.testing.assert_array_less(np.abs(values.mean(0) - (140 + amplitude * np.exp(-delay / tau))), 4.5 * error)
    slower = 140 + amplitude * np.exp(-delay / (1.25 * tau))
    assert np.abs(values.mean(0) - slower).max() > 6 * error  # a rate off by a quarter would be noticed
    assert abs(values.std(0).mean() - 4.0) < 0.1
    np.testing.assert_array_equal(protocols.labels(simulate, 3 * period), np.tile(delay, 3))


@pytest.mark.parametrize("observation", [{}, {"observation": {"mode": "snapshots"}}])
def test_jumps_that_scatter_let_the_variance_relax_at_the_stated_rate(observation):
    """Var s = d² + a² exp(−2t/τ); in a movie all frames after a pulse share its jump, snapshots have one each."""
    tau, scatter, period = 6.0, 1.0, 40
    entry = {"process": "relaxation", "mean": 140.0, "deviation": scatter, "amplitude": 0.0, "time_constant": tau}
    simulate = build([entry | {"amplitude_deviation": 12.0}], segment_frames=period, **observation)
    values = targets(simulate).reshape(-1, period) - 140
    expected = scatter**2 + 12.0**2 * np.exp(-2 * np.arange(period) / tau)
    ratio = values.var(0) / expected
    np.testing.assert_array_less(np.abs(ratio - 1), 4.5 * np.sqrt(2 / len(values)))
    together = np.corrcoef(values[:, 0], values[:, 1])[0, 1]
    assert abs(together) < 4.5 / np.sqrt(len(values)) if observation else together > 0.95


def test_metastable_states_dwell_and_jump_as_stated():
    levels, dwell = [120.0, 140.0, 160.0], 12.0
    entry = {"process": "jumps", "levels": levels, "dwell": dwell, "deviation": 1.0}
    values = targets(build([entry]))[:, 0]
    state = np.abs(values[:, None] - levels).argmin(1)
    assert abs((values - np.array(levels)[state]).std() - 1.0) < 0.02
    leaves = state[1:] != state[:-1]
    assert stats.binomtest(int(leaves.sum()), len(leaves), 1 / dwell).pvalue > 1e-3
    lengths = np.diff(np.flatnonzero(leaves))  # geometric
    observed = np.bincount(np.minimum(lengths, 60), minlength=61)[1:]
    expected = len(lengths) * np.append(stats.geom(1 / dwell).pmf(np.arange(1, 60)), stats.geom(1 / dwell).sf(59))
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    taken = np.array([[np.sum((state[:-1] == a) & (state[1:] == b)) for b in range(3)] for a in range(3)])
    away = taken[~np.eye(3, dtype=bool)]
    assert stats.chisquare(away).pvalue > 1e-3  # every other state alike


@pytest.mark.parametrize(("mode", "each"), [("snapshots", 1), ("pairs", 2)])
def test_molecules_have_no_memory_of_each_other(mode, each):
    simulate = build([AR1 | {"coefficient": 0.95}], observation={"mode": mode, "decorrelation_frames": 3})
    values = targets(simulate)[:, 0]
    plan = protocols.schedule(simulate, N)
    molecule = plan.molecule[plan.n_before :]
    np.testing.assert_array_equal(molecule, np.arange(N) // each)
    together = molecule[1:] == molecule[:-1]
    x = (values - 140) / 8
    product = x[1:] * x[:-1]
    assert abs(product[~together].mean()) < 4 / np.sqrt((~together).sum())
    assert together.any() == (each == 2)
    if each == 2:
        assert abs(product[together].mean() - 0.95) < 4 * 1.5 / np.sqrt(together.sum())
    intervals = plan.intervals[plan.n_before :]
    assert intervals[0] == 1
    np.testing.assert_array_equal(intervals[1:], np.where(together, 1, 4))


def test_one_series_does_not_depend_on_the_others():
    """A source keeps its series when others are declared beside it."""
    alone = targets(build([AR1]), 100)
    beside = targets(build([AR1, AR1 | {"innovation": "gaussian"}, MODULATED], segment_frames=20), 100)
    np.testing.assert_array_equal(alone[:, 0], beside[:, 0])
    assert not np.array_equal(alone, targets(build([AR1]), 100, replica=1))


def test_a_temperature_for_each_segment():
    free = {"process": "harmonic", "mean": 140.0, "curvature": 100.0}
    simulate = build([free], segment_frames=3, temperature_jump={"temperatures": [250.0, 400.0]})
    np.testing.assert_array_equal(protocols.temperatures(simulate, 9)[5:], [250] * 3 + [400] * 3 + [250] * 3)
    np.testing.assert_array_equal(protocols.labels(simulate, 9), [0] * 3 + [1] * 3 + [0] * 3)
    assert targets(simulate, 9).shape == (9, 0)

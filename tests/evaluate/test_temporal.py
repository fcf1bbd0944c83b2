"""The temporal ceiling against the Kalman smoother where that is exact, and what refuses it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from tempica import kalman
from tempica.evaluate import temporal
from tempica.evaluate.ceilings import Likelihoods, Prior, bayes_estimate
from tempica.evaluate.metrics.mcc import diagonal_score
from tempica.series import quadratic

RHO, DEVIATION, K = np.array([0.8, 0.95]), np.array([0.3, 2.0]), 3


def series(rng, n_molecules, n_frames, rho=RHO):
    z = rng.standard_normal((n_molecules, n_frames, len(rho)))
    for t in range(1, n_frames):
        z[:, t] = rho * z[:, t - 1] + np.sqrt(1 - rho**2) * z[:, t]
    return DEVIATION[: len(rho)] * z.reshape(-1, len(rho)), np.repeat(np.arange(n_molecules), n_frames)


class Linear:
    """Images that are linear in the collective variables."""

    def __init__(self, n_variables, information, seed=0):
        rng = np.random.default_rng(seed)
        rho = RHO[:n_variables]
        # values that are normal to the last digit, so that nothing but the smoother is compared
        normal = ndtri((np.arange(20_000) + 0.5) / 20_000)[:, None]
        library = DEVIATION[:n_variables] * np.concatenate([rng.permutation(normal) for _ in rho], 1)
        n_terms = quadratic(library[:1]).shape[1]
        weight = np.zeros((n_terms, K))
        weight[1 : n_variables + 1] = rng.normal(size=(n_variables, K))
        nothing = np.zeros((K, 2, 3))
        self.prior = Prior(nothing[0], nothing, library, weight, np.zeros((K, K)))
        self.dynamics = temporal.Dynamics(np.sort(library, 0), rho)
        self.truth, self.molecule = series(rng, 3, 400, rho)
        root = rng.normal(size=(len(self.truth), K, K)) * np.sqrt(information / K)
        a = root @ root.swapaxes(1, 2)
        noise = np.einsum("fkl,fl->fk", root, rng.standard_normal((len(root), K)))
        linear = np.einsum("fkl,fl->fk", a, self.prior.expected(self.truth)) + noise
        n_nodes = len(self.dynamics.coarse_values())
        self.frames = Likelihoods(linear, a, np.zeros((len(a), n_nodes)))
        # the same in the variables: g(c) = g(0) + slope c
        slope = (weight[1 : n_variables + 1] / library.std(0)[:, None]).T
        origin = self.prior.expected(np.zeros((1, n_variables)))[0]
        eta = (linear - a @ origin) @ slope
        lam = slope.T @ a @ slope
        process = kalman.process(self.molecule, rho, DEVIATION[:n_variables] ** 2)
        self.kalman, *_ = kalman.smooth(eta, lam, self.molecule, rho, process)

    def estimate(self):
        return temporal.smoothed_estimate(self.prior, self.dynamics, self.frames, self.truth, self.molecule)


@pytest.mark.parametrize(("n_variables", "information"), [(1, 0.5), (2, 0.1), (2, 3.0), (2, 20.0)])
def test_equals_the_kalman_smoother_where_that_is_exact(n_variables, information):
    world = Linear(n_variables, information)
    found = world.estimate()
    error, best = (((each - world.truth) ** 2).mean(0) for each in (found, world.kalman))
    np.testing.assert_allclose(error, best, rtol=0.02)  # of the mean square, 1 % of the error
    np.testing.assert_allclose(found, world.kalman, atol=0.12 * DEVIATION[:n_variables].max())
    ours, theirs = (diagonal_score(each, world.truth, "spearman") for each in (found, world.kalman))
    assert ours == pytest.approx(theirs, rel=0.01)
    alone, _ = bayes_estimate(world.prior, world.frames)
    assert (((alone - world.truth) ** 2).mean(0) > 1.2 * best).all()  # neighbours tell something


def test_dynamics_are_those_of_the_series_whatever_the_marginal():
    rng = np.random.default_rng(1)
    c, molecule = series(rng, 40, 500)
    bent = np.sinh(c / DEVIATION)
    found = temporal.learn_dynamics(bent, molecule)
    np.testing.assert_allclose(found.rho, RHO, atol=0.02)
    score = found.score(bent)
    np.testing.assert_allclose(score.std(0), 1, atol=0.01)
    back = np.stack([found.variable(v, score[:, v]) for v in range(2)], 1)
    inside = np.abs(score).max(1) < temporal.REACH
    np.testing.assert_allclose(back[inside], bent[inside], atol=1e-6)


def test_snapshots_have_no_memory():
    variable = np.random.default_rng(0).normal(size=(50, 2))
    found = temporal.learn_dynamics(variable, np.arange(50))
    assert (found.rho == 0).all()
    np.testing.assert_array_equal(found.quantile, np.sort(variable, 0))


def test_corrections_are_carried_from_the_coarse_nodes():
    rng = np.random.default_rng(1)
    dynamics = temporal.learn_dynamics(*series(rng, 10, 100))
    nodes = dynamics.coarse()
    z = rng.uniform(-3, 3, (50, 2))

    def smooth(x, y):
        return np.sin(x) * np.cos(0.7 * y) + 0.2 * x * y

    at_nodes = smooth(*np.meshgrid(*nodes, indexing="ij")).ravel()
    np.testing.assert_allclose(dynamics.interpolation(z) @ at_nodes, smooth(*z.T), atol=0.02)
    fine = [np.linspace(-3, 3, 7), np.linspace(-2, 2, 5)]
    splines = [temporal._splines(c, f) for c, f in zip(nodes, fine, strict=True)]
    carried = temporal._carried(at_nodes[None], splines)
    np.testing.assert_allclose(carried[0], smooth(*np.meshgrid(*fine, indexing="ij")), atol=0.02)


def test_a_correction_counts():
    world = Linear(2, 0.5)
    nodes = world.dynamics.score(world.dynamics.coarse_values())
    pull = -2.0 * (nodes[:, 0] - 1) ** 2
    pulled = Likelihoods(
        world.frames.linear, world.frames.quadratic, np.broadcast_to(pull, world.frames.correction.shape)
    )
    found = temporal.smoothed_estimate(world.prior, world.dynamics, pulled, world.truth, world.molecule)
    assert found[:, 0].mean() > world.estimate()[:, 0].mean() + 0.2 * DEVIATION[0]


def test_what_no_grid_can_hold_is_said():
    world = Linear(2, 1e6)
    assert "nodes would be needed" in world.estimate()
    three = temporal.Dynamics(np.sort(np.random.default_rng(0).normal(size=(50, 3)), 0), np.full(3, 0.5))
    why = temporal.smoothed_estimate(world.prior, three, world.frames, world.truth, world.molecule)
    assert "3 collective variables" in why
    assert three.interpolation(np.zeros((4, 3))) is None
    assert three.coarse_values().shape == (0, 3)

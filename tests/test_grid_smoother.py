"""The smoother on a grid against Kalman's, its kernels, and likelihoods that only a grid can represent."""

import numpy as np
import pytest

from tempica import kalman
from tempica.errors import DataError
from tempica.grid_smoother import grid_nodes, grid_posterior, smooth_grid, stationary, transition

RHO = np.array([0.9, 0.7])


@pytest.fixture(scope="module")
def seen():
    """Two molecules of 150 frames; evidence (η, Λ) of noisy mixtures of two sources, and their labels."""
    rng = np.random.default_rng(3)
    molecule = np.repeat([0, 1], 150)
    news = rng.normal(size=(300, 2)) * np.sqrt(kalman.process(molecule, RHO))
    source = np.empty((300, 2))
    for t in range(300):
        source[t] = news[t] + (RHO * source[t - 1] if t % 150 else 0)
    mixing = rng.normal(size=(300, 2, 2))
    image = np.einsum("tij,tj->ti", mixing, source) + rng.normal(size=(300, 2))
    return np.einsum("tji,tj->ti", mixing, image), mixing.swapaxes(1, 2) @ mixing, molecule


def on_grid(eta, lam, nodes1, nodes2):
    """η·s − ½ sᵀΛs (F, G₁, G₂)."""
    place = np.stack(np.meshgrid(nodes1, nodes2, indexing="ij"), -1)
    return np.einsum("fi,abi->fab", eta, place) - 0.5 * np.einsum("abi,fij,abj->fab", place, lam, place)


def test_linear_normal_likelihoods_are_smoothed_as_by_kalman(seen):
    eta, lam, molecule = seen
    nodes = [grid_nodes(r, reach=5, step=0.5) for r in RHO]
    mean, variance, log_evidence = smooth_grid(on_grid(eta, lam, *nodes), *nodes, RHO, molecule)
    process = kalman.process(molecule, RHO)
    exact, covariance, _ = kalman.smooth(eta, lam, molecule, RHO, process)
    deviation = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    assert (np.abs(mean - exact) < 0.01 * deviation).all()
    np.testing.assert_allclose(np.sqrt(variance), deviation, rtol=0.01)
    expected = kalman.log_likelihood(eta, lam, molecule, RHO, process)
    assert log_evidence == pytest.approx(expected, abs=1e-3)


def test_molecules_do_not_speak_to_each_other(seen):
    eta, lam, molecule = seen
    nodes = [grid_nodes(r) for r in RHO]
    value = on_grid(eta, lam, *nodes)
    together, total = grid_posterior(value, *nodes, RHO, molecule)
    first, one = grid_posterior(value[:150], *nodes, RHO)
    second, other = grid_posterior(value[150:], *nodes, RHO)
    np.testing.assert_array_equal(together, np.concatenate([first, second]))
    assert total == pytest.approx(one + other)
    np.testing.assert_allclose(together.sum((1, 2)), 1)


@pytest.mark.parametrize("nodes", [grid_nodes(0.8), np.sort(np.random.default_rng(1).uniform(-3, 3, 60))])
def test_kernels_are_stationary_and_reversible(nodes):
    kernel, weight = transition(nodes, 0.8), stationary(nodes)
    np.testing.assert_allclose(kernel.sum(1), 1)
    np.testing.assert_allclose(weight @ kernel, weight, atol=1e-11)
    np.testing.assert_allclose(weight[:, None] * kernel, (weight[:, None] * kernel).T, atol=1e-11)
    assert (weight * nodes) @ kernel @ nodes == pytest.approx(0.8 * (weight @ nodes**2), abs=0.02)


def test_a_sharp_likelihood_far_from_what_was_expected_is_followed():
    nodes = grid_nodes(0.0, step=0.5)
    value = np.full((2, len(nodes), len(nodes)), -1e5)
    value[0, 0, 0] = value[1, -1, -1] = 0
    mean, variance, _ = smooth_grid(value, nodes, nodes, np.zeros(2))
    np.testing.assert_allclose(mean, [[-3.5, -3.5], [3.5, 3.5]])
    np.testing.assert_allclose(variance, 0, atol=1e-10)


def test_an_ambiguous_frame_is_settled_by_its_neighbours():
    nodes = grid_nodes(0.9)
    near = lambda a: -0.5 * ((nodes - a) / 0.2) ** 2  # noqa: E731
    both = np.logaddexp(near(1.5), near(-1.5))
    value = np.stack([near(1.5), both, near(1.5)])[:, :, None] + np.zeros(len(nodes))
    mean, variance, _ = smooth_grid(value, nodes, nodes, np.array([0.9, 0.9]))
    assert mean[1, 0] == pytest.approx(1.45, abs=0.1)
    np.testing.assert_allclose(mean[:, 1], 0, atol=1e-9)
    np.testing.assert_allclose(variance[:, 1], 1, atol=0.02)


def test_what_a_grid_cannot_do_is_named():
    nodes = np.linspace(-3, 3, 9)
    value = np.zeros((4, 9, 9))
    with pytest.raises(DataError, match=r"Nodes are 0\.75 apart.*at least 30 nodes"):
        smooth_grid(value, nodes, nodes, np.array([0.99, 0.5]))
    with pytest.raises(DataError, match="must increase"):
        smooth_grid(value, nodes[::-1], nodes, np.array([0.5, 0.5]))
    with pytest.raises(DataError, match=r"\(F, G₁, G₂\)"):
        smooth_grid(value[:, :8], nodes, nodes, np.array([0.5, 0.5]))
    value[2] = np.nan
    with pytest.raises(DataError, match="Frame 2 has the log-likelihood nan"):
        smooth_grid(value, nodes, nodes, np.array([0.5, 0.5]))
    with pytest.raises(DataError, match=r"rho = 1\.0"):
        grid_nodes(1.0)

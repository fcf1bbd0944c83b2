"""Rotations near one another: derivatives by finite differences, densities by integration."""

import numpy as np
import pytest
from scipy.integrate import quad

from tempica.embed.poses.rotations import (
    exponential,
    height_at_rest,
    inverse_left_jacobian,
    logarithm,
    steps,
    turned,
)


def vectors(angle: float, n: int = 20) -> np.ndarray:
    axis = np.random.default_rng(0).standard_normal((n, 3))
    return angle * axis / np.linalg.norm(axis, axis=1, keepdims=True)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 0.3, 2.0, 3.1])
def test_logarithm_inverts_exponential(angle):
    assert np.allclose(logarithm(exponential(vectors(angle))), vectors(angle), atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 5e-3, 0.1, 1.5, 3.0])
def test_jacobian_is_the_derivative_of_the_logarithm(angle):
    phi, h = vectors(angle), 1e-6
    left = inverse_left_jacobian(phi)
    for i in range(3):
        w = np.zeros_like(phi)
        w[:, i] = h
        slope = (logarithm(turned(exponential(phi), w)) - logarithm(turned(exponential(phi), -w))) / (2 * h)
        assert np.allclose(left[:, :, i], slope, atol=1e-8)
        slope = (logarithm(exponential(phi) @ exponential(w)) - logarithm(exponential(phi) @ exponential(-w))) / (2 * h)
        assert np.allclose(left[:, i, :], slope, atol=1e-8)  # the right one is its transpose
    assert np.allclose(np.einsum("fij,fj->fi", left, phi), phi)


def test_turns_are_in_the_frame_of_the_view():
    rotation, w = exponential(vectors(2.0)), vectors(0.2)
    path = np.stack([rotation, turned(rotation, w)], 1)
    for pair, step in zip(path, w, strict=True):
        assert np.allclose(steps(pair)[0], step)


@pytest.mark.parametrize("variance", [1e-3, 0.1, 3.0, 1e6])
def test_density_of_a_step_is_one_in_all(variance):
    height = height_at_rest(variance)
    density = lambda w: height * np.exp((np.cos(w) - 1) / variance) * (1 - np.cos(w)) / np.pi  # noqa: E731
    assert quad(density, 0, np.pi, points=[3 * np.sqrt(min(variance, 1))])[0] == pytest.approx(1, abs=1e-6)


def test_density_is_continuous_where_its_formula_changes():
    assert height_at_rest(1.001e-4) * 1.001**1.5 == pytest.approx(height_at_rest(0.999e-4) * 0.999**1.5, rel=1e-4)

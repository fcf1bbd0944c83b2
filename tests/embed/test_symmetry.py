"""Turns of a structure onto itself."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.embed.poses.symmetry import told, turns_onto_itself
from tempica.recipe.molecule import ArmsRecipe
from tempica.simulate.arms import build_arms


def chain(n: int, seed: int) -> np.ndarray:
    """A made-up protein (n, 3) in nm: a walk of steps of 3.8 Å that stays together."""
    rng, x = np.random.default_rng(seed), np.zeros((n, 3))
    for i in range(1, n):
        step = rng.standard_normal(3) - 0.4 * x[i - 1]
        x[i] = x[i - 1] + 0.38 * step / np.linalg.norm(step)
    return x


@pytest.mark.parametrize("order", [2, 3, 5])
def test_turns_of_an_oligomer_are_found_also_where_its_copies_differ_a_little(order):
    one = chain(50, order) + np.array([1.5, 0, 0])
    tilt, about_z = Rotation.random(random_state=order), [0, 0, 1]
    copies = [Rotation.from_rotvec(2 * np.pi * k / order * np.array(about_z)).apply(one) for k in range(order)]
    position = tilt.apply(np.concatenate(copies)) + 0.04 * np.random.default_rng(0).standard_normal((50 * order, 3))
    turns = Rotation.from_matrix(turns_onto_itself(position))
    expected = sorted(360 / order * min(k, order - k) for k in range(1, order))
    assert np.allclose(sorted(np.degrees(turns.magnitude())), expected, atol=2)
    axes = turns.as_rotvec() / turns.magnitude()[:, None]
    assert np.allclose(np.abs(axes @ tilt.apply(about_z)), 1, atol=1e-2)


@pytest.mark.parametrize("seed", range(3))
def test_one_chain_has_none(seed):
    assert len(turns_onto_itself(chain(120, seed))) == 0


def test_identical_arms_on_a_ring_are_told_and_different_ones_are_not():
    alike, different = (build_arms(ArmsRecipe(kind="arms", n_arms=3, identical=same))[0] for same in (True, False))
    turns = turns_onto_itself(alike.position)
    assert (np.abs(np.degrees(Rotation.from_matrix(turns).magnitude()) - 120) < 1).sum() == 2
    assert "120" in told(turns)
    assert len(turns_onto_itself(different.position)) == 0

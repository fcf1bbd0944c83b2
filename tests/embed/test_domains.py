"""Rigid domains found from displacements, their hinges, and exact rotations about them."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.embed.modes.domains import declared_domains, domain_motions, rigid_domains
from tempica.errors import DataError


def molecule():
    """Three globules of 40, 30 and 25 beads in a row, their labels, and the hinges of the second and third."""
    rng = np.random.default_rng(0)
    place = np.concatenate(
        [rng.uniform(-0.8, 0.8, (n, 3)) + centre for n, centre in ((40, [0, 0, 0]), (30, [2, 0, 0]), (25, [0, 2.2, 0]))]
    )
    return place, np.repeat([0, 1, 2], (40, 30, 25)), np.array([[1.0, 0, 0], [0, 1.1, 0]])


def displacements(place, label, hinge):
    """Turns of the second globule about y and z, and of the third about x and z, through their hinges, mixed."""
    shape = []
    for d, axis in ((1, [0, 1, 0]), (1, [0, 0, 1]), (2, [1, 0, 0]), (2, [0, 0, 1])):
        moved = np.zeros_like(place)
        moved[label == d] = np.cross(axis, place[label == d] - hinge[d - 1])
        shape.append(moved)
    mixing = np.random.default_rng(1).normal(size=(4, 4))
    return np.tensordot(mixing, np.array(shape), 1)


def test_domains_and_hinges_are_found():
    place, label, hinge = molecule()
    shape = displacements(place, label, hinge)
    shape = shape + 0.02 * np.random.default_rng(2).normal(size=shape.shape)
    rigid = np.cross([0.3, -0.2, 0.5], place) + np.array([0.1, 0.2, 0.3])  # a rigid motion of all changes nothing
    found = rigid_domains(place, shape + rigid, 3)
    assert (found.label == label).mean() > 0.96
    np.testing.assert_allclose(found.hinge[1:], hinge, atol=0.08)


def test_declared_domains_take_what_is_between_them():
    place, label, hinge = molecule()
    shape = displacements(place, label, hinge)
    found = declared_domains(place, shape, [np.arange(38), np.arange(42, 70), np.arange(70, 95)])
    np.testing.assert_array_equal(found.label, label)
    np.testing.assert_allclose(found.hinge[1:], hinge, atol=1e-3)
    with pytest.raises(DataError, match="Domain 1 has 5 beads"):
        declared_domains(place, shape, [np.arange(38), np.arange(35, 40)])


def test_domains_turn_as_bodies_and_derivatives_are_right():
    place, label, hinge = molecule()
    domains = declared_domains(
        place, displacements(place, label, hinge), [np.flatnonzero(label == d) for d in range(3)]
    )
    rng = np.random.default_rng(3)
    vector = rng.normal(size=(4, 2, 3))
    moved, derivative = domain_motions(domains, place, vector)
    assert derivative.shape == (4, 6, 95, 3)
    np.testing.assert_array_equal(moved[:, label == 0], np.broadcast_to(place[:40], (4, 40, 3)))
    for d in range(3):
        inside = moved[:, label == d]
        apart = np.linalg.norm(inside[:, :, None] - inside[:, None], axis=-1)
        before = place[label == d]
        np.testing.assert_allclose(
            apart, np.broadcast_to(np.linalg.norm(before[:, None] - before, axis=-1), apart.shape)
        )
    for d in range(2):
        for axis in range(3):
            step = 1e-5 * np.eye(3)[axis]
            turned = vector.copy()
            after, back = (
                (Rotation.from_rotvec(sign * step) * Rotation.from_rotvec(vector[:, d])).as_rotvec() for sign in (1, -1)
            )
            turned[:, d] = after
            plus, _ = domain_motions(domains, place, turned)
            turned[:, d] = back
            minus, _ = domain_motions(domains, place, turned)
            np.testing.assert_allclose((plus - minus) / 2e-5, derivative[:, 3 * d + axis], atol=1e-8)


def test_hinges_may_move():
    place, label, hinge = molecule()
    domains = declared_domains(
        place, displacements(place, label, hinge), [np.flatnonzero(label == d) for d in range(3)]
    )
    shift = np.random.default_rng(0).normal(size=(2, 2, 3))
    still, _ = domain_motions(domains, place, np.zeros((2, 2, 3)))
    moved, _ = domain_motions(domains, place, np.zeros((2, 2, 3)), shift)
    np.testing.assert_allclose((moved - still)[:, label == 2], np.broadcast_to(shift[:, 1, None], (2, 25, 3)))


def test_too_many_domains_are_refused():
    place, label, hinge = molecule()
    with pytest.raises(DataError, match="n_domains = 12 must be 1 to 11"):
        rigid_domains(place, displacements(place, label, hinge), 12)

"""Elastic networks: softest motions, contacts that are kept, parts that are joined, and as-rigid-as-possible shapes."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.embed.modes.elastic import Isometry, elastic_modes, nearest_isometric, network, rigid_motions
from tempica.errors import DataError


def helix(n, pitch=0.15):
    """A Cα helix of n beads."""
    turn = np.radians(100) * np.arange(n)
    return np.stack([0.23 * np.cos(turn), 0.23 * np.sin(turn), pitch * np.arange(n)], 1)


def hinged(angle):
    """Two bundles that meet in one end; the second is turned about it by an angle."""
    bundle = np.concatenate([helix(30) + shift for shift in ([0, 0, 0], [0.9, 0, 0], [0, 0.9, 0])])
    upper = Rotation.from_rotvec([angle, 0, 0]).apply(bundle + np.array([0, 0, 0.3]))
    return np.concatenate([bundle * [1, 1, -1] - [0, 0, 0.3], upper])


def test_modes_are_free_of_rigid_motion_and_have_the_stated_scale():
    position = hinged(0.4)
    modes = elastic_modes(position, 12, rms_nm=0.25)
    overlap = np.einsum("knj,rnj->kr", modes.shape, rigid_motions(position))
    np.testing.assert_allclose(overlap, 0, atol=1e-9)
    assert np.sqrt((modes.shape**2).sum() / len(position)) == pytest.approx(0.25)
    flat = modes.shape.reshape(12, -1)
    gram = flat @ flat.T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-9)
    assert (np.diff(np.diag(gram)) <= 1e-12).all()
    assert (flat[np.arange(12), np.abs(flat).argmax(1)] > 0).all()


def test_the_softest_motions_turn_the_two_bundles_against_each_other():
    position = hinged(0.0)
    modes, half = elastic_modes(position, 3), len(position) // 2
    for shape in modes.shape:
        rest = 0.0
        for part in (slice(half), slice(half, None)):
            motion = rigid_motions(position[part]).reshape(6, -1).T
            flat = shape[part].ravel()
            rest += ((flat - motion @ np.linalg.lstsq(motion, flat, rcond=None)[0]) ** 2).sum()
        assert rest < 0.15 * (shape**2).sum()


def test_a_body_is_held_still():
    position = hinged(0.2)
    body = np.arange(90)
    shape = elastic_modes(position, 5, body=body).shape
    held = np.einsum("knj,rnj->kr", shape[:, body], rigid_motions(position)[:, body])
    np.testing.assert_allclose(held, 0, atol=1e-9)
    free = elastic_modes(position, 5).shape
    motion = rigid_motions(position).reshape(6, -1).T
    difference = (np.abs(shape) - np.abs(free)).reshape(5, -1)
    assert np.abs(difference).max() > 0.01
    for one, other in zip(shape, free, strict=True):
        both = np.column_stack([motion, other.ravel()])
        assert np.abs(one.ravel() - both @ np.linalg.lstsq(both, one.ravel(), rcond=None)[0]).max() < 1e-9


def test_sparse_and_dense_solvers_agree(monkeypatch):
    position = hinged(0.3) + 0.01 * np.random.default_rng(0).normal(size=(180, 3))  # no mirror plane, no equal modes
    dense = elastic_modes(position, 8)
    monkeypatch.setattr("tempica.embed.modes.elastic.DENSE", 0)
    sparse = elastic_modes(position, 8)
    np.testing.assert_allclose(sparse.shape, dense.shape, atol=1e-6)


def test_contacts_of_another_form_are_kept():
    opened, closed = hinged(0.0), hinged(0.9)
    springs = network(opened)
    assert len(network(closed).pair) != len(springs.pair)
    kept = elastic_modes(closed, 4, contacts=springs)
    turned = elastic_modes(Rotation.from_rotvec([0.3, 1, 2]).apply(closed), 4, contacts=springs)
    np.testing.assert_allclose(np.linalg.norm(kept.shape, axis=2), np.linalg.norm(turned.shape, axis=2), atol=1e-8)
    other = elastic_modes(closed, 4)
    assert np.abs(np.linalg.norm(kept.shape, axis=2) - np.linalg.norm(other.shape, axis=2)).max() > 1e-3


def test_parts_that_stand_apart_are_joined():
    one = helix(20)
    three = np.concatenate([one, one, one]) + np.repeat([[0, 0, 0], [3, 0, 0], [0, 6, 0]], 20, axis=0)
    pair = network(three).pair
    chain = pair // 20
    between = {tuple(row) for row in chain[chain[:, 0] != chain[:, 1]].tolist()}
    assert between == {(0, 1), (0, 2)}
    assert np.isfinite(elastic_modes(three, 6).shape).all()


def test_a_structure_that_is_turned_along_the_tangent_keeps_its_size():
    position, angle = hinged(0.3), 0.5
    centred = position - position.mean(0)
    tangent = position + np.tan(angle) * np.cross([0, 0, 1], centred)
    found = nearest_isometric(position, tangent)
    turn, _ = Rotation.align_vectors(found - found.mean(0), centred)
    assert np.abs(turn.apply(centred) - (found - found.mean(0))).max() < 0.02
    assert turn.magnitude() == pytest.approx(angle, abs=0.03)
    assert np.abs(tangent - found).max() > 0.1


def test_a_turned_domain_is_recovered():
    """Beads of two chains that have no neighbour in common: exact. Joined ones: bent at the hinge alone."""
    apart = np.concatenate([helix(30), helix(30)]) + np.repeat([[0, 0, 0], [2, 0, 0]], 30, axis=0)
    centre = apart[30:].mean(0)
    turned = apart.copy()
    turned[30:] = centre + Rotation.from_rotvec([0.4, 0.3, 0]).apply(apart[30:] - centre)
    np.testing.assert_allclose(nearest_isometric(apart, turned), turned, atol=1e-12)

    reference = hinged(0.0)
    linear = reference.copy()  # the tangent of turning the upper bundle stretches it
    linear[90:] += 0.5 * np.cross([1, 0, 0], reference[90:])
    found = nearest_isometric(reference, linear)
    for part in (slice(90), slice(90, None)):
        before, after = reference[part] - reference[part].mean(0), found[part] - found[part].mean(0)
        turn, _ = Rotation.align_vectors(after, before)
        bent = np.sqrt(((turn.apply(before) - after) ** 2).sum(1).mean())
        stretched = linear[part] - linear[part].mean(0)
        turn, _ = Rotation.align_vectors(stretched, before)
        assert bent < 0.035
        assert part == slice(90) or bent < 0.4 * np.sqrt(((turn.apply(before) - stretched) ** 2).sum(1).mean())


def test_many_targets_are_placed_as_one():
    reference = hinged(0.1)
    target = reference + 0.1 * np.random.default_rng(0).normal(size=(3, *reference.shape))
    isometry = Isometry(reference)
    together = isometry.nearest(target)
    for one, alone in zip(together, target, strict=True):
        np.testing.assert_allclose(one, isometry.nearest(alone), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(isometry.rotations(target)), 1)
    np.testing.assert_allclose(together.mean(1), target.mean(1))


def test_what_gives_no_network_is_named():
    position = helix(20)
    with pytest.raises(DataError, match="n_modes = 55 must be 1 to 54"):
        elastic_modes(position, 55)
    with pytest.raises(DataError, match="four beads"):
        network(position[:3])
    position[5] = position[4]
    with pytest.raises(DataError, match="Beads 4 and 5 are in one place"):
        network(position)
    with pytest.raises(DataError, match="bend no spring"):
        elastic_modes(np.stack([np.arange(20.0), np.zeros(20), np.zeros(20)], 1), 3)

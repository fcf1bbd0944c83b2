import math

import numpy as np
import openmm
import pytest
from scipy.spatial.transform import Rotation

from tempica.simulate.coordinates import CollectiveVariable

HINGE = CollectiveVariable("LID", ((0, 1, 2), (3, 4), (5, 6, 7, 8)))
STIFFNESS = 20_000.0


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def energy_and_force(hinge, position, target):
    """What OpenMM makes of the restraint."""
    system = openmm.System()
    for mass in range(1, len(position) + 1):  # centroids must not be weighted by mass
        system.addParticle(float(mass))
    system.addForce(hinge.restraint(STIFFNESS))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(position)
    context.setParameter(hinge.target, target)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def test_the_restraint_and_the_measurement_are_one_definition(rng):
    for _ in range(20):
        position = rng.normal(size=(10, 3))
        target = rng.uniform(0.1, 3.0)
        energy, force = energy_and_force(HINGE, position, target)
        assert energy == pytest.approx(0.5 * STIFFNESS * (HINGE.measure(position) - target) ** 2, rel=1e-5, abs=1e-5)
        step = 1e-6 * rng.normal(size=position.shape)
        ahead, behind = (0.5 * STIFFNESS * (HINGE.measure(position + s) - target) ** 2 for s in (step, -step))
        assert -(force * step).sum() == pytest.approx((ahead - behind) / 2, rel=1e-4, abs=1e-9)
        assert not force[9].any()


def test_an_angle_of_known_size():
    for degrees in (0.0, 1e-4, 30.0, 90.0, 144.6, 179.9999, 180.0):
        corner = np.zeros((9, 3))
        corner[:3] = [2.0, 0, 0]
        angle = math.radians(degrees)
        corner[5:] = [3 * math.cos(angle), 3 * math.sin(angle), 0]
        assert math.degrees(HINGE.measure(corner)) == pytest.approx(degrees, abs=1e-9)


def test_the_angle_does_not_depend_on_where_the_molecule_is(rng):
    position = rng.normal(size=(50, 10, 3))
    moved = np.stack([Rotation.random(rng=rng).apply(p) + 5 * rng.normal(size=3) for p in position])
    np.testing.assert_allclose(HINGE.measure(moved), HINGE.measure(position), atol=1e-11)
    np.testing.assert_allclose(HINGE.measure(2.5 * position), HINGE.measure(position), atol=1e-12)
    mirrored = CollectiveVariable("LID", HINGE.groups[::-1])
    np.testing.assert_allclose(mirrored.measure(position), HINGE.measure(position), atol=1e-12)


def test_any_number_of_leading_dims_is_measured(rng):
    position = rng.normal(size=(2, 3, 10, 3))
    angles = HINGE.measure(position)
    assert angles.shape == (2, 3)
    assert angles[1, 2] == HINGE.measure(position[1, 2])
    assert HINGE.measure(position.astype(np.float32)).dtype == np.float64

import math

import mdtraj
import numpy as np
import openmm
import pydantic
import pytest
from scipy.spatial.transform import Rotation

from tempica.recipe.dynamics import Dynamics
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


KINDS = {
    "hinge_angle": HINGE,
    "dihedral": CollectiveVariable("LID", ((0, 1), (2, 3), (4, 5, 6), (7, 8)), "dihedral"),
    "rotation": CollectiveVariable("LID", ((0, 1), (2,), (4,), (5, 6, 7, 8)), "rotation"),
    "distance": CollectiveVariable("LID", ((0, 1, 2), (3, 4)), "distance"),
}
POTENTIALS = {
    "harmonic": (
        {"process": "harmonic", "mean": 70.0, "curvature": 127.0},
        lambda d: 0.5 * 127.0 * d**2,
    ),
    "double_well": (
        {"process": "double_well", "mean": 70.0, "half_width": 20.0, "barrier": 5.0},
        lambda d: 5.0 * ((d / math.radians(20.0)) ** 2 - 1) ** 2,
    ),
    "multi_well": (
        {"process": "multi_well", "mean": 70.0, "n_wells": 3, "width": 60.0, "barrier": 5.0},
        lambda d: wells(d, 3, math.radians(60.0), 5.0),
    ),
    "four_wells": (
        {"process": "multi_well", "mean": 70.0, "n_wells": 4, "width": 60.0, "barrier": 5.0},
        lambda d: wells(d, 4, math.radians(60.0), 5.0),
    ),
}


def wells(d, n, width, barrier):
    """n minima, width/n apart, at the middles of n equal parts; harmonic beyond the outer parts' ends."""
    inside = np.clip(d, -width / 2, width / 2)
    part = (inside + width / 2) / (width / n)  # 0 … n; a minimum in the middle of each part
    wall = 0.25 * barrier * (2 * np.pi * n / width) ** 2 * (d - inside) ** 2
    return 0.5 * barrier * (1 + np.cos(2 * np.pi * part)) + wall


def energy_of(force, position, parameters=None):
    system = openmm.System()
    for mass in range(1, len(position) + 1):
        system.addParticle(float(mass))
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(position)
    for name, value in (parameters or {}).items():
        context.setParameter(name, value)
    return context.getState(energy=True).getPotentialEnergy()._value


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_one_definition_for_the_restraint_and_the_measurement(kind, rng):
    variable = KINDS[kind]
    for _ in range(20):
        position = rng.normal(size=(10, 3))
        target = rng.uniform(-3.0, 3.0)
        off = variable.measure(position) - target
        if kind in ("dihedral", "rotation"):
            off = (off + np.pi) % (2 * np.pi) - np.pi
        found = energy_of(variable.restraint(STIFFNESS), position, {variable.target: target})
        assert found == pytest.approx(0.5 * STIFFNESS * off**2, rel=1e-5)


@pytest.mark.parametrize("name", POTENTIALS)
@pytest.mark.parametrize("kind", ["hinge_angle", "dihedral"])
def test_the_potential_is_the_one_that_the_recipe_states(kind, name, rng):
    settings, expected = POTENTIALS[name]
    entry = pydantic.TypeAdapter(Dynamics).validate_python({"collective_variable": "LID"} | settings)
    variable = KINDS[kind]
    for _ in range(20):
        position = rng.normal(size=(10, 3))
        d = variable.measure(position) - math.radians(70.0)
        if kind == "dihedral":
            d = (d + np.pi) % (2 * np.pi) - np.pi
        assert energy_of(variable.potential(entry), position) == pytest.approx(expected(d), rel=1e-5)


def test_a_dihedral_has_the_sign_that_chemists_give_it():
    """Cis is 0, trans 180°; clockwise, looking from the second centre to the third, is positive (IUPAC)."""
    variable = CollectiveVariable("phi", ((0,), (1,), (2,), (3,)), "dihedral")
    for degrees in (0.0, 30.0, 120.0, 179.0, -60.0):
        turn = math.radians(degrees)
        position = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1], [math.cos(turn), math.sin(turn), 1.0]])
        assert math.degrees(variable.measure(position)) == pytest.approx(degrees, abs=1e-9)
        topology = mdtraj.Topology()
        residue = topology.add_residue("ALA", topology.add_chain())
        for _ in range(4):
            topology.add_atom("C", mdtraj.element.carbon, residue)
        other = mdtraj.compute_dihedrals(mdtraj.Trajectory(position, topology), [[0, 1, 2, 3]])[0, 0]
        assert variable.measure(position) == pytest.approx(float(other), abs=1e-5)


def test_a_distance_is_stated_and_stored_in_nm(rng):
    variable = KINDS["distance"]
    position = rng.normal(size=(7, 10, 3))
    expected = np.linalg.norm(position[:, :3].mean(1) - position[:, 3:5].mean(1), axis=-1)
    np.testing.assert_allclose(variable.measure(position), expected)
    assert variable.unit == "nm"
    assert variable.from_recipe(1.5) == 1.5
    assert KINDS["dihedral"].from_recipe(180.0) == pytest.approx(np.pi)

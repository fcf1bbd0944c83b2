"""Dynamics along collective variables against theory, on molecules of two to four beads whose theory is exact.

Significance: every comparison is within four standard errors, so that a right program fails once in ten thousand
seeds; `test_a_wrong_bath_is_found` shows that a temperature or friction off by a quarter is told apart.
"""

from __future__ import annotations

import math

import mdtraj
import numpy as np
import openmm
import pytest
from scipy import integrate

from tempica.recipe.dynamics import DoubleWell, Harmonic, MultiWell
from tempica.recipe.experiment import Recipe
from tempica.simulate import engine, models
from tempica.simulate.coordinates import CollectiveVariable
from tempica.simulate.structures import Molecule

GAS_CONSTANT = 8.314462618e-3  # kJ/mol/K
MASS = 110.0
START = {
    "distance": [[0.0, 0, 0], [1.0, 0, 0]],
    "hinge_angle": [[0.0, 0.6, 0], [0, 0, 0], [0.6, 0, 0]],
    "dihedral": [[0.4, 0.5, 0], [0, 0, 0], [0.5, 0, 0], [0.1, -0.4, 0.3]],
}


@pytest.fixture(autouse=True)
def _no_superposition(monkeypatch):
    """Two or three beads have no orientation of their own."""
    monkeypatch.setattr(engine, "superpose", lambda position, model: position.astype(np.float32))


def recipe(**simulate):
    settings = {
        "molecule": {"kind": "arms", "n_arms": 1},
        "network": {"bead_mass": MASS},
        "n_replicas": 3,
        "equilibration_frames": 0,
    }
    content = {"name": "test", "simulate": settings | simulate, "train": {"held_out_replicas": 1, "n_components": 1}}
    return Recipe.model_validate(content)


def tiny(kind, entry):
    """A chain of beads on stiff springs, its angles held by springs too where a dihedral needs them."""
    position = np.array(START[kind])
    n = len(position)
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(n):
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", chain))
    molecule = Molecule(topology, position, np.arange(n), np.ones(n), np.ones(n), np.full(n, "C"))
    system = openmm.System()
    for _ in range(n):
        system.addParticle(MASS)
    bonds = openmm.HarmonicBondForce()
    if kind != "distance":
        for i in range(n - 1):
            bonds.addBond(i, i + 1, float(np.linalg.norm(position[i + 1] - position[i])), 20_000.0)
    angles = openmm.HarmonicAngleForce()
    if kind == "dihedral":
        for i in range(n - 2):
            angles.addAngle(i, i + 1, i + 2, 2.0, 500.0)
    variable = CollectiveVariable("x", tuple((i,) for i in range(n)), kind)
    for force in (bonds, angles, variable.potential(entry)):
        system.addForce(force)
    return models.Model(molecule, np.arange(n), (variable,), system)


def series(model, setting, n_frames, n_replicas=4):
    """Values (replica, frame) of the collective variable."""
    found = []
    for replica in range(n_replicas):
        targets = np.empty((1 + n_frames, 0))
        state = engine.first_state(setting, model, replica)
        frames, _ = engine.run_block(setting, model, replica, targets, state, 0, n_frames)
        found.append(frames.collective_variable[n_frames // 10 :, 0])
    return np.stack(found)


def mean_and_error(values):
    """Mean of (replica, frame) and its standard error from blocks of 25 frames, which are many correlation times."""
    blocks = values[:, : values.shape[1] // 25 * 25].reshape(-1, 25).mean(1)
    return blocks.mean(), blocks.std(ddof=1) / math.sqrt(len(blocks))


def boltzmann(energy, jacobian, low, high, temperature=300.0):
    """Expectations under p(x) ∝ jacobian(x) exp(−U(x)/kT)."""

    def weight(x):
        return jacobian(x) * np.exp(-energy(x) / (GAS_CONSTANT * temperature))

    norm = integrate.quad(weight, low, high, limit=200)[0]
    return lambda f: integrate.quad(lambda x: f(x) * weight(x), low, high, limit=200)[0] / norm


def double_well(x, mean, half, barrier):
    return barrier * (((x - mean) / half) ** 2 - 1) ** 2


def multi_well(x, mean, n, width, barrier):
    wave, d = 2 * math.pi * n / width, x - mean
    inside = min(max(d, -width / 2), width / 2)
    phase = 0 if n % 2 else math.pi
    return 0.5 * barrier * (1 - math.cos(wave * inside + phase)) + 0.25 * barrier * wave**2 * (d - inside) ** 2


DEGREE = math.pi / 180
CASES = {
    "harmonic angle": (
        "hinge_angle",
        Harmonic(collective_variable="x", process="harmonic", mean=80, curvature=60.0),
        lambda x: 30.0 * (x - 80 * DEGREE) ** 2,
        (math.sin, 0, math.pi),
    ),
    "double-well dihedral": (
        "dihedral",
        DoubleWell(collective_variable="x", process="double_well", mean=170, half_width=25, barrier=4.0),
        lambda x: double_well((x - 170 * DEGREE + math.pi) % (2 * math.pi) - math.pi, 0, 25 * DEGREE, 4.0),
        (lambda x: 1.0, -math.pi, math.pi),
    ),
    "three-well dihedral": (
        "dihedral",
        MultiWell(collective_variable="x", process="multi_well", mean=0, n_wells=3, width=120, barrier=4.0),
        lambda x: multi_well(x, 0, 3, 120 * DEGREE, 4.0),
        (lambda x: 1.0, -math.pi, math.pi),
    ),
    "two-well distance": (
        "distance",
        MultiWell(collective_variable="x", process="multi_well", mean=1.0, n_wells=2, width=0.4, barrier=4.0),
        lambda x: multi_well(x, 1.0, 2, 0.4, 4.0),
        (lambda x: x**2, 0.3, 2.0),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_free_variable_follows_boltzmanns_law(case):
    kind, entry, energy, (jacobian, low, high) = CASES[case]
    values = series(tiny(kind, entry), recipe(steps_per_frame=200, friction=3.0), 2500)
    expected, hot = (boltzmann(energy, jacobian, low, high, temperature) for temperature in (300.0, 375.0))
    centre = float(CollectiveVariable("x", (), kind).from_recipe(entry.mean))
    for moment in (lambda x: np.cos(x), lambda x: np.sin(2 * (x - centre)), lambda x: np.cos(4 * (x - centre))):
        found, error = mean_and_error(moment(values))
        assert abs(found - expected(moment)) < 4 * error + 1e-3
    # the mean energy tells temperatures apart best: one a quarter too high is excluded
    found, error = mean_and_error(np.vectorize(energy)(values))
    assert abs(found - expected(energy)) < 4 * error
    assert abs(found - hot(energy)) > 6 * error


def damped(t, k, temperature, friction):
    """Autocovariance of a damped harmonic oscillator of reduced mass ½ m (the relative motion of two beads)."""
    omega2 = k / (MASS / 2)
    root = np.sqrt(complex(friction**2 / 4 - omega2))
    shape = np.exp(-friction * t / 2) * (np.cosh(root * t) + friction / (2 * root) * np.sinh(root * t)).real
    return GAS_CONSTANT * temperature / k * shape


def displacement(values, lag):
    """Mean squared displacement over a lag, which short stretches tell already, and its standard error."""
    return mean_and_error((values[:, lag:] - values[:, :-lag]) ** 2)


def oscillator(**setting):
    """Two beads on a spring of 2,000 kJ/mol/nm², seen ten times a ps."""
    entry = Harmonic(collective_variable="x", process="harmonic", mean=1.0, curvature=2000.0)
    return series(tiny("distance", entry), recipe(steps_per_frame=10, time_step=0.01, **setting), 6_000, 2)


@pytest.mark.parametrize("friction", [20.0, 2.0])
def test_memory_is_that_of_a_damped_oscillator(friction):
    """Overdamped, an Ornstein–Uhlenbeck process; underdamped, it rings."""
    values = oscillator(friction=friction)
    whole = damped(0.0, 2000.0, 300.0, friction)
    found, error = mean_and_error((values - values.mean()) ** 2)
    assert abs(found - whole) < 4 * error
    for lag in (1, 3, 6, 10):
        found, error = displacement(values, lag)
        expected = 2 * (whole - damped(0.1 * lag, 2000.0, 300.0, friction))
        assert abs(found - expected) < 4 * error + 0.005 * whole, lag


@pytest.mark.parametrize("wrong", [{"temperature": 375.0}, {"friction": 25.0}])
def test_a_wrong_bath_is_found(wrong):
    """What the test above compares with is told apart from a bath that is a quarter too hot or too viscous."""
    values = oscillator(**({"friction": 20.0} | wrong))
    whole = damped(0.0, 2000.0, 300.0, 20.0)
    found, error = displacement(values, 3)
    expected = 2 * (whole - damped(0.3, 2000.0, 300.0, 20.0))
    assert abs(found - expected) > 6 * (error + 0.005 * whole / 4)

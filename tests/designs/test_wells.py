"""Free diffusion on a grid: what is known of it exactly."""

from __future__ import annotations

import numpy as np
import pytest

from tempica.designs.wells import GAS, Well, potential, well_of
from tempica.recipe.dynamics import DoubleWell, Harmonic, MultiWell

T = 300.0
ENTRIES = {
    "harmonic": Harmonic(process="harmonic", collective_variable="a", curvature=200.0),
    "double_well": DoubleWell(process="double_well", collective_variable="a", half_width=12.0, barrier=6.0),
    "multi_well": MultiWell(process="multi_well", collective_variable="a", n_wells=3, width=60.0, barrier=6.0),
}


def well(name: str) -> Well:
    return well_of(ENTRIES[name], T, np.pi / 180)


def test_a_harmonic_variable_is_an_ornstein_uhlenbeck_process() -> None:
    found = well("harmonic")
    variance = GAS * T / 200.0
    assert found.equilibrium(T) @ found.place**2 == pytest.approx(variance, rel=0.01)
    assert found.diffusion(0.8, T) == pytest.approx(-np.log(0.8) * variance, rel=0.01)


@pytest.mark.parametrize("name", ENTRIES)
def test_steps_keep_the_equilibrium_and_the_autocorrelation(name: str) -> None:
    found = well(name)
    diffusion = found.diffusion(0.7, T)
    law, step = found.equilibrium(T), found.step(diffusion, T)
    assert step.sum(1) == pytest.approx(1)
    assert law @ step == pytest.approx(law, abs=1e-6)
    centred = found.place - law @ found.place
    assert (law * centred) @ step @ centred / (law @ centred**2) == pytest.approx(0.7, abs=1e-4)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_series_has_the_law(name: str) -> None:
    found = well(name)
    series = found.series(50, 400, found.diffusion(0.5, T), np.full(400, T), np.random.default_rng(0))
    assert series.std() == pytest.approx(np.sqrt(found.equilibrium(T) @ found.place**2), rel=0.05)


@pytest.mark.parametrize("name", ENTRIES)
def test_potentials_are_those_of_the_simulation(name: str) -> None:
    import openmm

    from tempica.simulate.coordinates import CollectiveVariable

    entry = ENTRIES[name].model_copy(update={"mean": 0.0})
    beads = np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, 1.0], [1.0, 0, 1.0]])
    variable = CollectiveVariable("a", ((0,), (1,), (2,), (3,)), "dihedral")
    system = openmm.System()
    for _ in beads:
        system.addParticle(1.0)
    system.addForce(variable.potential(entry))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    for angle in (-0.6, -0.2, 0.0, 0.3, 0.5):
        beads[3, :2] = np.cos(angle), np.sin(angle)
        context.setPositions(beads)
        energy = context.getState(energy=True).getPotentialEnergy()._value
        place = variable.measure(beads)
        assert potential(entry, np.array([place]), np.pi / 180)[0] == pytest.approx(energy, rel=1e-6, abs=1e-9)

"""Integration of one replica, in blocks of frames.

A block is a pure function of its number and the state that it starts from: it makes its own context and seeds it,
so that a killed run continues exactly as if it had not been killed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import openmm
from openmm import unit

from tempica import seeds
from tempica.errors import RecipeError, SimulationError
from tempica.recipe.experiment import Recipe
from tempica.recipe.molecule import AtomisticRecipe
from tempica.recipe.simulate import SimulateRecipe
from tempica.simulate import protocols
from tempica.simulate.frames import Frames, superpose
from tempica.simulate.models import Model, settled

BLOCK_FRAMES = 50  # frames between two checkpoints; part of the seeding, so not an option
HOTTEST = 100.0  # a frame with this many times the bath's kinetic energy means that the integration is unstable
SUBSTEPS = 50  # the restraint's target moves at least this often, in integration steps


@dataclass(frozen=True)
class State:
    """State of a replica between two blocks, in double precision so that nothing is lost."""

    position: np.ndarray
    velocity: np.ndarray


def targets(recipe: Recipe, model: Model, replica: int, n_frames: int) -> np.ndarray:
    """Targets of the driven variables (1 + equilibration + n_frames, source_name), rad or nm.

    Row 0 is the structure's own value. Values are kept within the variable's limits.
    """
    simulate, by_name = settled(recipe.simulate, model), {v.name: v for v in model.variables}

    def generator(purpose: str, shared: bool) -> np.random.Generator:
        return seeds.generator(recipe.seed, purpose, *(() if shared else (replica,)))

    wanted = protocols.targets(simulate, n_frames, generator)
    series = np.empty((1 + len(wanted), wanted.shape[1]))
    for column, entry in enumerate(simulate.drives):
        variable = by_name[entry.collective_variable]
        series[0, column] = variable.measure(model.whole.position)
        series[1:, column] = np.clip(variable.from_recipe(wanted[:, column]), *variable.limits)
    return series


def first_state(recipe: Recipe, model: Model, replica: int, platform: str = "Reference") -> State:
    """The structure, relaxed if it has atoms, with velocities drawn at the temperature, kT = 0.008314 T kJ/mol."""
    rng = seeds.generator(recipe.seed, "velocity", replica)
    mass = np.array([model.system.getParticleMass(i)._value for i in range(model.system.getNumParticles())])
    velocity = np.sqrt(_kt(recipe.simulate.temperature) / mass)[:, None] * rng.standard_normal((len(mass), 3))
    if not isinstance(recipe.simulate.molecule, AtomisticRecipe):
        return State(model.whole.position, velocity)
    context = _context(model, openmm.VerletIntegrator(1e-3), platform)
    context.setPositions(model.whole.position)
    _set_targets(context, _parameters(recipe.simulate), targets(recipe, model, replica, 1)[0])
    openmm.LocalEnergyMinimizer.minimize(context, 1.0)
    context.setVelocities(velocity)
    context.applyVelocityConstraints(1e-8)
    state = context.getState(positions=True, velocities=True)
    return State(state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value)


def _context(model: Model, integrator: openmm.Integrator, platform: str) -> openmm.Context:
    """One thread, since workers share the cores, and a fixed order of summation."""
    properties = {"Threads": "1", "DeterministicForces": "true"} if platform == "CPU" else {}
    return openmm.Context(model.system, integrator, openmm.Platform.getPlatformByName(platform), properties)


def _set_targets(context: openmm.Context, names: list[str], values: np.ndarray) -> None:
    for name, value in zip(names, values.tolist(), strict=True):
        context.setParameter(name, value)


def _parameters(simulate: SimulateRecipe) -> list[str]:
    """The global parameters that hold the targets."""
    return [f"target_{drive.collective_variable}" for drive in simulate.drives]


def choose_platform(recipe: Recipe, model: Model) -> tuple[str, dict[str, float]]:
    """The recipe's platform, or Reference unless another is twice as fast; also the measured seconds per step.

    By a factor of two, so that timing noise does not decide on the last digits of every store.
    Raises RecipeError when OpenMM lacks the recipe's platform here.
    """
    there = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
    wanted = recipe.simulate.platform
    if wanted != "auto":
        if wanted not in there:
            raise RecipeError(f"simulate.platform = '{wanted}': OpenMM has {', '.join(there)} on this machine.")
        return wanted, {}
    seconds = {}
    for name in [name for name in there if name in ("Reference", "CPU", "OpenCL", "CUDA")]:
        simulate = recipe.simulate
        integrator = openmm.LangevinMiddleIntegrator(simulate.temperature, simulate.friction, simulate.time_step / 100)
        try:
            context = _context(model, integrator, name)
            context.setPositions(model.whole.position)
            _set_targets(context, _parameters(simulate), targets(recipe, model, 0, 1)[0])
            seconds[name] = _time(integrator)
        except openmm.OpenMMException:  # the platform is installed, but its device is absent
            continue
    fastest = min(seconds, key=lambda name: seconds[name])
    return (fastest if seconds["Reference"] > 2 * seconds[fastest] else "Reference"), seconds


def _time(integrator: openmm.Integrator) -> float:
    """Seconds per step, the least of three measurements; takes about a second, however slow a step is."""
    integrator.step(1)
    n_steps = 1
    found: list[float] = []
    started = time.perf_counter()
    while len(found) < 4 and time.perf_counter() - started < 1.0:
        before = time.perf_counter()
        integrator.step(n_steps)
        found.append((time.perf_counter() - before) / n_steps)
        n_steps = int(np.clip(0.2 / found[0], 1, 20))
    return min(found)


def run_block(
    recipe: Recipe,
    model: Model,
    replica: int,
    series: np.ndarray,
    state: State,
    first: int,
    last: int,
    platform: str = "Reference",
) -> tuple[Frames, State]:
    """Simulate frames first … last − 1 (negative ones are equilibration), counted in rows of `series`.

    Between two frames the targets are interpolated linearly.
    Raises SimulationError when the integration leaves the physical range.
    """
    simulate = recipe.simulate
    offset = simulate.equilibration_frames + 1
    n_frames = len(series) - offset
    intervals = protocols.schedule(simulate, n_frames).intervals
    temperature = protocols.temperatures(simulate, n_frames)
    integrator = openmm.LangevinMiddleIntegrator(simulate.temperature, simulate.friction, simulate.time_step)
    integrator.setRandomNumberSeed(seeds.integer(recipe.seed, "langevin", replica, first + offset))
    context = _context(model, integrator, platform)
    context.setPositions(state.position)
    context.setVelocities(state.velocity)
    names = _parameters(simulate)
    position = np.empty((last - first, *model.whole.position.shape))
    energy = np.empty((last - first, 2))
    snapshot = context.getState(positions=True, velocities=True)
    for row, frame in enumerate(range(first, last)):
        before, after = series[frame + offset - 1], series[frame + offset]
        n_steps = int(intervals[frame + offset - 1]) * simulate.steps_per_frame
        integrator.setTemperature(temperature[frame + offset - 1])
        for start, end in pairwise(_substeps(n_steps)):
            now = before + (after - before) * (end / n_steps)
            _set_targets(context, names, now)
            try:
                integrator.step(end - start)
            except openmm.OpenMMException:  # OpenMM's own check for NaN
                raise _blown_up(replica, frame, simulate, context, snapshot, n_steps) from None
        before_frame, snapshot = snapshot, context.getState(positions=True, velocities=True, energy=True)
        position[row] = snapshot.getPositions(asNumpy=True)._value
        energy[row] = snapshot.getPotentialEnergy()._value, snapshot.getKineticEnergy()._value
        hottest = HOTTEST * 1.5 * position.shape[1] * _kt(temperature[frame + offset - 1])
        if not np.isfinite(position[row]).all() or not np.isfinite(energy[row]).all() or energy[row, 1] > hottest:
            raise _blown_up(replica, frame, simulate, context, before_frame, n_steps)
    velocity = snapshot.getVelocities(asNumpy=True)._value
    frames = Frames(
        position=superpose(position, model),
        source=series[first + offset : last + offset],
        collective_variable=np.stack([v.measure(position) for v in model.variables], -1),
        potential_energy=energy[:, 0],
        kinetic_energy=energy[:, 1],
    )
    return frames, State(position[-1], velocity)


@lru_cache(maxsize=16)
def _substeps(n_steps: int) -> list[int]:
    """Steps of a frame at which the targets are updated, from 0 to the last."""
    return [round(n_steps * i / n) for n in (max(1, n_steps // SUBSTEPS),) for i in range(n + 1)]


def _kt(temperature: float) -> float:
    """kT in kJ/mol."""
    return unit.MOLAR_GAS_CONSTANT_R._value * 1e-3 * temperature


def _blown_up(
    replica: int, frame: int, simulate: SimulateRecipe, context: openmm.Context, good: openmm.State, n_steps: int
) -> SimulationError:
    """The error for a frame whose integration broke down; the frame is repeated step by step to find the forces."""
    largest, bead, broke = _largest_force(context, good, n_steps)
    step = frame * simulate.steps_per_frame
    when = f"frame {frame} (step {step} of production)" if frame >= 0 else f"the first frame ({-step} steps before it)"
    who = f"replica {replica}" if replica < 2**31 else "the separate ensemble"
    again = f", {broke} steps after the last good frame" if broke else ""
    return SimulationError(
        f"The integration of {who} broke down before {when}{again}: the largest force was {largest:.3g} kJ/mol/nm, on"
        f" bead {bead}. Use a smaller simulate.time_step (now {simulate.time_step} ps) or softer springs."
    )


def _largest_force(context: openmm.Context, good: openmm.State, n_steps: int) -> tuple[float, int, int]:
    """Largest finite force after a state (kJ/mol/nm), its bead, and the step at which nothing is finite any more."""
    context.setState(good)
    largest, bead = 0.0, 0
    for step in range(n_steps + 1):
        force = np.linalg.norm(context.getState(forces=True).getForces(asNumpy=True)._value, axis=1)
        if not np.isfinite(force).all():
            return largest, bead, step
        if force.max() > largest:
            largest, bead = float(force.max()), int(force.argmax())
        try:
            context.getIntegrator().step(1)
        except openmm.OpenMMException:
            return largest, bead, step + 1
    return largest, bead, 0

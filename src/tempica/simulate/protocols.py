"""Random target series of the driven variables, one value per frame, and the labels of the frames.

A replica is a sequence of molecules (one, in a movie), each with frames of its own; a series starts anew with each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from tempica.recipe.dynamics import Ar1, Jumps, Modulated, Relaxation
from tempica.recipe.simulate import SimulateRecipe

LONGEST_BURN_IN = 100_000  # frames; a coefficient of 0.9998 needs as many


@dataclass(frozen=True)
class Schedule:
    """When frames are taken. The row of a frame is its number plus `n_before`; negative frames are equilibration."""

    n_before: int
    n_frames: int
    frames_per_molecule: int
    segment_frames: int | None
    decorrelation_frames: int

    @property
    def frame(self) -> np.ndarray:
        """Frame number (row,) of each row; negative in equilibration."""
        return np.arange(-self.n_before, self.n_frames)

    @property
    def molecule(self) -> np.ndarray:
        """Molecule (row,) of each row."""
        return np.maximum(self.frame, 0) // self.frames_per_molecule

    @property
    def segment(self) -> np.ndarray:
        """Segment (row,): 0 everywhere when there are none."""
        return np.maximum(self.frame, 0) // (self.segment_frames or self.n_frames)

    @property
    def delay(self) -> np.ndarray:
        """Frames (row,) since the segment began."""
        return self.frame - self.segment * (self.segment_frames or self.n_frames)

    @property
    def intervals(self) -> np.ndarray:
        """Frame intervals (row,) between a row and the one before: more than one where a molecule begins."""
        begins = (self.frame > 0) & (self.frame % self.frames_per_molecule == 0)
        return np.where(begins, 1 + self.decorrelation_frames, 1)

    def restart(self, draw: Callable[[int, int], np.ndarray]) -> np.ndarray:
        """A series (row,) from `draw(n_series, n_values)`, one series a molecule."""
        first = self.n_before + min(self.frames_per_molecule, self.n_frames)
        parts = [draw(1, first)[0]]
        left = self.n_before + self.n_frames - first
        if left > 0:
            parts.append(draw(-(-left // self.frames_per_molecule), self.frames_per_molecule).ravel()[:left])
        return np.concatenate(parts)


def schedule(recipe: SimulateRecipe, n_frames: int) -> Schedule:
    """The schedule of a replica of n frames."""
    each = recipe.observation.frames_per_molecule or n_frames
    return Schedule(
        recipe.equilibration_frames,
        n_frames,
        each,
        recipe.segment_frames,
        recipe.observation.decorrelation_frames,
    )


def labels(recipe: SimulateRecipe, n_frames: int) -> np.ndarray:
    """Label (time,) that an experimenter knows of each frame: segment, delay after the pump, or temperature.

    Segments and temperatures are numbered from 0, delays are in frames; all 0 where nothing is varied.
    """
    plan = schedule(recipe, n_frames)
    if recipe.temperature_jump is not None:
        found = plan.segment % len(recipe.temperature_jump.temperatures)
    elif any(isinstance(entry, Relaxation) for entry in recipe.dynamics):
        found = plan.delay
    else:
        found = plan.segment
    return found[plan.n_before :]


def temperatures(recipe: SimulateRecipe, n_frames: int) -> np.ndarray:
    """The bath's temperature (row,) in K."""
    plan = schedule(recipe, n_frames)
    if recipe.temperature_jump is None:
        return np.full(len(plan.frame), recipe.temperature)
    values = np.array(recipe.temperature_jump.temperatures)
    return values[plan.segment % len(values)]


def targets(recipe: SimulateRecipe, n_frames: int, generator: Callable[[str, bool], np.random.Generator]) -> np.ndarray:
    """Targets (row, source_name) of all driven variables, in the recipe's units.

    `generator(purpose, shared)` gives a stream of random numbers, of this replica or shared by all replicas.
    """
    plan = schedule(recipe, n_frames)
    standard: dict[str, np.ndarray] = {}  # series of zero mean and unit variance that other variables may follow
    columns = []
    for entry in recipe.drives:
        name = entry.collective_variable
        rng = generator(f"drive {name}", False)
        if isinstance(entry, Ar1):
            standard[name] = _coupled(entry, standard, plan, rng)
            columns.append(entry.centre + entry.deviation * standard[name])
        elif isinstance(entry, Modulated):
            own = f"scale {name}" if entry.control == "independent" else "scale"
            columns.append(entry.centre + entry.deviation * _modulated(entry, plan, rng, generator(own, True)))
        elif isinstance(entry, Relaxation):
            columns.append(_relaxation(entry, plan, rng, generator(f"jump {name}", False)))
        else:
            columns.append(_jumps(entry, plan, rng, generator(f"scatter {name}", False)))
    return np.stack(columns, -1) if columns else np.empty((len(plan.frame), 0))


def ar1(
    n_frames: int,
    coefficient: float,
    innovation: str,
    rng: np.random.Generator,
    *,
    n_series: int | None = None,
    degrees_of_freedom: float = 5.0,
    jump_probability: float = 0.1,
) -> np.ndarray:
    """Stationary autoregressive series (frame,) of zero mean and unit variance; (series, frame) when several.

    s_t = ρ s_{t−1} + √(1 − ρ²) e_t, with e independent, of unit variance: Laplace, Gaussian, Student's t of the
    degrees of freedom (> 2), or jumps, zero but for a share of the frames, where they are normal.
    """
    # the burn-in forgets the shape of the first value's distribution; its variance is right from the start, so that
    # the bound, which keeps coefficients next to 1 affordable, costs nothing else
    burn_in = int(min(np.ceil(20 / -np.log(max(coefficient, 0.05))), LONGEST_BURN_IN))
    size = (n_series or 1, burn_in + n_frames)
    if innovation == "laplace":
        noise = rng.laplace(scale=np.sqrt(0.5), size=size)
    elif innovation == "student":
        noise = rng.standard_t(degrees_of_freedom, size=size) * np.sqrt(1 - 2 / degrees_of_freedom)
    elif innovation == "jump":
        happens, value = np.moveaxis(rng.random((*size, 2)), -1, 0)  # two draws per frame, whatever their outcome
        noise = np.where(happens < jump_probability, special.ndtri(value), 0.0) / np.sqrt(jump_probability)
    else:
        noise = rng.standard_normal(size)
    gain = np.sqrt(1 - coefficient**2)
    from scipy import signal  # takes half a second to import

    series, _ = signal.lfilter([gain], [1.0, -coefficient], noise, zi=(1 - gain) * noise[:, :1])
    return series[0, burn_in:] if n_series is None else series[:, burn_in:]


def chain(n_frames: int, n_states: int, dwell: float, rng: np.random.Generator, *, n_series: int = 1) -> np.ndarray:
    """States (series, frame) of a stationary Markov chain, which leaves a state with probability 1/dwell."""
    leaves, other = np.moveaxis(rng.random((n_series, n_frames, 2)), -1, 0)
    step = np.where(leaves < 1 / dwell, 1 + np.floor(other * (n_states - 1)), 0)
    step[:, 0] = np.floor(other[:, 0] * n_states)  # stationary: all states are equally likely
    return np.cumsum(step, axis=1) % n_states


def _coupled(entry: Ar1, standard: dict[str, np.ndarray], plan: Schedule, rng: np.random.Generator) -> np.ndarray:
    own = plan.restart(
        lambda m, n: ar1(
            n,
            entry.coefficient,
            entry.innovation,
            rng,
            n_series=m,
            degrees_of_freedom=entry.degrees_of_freedom,
            jump_probability=entry.jump_probability,
        )
    )
    if entry.coupled_to is None:
        return own
    return entry.coupling * standard[entry.coupled_to] + np.sqrt(1 - entry.coupling**2) * own


def _modulated(entry: Modulated, plan: Schedule, rng: np.random.Generator, shared: np.random.Generator) -> np.ndarray:
    low, high = entry.scale_low, entry.scale_high
    scale = shared.uniform(low, high, plan.segment[-1] + 1)
    scale /= np.sqrt((high**3 - low**3) / (3 * (high - low)))  # unit mean square over all segments
    series = plan.restart(lambda m, n: ar1(n, entry.coefficient, entry.innovation, rng, n_series=m))
    return scale[plan.segment] * series


def _relaxation(entry: Relaxation, plan: Schedule, rng: np.random.Generator, jumps: np.random.Generator) -> np.ndarray:
    scatter = plan.restart(lambda m, n: ar1(n, entry.coefficient, "gaussian", rng, n_series=m))
    pumped = np.where(plan.frame < 0, 0.0, np.exp(-np.maximum(plan.delay, 0) / entry.time_constant))
    _, pulse = np.unique(np.stack([plan.molecule, plan.segment]), axis=1, return_inverse=True)
    amplitude = entry.amplitude + entry.amplitude_deviation * jumps.standard_normal(pulse.max() + 1)[pulse.ravel()]
    return entry.centre + amplitude * pumped + entry.deviation * scatter


def _jumps(entry: Jumps, plan: Schedule, rng: np.random.Generator, scatter: np.random.Generator) -> np.ndarray:
    state = plan.restart(lambda m, n: chain(n, len(entry.levels), entry.dwell, rng, n_series=m))
    return np.array(entry.levels)[state.astype(int)] + entry.deviation * scatter.standard_normal(len(state))

"""Collective variables of frames that nobody has simulated, drawn from the declared dynamics.

Driven variables follow their targets, which are those of a run, through what the pilot shows of the restraints:
c_t = b + B u_t + B′ u_{t−1} + e_t, e autoregressive and normal. Free variables diffuse in their declared potential, as
fast as the pilot's (`wells`), in its mean and deviation. Others are normal autoregressions behind the pilot's
quantiles.

Shape legend: R replica, F frame, V collective variable, D driven variable.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special

from tempica import seeds
from tempica.designs.pilot import MOST_MEMORY, Pilot, memory
from tempica.designs.wells import Well, well_of
from tempica.recipe.dynamics import Free
from tempica.recipe.experiment import Recipe
from tempica.simulate import engine, protocols
from tempica.simulate.models import Model, build_model, settled

ALIKE = 2.0  # standard errors of an autocorrelation within which variables that are declared alike are taken as alike
LEAST_MEMORY = 1e-4


@dataclass(frozen=True)
class Response:
    """How driven variables follow their targets."""

    columns: np.ndarray  # (D,) which variables they are
    weight: np.ndarray  # (1 + 2 D, D)
    memory: np.ndarray  # (D,) of what is left over
    spread: np.ndarray  # (D, D) its covariance


@dataclass(frozen=True)
class FreeMotion:
    """One variable that moves by itself."""

    column: int
    centre: float
    deviation: float
    memory: float  # autocorrelation from one frame to the next
    well: Well | None  # none: a normal autoregression behind `quantile`
    quantile: np.ndarray  # (n,) sorted values


@dataclass(frozen=True)
class Sources:
    """Everything from which variables are drawn."""

    recipe: Recipe
    model: Model
    response: Response
    free: tuple[FreeMotion, ...]
    alike: tuple[tuple[str, ...], ...]  # groups of free variables that the pilot cannot tell apart

    def draw(self, seed: int, n_replicas: int, n_frames: int, first: int = 0) -> np.ndarray:
        """Variables (R, F, V) in rad or nm of replicas `first` …; every replica has its own."""
        recipe = self.recipe.model_copy(update={"seed": seed})
        found = np.empty((n_replicas, n_frames, len(recipe.simulate.variables)))
        for r in range(n_replicas):
            found[r] = self._replica(recipe, first + r, n_frames)
        return found

    def labels(self, n_frames: int) -> np.ndarray | None:
        """Label (F,) that is known of each frame of a replica, if there are any."""
        return protocols.labels(self.recipe.simulate, n_frames) if self.recipe.labelled else None

    def molecules(self, n_replicas: int, n_frames: int) -> np.ndarray:
        """Labels (R, F) of molecules, which differ between replicas too."""
        each = self.recipe.frames_per_molecule or n_frames
        number = np.arange(n_frames) // each
        return number + (number[-1] + 1) * np.arange(n_replicas)[:, None]

    def _replica(self, recipe: Recipe, replica: int, n_frames: int) -> np.ndarray:
        series = engine.targets(recipe, self.model, replica, n_frames)
        values = np.empty((n_frames, len(recipe.simulate.variables)))
        response, rng = self.response, seeds.generator(recipe.seed, "design sources", replica)
        if len(response.columns):
            terms = np.concatenate([np.ones((n_frames, 1)), series[-n_frames:], series[-n_frames - 1 : -1]], 1)
            left = autoregression(response.memory, response.spread, n_frames, rng)
            values[:, response.columns] = terms @ response.weight + left
        bath = protocols.temperatures(recipe.simulate, n_frames)[-n_frames:]
        for motion in self.free:
            values[:, motion.column] = _moved(motion, n_frames, bath, rng)
        return values


def learn_sources(recipe: Recipe, source: Path, pilot: Pilot) -> Sources:
    """What the pilot and the recipe say of the variables; `source` is the folder of the recipe's structures."""
    model = build_model(recipe.simulate, source)
    names = recipe.simulate.variables
    driven = [names.index(entry.collective_variable) for entry in recipe.simulate.drives]
    free, alike = _free(recipe, model, pilot, [v for v in range(len(names)) if v not in driven])
    return Sources(recipe, model, _response(pilot, np.array(driven, dtype=int)), free, alike)


def _response(pilot: Pilot, driven: np.ndarray) -> Response:
    later = np.flatnonzero(pilot.replica[1:] == pilot.replica[:-1]) + 1
    terms = np.concatenate([np.ones((len(later), 1)), pilot.target[later], pilot.target[later - 1]], 1)
    here = pilot.variable[later][:, driven]
    weight, *_ = np.linalg.lstsq(terms, here, rcond=None)
    left = here - terms @ weight
    # a frame that is a molecule's first has none before it
    rho = memory(left, pilot.molecule[later]) if len(driven) else np.empty(0)
    return Response(driven, weight, rho, left.T @ left / max(len(left), 1))


def _free(
    recipe: Recipe, model: Model, pilot: Pilot, columns: list[int]
) -> tuple[tuple[FreeMotion, ...], tuple[tuple[str, ...], ...]]:
    names, temperature = recipe.simulate.variables, recipe.simulate.temperature
    entries = {entry.collective_variable: entry for entry in settled(recipe.simulate, model).dynamics}
    rho = np.maximum(memory(pilot.variable, pilot.molecule), LEAST_MEMORY)
    deviation = pilot.spread.copy()
    groups: dict[str, list[int]] = {}
    for v in columns:
        entry = entries.get(names[v])
        if isinstance(entry, Free):
            told = entry.model_dump(exclude={"collective_variable", "mean"})
            groups.setdefault(str(told), []).append(v)
    alike = []
    for group in groups.values():
        error = np.sqrt((1 - rho[group] ** 2) / len(pilot.variable))
        if len(group) > 1 and np.ptp(rho[group]) <= ALIKE * np.sqrt(2) * error.max():
            rho[group], deviation[group] = rho[group].mean(), np.sqrt((deviation[group] ** 2).mean())
            alike.append(tuple(names[v] for v in group))
    found = []
    for v in columns:
        entry, scale = entries.get(names[v]), float(model.variables[v].from_recipe(1.0))
        well = well_of(entry, temperature, scale) if isinstance(entry, Free) else None
        quantile = np.sort(pilot.variable[:, v])
        found.append(FreeMotion(v, float(pilot.centre[v]), float(deviation[v]), float(rho[v]), well, quantile))
    return tuple(found), tuple(alike)


def _moved(motion: FreeMotion, n_frames: int, bath: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A series (F,) of a free variable."""
    if motion.well is None:
        score = autoregression(np.array([motion.memory]), np.eye(1), n_frames, rng)[:, 0]
        return np.asarray(np.quantile(motion.quantile, special.ndtr(score)))
    well, middle = motion.well, float(bath.mean())
    law = well.equilibrium(middle)
    centre = law @ well.place
    own = np.sqrt(law @ (well.place - centre) ** 2)
    diffusion = well.diffusion(min(motion.memory, MOST_MEMORY), float(bath[0]))
    place = well.series(1, n_frames, diffusion, bath, rng)[0]
    return motion.centre + motion.deviation / own * (place - centre)


def autoregression(
    rho: np.ndarray, spread: np.ndarray, n_frames: int, rng: np.random.Generator, begins: np.ndarray | None = None
) -> np.ndarray:
    """Stationary normal series (F, n) of covariance (n, n), x_t = ρ ∘ x_{t−1} + e_t; anew where `begins` (F,) says."""
    from scipy.signal import lfilter

    new = root_of(spread * (1 - np.outer(rho, rho)))
    value = rng.standard_normal((n_frames, len(rho)))
    first = np.flatnonzero(np.arange(n_frames) == 0 if begins is None else begins)
    drive = value @ new.T
    drive[first] = value[first] @ root_of(spread).T
    if len(first) == n_frames or not rho.any():
        return drive
    for begin, end in zip(first, [*first[1:], n_frames], strict=True):
        for k, one in enumerate(rho.tolist()):
            drive[begin:end, k] = lfilter([1.0], [1.0, -one], drive[begin:end, k])
    return drive


def root_of(covariance: np.ndarray) -> np.ndarray:
    """A matrix square root (…, n, n) of positive semidefinite matrices (…, n, n)."""
    value, vector = np.linalg.eigh(covariance)
    return vector * np.sqrt(np.maximum(value, 0.0))[..., None, :]

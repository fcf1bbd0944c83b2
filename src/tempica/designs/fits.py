"""A method of the recipe, trained on latents that nobody has recorded yet, and scored as a run is scored."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tempica import seeds
from tempica.designs.pilot import Pilot
from tempica.designs.sources import learn_sources
from tempica.designs.world import Latents, World
from tempica.evaluate.metrics import assign, correlation_matrix
from tempica.ica import methods
from tempica.recipe.experiment import Recipe
from tempica.stores import files

HELD_OUT = 4000  # frames, at least, on which a fit is scored
SMOOTHED = 4000  # training frames, at most, from which dynamics are learned
LINEAR = ("fastica", "tica", "sobi", "nonstationary")  # that take no time


@dataclass(frozen=True)
class Setting:
    """What tasks share: they rebuild the world from it, each process once."""

    recipe: str  # as JSON
    source: str  # folder of its structures
    pilot: str  # file of arrays


@dataclass(frozen=True)
class Trial:
    """One fit."""

    method: str
    n_frames: int  # a replica
    snr: float
    lag: int
    number: int  # of the draw

    @property
    def key(self) -> str:
        return f"{self.method}-{self.n_frames}-{self.snr:g}-{self.lag}-{self.number}"


@dataclass(frozen=True)
class Drawn:
    """Latents, and what each frame is for."""

    latents: Latents
    train: np.ndarray  # (frame,) mask
    seen: np.ndarray  # (frame,) mask of training and validation
    held_out: np.ndarray  # (frame,) mask

    def __getitem__(self, some: np.ndarray) -> Drawn:
        """Those frames alone."""
        return Drawn(self.latents[some], self.train[some], self.seen[some], self.held_out[some])


@lru_cache(maxsize=2)
def world_of(setting: Setting) -> World:
    """The world of a setting."""
    recipe = Recipe.model_validate_json(setting.recipe)
    return World.of(*_learned(recipe, setting))


def _learned(recipe: Recipe, setting: Setting) -> tuple[Any, Pilot]:
    pilot = load_pilot(Path(setting.pilot))
    return learn_sources(recipe, Path(setting.source), pilot), pilot


def save_pilot(path: Path, pilot: Pilot) -> None:
    files.save_arrays(path, **vars(pilot))


def load_pilot(path: Path) -> Pilot:
    arrays = files.load_arrays(path)
    snr, names = float(arrays.pop("snr")), tuple(str(name) for name in arrays.pop("names"))
    return Pilot(snr=snr, names=names, **arrays)


def n_learning(recipe: Recipe) -> int:
    """Replicas that training and validation see."""
    return recipe.simulate.n_replicas - recipe.train.held_out_replicas


def drawn(world: World, n_frames: int, snr: float, number: int) -> Drawn:
    """Replicas of n frames each: the recipe's to learn from, and as many held out as scores need."""
    recipe = world.sources.recipe
    n_seen, n_validation = n_learning(recipe), recipe.train.validation_replicas
    n_held_out = max(recipe.train.held_out_replicas, -(-HELD_OUT // n_frames))
    seed = seeds.integer(recipe.seed, "design", number)
    latents = world.draw(seed, n_seen + n_held_out, n_frames, snr)
    replica = latents.replica
    return Drawn(latents, replica < n_seen - n_validation, replica < n_seen, replica >= n_seen)


def fit(setting: Setting, trial: Trial, out: Path) -> None:
    """Train and score; writes what was found as JSON."""
    world = world_of(setting)
    data = drawn(world, trial.n_frames, trial.snr, trial.number)
    files.write_json(out / f"{trial.key}.json", scored(world.sources.recipe, data, trial))


def scored(recipe: Recipe, data: Drawn, trial: Trial) -> dict[str, Any]:
    """Held-out scores of a method before and after smoothing in time, and what it says is left unidentified."""
    latents, row = data.latents, methods.find(trial.method)
    model = _made(recipe, trial)
    chosen = data.seen if "validation" in inspect.signature(model.fit).parameters else data.train
    given = {
        "replicas": latents.molecule[chosen],
        "validation": ~data.train[chosen],
        "covariance": latents.covariance[chosen],
    }
    labels = latents.labels if latents.labels is not None and row.needs.startswith("labels") else None
    takes = inspect.signature(model.fit).parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(
            latents.mean[chosen],
            None if labels is None else labels[chosen],
            **{key: value for key, value in given.items() if key in takes},
        )
        if hasattr(model, "smooth"):
            alone = model.smooth(latents.mean, np.arange(len(latents)), latents.covariance)
            sources, spread = alone.mean, alone.covariance
        else:
            sources = model.transform(latents.mean, **row.options)
            spread = model.transform_covariance(latents.mean, latents.covariance, **row.options)
        n = recipe.train.n_components
        found = {"unmixed": _mcc(sources[:, :n], data)}
        if recipe.frames_per_molecule != 1:
            found["smoothed"] = _smoothed(model, sources, spread, data, n)
    return found | {"ambiguity": getattr(model, "ambiguity_", None), "model": getattr(model, "model_", None)}


def _made(recipe: Recipe, trial: Trial) -> Any:
    row = methods.find(trial.method)
    assert row.estimator is not None
    known = inspect.signature(row.estimator()).parameters
    given: dict[str, Any] = {"random_state": seeds.integer(recipe.seed, row.name, trial.number)}
    if not row.whole:
        given["n_components"] = recipe.train.n_components
    own = methods.chosen(recipe).get(row.name, {})
    given = {key: value for key, value in given.items() if key in known} | own
    if "lag" in known and known["lag"].default is not None:
        given["lag"] = trial.lag
    return row.estimator()(**given)


def _smoothed(model: Any, sources: np.ndarray, spread: np.ndarray, data: Drawn, n: int) -> float:
    """Score after smoothing, whose dynamics are learned from no more frames than they need."""
    from tempica.ica.smoothing.smoothing import smooth

    some = data.held_out | (data.train & (np.cumsum(data.train) <= SMOOTHED))
    part, latents = data[some], data.latents
    if hasattr(model, "smooth"):
        smoothed = model.smooth(latents.mean[some], part.latents.molecule, latents.covariance[some])
    else:
        smoothed = smooth(sources[some], spread[some], part.latents.molecule, part.train)
    return _mcc(smoothed.mean[:, :n], part)


def _mcc(sources: np.ndarray, data: Drawn) -> float:
    """Matched on training frames, scored on those held out."""
    truth = data.latents.truth
    matching = assign(correlation_matrix(sources[data.train], truth[data.train]))
    matrix = correlation_matrix(sources[data.held_out], truth[data.held_out])
    matched = matching >= 0
    return float(np.abs(matrix[matching[matched], matched]).sum() / truth.shape[1])


def ceilings(recipe: Recipe, data: Drawn) -> dict[str, float]:
    """What the linear map of latents that knows the truth would score, alone and smoothed."""
    latents, train = data.latents, data.train
    terms = np.concatenate([np.ones((len(latents), 1)), latents.mean], 1)
    weight, *_ = np.linalg.lstsq(terms[train], latents.truth[train], rcond=None)
    best = terms @ weight
    found = {"unmixed": _mcc(best, data)}
    if recipe.frames_per_molecule != 1:
        spread = weight[1:].T @ latents.covariance @ weight[1:]
        found["smoothed"] = _smoothed(None, best, spread, data, best.shape[1])
    return found

"""Reads frames of another program into stores: replicas and their ensemble, or an ensemble alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica.recipe.experiment import Recipe
from tempica.recipe.molecule import TrajectoryRecipe
from tempica.runs.work import blocks
from tempica.simulate import engine, outputs, slow_modes
from tempica.simulate.foreign.layout import Piece, frame_interval, layout, library
from tempica.simulate.foreign.molecule import build_foreign, cached_foreign
from tempica.simulate.foreign.molecule import read_block as read_frames
from tempica.stores import store

if TYPE_CHECKING:
    from tempica.runs.work import Work


def run(work: Work) -> None:
    """Read replicas and take the ensemble from them, then look for slow modes; or read an ensemble alone."""
    recipe = work.recipe.simulate
    foreign = build_foreign(recipe, work.run)
    outputs.structure_store(work, foreign, "")
    if work.recipe.particles is not None:  # to explain images of another program; times are the structures' numbers
        read_library(work, outputs.ensemble_store(work, foreign, "", np.arange(recipe.ensemble_frames)))
        return
    step = frame_interval(recipe, work.run)
    trajectory = outputs.trajectory_store(work, foreign, "", step * np.arange(recipe.n_frames))
    ensemble = outputs.ensemble_store(work, foreign, "", step * sample(work.recipe)[1])
    read_trajectory(work, trajectory, ensemble)
    slow_modes.add(work, trajectory, step, remedy="simulate.molecule.stride")


def read_trajectory(work: Work, trajectory: Path, ensemble: Path) -> None:
    """Fill the trajectory from foreign files, then the ensemble from the trajectory's training replicas."""
    recipe, recipe_json = work.recipe.simulate, work.recipe.model_dump_json()
    assert isinstance(recipe.molecule, TrajectoryRecipe)
    plan = layout(recipe, work.run)
    step = frame_interval(recipe, work.run) if recipe.molecule.frame_interval is None else None
    where = (recipe_json, str(work.run), trajectory)
    tasks = [
        [
            (
                f"{r}-{b}",
                partial(read_block, *where, r, a, b, plan.pieces(r, a, b), step, plan.pieces(r, a - 1, a) if a else []),
            )
        ]
        for r in range(recipe.n_replicas)
        for a, b in blocks(recipe.n_frames, engine.BLOCK_FRAMES)
    ]
    work.run_chains(f"reading blocks of {engine.BLOCK_FRAMES} frames", tasks)
    replica, frame = sample(work.recipe)
    parts = [
        [(f"ensemble-{b}", partial(copy_frames, trajectory, ensemble, replica[a:b], frame[a:b], a, b))]
        for a, b in blocks(recipe.ensemble_frames, engine.BLOCK_FRAMES)
    ]
    work.run_chains("ensemble of training frames", parts)


def read_library(work: Work, ensemble: Path) -> None:
    """Fill an ensemble with frames spread over all foreign files, whatever their replica."""
    where = (work.recipe.model_dump_json(), str(work.run), ensemble, library(work.recipe.simulate, work.run))
    spans = blocks(work.recipe.simulate.ensemble_frames, engine.BLOCK_FRAMES)
    work.run_chains(
        "reading structures", [[(f"ensemble-{b}", partial(read_structures, *where, a, b))] for a, b in spans]
    )


def sample(recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Replica and frame (time,) of an ensemble spread evenly over the training replicas of a foreign trajectory.

    Held-out replicas are left out, since `embed` learns its modes from the ensemble.
    """
    train = np.flatnonzero(np.array(recipe.splits) == "train")
    n_frames = recipe.simulate.n_frames
    which = np.linspace(0, len(train) * n_frames - 1, recipe.simulate.ensemble_frames).round().astype(int)
    return train[which // n_frames], which % n_frames


def read_block(
    recipe_json: str,
    folder: str,
    path: Path,
    replica: int,
    first: int,
    last: int,
    pieces: list[Piece],
    step: float | None,
    before: list[Piece],
) -> None:
    """One block of one replica, from foreign files to frames in the store."""

    known = cached_foreign(recipe_json, folder)
    frames = read_frames(known, pieces, f"replica {replica}", first, step, before)
    store.write(path, vars(frames), replica=replica, time=slice(first, last))


def read_structures(recipe_json: str, folder: str, path: Path, pieces: list[Piece], first: int, last: int) -> None:
    """Frames first … last − 1 of an ensemble of foreign structures, which lie in `pieces`, into its store."""

    here, before = [], 0
    for file, numbers in pieces:
        part = numbers[max(0, first - before) : max(0, last - before)]
        here += [(file, part)] if len(part) else []
        before += len(numbers)
    frames = read_frames(cached_foreign(recipe_json, folder), here, "the ensemble", first, None)
    store.write(path, {"position": frames.position}, time=slice(first, last))


def copy_frames(source: Path, target: Path, replica: np.ndarray, frame: np.ndarray, first: int, last: int) -> None:
    """Frames of a filled trajectory store into the ensemble's frames first … last − 1."""
    position = store.open_unsealed(source)["position"]
    parts = [position.isel(replica=r, time=frame[replica == r]).values for r in np.unique(replica)]
    store.write(target, {"position": np.concatenate(parts)}, time=slice(first, last))

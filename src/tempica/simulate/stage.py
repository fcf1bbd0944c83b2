"""Simulates every replica and the separate ensemble, block by block."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica import store
from tempica.recipe import Recipe

if TYPE_CHECKING:
    from tempica.pipeline import Work

ENSEMBLE = -1  # replica number of the separate simulation; seeds take it modulo 2³²


def check(recipe: Recipe, folder: Path) -> None:
    """Raise whatever is wrong with a recipe's molecule before anything is written."""
    from tempica.simulate.engine import build_model, check_targets

    check_targets(recipe)
    build_model(recipe.simulate, folder)


def run(work: Work) -> None:
    """Simulate every replica and the separate ensemble, block by block."""
    from tempica.simulate.engine import BLOCK_FRAMES, build_model
    from tempica.simulate.structures import topology_json

    recipe = work.recipe.simulate
    model = build_model(recipe, work.run)
    shared = {"atom": len(model.molecule.residue), "space": 3}
    chunks = {"replica": 1, "time": BLOCK_FRAMES}
    topology = {"topology": topology_json(model.molecule.topology)}
    sizes = {
        "replica": recipe.n_replicas,
        "time": recipe.n_frames,
        "cv": len(recipe.collective_variables),
        "source_name": len(recipe.drives),
    }
    trajectory = work.create_store("trajectory", sizes | shared, chunks=chunks, attributes=topology)
    ensemble = work.create_store(
        "ensemble", {"time": recipe.ensemble_frames} | shared, chunks=chunks, attributes=topology
    )
    beads = {"scattering_length": model.molecule.scattering_length, "bead_width": model.molecule.bead_width}
    step = recipe.steps_per_frame * recipe.time_step
    store.write(ensemble, beads | {"time": step * np.arange(1, recipe.ensemble_frames + 1)})
    store.write(
        trajectory,
        beads
        | {
            "replica": np.arange(recipe.n_replicas),
            "time": step * np.arange(1, recipe.n_frames + 1),
            "cv": [cv.name for cv in recipe.collective_variables],
            "source_name": [drive.collective_variable for drive in recipe.drives],
        },
    )
    recipe_json = work.recipe.model_dump_json()
    chains = []
    for replica in (*range(recipe.n_replicas), ENSEMBLE):
        path = ensemble if replica == ENSEMBLE else trajectory
        n = recipe.ensemble_frames if replica == ENSEMBLE else recipe.n_frames
        edges = [0, *range(BLOCK_FRAMES, n, BLOCK_FRAMES), n]
        chains.append(
            [
                (f"{replica}-{b}", partial(simulate_block, recipe_json, str(work.run), path, replica, a, b))
                for a, b in pairwise(edges)
            ]
        )
    work.run_chains(f"blocks of {BLOCK_FRAMES} frames", chains)


def simulate_block(recipe_json: str, folder: str, path: Path, replica: int, first: int, last: int) -> None:
    """One block of one replica: from the state that the block before left to frames in the store."""
    from tempica.simulate import engine

    recipe, model = engine.cached_model(recipe_json, folder)
    number = replica % 2**32
    n_frames = recipe.simulate.ensemble_frames if replica == ENSEMBLE else recipe.simulate.n_frames
    series = engine.targets(recipe, model, number, n_frames)
    left = path.parent / "state"
    if first == 0:
        state = engine.first_state(recipe, model, number)
        if recipe.simulate.equilibration_frames:
            _, state = engine.run_block(recipe, model, number, series, state, -recipe.simulate.equilibration_frames, 0)
    else:
        state = engine.State(**store.load_arrays(left / f"{replica}-{first}.npz"))
    frames, state = engine.run_block(recipe, model, number, series, state, first, last)
    span = slice(first, last)
    if replica == ENSEMBLE:
        store.write(path, {"position": frames.position}, time=span)
    else:
        store.write(path, vars(frames), replica=replica, time=span)
    store.save_arrays(left / f"{replica}-{last}.npz", **vars(state))

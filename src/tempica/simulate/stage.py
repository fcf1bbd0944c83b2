"""Simulates every replica and the separate ensemble, block by block; or reads them, where another program did."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica.recipe.experiment import Recipe
from tempica.recipe.molecule import MapRecipe, TrajectoryRecipe, UnknownRecipe
from tempica.runs.work import blocks
from tempica.simulate import engine, outputs, slow_modes
from tempica.simulate.foreign import molecule
from tempica.simulate.foreign import stage as foreign
from tempica.simulate.forms import build_form
from tempica.simulate.maps import build_map
from tempica.simulate.models import Model, build_model, cached_model, check_targets
from tempica.stores import files, store

if TYPE_CHECKING:
    from tempica.runs.pool import Task
    from tempica.runs.work import Work
    from tempica.simulate.structures import Molecule

ENSEMBLE = -1  # replica number of the separate simulation; seeds take it modulo 2³²


def check(recipe: Recipe, folder: Path) -> Molecule | None:
    """Raise the error of a recipe's molecule, if there is one, before anything is written.

    Returns the molecule as frames will hold it, where it is simulated.
    """
    if isinstance(recipe.simulate.molecule, TrajectoryRecipe):
        molecule.check(recipe.simulate, folder, library_only=recipe.particles is not None)
        return None
    if isinstance(recipe.simulate.molecule, MapRecipe):
        build_map(recipe.simulate.molecule, folder)
        return None
    if isinstance(recipe.simulate.molecule, UnknownRecipe):
        if recipe.simulate.molecule.structure is not None:
            build_form(recipe.simulate.molecule, folder)
        return None
    model = build_model(recipe.simulate, folder)
    check_targets(recipe, model)
    return model.molecule


def run(work: Work) -> None:
    """Simulate every replica and the separate ensemble, block by block, or read them; then look for slow modes that
    nobody declared."""
    recipe = work.recipe.simulate
    if isinstance(recipe.molecule, TrajectoryRecipe):
        return foreign.run(work)
    if isinstance(recipe.molecule, MapRecipe):
        return outputs.structure_store(work, build_map(recipe.molecule, work.run), "")
    if isinstance(recipe.molecule, UnknownRecipe):
        form = build_form(recipe.molecule, work.run)
        return outputs.structure_store(work, form, "", form.about)
    model = build_model(recipe, work.run)
    step = recipe.steps_per_frame * recipe.time_step
    platform = _platform(work, model)
    outputs.structure_store(work, model, platform)
    ensemble = outputs.ensemble_store(work, model, platform, step * np.arange(1, recipe.ensemble_frames + 1))
    if work.recipe.particles is not None:  # structures alone, to explain images of another program
        work.run_chains(f"blocks of {engine.BLOCK_FRAMES} frames", [_integrated(work, ENSEMBLE, ensemble)])
        return None
    trajectory = outputs.trajectory_store(work, model, platform, step * np.arange(1, recipe.n_frames + 1))
    if _simulate(work, trajectory, ensemble):
        slow_modes.add(work, trajectory, step, remedy="simulate.steps_per_frame")
    return None


def _platform(work: Work, model: Model) -> str:
    """The OpenMM platform, chosen when the run began and kept for the rest of it."""
    kept = work.folder / "platform.json"
    if not kept.exists():
        name, seconds = engine.choose_platform(work.recipe, model)
        told = ", ".join(f"{one} {1e6 * value:.0f} µs a step" for one, value in seconds.items())
        work.progress.say(f"simulate: OpenMM's platform {name}" + (f" ({told})" if told else ""))
        files.write_json_once(kept, name)
    return str(json.loads(kept.read_text(encoding="utf-8")))


def _simulate(work: Work, trajectory: Path, ensemble: Path) -> bool:
    """Fill both stores by integration, or one replica's part of them; returns whether they are full."""
    chains = [_integrated(work, replica, trajectory) for replica in range(work.recipe.simulate.n_replicas)]
    chains.append(_integrated(work, ENSEMBLE, ensemble))
    if work.replica is None:
        work.run_chains(f"blocks of {engine.BLOCK_FRAMES} frames", chains)
        return True
    work.run_chains(f"replica {work.replica}, blocks of {engine.BLOCK_FRAMES} frames", [chains[work.replica]])
    missing = [str(n) for n, chain in enumerate(chains) if not all(work.is_done(key) for key, _ in chain)]
    rest = f"replicas not done yet: {', '.join(missing)}" if missing else "all are done, and a run can complete them"
    work.progress.say(f"simulate: replica {work.replica} is done; {rest}")
    return False


def _integrated(work: Work, replica: int, path: Path) -> list[tuple[str, Task]]:
    """The chain of tasks, one a block, that simulates a replica or the ensemble into its store."""
    recipe, recipe_json = work.recipe.simulate, work.recipe.model_dump_json()
    platform = json.loads((work.folder / "platform.json").read_text(encoding="utf-8"))
    n = recipe.ensemble_frames if replica == ENSEMBLE else recipe.n_frames
    return [
        (f"{replica}-{b}", partial(simulate_block, recipe_json, str(work.run), path, replica, a, b, platform))
        for a, b in blocks(n, engine.BLOCK_FRAMES)
    ]


def simulate_block(
    recipe_json: str, folder: str, path: Path, replica: int, first: int, last: int, platform: str
) -> None:
    """Simulate one block of a replica, from the state after the block before, into the store."""
    recipe, model = cached_model(recipe_json, folder)
    number = replica % 2**32
    n_frames = recipe.simulate.ensemble_frames if replica == ENSEMBLE else recipe.simulate.n_frames
    series = engine.targets(recipe, model, number, n_frames)
    left = path.parent / "state"
    if first == 0:
        state = engine.first_state(recipe, model, number, platform)
        if recipe.simulate.equilibration_frames:
            before = -recipe.simulate.equilibration_frames
            _, state = engine.run_block(recipe, model, number, series, state, before, 0, platform)
    else:
        state = engine.State(**files.load_arrays(left / f"{replica}-{first}.npz"))
    frames, state = engine.run_block(recipe, model, number, series, state, first, last, platform)
    span = slice(first, last)
    if replica == ENSEMBLE:
        store.write(path, {"position": frames.position}, time=span)
    else:
        store.write(path, vars(frames), replica=replica, time=span)
    files.save_arrays(left / f"{replica}-{last}.npz", **vars(state))

"""Simulates every replica and the separate ensemble, block by block."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica import store
from tempica.recipe import Recipe
from tempica.simulate.slow_modes import N_MODES

if TYPE_CHECKING:
    from tempica.pipeline import Work
    from tempica.simulate.engine import Model

ENSEMBLE = -1  # replica number of the separate simulation; seeds take it modulo 2³²


def check(recipe: Recipe, folder: Path) -> None:
    """Raise whatever is wrong with a recipe's molecule before anything is written."""
    from tempica.simulate.engine import build_model, check_targets

    check_targets(recipe, build_model(recipe.simulate, folder))


def run(work: Work) -> None:
    """Simulate every replica and the separate ensemble, block by block; then look for slow modes nobody declared."""
    from tempica.simulate import protocols
    from tempica.simulate.engine import BLOCK_FRAMES, build_model
    from tempica.simulate.structures import topology_json

    recipe = work.recipe.simulate
    model = build_model(recipe, work.run)
    shared = {"atom": len(model.molecule.residue), "space": 3}
    chunks = {"replica": 1, "time": BLOCK_FRAMES}
    platform = _platform(work, model)
    topology = {"topology": topology_json(model.molecule.topology), "platform": platform}
    sizes = {
        "replica": recipe.n_replicas,
        "time": recipe.n_frames,
        "cv": len(model.variables),
        "source_name": len(recipe.drives),
        "slow_mode_number": N_MODES,
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
            "cv": [variable.name for variable in model.variables],
            "cv_units": [variable.unit for variable in model.variables],
            "source_name": [drive.collective_variable for drive in recipe.drives],
            "label": np.broadcast_to(protocols.labels(recipe, recipe.n_frames), (recipe.n_replicas, recipe.n_frames)),
            "molecule": np.broadcast_to(
                protocols.schedule(recipe, recipe.n_frames).molecule[recipe.equilibration_frames :],
                (recipe.n_replicas, recipe.n_frames),
            ),
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
                (f"{replica}-{b}", partial(simulate_block, recipe_json, str(work.run), path, replica, a, b, platform))
                for a, b in pairwise(edges)
            ]
        )
    if work.replica is not None:
        work.run_chains(f"replica {work.replica}, blocks of {BLOCK_FRAMES} frames", [chains[work.replica]])
        missing = [str(n) for n, chain in enumerate(chains) if not all(work.is_done(key) for key, _ in chain)]
        rest = (
            f"replicas not done yet: {', '.join(missing)}" if missing else "all are done, and a run can complete them"
        )
        work.progress.say(f"simulate: replica {work.replica} is done; {rest}")
        return
    work.run_chains(f"blocks of {BLOCK_FRAMES} frames", chains)
    found = work.folder / "slow_modes.npz"
    work.run_chains("slow modes", [[("slow-modes", partial(slow_modes, trajectory, found))]])
    modes = store.load_arrays(found)
    store.write(
        trajectory,
        {
            "slow_mode": modes["series"],
            "slow_mode_timescale": step * modes["timescale"],
            "cv_timescale": step * modes["variable_timescale"],
        },
    )
    warning = outliving(dict(zip([v.name for v in model.variables], modes["variable_timescale"], strict=True)), modes)
    if warning:
        work.progress.say(f"simulate: {warning}")


def _platform(work: Work, model: Model) -> str:
    """The platform that this run began with, chosen when it began."""
    from tempica.simulate.engine import choose_platform

    kept = work.folder / "platform.json"
    if not kept.exists():
        name, seconds = choose_platform(work.recipe, model)
        told = ", ".join(f"{one} {1e6 * value:.0f} µs a step" for one, value in seconds.items())
        work.progress.say(f"simulate: OpenMM's platform {name}" + (f" ({told})" if told else ""))
        store.write_json_once(kept, name)
    return str(json.loads(kept.read_text(encoding="utf-8")))


def slow_modes(path: Path, out: Path) -> None:
    """Find the slow modes of a filled trajectory store."""
    from tempica.simulate.slow_modes import find_slow_modes

    store.save_arrays(out, **vars(find_slow_modes(store.open_unsealed(path))))


def outliving(variables: dict[str, float], modes: dict[str, np.ndarray]) -> str:
    """A warning when a mode that nobody declared is slower than a collective variable; empty if none is."""
    slowest = float(modes["timescale"][0])
    passed = [f"{name} ({value:.2g})" for name, value in variables.items() if 0 < value < slowest]
    if not passed:
        return ""
    return (
        f"warning: an undeclared motion with a timescale of {slowest:.2g} frames outlives {', '.join(passed)}; methods"
        " that order sources by slowness will return it. Take a longer frame interval (simulate.steps_per_frame), or"
        " expect one source more (train.n_components)."
    )


def simulate_block(
    recipe_json: str, folder: str, path: Path, replica: int, first: int, last: int, platform: str
) -> None:
    """One block of one replica: from the state that the block before left to frames in the store."""
    from tempica.simulate import engine

    recipe, model = engine.cached_model(recipe_json, folder)
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
        state = engine.State(**store.load_arrays(left / f"{replica}-{first}.npz"))
    frames, state = engine.run_block(recipe, model, number, series, state, first, last, platform)
    span = slice(first, last)
    if replica == ENSEMBLE:
        store.write(path, {"position": frames.position}, time=span)
    else:
        store.write(path, vars(frames), replica=replica, time=span)
    store.save_arrays(left / f"{replica}-{last}.npz", **vars(state))

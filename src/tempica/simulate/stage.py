"""Simulates every replica and the separate ensemble, block by block; or reads them, where another program did."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica.recipe.experiment import Recipe
from tempica.recipe.molecule import TrajectoryRecipe
from tempica.runs.work import blocks
from tempica.simulate.foreign.stage import read_library, read_trajectory, sample
from tempica.simulate.slow_modes import N_MODES
from tempica.stores import files, store

if TYPE_CHECKING:
    from tempica.runs.pool import Task
    from tempica.runs.work import Work
    from tempica.simulate.foreign.molecule import Foreign
    from tempica.simulate.models import Model

ENSEMBLE = -1  # replica number of the separate simulation; seeds take it modulo 2³²


def check(recipe: Recipe, folder: Path) -> None:
    """Raise whatever is wrong with a recipe's molecule before anything is written."""
    if isinstance(recipe.simulate.molecule, TrajectoryRecipe):
        from tempica.simulate.foreign import molecule

        return molecule.check(recipe.simulate, folder, library_only=recipe.particles is not None)
    from tempica.simulate.models import build_model, check_targets

    check_targets(recipe, build_model(recipe.simulate, folder))


def run(work: Work) -> None:
    """Simulate every replica and the separate ensemble, block by block, or read them; then look for undeclared slow
    modes."""
    from tempica.simulate import engine, protocols
    from tempica.simulate.foreign.layout import frame_interval
    from tempica.simulate.foreign.molecule import Foreign, build_foreign
    from tempica.simulate.models import build_model

    recipe = work.recipe.simulate
    if work.recipe.particles is not None:
        return _structures_alone(work)
    if isinstance(recipe.molecule, TrajectoryRecipe):
        model: Foreign | Model = build_foreign(recipe, work.run)
        step = frame_interval(recipe, work.run)
        time: np.ndarray = step * np.arange(recipe.n_frames)
        ensemble_time: np.ndarray = step * sample(work.recipe)[1]
    else:
        model = build_model(recipe, work.run)
        step = recipe.steps_per_frame * recipe.time_step
        time, ensemble_time = step * np.arange(1, recipe.n_frames + 1), step * np.arange(1, recipe.ensemble_frames + 1)
    shared = {"atom": len(model.molecule.residue), "space": 3}
    chunks = {"replica": 1, "time": engine.BLOCK_FRAMES}
    about = _about(work, model)
    sizes = {
        "replica": recipe.n_replicas,
        "time": recipe.n_frames,
        "cv": len(model.variables),
        "source_name": len(recipe.drives),
        "slow_mode_number": N_MODES,
    }
    trajectory = work.create_store("trajectory", sizes | shared, chunks=chunks, attributes=about)
    ensemble, beads = _ensemble_store(work, model, about, ensemble_time)
    store.write(
        trajectory,
        beads
        | {
            "formula": model.molecule.formula.tolist(),
            "replica": np.arange(recipe.n_replicas),
            "time": time,
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
    if isinstance(recipe.molecule, TrajectoryRecipe):
        read_trajectory(work, trajectory, ensemble)
    elif not _simulate(work, trajectory, ensemble):
        return
    found = work.folder / "slow_modes.npz"
    work.run_chains("slow modes", [[("slow-modes", partial(slow_modes, trajectory, found))]])
    modes = files.load_arrays(found)
    store.write(
        trajectory,
        {
            "slow_mode": modes["series"],
            "slow_mode_timescale": step * modes["timescale"],
            "cv_timescale": step * modes["variable_timescale"],
        },
    )
    remedy = "simulate.molecule.stride" if isinstance(model, Foreign) else "simulate.steps_per_frame"
    timescales = dict(zip([v.name for v in model.variables], modes["variable_timescale"], strict=True))
    warning = outliving(timescales, modes, remedy, recipe.n_frames)
    if warning:
        work.progress.say(f"simulate: {warning}")


def _about(work: Work, model: Foreign | Model) -> dict[str, object]:
    """Attributes of both stores."""
    from tempica.simulate.foreign.molecule import Foreign
    from tempica.simulate.structures import topology_json

    platform = "" if isinstance(model, Foreign) else _platform(work, model)
    return {"topology": topology_json(model.molecule.topology), "platform": platform}


def _ensemble_store(
    work: Work, model: Foreign | Model, about: dict[str, object], time: np.ndarray
) -> tuple[Path, dict[str, np.ndarray]]:
    """The ensemble's store without its positions; also what both stores hold of each bead."""
    from tempica.simulate import engine

    molecule = model.molecule
    for note in molecule.notes:
        work.progress.say(f"simulate: {note}")
    centre = {} if molecule.centre is None else {"centre_nm": [float(x) for x in molecule.centre]}
    path = work.create_store(
        "ensemble",
        {"time": len(time), "atom": len(molecule.residue), "space": 3},
        chunks={"time": engine.BLOCK_FRAMES},
        attributes=about | centre,
    )
    beads = {"scattering_length_A": molecule.scattering_length_A, "bead_width": molecule.bead_width}
    store.write(path, beads | {"time": time})
    return path, beads


def _structures_alone(work: Work) -> None:
    """The ensemble without a trajectory, to explain images of another program; times of a foreign one are its
    numbers."""
    from tempica.simulate import engine
    from tempica.simulate.foreign.molecule import build_foreign
    from tempica.simulate.models import build_model

    recipe = work.recipe.simulate
    if isinstance(recipe.molecule, TrajectoryRecipe):
        foreign = build_foreign(recipe, work.run)
        number = np.arange(recipe.ensemble_frames)
        read_library(work, _ensemble_store(work, foreign, _about(work, foreign), number)[0])
        return
    model = build_model(recipe, work.run)
    time = recipe.steps_per_frame * recipe.time_step * np.arange(1, recipe.ensemble_frames + 1)
    ensemble, _ = _ensemble_store(work, model, _about(work, model), time)
    work.run_chains(f"blocks of {engine.BLOCK_FRAMES} frames", [_integrated(work, ENSEMBLE, ensemble)])


def _platform(work: Work, model: Model) -> str:
    """The platform that this run began with, chosen when it began."""
    from tempica.simulate.engine import choose_platform

    kept = work.folder / "platform.json"
    if not kept.exists():
        name, seconds = choose_platform(work.recipe, model)
        told = ", ".join(f"{one} {1e6 * value:.0f} µs a step" for one, value in seconds.items())
        work.progress.say(f"simulate: OpenMM's platform {name}" + (f" ({told})" if told else ""))
        files.write_json_once(kept, name)
    return str(json.loads(kept.read_text(encoding="utf-8")))


def _simulate(work: Work, trajectory: Path, ensemble: Path) -> bool:
    """Fill both stores by integration, or one replica's part, and tell whether they are full."""
    from tempica.simulate import engine

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
    """The chain of blocks that simulates a replica, or the ensemble, into its store."""
    from tempica.simulate import engine

    recipe, recipe_json = work.recipe.simulate, work.recipe.model_dump_json()
    platform = json.loads((work.folder / "platform.json").read_text(encoding="utf-8"))
    n = recipe.ensemble_frames if replica == ENSEMBLE else recipe.n_frames
    return [
        (f"{replica}-{b}", partial(simulate_block, recipe_json, str(work.run), path, replica, a, b, platform))
        for a, b in blocks(n, engine.BLOCK_FRAMES)
    ]


def slow_modes(path: Path, out: Path) -> None:
    """Find the slow modes of a filled trajectory store."""
    from tempica.simulate.slow_modes import find_slow_modes

    files.save_arrays(out, **vars(find_slow_modes(store.open_unsealed(path))))


def outliving(
    variables: dict[str, float],
    modes: dict[str, np.ndarray],
    remedy: str = "simulate.steps_per_frame",
    n_frames: int | None = None,
) -> str:
    """A warning when a mode that nobody declared is slower than a collective variable; empty if none is.

    `remedy` is the recipe's field that lengthens the frame interval; a timescale beyond `n_frames`, those of a
    replica, is told as no more than that.
    """
    slowest = float(modes["timescale"][0])
    passed = [f"{name} ({value:.2g})" for name, value in variables.items() if value < slowest]
    if not passed:
        return ""
    beyond = n_frames is not None and slowest > n_frames
    told = f"more than the {n_frames} frames of a replica" if beyond else f"{slowest:.2g} frames"
    return (
        f"warning: an undeclared motion with a timescale of {told} outlives {', '.join(passed)}; methods"
        f" that order sources by slowness will return it. Take a longer frame interval ({remedy}), or"
        " expect one source more (train.n_components)."
    )


def simulate_block(
    recipe_json: str, folder: str, path: Path, replica: int, first: int, last: int, platform: str
) -> None:
    """One block of one replica: from the state that the block before left to frames in the store."""
    from tempica.simulate import engine
    from tempica.simulate.models import cached_model

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

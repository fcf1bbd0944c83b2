"""Simulates every replica and the separate ensemble, block by block; or reads them, where another program did."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica import store
from tempica.recipe import Recipe, TrajectoryRecipe
from tempica.simulate.slow_modes import N_MODES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tempica.pipeline import Work
    from tempica.simulate.engine import Model
    from tempica.simulate.replicas import Piece

ENSEMBLE = -1  # replica number of the separate simulation; seeds take it modulo 2³²


def check(recipe: Recipe, folder: Path) -> None:
    """Raise whatever is wrong with a recipe's molecule before anything is written."""
    if isinstance(recipe.simulate.molecule, TrajectoryRecipe):
        from tempica.simulate import foreign

        return foreign.check(recipe.simulate, folder)
    from tempica.simulate.engine import build_model, check_targets

    check_targets(recipe, build_model(recipe.simulate, folder))


def run(work: Work) -> None:
    """Simulate every replica and the separate ensemble, block by block, or read them; then look for undeclared slow
    modes."""
    from tempica.simulate import protocols
    from tempica.simulate.engine import BLOCK_FRAMES, build_model
    from tempica.simulate.foreign import Foreign, build_foreign
    from tempica.simulate.replicas import frame_interval
    from tempica.simulate.structures import topology_json

    recipe = work.recipe.simulate
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
    chunks = {"replica": 1, "time": BLOCK_FRAMES}
    platform = "" if isinstance(model, Foreign) else _platform(work, model)
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
    store.write(ensemble, beads | {"time": ensemble_time})
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
    fill = _read if isinstance(recipe.molecule, TrajectoryRecipe) else _simulate
    if not fill(work, trajectory, ensemble):
        return
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
    remedy = "simulate.molecule.stride" if isinstance(model, Foreign) else "simulate.steps_per_frame"
    timescales = dict(zip([v.name for v in model.variables], modes["variable_timescale"], strict=True))
    warning = outliving(timescales, modes, remedy, recipe.n_frames)
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


def _simulate(work: Work, trajectory: Path, ensemble: Path) -> bool:
    """Fill both stores by integration, or one replica's part, and tell whether they are full."""
    recipe, recipe_json = work.recipe.simulate, work.recipe.model_dump_json()
    platform = json.loads((work.folder / "platform.json").read_text(encoding="utf-8"))
    chains = []
    for replica in (*range(recipe.n_replicas), ENSEMBLE):
        path = ensemble if replica == ENSEMBLE else trajectory
        n = recipe.ensemble_frames if replica == ENSEMBLE else recipe.n_frames
        chains.append(
            [
                (f"{replica}-{b}", partial(simulate_block, recipe_json, str(work.run), path, replica, a, b, platform))
                for a, b in _blocks(n)
            ]
        )
    if work.replica is None:
        work.run_chains(f"blocks of {_block_frames()} frames", chains)
        return True
    work.run_chains(f"replica {work.replica}, blocks of {_block_frames()} frames", [chains[work.replica]])
    missing = [str(n) for n, chain in enumerate(chains) if not all(work.is_done(key) for key, _ in chain)]
    rest = f"replicas not done yet: {', '.join(missing)}" if missing else "all are done, and a run can complete them"
    work.progress.say(f"simulate: replica {work.replica} is done; {rest}")
    return False


def _read(work: Work, trajectory: Path, ensemble: Path) -> bool:
    """Fill the trajectory from foreign files, then the ensemble from the trajectory's training replicas."""
    from tempica.simulate.replicas import frame_interval, layout

    recipe, recipe_json = work.recipe.simulate, work.recipe.model_dump_json()
    assert isinstance(recipe.molecule, TrajectoryRecipe)
    plan = layout(recipe, work.run)
    step = frame_interval(recipe, work.run) if recipe.molecule.frame_interval is None else None
    where = (recipe_json, str(work.run), trajectory)
    blocks = [
        [(f"{r}-{b}", partial(read_block, *where, r, a, b, plan.pieces(r, a, b), step))]
        for r in range(recipe.n_replicas)
        for a, b in _blocks(recipe.n_frames)
    ]
    work.run_chains(f"reading blocks of {_block_frames()} frames", blocks)
    replica, frame = sample(work.recipe)
    parts = [
        [(f"ensemble-{b}", partial(copy_frames, trajectory, ensemble, replica[a:b], frame[a:b], a, b))]
        for a, b in _blocks(recipe.ensemble_frames)
    ]
    work.run_chains("ensemble of training frames", parts)
    return True


def sample(recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Replica and frame (time,) of an ensemble spread evenly over the training replicas of a foreign trajectory.

    Held-out replicas are kept out: what `embed` learns modes from must not have seen them.
    """
    train = np.flatnonzero(np.array(recipe.splits) == "train")
    n_frames = recipe.simulate.n_frames
    which = np.linspace(0, len(train) * n_frames - 1, recipe.simulate.ensemble_frames).round().astype(int)
    return train[which // n_frames], which % n_frames


def _block_frames() -> int:
    from tempica.simulate import engine

    return engine.BLOCK_FRAMES


def _blocks(n: int) -> Iterator[tuple[int, int]]:
    return pairwise([0, *range(_block_frames(), n, _block_frames()), n])


def slow_modes(path: Path, out: Path) -> None:
    """Find the slow modes of a filled trajectory store."""
    from tempica.simulate.slow_modes import find_slow_modes

    store.save_arrays(out, **vars(find_slow_modes(store.open_unsealed(path))))


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
    passed = [f"{name} ({value:.2g})" for name, value in variables.items() if 0 < value < slowest]
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


def read_block(
    recipe_json: str,
    folder: str,
    path: Path,
    replica: int,
    first: int,
    last: int,
    pieces: list[Piece],
    step: float | None,
) -> None:
    """One block of one replica, from foreign files to frames in the store."""
    from tempica.simulate import foreign

    frames = foreign.read_block(foreign.cached_foreign(recipe_json, folder), pieces, f"replica {replica}", first, step)
    store.write(path, vars(frames), replica=replica, time=slice(first, last))


def copy_frames(source: Path, target: Path, replica: np.ndarray, frame: np.ndarray, first: int, last: int) -> None:
    """Frames of a filled trajectory store into the ensemble's frames first … last − 1."""
    position = store.open_unsealed(source)["position"]
    parts = [position.isel(replica=r, time=frame[replica == r]).values for r in np.unique(replica)]
    store.write(target, {"position": np.concatenate(parts)}, time=slice(first, last))

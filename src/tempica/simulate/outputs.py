"""The stores of the stage, made and filled with all that is known before the first frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tempica.simulate import engine, protocols
from tempica.simulate.slow_modes import N_MODES
from tempica.stores import store

if TYPE_CHECKING:
    from tempica.runs.work import Work
    from tempica.simulate.coordinates import CollectiveVariable
    from tempica.simulate.structures import Molecule


class Recorded(Protocol):
    """What frames are of: a model that is simulated, or a foreign molecule that is read."""

    @property
    def molecule(self) -> Molecule: ...

    @property
    def variables(self) -> Sequence[CollectiveVariable]: ...


def structure_store(work: Work, recorded: Recorded, platform: str, more: Mapping[str, object] | None = None) -> None:
    """The store of the one structure that the recipe names, filled; `more` are attributes."""
    molecule = recorded.molecule
    for note in molecule.notes:
        work.remark(note)
    path = work.create_store(
        "structure",
        {"atom": len(molecule.residue), "space": 3},
        chunks={},
        attributes=_attributes(molecule, platform) | _centre(molecule) | dict(more or {}),
    )
    store.write(path, _beads(molecule) | {"position": molecule.position})


def ensemble_store(work: Work, recorded: Recorded, platform: str, time: np.ndarray) -> Path:
    """The ensemble's store without its positions; `time` (time,) is in ps."""
    molecule = recorded.molecule
    path = work.create_store(
        "ensemble",
        {"time": len(time), "atom": len(molecule.residue), "space": 3},
        chunks={"time": engine.BLOCK_FRAMES},
        attributes=_attributes(molecule, platform) | _centre(molecule),
    )
    store.write(path, _beads(molecule) | {"time": time})
    return path


def trajectory_store(work: Work, recorded: Recorded, platform: str, time: np.ndarray) -> Path:
    """The trajectory's store without its frames and slow modes; `time` (time,) is in ps."""
    recipe, molecule = work.recipe.simulate, recorded.molecule
    sizes = {
        "replica": recipe.n_replicas,
        "time": recipe.n_frames,
        "cv": len(recorded.variables),
        "source_name": len(recipe.drives),
        "slow_mode_number": N_MODES,
        "atom": len(molecule.residue),
        "space": 3,
    }
    path = work.create_store(
        "trajectory",
        sizes,
        chunks={"replica": 1, "time": engine.BLOCK_FRAMES},
        attributes=_attributes(molecule, platform),
    )
    frames = (recipe.n_replicas, recipe.n_frames)
    number = protocols.schedule(recipe, recipe.n_frames).molecule[recipe.equilibration_frames :]
    store.write(
        path,
        _beads(molecule)
        | {
            "formula": molecule.formula.tolist(),
            "replica": np.arange(recipe.n_replicas),
            "time": time,
            "cv": [variable.name for variable in recorded.variables],
            "cv_units": [variable.unit for variable in recorded.variables],
            "source_name": [drive.collective_variable for drive in recipe.drives],
            "label": np.broadcast_to(protocols.labels(recipe, recipe.n_frames), frames),
            "molecule": np.broadcast_to(number, frames),
        },
    )
    return path


def _attributes(molecule: Molecule, platform: str) -> dict[str, object]:
    from tempica.simulate.structures import topology_json

    return {"topology": topology_json(molecule.topology), "platform": platform}


def _centre(molecule: Molecule) -> dict[str, object]:
    return {} if molecule.centre is None else {"centre_nm": [float(x) for x in molecule.centre]}


def _beads(molecule: Molecule) -> dict[str, np.ndarray]:
    return {"scattering_length_A": molecule.scattering_length_A, "bead_width": molecule.bead_width}

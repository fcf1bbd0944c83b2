"""Frames of a simulation, superposed on the body."""

from __future__ import annotations

from dataclasses import dataclass

import mdtraj
import numpy as np

from tempica.simulate.models import Model


@dataclass(frozen=True)
class Frames:
    """What a block of frames gives."""

    position: np.ndarray  # (time, atom, space) nm, superposed
    source: np.ndarray  # (time, source_name) rad
    collective_variable: np.ndarray  # (time, cv) rad
    potential_energy: np.ndarray  # (time,) kJ/mol
    kinetic_energy: np.ndarray  # (time,) kJ/mol


def superpose(position: np.ndarray, model: Model) -> np.ndarray:
    """Frames (time, atom, space) rotated and shifted onto the first structure's body domain; float32."""
    if model.recorded is not None:
        position = position[:, model.recorded]
    return superpose_onto(model.molecule.position, model.body, position)


def superpose_onto(reference: np.ndarray, body: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Frames (time, atom, space) rotated and shifted onto a reference's beads of the body (atom,); float32."""
    stack = np.concatenate([reference[None], position]).astype(np.float32)
    trajectory = mdtraj.Trajectory(stack, None)
    trajectory.superpose(trajectory, 0, atom_indices=body, parallel=False)
    return trajectory.xyz[1:]

"""States of learning and motions of molecules in npz files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempica.embed.modes.state import State, as_arrays, from_arrays, product
from tempica.embed.poses.motion import Motion
from tempica.imaging.modes import Modes
from tempica.stores import files


def save_state(path: Path, state: State) -> None:
    files.save_arrays(path, **as_arrays(state))


def load_state(path: Path) -> State:
    return from_arrays(files.load_arrays(path))


def modes_of(state: State) -> tuple[Modes, np.ndarray]:
    """The modes that were learned, amplitudes of unit variance, and their autocorrelation (K,) from frame to frame."""
    if state.learned is None:
        return Modes(state.reference, state.shape), np.zeros(len(state.shape))
    return product(state), state.learned.autocorrelation


def save_motion(path: Path, motion: Motion) -> None:
    files.save_arrays(path, **vars(motion))


def load_motion(path: Path) -> Motion:
    arrays = files.load_arrays(path)
    drift = arrays.pop("drift_A")
    return Motion(**{name: float(value) for name, value in arrays.items()}, drift_A=drift)

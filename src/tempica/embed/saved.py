"""States of learning and motions of molecules in npz files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempica.embed.elastic import network
from tempica.embed.modes import Elastic, State
from tempica.embed.motion import Motion
from tempica.embed.state_space import Learned
from tempica.imaging.modes import Modes
from tempica.stores import files


def save_state(path: Path, state: State) -> None:
    arrays = {name: getattr(state, name) for name in ("reference", "shape", "amplitude", "change")}
    if state.learned is not None:
        arrays |= {f"learned_{name}": value for name, value in vars(state.learned).items()}
    if state.elastic is not None:
        arrays |= {"form": state.elastic.form, "rigid": np.array(state.elastic.rigid)}
    files.save_arrays(path, **arrays)


def load_state(path: Path) -> State:
    arrays = files.load_arrays(path)
    learned = {name.removeprefix("learned_"): value for name, value in arrays.items() if name.startswith("learned_")}
    elastic = None
    if "form" in arrays:
        elastic = Elastic(arrays["form"], network(arrays["form"]), rigid=bool(arrays["rigid"]))
    return State(
        arrays["reference"],
        arrays["shape"],
        arrays["amplitude"],
        Learned(**learned) if learned else None,
        elastic,
        float(arrays["change"]),
    )


def modes_of(state: State) -> tuple[Modes, np.ndarray]:
    """The modes that were learned, amplitudes of unit variance, and their autocorrelation (K,) from frame to frame."""
    learned = state.learned
    if learned is None:
        return Modes(state.reference, state.shape), np.zeros(len(state.shape))
    mean = state.reference + np.tensordot(learned.centre, state.shape, 1)
    return Modes(mean, np.tensordot(learned.weight.T, state.shape, 1)), learned.autocorrelation


def save_motion(path: Path, motion: Motion) -> None:
    files.save_arrays(path, **vars(motion))


def load_motion(path: Path) -> Motion:
    arrays = files.load_arrays(path)
    numbers = {name: float(arrays[name]) for name in ("turn_variance", "shift_variance", "shift_spread")}
    return Motion(**numbers, drift_A=arrays["drift_A"])

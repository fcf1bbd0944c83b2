"""Tasks that learn modes and dynamics: expand blocks of frames, then go on to the next state; see `modes`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica.embed import modes
from tempica.embed.elastic import Elastic  # noqa: F401
from tempica.embed.modes import State
from tempica.embed.quadratic import linearise, without_pose
from tempica.embed.setting import Setting, Span, joined, molecules, observed_of
from tempica.embed.settling import PosePrior, settle
from tempica.runs.reading import read
from tempica.stores import files

if TYPE_CHECKING:
    from tempica.runs.work import Work


def expand_block(run: Path, setting_file: Path, state_file: Path, poses: Path, out: Path, span: Span, at: slice) -> None:
    """H and u (see `state_space`) of a span about the state's amplitudes, its frames `at` in it; with poses."""
    setting, state = Setting.load(setting_file), State.load(state_file)
    observed, scatterers = observed_of(run, setting, span), setting.scatterers
    amplitude = state.amplitude[at]
    position = state.reference + np.tensordot(amplitude, state.shape, 1)
    given = files.load_arrays(poses)
    rotation, shift_A, precision = given["rotation"], given["shift_A"], given["precision"]
    if not precision.any():
        expansion = linearise(observed, scatterers, position, rotation, shift_A, state.shape, pose=False)
    else:
        stated = given.get("stated_rotation"), given["stated_shift_A"]
        prior = PosePrior(*stated, precision)
        rotation, shift_A = settle(observed, scatterers, position, rotation, shift_A, prior)
        seen = linearise(observed, scatterers, position, rotation, shift_A, state.shape, pose=True)
        expansion = without_pose(prior.added_to(seen, rotation, shift_A), np.zeros((5, 5)))
    files.save_arrays(
        out,
        **(given | {"rotation": rotation, "shift_A": shift_A}),
        information=expansion.information.astype(np.float32),
        evidence=expansion.evidence + (expansion.information @ amplitude[..., None])[..., 0],
        misfit=expansion.misfit,
    )

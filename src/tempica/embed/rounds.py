"""Tasks that learn modes and dynamics: expand blocks of frames, then go on to the next state; see `modes`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tempica.embed.modes import state as modes
from tempica.embed.modes.n_sources import choose_n_sources
from tempica.embed.modes.state import State
from tempica.embed.poses.settling import PosePrior, settle
from tempica.embed.posterior import compress
from tempica.embed.saved import load_state, save_state
from tempica.embed.setting import Setting, Span, joined, likelihood_of
from tempica.imaging.likelihood import Likelihood
from tempica.imaging.modes import Modes
from tempica.imaging.photons import Patterns
from tempica.recipe.experiment import Recipe
from tempica.stores import files


def expand_block(
    run: Path, setting_file: Path, state_file: Path, poses: Path, out: Path, span: Span, at: slice
) -> None:
    """H and u (see `state_space`) of a span, whose frames are those `at` of the state, with the poses that fit them.

    Beads are as wide as what is not known of their places makes them; see `leftover`.
    `poses` holds `rotation`, `shift_A` and a prior's `stated_rotation`, `stated_shift_A` and `precision`.
    """
    setting, state = Setting.load(setting_file), load_state(state_file)
    expand_frames(likelihood_of(run, setting, span), state, poses, out, at)


def expand_frames(likelihood: Likelihood, state: State, poses: Path, out: Path, at: slice) -> None:
    """The same of the frames of a likelihood."""
    # a pattern has no phases: of a form that is not yet near, it is fine fringes that lead astray, and they blur first
    begins = isinstance(likelihood, Patterns) and state.elastic is not None and state.learned is None
    likelihood = likelihood.widened(modes.foreseen(state) if begins else modes.unsure(state))
    if detail := modes.resolution_A(state):
        likelihood = likelihood.within(detail)
    amplitude = state.amplitude[at]
    given = {name: value for name, value in files.load_arrays(poses).items() if name not in ("information", "evidence")}
    rotation, shift_A, prior = given["rotation"], given["shift_A"], prior_of(given)
    if prior is not None:
        position = state.reference + np.tensordot(amplitude, state.shape, 1)
        rotation, shift_A = settle(likelihood, position, rotation, shift_A, prior)
    basis = Modes(state.reference, state.shape)
    information, evidence = compress(likelihood, basis, amplitude, rotation, shift_A, prior)
    files.save_arrays(
        out,
        **(given | {"rotation": rotation, "shift_A": shift_A}),
        information=information.astype(np.float32),
        evidence=evidence,
    )


def prior_of(poses: dict[str, np.ndarray]) -> PosePrior | None:
    """The prior of poses in a file; none where they are known."""
    if not poses["precision"].any():
        return None
    stated = poses["stated_rotation"] if len(poses["stated_rotation"]) else None
    return PosePrior(stated, poses["stated_shift_A"], poses["precision"])


def learn_round(
    state_file: Path,
    parts: list[Path],
    out: Path,
    molecule: np.ndarray,
    n_sources: int | None,
    choose: range | None,
    label: np.ndarray | None = None,
    *,
    timeless: bool,
) -> None:
    """The next state, from what all blocks say.

    `n_sources` is that of the state before if none; with `choose` it is the number among these that foretells best
    frames that are held out, and learning begins anew with it. `label` (F,) is that of snapshots; see `labelled`.
    """
    blocks = [files.load_arrays(part) for part in parts]
    seen = joined({name: block[name] for name in ("information", "evidence")} for block in blocks)
    likelihoods, state = (seen["information"], seen["evidence"], molecule), load_state(state_file)
    if choose is not None:
        n_sources = choose_n_sources(*likelihoods, choose, timeless=timeless).n_sources
        state = replace(state, learned=None)
    elif n_sources is None:
        assert state.learned is not None
        n_sources = state.learned.weight.shape[1]
    save_state(out, modes.step(state, *likelihoods, n_sources, timeless=timeless, label=label))


def sources_of(recipe: Recipe, number: int, decision: int) -> tuple[int | None, range | None]:
    """How many sources a round learns (none: as many as the round before), and among which numbers it chooses."""
    most = recipe.embed.most_modes
    if recipe.embed.n_modes != "auto" or number < decision:
        return most, None
    return None, range(recipe.train.n_components, most + 1) if number == decision else None

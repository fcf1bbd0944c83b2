"""Learning a model anew from some frames, as the stage does, for a check.

Shape legend: F frame.
"""

from __future__ import annotations

import numpy as np

from tempica.embed.checks.frames import Sample
from tempica.embed.learning import TIMELESS_ROUNDS
from tempica.embed.micrographs import Micrographs
from tempica.embed.modes import state as modes
from tempica.embed.modes.state import MOST_ROUNDS, State, converged, product, unsure
from tempica.embed.poses.grids import Grid
from tempica.embed.poses.search import search
from tempica.embed.poses.settling import settle
from tempica.embed.posterior import compress
from tempica.embed.stage import SEARCH_AGAIN
from tempica.embed.start import N_FIRST
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes


def learn_model(
    sample: Sample, scatterers: Scatterers, state: State, n_modes: int, grid: Grid, n_rounds: int = MOST_ROUNDS
) -> Modes:
    """Modes of unit variance after rounds that begin at a state, whose frames are those of the sample."""
    rotation, shift = sample.rotation, sample.shift_A
    snapshots = len(np.unique(sample.molecule)) == len(sample)
    first_timed = TIMELESS_ROUNDS if state.elastic is not None else 0
    earliest = max(first_timed, SEARCH_AGAIN * sample.is_hidden)
    for number in range(n_rounds):
        if sample.is_hidden and number in (0, SEARCH_AGAIN):
            known = product(state) if number else Modes(state.reference, state.shape[:N_FIRST])
            peaks = search(sample.observed, scatterers, known, grid, sample.spread_A, 1)
            rotation, shift = peaks.rotation[:, 0], peaks.shift_A[:, 0]
        assert rotation is not None
        if sample.prior is not None:
            position = state.reference + np.tensordot(state.amplitude, state.shape, 1)
            rotation, shift = settle(Micrographs(sample.observed, scatterers), position, rotation, shift, sample.prior)
        basis = Modes(state.reference, state.shape)
        blurred = Micrographs(sample.observed, scatterers).widened(unsure(state))
        seen = compress(blurred, basis, state.amplitude, rotation, shift, sample.prior)
        information, evidence = seen[0].astype(np.float32), seen[1]
        timeless = snapshots or number < first_timed
        state = modes.step(state, information, evidence, sample.molecule, n_modes, timeless=timeless)
        if number > earliest and converged(state):
            break
    return product(state)

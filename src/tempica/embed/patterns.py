"""What embed does otherwise with diffraction patterns: their setting, and the search for orientations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica import imaging
from tempica.embed.modes.leftover import place_variance, rest_shapes, turn_variance
from tempica.embed.modes.state import State, unsure
from tempica.embed.poses.following import likely
from tempica.embed.poses.grids import Grid, rotation_grid, rotations_for
from tempica.embed.poses.refine import LEAST_DEVIATION_A, Peaks, ShiftPrior, climb, distinct, shift_prior
from tempica.embed.posterior import posterior
from tempica.embed.rounds import prior_of
from tempica.embed.saved import modes_of
from tempica.embed.setting import Setting, Span, joined, likelihood_of_all
from tempica.imaging.modes import Modes
from tempica.imaging.photons import Patterns, patterns_in
from tempica.stores import files

if TYPE_CHECKING:
    import xarray

TEMPLATE_A = 14.0  # resolution of the search over all orientations
TRIED = 24  # orientations of a frame that take two steps at that resolution
BEHIND = 8.0  # nats: orientations that fall that far behind a frame's best are given up
SAME = np.radians(5.0)  # orientations this close to a better one are the same
SOME_FRAMES = 300  # from which it is learned how well posteriors know where beads are


def first_setting(movie: xarray.Dataset, n_beads: int, spans: list[Span]) -> Setting:
    """The setting before anything is learned: the movie states its camera, and photons their noise."""
    light = np.concatenate([patterns_in(movie, span.of(movie)["image"].values).light for span in spans])
    nothing = np.zeros((0, 0))
    return Setting(
        nothing,
        nothing,
        noise_variance=np.array(1.0),
        noise_power=nothing,
        radius=np.array(0),
        shift_deviation_A=np.array(LEAST_DEVIATION_A),  # held fast: no pattern tells where a molecule is
        signal=np.array(max(float(light.mean()), 1.0)),
        rest=np.zeros((0, n_beads, 3)),
        place_variance=np.zeros(n_beads),
    )


def refined(
    n_iterations: int, run: Path, setting: Setting, state: State, spans: list[Span], poses: list[Path]
) -> Setting:
    """The setting with the motion that learned modes leave over, and with how far places of beads are not known.

    `poses` holds those of the last round, which led to the state.
    """
    every = max(1, sum(len(span) for span in spans) // SOME_FRAMES)
    given = [files.load_arrays(path) for path in poses]
    frames = ("rotation", "shift_A", "stated_rotation", "stated_shift_A")
    found = joined({name: one[name][::every] for name in frames} for one in given)
    found["precision"] = given[0]["precision"]
    rows = np.concatenate([np.arange(len(span)) % every == 0 for span in spans])
    learned, _ = modes_of(state)
    blurred = likelihood_of_all(run, setting, spans)[np.flatnonzero(rows)].widened(unsure(state))
    place = found["rotation"], found["shift_A"]
    seen = posterior(blurred, learned, *place, n_iterations, prior_of(found))
    variance = place_variance(state.shape, learned.shape, seen.covariance.mean(0), state.rest)
    variance += turn_variance(learned.mean, seen.pose_covariance.mean(0))
    return replace(setting, place_variance=variance, rest=rest_shapes(state.shape, learned.shape, state.rest))


@dataclass(frozen=True)
class Templates:
    """Mean photons of the average pulse, of a structure seen from all sides."""

    grid: Grid
    mean: np.ndarray  # (G, P)


def make_templates(seen: Patterns, modes: Modes, n_rotations: int) -> Templates:
    """Templates of the mean structure at the pixels of some patterns."""
    grid = rotation_grid(n_rotations)
    rotation = imaging.rotation_matrix(grid.quaternion)
    position = np.broadcast_to(modes.mean, (len(rotation), *modes.mean.shape))
    return Templates(grid, seen.expected(position, rotation))


def search(seen: Patterns, modes: Modes, molecule: np.ndarray, n_peaks: int = 4, *, finer: float = 1.0) -> Peaks:
    """The best orientations of each pattern, refined, by a model of the molecule.

    ln p(n | g) = Σ n ln λ_g − N ln Σ λ_g for every orientation g of a grid, the fluence eliminated; of the best that
    are apart, those that are likely given the other patterns of the molecule too go on by Fisher scoring in amplitudes
    and orientation, first at low resolution.

    Parameters:
        molecule: (F,) labels of frames in order of time; frames of a molecule may have to do with each other.
        n_peaks: of each frame.
        finer: rotations over those that the size of the molecule asks for.
    """
    small = seen.within(TEMPLATE_A)
    templates = make_templates(small, modes, round(finer * rotations_for(modes.mean)))
    prior = shift_prior(len(seen), LEAST_DEVIATION_A)
    peaks = _climbed(small, modes, _highest(small, templates, len(modes.shape)), prior, 2, 3 * BEHIND)
    peaks = distinct(peaks, SAME, TRIED)
    peaks = likely(peaks, molecule, n_peaks, shift_deviation_A=LEAST_DEVIATION_A, shift_variance=np.inf)
    return distinct(_climbed(seen, modes, peaks, prior, 6, BEHIND), SAME, n_peaks)


def _climbed(seen: Patterns, modes: Modes, peaks: Peaks, prior: ShiftPrior, n_steps: int, behind: float) -> Peaks:
    """Peaks after some steps; where all have given each other up, the likeliest to begin with goes alone."""
    found = climb(seen, modes, peaks, prior, n_steps, behind=behind)
    lost = np.flatnonzero(~np.isfinite(found.log_evidence).any(1))
    if len(lost):
        alone = climb(seen[lost], modes, peaks[lost].best(1), prior[lost], n_steps)
        for kept, new in zip(vars(found).values(), vars(alone).values(), strict=True):
            kept[lost, :1] = new
    return found


def _highest(seen: Patterns, templates: Templates, n_modes: int) -> Peaks:
    """The TRIED best orientations of the grid for each frame, none next to a better one."""
    share = templates.mean / templates.mean.sum(1, keepdims=True, dtype=np.float64)
    score = seen.count @ np.log(np.maximum(share, 1e-12)).astype(np.float32).T
    n_frames, number = len(seen), min(TRIED, len(templates.grid))
    rotation, value = np.empty((n_frames, number, 3, 3)), np.full((n_frames, number), -np.inf)
    every, frames = imaging.rotation_matrix(templates.grid.quaternion), np.arange(n_frames)
    for n in range(number):
        best = score.argmax(1)
        rotation[:, n], value[:, n] = every[best], score[frames, best]
        score[frames[:, None], templates.grid.near[best]] = -np.inf
    return Peaks(rotation, np.zeros((n_frames, number, 2)), np.zeros((n_frames, number, n_modes)), value)

"""Hidden poses, frame by frame: a search over all rotations and shifts, then a refinement of its best peaks.

1. `coarse`: the mean structure at every rotation of a grid and every shift of another, on a small disc of Fourier
   space; the best that are well apart take one Gauss–Newton step, in amplitudes and pose, with the templates'
   derivatives.
2. `refine`: the best of these go on from there on larger discs, to the maximum of their posterior and its evidence.

Shape legend: F frame, P peak.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tempica.embed.micrographs import Micrographs
from tempica.embed.poses.grids import Grid, shift_grid, turns_near
from tempica.embed.poses.refine import Peaks, ShiftPrior, climb, distinct, shift_prior
from tempica.embed.poses.shifts import pool_shifts
from tempica.embed.poses.templates import Templates, highest, make_templates, scores, stepped, worthwhile
from tempica.embed.quadratic import Disc, Observed
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes

TEMPLATE_A = 9.6  # resolution of the coarse search
STEP_A = 3.5  # of its shifts
BLOCK = 8  # frames at once, whose scores stay in the cache
TRIED = 24  # points of the grids that may take a Gauss–Newton step, or as many as are asked for
HOPELESS = 40.0  # nats: points that far behind a frame's best, before the step, do not take it
LEAST_TRIED = 8  # but for so many
REFINE_A = 6.9  # resolution of the first steps of the refinement
UNLIKELY = 10.0  # nats: what the coarse search puts that far behind a frame's best is not refined, but for one
BEHIND = 8.0  # nats: peaks of the refinement that are that far behind a frame's best are given up
SAME = np.radians(5.0)  # peaks this close to a better one are the same


def radius_of(disc: Disc, resolution_A: float) -> int:
    """Fourier radius, in steps of the disc, that belongs to a resolution."""
    return max(2, round(disc.edge_A / resolution_A))


def coarse(
    observed: Observed, templates: Templates, prior: ShiftPrior, n_peaks: int, *, step_A: float = STEP_A
) -> Peaks:
    """The `n_peaks` best poses of each frame, from all rotations of the templates' grid and all shifts.

    The log-evidence is that of `templates.stepped`: amplitudes are marginalised, the pose within a cell of the grids.

    Parameters:
        observed: images on the templates' disc, or on a larger one.
        prior: of the shifts; the search reaches 4 of its deviations.
        step_A: between shifts.
    """
    observed = observed.within(templates.disc.radius)
    shift = shift_grid(float(prior.deviation_A.max()), step_A)
    n_tried = min(max(n_peaks, TRIED), len(templates.grid))
    parts = []
    for first in range(0, len(observed), BLOCK):
        piece, belief = observed[first : first + BLOCK], prior[first : first + BLOCK]
        chosen, where, height = highest(scores(piece, templates, belief, shift), templates.grid, n_tried)
        frame, which = np.nonzero(worthwhile(piece, height, belief, HOPELESS, LEAST_TRIED))
        start = belief.mean_A[frame] + shift[where[frame, which]]
        points = stepped(piece, templates, frame, chosen[frame, which], start, belief, step_A)
        tried = _in_frames(points, frame, which, chosen.shape)
        parts.append(distinct(tried, templates.grid.apart / 2, n_peaks))
    return Peaks(*(np.concatenate(part) for part in zip(*(vars(part).values() for part in parts), strict=True)))


def _in_frames(points: Peaks, frame: np.ndarray, which: np.ndarray, shape: tuple[int, ...]) -> Peaks:
    """Peaks (F, P, …) of points (L, …); the others are unused."""
    tried = Peaks(*(np.zeros((*shape, *part.shape[1:])) for part in vars(points).values()))
    tried.rotation[...] = np.eye(3)
    tried.log_evidence[...] = -np.inf
    for name, part in vars(tried).items():
        part[frame, which] = getattr(points, name)
    return tried


def refine(
    observed: Observed,
    scatterers: Scatterers,
    modes: Modes,
    peaks: Peaks,
    prior: ShiftPrior,
    *,
    n_kept: int = 4,
    n_steps: int = 6,
) -> Peaks:
    """The best `n_kept` of the peaks (F, P, …), each at the maximum of its posterior, best first.

    The first steps are on a smaller disc, and peaks that fall too far behind are given up on the way. Where all have
    given each other up, the likeliest to begin with goes the way alone.
    """
    small, begun = observed.within(radius_of(observed.disc, REFINE_A)), peaks
    peaks = peaks.best(n_kept)
    far = peaks.log_evidence < peaks.log_evidence[:, :1] - UNLIKELY
    far[:, :2] = False
    peaks = replace(peaks, log_evidence=np.where(far, -np.inf, peaks.log_evidence))
    peaks = climb(Micrographs(small, scatterers), modes, peaks, prior, n_steps, behind=BEHIND)
    if small.disc.radius < observed.disc.radius:
        peaks = climb(Micrographs(observed, scatterers), modes, peaks, prior, n_steps, behind=BEHIND)
    peaks = distinct(peaks, SAME, n_kept)
    lost = np.flatnonzero(~np.isfinite(peaks.log_evidence).any(1))
    if len(lost) and begun.log_evidence.shape[1] > 1:
        first = begun[lost].best(1)
        alone = refine(observed[lost], scatterers, modes, first, prior[lost], n_kept=1, n_steps=n_steps)
        for kept, new in zip(vars(peaks).values(), vars(alone).values(), strict=True):
            kept[lost, :1] = new
    return peaks


def search(
    observed: Observed,
    scatterers: Scatterers,
    modes: Modes,
    grid: Grid,
    shift_deviation_A: float,
    n_peaks: int = 4,
    *,
    molecule: np.ndarray | None = None,
) -> Peaks:
    """Coarse search over the grid and refinement of its `n_peaks` best peaks.

    Parameters:
        shift_deviation_A: of the shifts, per axis; the search reaches 4 of it. 0: there are no shifts.
        molecule: (F,) numbers of molecules, in stretches of frames in order of time; shifts that turn out to be kept,
            or to drift, are then pooled over the frames of each. None: every frame is by itself.
    """
    disc = observed.within(radius_of(observed.disc, TEMPLATE_A)).disc
    templates = make_templates(disc, scatterers, modes, grid)
    if molecule is None:
        prior = shift_prior(len(observed), shift_deviation_A)
    else:
        prior = pool_shifts(observed, templates, molecule, shift_deviation_A)
    peaks = coarse(observed, templates, prior, n_peaks)
    return refine(observed, scatterers, modes, peaks, prior, n_kept=n_peaks)


def around(
    observed: Observed,
    scatterers: Scatterers,
    modes: Modes,
    rotation: np.ndarray,
    prior: ShiftPrior,
    angle: float,
    *,
    n_turns: int = 60,
    n_kept: int = 4,
) -> Peaks:
    """Refined peaks near given rotations, for frames of which more is known than that they may lie anywhere.

    Parameters:
        rotation: (F, C, 3, 3), one or several of each frame.
        prior: of the shifts; each is first taken at its mean.
        angle: rad; turns of up to this are tried.
        n_turns: how many, for each rotation, evenly spread.
    """
    start = (turns_near(angle, n_turns) @ rotation[:, :, None]).reshape(len(rotation), -1, 3, 3)
    shape = start.shape[:2]
    shift_A = np.broadcast_to(prior.mean_A[:, None], (*shape, 2))
    tried = Peaks(start, shift_A, np.zeros((*shape, len(modes.shape))), np.zeros(shape))
    small = observed.within(radius_of(observed.disc, TEMPLATE_A))
    tried = climb(Micrographs(small, scatterers), modes, tried, prior, 1, behind=UNLIKELY)
    return refine(observed, scatterers, modes, distinct(tried, SAME, n_kept), prior, n_kept=n_kept)

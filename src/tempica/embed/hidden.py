"""Embedding of frames whose poses are hidden: tasks that search them, and follow them from frame to frame."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from tempica import imaging
from tempica.embed import patterns
from tempica.embed.known import Embedded
from tempica.embed.micrographs import Micrographs
from tempica.embed.poses.following import follow, likely
from tempica.embed.poses.grids import rotation_grid, rotations_for
from tempica.embed.poses.motion import Dynamics, Place
from tempica.embed.poses.refine import Peaks, shift_prior
from tempica.embed.poses.search import TEMPLATE_A, coarse, radius_of, refine
from tempica.embed.poses.settling import hidden
from tempica.embed.poses.shifts import pool_shifts
from tempica.embed.poses.templates import Templates, make_templates
from tempica.embed.poses.tracking import smooth_poses
from tempica.embed.quadratic import Disc, Observed
from tempica.embed.saved import load_motion, load_state, modes_of, save_motion
from tempica.embed.setting import Setting, Span, joined, likelihood_of_all, molecules, movie_of
from tempica.embed.start import N_FIRST
from tempica.imaging.modes import Modes
from tempica.imaging.photons import Patterns
from tempica.imaging.poses import POSE
from tempica.stores import files

FINER = 2.0  # rotations of the first search, by a model that is not yet right, over those of later ones
N_COARSE = 40  # peaks of the coarse search, among which the frames of a molecule choose together
N_PEAKS = 4  # that are refined
MOTION_FRAMES = 1500  # of training replicas from which the motion is learned


def search_span(run: Path, setting_file: Path, state_file: Path, out: Path, span: Span) -> None:
    """Peaks of every frame of a span, and the best as the poses that learning begins with."""
    setting = Setting.load(setting_file)
    spread, molecule = float(setting.shift_deviation_A), molecules(movie_of(run), [span])
    seen = likelihood_of_all(run, setting, [span])
    if isinstance(seen, Patterns):
        state = load_state(state_file)
        modes, _ = modes_of(state)
        if state.learned is None:
            modes = Modes(modes.mean, modes.shape[:N_FIRST])
        peaks = patterns.search(seen, modes, molecule, N_PEAKS, finer=FINER if state.learned is None else 1.0)
    else:
        peaks = _search_images(run, setting, setting_file, state_file, seen.observed, molecule)
    unknown = hidden(len(seen), spread)
    files.save_arrays(
        out,
        **{f"peak_{name}": value for name, value in vars(peaks).items()},
        rotation=peaks.rotation[:, 0],
        shift_A=peaks.shift_A[:, 0],
        stated_rotation=np.zeros((0, 3, 3)),
        stated_shift_A=unknown.shift_A,
        precision=unknown.precision,
    )


def _search_images(
    run: Path, setting: Setting, setting_file: Path, state_file: Path, observed: Observed, molecule: np.ndarray
) -> Peaks:
    """Peaks of electron images: rotations and shifts."""
    modes, templates = _views_of_model(setting_file, state_file, int(setting.radius), run)
    spread = float(setting.shift_deviation_A)
    alone = len(np.unique(molecule)) == len(molecule)
    prior = shift_prior(len(observed), spread) if alone else pool_shifts(observed, templates, molecule, spread)
    found = likely(coarse(observed, templates, prior, N_COARSE), molecule, N_PEAKS, shift_deviation_A=spread)
    return refine(observed, setting.scatterers, modes, found, prior, n_kept=N_PEAKS)


@lru_cache(maxsize=1)
def _views_of_model(setting_file: Path, state_file: Path, radius: int, run: Path) -> tuple[Modes, Templates]:
    """The model that a search uses and its templates, which take as long as a search of some hundred frames."""
    setting, state = Setting.load(setting_file), load_state(state_file)
    modes, _ = modes_of(state)
    n_rotations = rotations_for(modes.mean)
    if state.learned is None:
        modes, n_rotations = Modes(modes.mean, modes.shape[:N_FIRST]), round(FINER * n_rotations)
    optics = imaging.camera_of(movie_of(run)).optics
    disc = Disc(optics.n_pixels, optics.pixel_size_A, radius)
    disc = replace(disc, radius=min(radius, radius_of(disc, TEMPLATE_A)))
    return modes, make_templates(disc, setting.scatterers, modes, rotation_grid(n_rotations))


def find_shifts(setting_file: Path, parts: list[Path], out: Path) -> None:
    """The setting with the deviation of shifts that a search has found."""
    setting = Setting.load(setting_file)
    shift = joined({"shift": files.load_arrays(part)["shift_A"]} for part in parts)["shift"]
    robust = 1.4826 * np.median(np.abs(shift))
    replace(setting, shift_deviation_A=np.array(max(1.1 * robust, 0.5))).save(out)


def learn_motion(
    run: Path, setting_file: Path, state_file: Path, parts: list[Path], out: Path, spans: list[Span]
) -> None:
    """How poses go on from frame to frame: from peaks of training replicas, then from a smoother over some of them."""
    setting, state = Setting.load(setting_file), load_state(state_file)
    modes, rho = modes_of(state)
    movie, spread = movie_of(run), float(setting.shift_deviation_A)
    fixed = np.inf if movie.attrs["kind"] == "diffraction" else None  # shifts that no frame tells have no memory
    path = follow(peaks_of(parts), molecules(movie, spans), shift_deviation_A=spread, shift_variance=fixed)
    motion, some, count = path.motion, [], 0
    for span in spans:
        if count < MOTION_FRAMES:
            some.append(span)
            count += len(span)
    if np.isfinite(motion.turn_variance) or np.isfinite(motion.shift_variance):
        seen = likelihood_of_all(run, setting, some)
        start = Place(path.rotation[:count], path.shift_A[:count], path.amplitude[:count])
        dynamics = dynamics_of(rho)
        motion = smooth_poses(seen, modes, start, molecules(movie, some), motion, dynamics, empty=_empty(seen)).motion
    save_motion(out, replace(motion, drift_A=np.zeros((1, 2))))


def track_span(
    run: Path,
    setting_file: Path,
    state_file: Path,
    motion_file: Path,
    peaks: Path,
    out: Path,
    span: Span,
) -> None:
    """Embed a span of whole molecules, whose peaks are in a file."""
    setting = Setting.load(setting_file)
    modes, rho = modes_of(load_state(state_file))
    motion = load_motion(motion_file)
    molecule = molecules(movie_of(run), [span])
    seen = likelihood_of_all(run, setting, [span])
    path = follow(
        peaks_of([peaks]),
        molecule,
        motion.turn_variance,
        shift_deviation_A=float(setting.shift_deviation_A),
        shift_variance=motion.shift_variance,
    )
    start = Place(path.rotation, path.shift_A, path.amplitude)
    found = smooth_poses(
        seen, modes, start, molecule, motion, dynamics_of(rho), setting.rest, empty=_empty(seen), learn=False
    )
    timeless = not rho.any()
    nothing = np.full_like(found.latent, np.nan)
    n_modes = len(rho)
    embedded = Embedded(
        found.latent,
        found.latent_covariance,
        found.misfit / seen.n_values,
        found.rotation,
        found.shift_A,
        found.covariance[:, -POSE:, -POSE:],
        nothing if timeless else found.amplitude,
        nothing if timeless else np.diagonal(found.covariance, axis1=1, axis2=2)[:, :n_modes],
    )
    files.save_arrays(out, **vars(embedded))


def _empty(seen: Micrographs | Patterns) -> np.ndarray | None:
    """Misfits of a model without a molecule, by which images that are astray are found."""
    return seen.empty if isinstance(seen, Micrographs) else None


def peaks_of(parts: list[Path]) -> Peaks:
    """Peaks of several files, one after the other."""
    arrays = [files.load_arrays(part) for part in parts]
    names = [name for name in arrays[0] if name.startswith("peak_")]
    found = joined({name.removeprefix("peak_"): one[name] for name in names} for one in arrays)
    return Peaks(**found)


def dynamics_of(rho: np.ndarray) -> Dynamics | None:
    return Dynamics(np.eye(len(rho)), rho) if rho.any() else None

"""Tasks of the stage about heights: begin, search poses, estimate tip and noise, expand, embed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tempica.embed import known
from tempica.embed.heights.search import N_CLIMB, found_poses
from tempica.embed.heights.setting import Setting, faces_of, heights_of
from tempica.embed.modes.leftover import rest_shapes
from tempica.embed.modes.state import State, elastic_start
from tempica.embed.modes.state import start as start_of
from tempica.embed.poses.settling import PosePrior
from tempica.embed.posterior import Posterior, posterior
from tempica.embed.rounds import expand_frames, prior_of
from tempica.embed.saved import load_state, modes_of, save_state
from tempica.embed.setting import Span, joined, molecules, movie_of
from tempica.embed.start import N_FIRST, N_PRINCIPAL, RIGID
from tempica.errors import DataError
from tempica.imaging.heights import LEAST_NOISE_NM, Heights
from tempica.imaging.modes import Modes, principal_modes
from tempica.recipe.analysis import EmbedRecipe
from tempica.runs.reading import read
from tempica.stores import files

N_ELASTIC = 30  # motions of an elastic network among which images choose
FIRST_TIPS_NM = (0.3, 1.0, 3.0)
FIRST_NOISE_NM = 0.3
NOISE_FRAMES = 200  # from which tip and noise are learned
STEPS = 6  # of learning them
BLUNTEST_NM, SHARPEST_NM = 50.0, 0.01


def begin(recipe: EmbedRecipe, run: Path, spans: list[Span], setting_file: Path, model_file: Path) -> None:
    """The first setting and model: tip and noise from a few frames, searched with the first structure."""
    movie = movie_of(run)
    state = first_state(recipe, run)
    form = state.reference
    if len(form) != movie.sizes["atom"]:
        raise DataError(
            f"The {recipe.modes_from} has {len(form)} beads, and the movie was made of {movie.sizes['atom']}. Both must"
            " be of the same molecule: give the structure of which the images were made."
        )
    nothing = np.zeros((0, *form.shape))
    setting = Setting(np.array(FIRST_TIPS_NM[0]), np.array(FIRST_NOISE_NM), np.array(0.0), nothing)
    every = max(1, sum(map(len, spans)) // NOISE_FRAMES)
    heights, labels = heights_of(run, setting, spans, every), molecules(movie, spans)
    labels = np.concatenate([part[::every] for part in np.split(labels, np.cumsum([len(s) for s in spans])[:-1])])
    guess = Modes(form, state.shape[:N_FIRST])
    attempts = [tried(heights, radius, guess, faces_of(movie, form), labels) for radius in FIRST_TIPS_NM]
    nearest = min(attempts, key=lambda one: one.noise_nm).probe.radius_nm
    learned = tried(heights, nearest, guess, faces_of(movie, form), labels)
    setting_of(learned, nothing).save(setting_file)
    save_state(model_file, state)


def tried(heights: Heights, radius_nm: float, modes: Modes, faces: np.ndarray, molecule: np.ndarray) -> Heights:
    """Frames with the tip and noise that a search with one radius of the tip leads to."""
    heights = replace(heights, probe=replace(heights.probe, radius_nm=radius_nm))
    return calibrate(heights, modes, *found_poses(heights, modes, faces, molecule))[0]


def first_state(recipe: EmbedRecipe, run: Path) -> State:
    """The state before anything is learned, of no frames."""
    least = recipe.most_modes
    if recipe.modes_from == "ensemble":
        ensemble = read(run, "embed", "ensemble")["position"].values
        most = min(len(ensemble) - 1, ensemble[0].size - RIGID)
        return start_of(principal_modes(ensemble, max(least, min(N_PRINCIPAL, most))), 0)
    form = read(run, "embed", "structure")["position"].values
    most = form.size - RIGID
    if least > most:
        raise DataError(f"{least} modes need as many motions; {len(form)} beads have {most}. Lower embed.n_modes.")
    return elastic_start(form, max(least, min(N_ELASTIC, most)), 0)


def setting_of(heights: Heights, rest: np.ndarray) -> Setting:
    return Setting(
        np.array(heights.probe.radius_nm), np.array(heights.noise_nm), np.array(heights.line_offset_nm), rest
    )


def calibrate(
    heights: Heights, modes: Modes, found: Posterior, prior: PosePrior, *, tip_known: bool = False
) -> tuple[Heights, Posterior]:
    """Frames with the tip's radius and the noise that fit them best, and their posteriors.

    The radius takes Gauss–Newton steps on the likelihood of all frames, in which what differs between frames is
    eliminated; noise is what posteriors leave over.
    """
    for _ in range(STEPS):
        place = found.rotation, found.shift_A
        radius = heights.probe.radius_nm + (0.0 if tip_known else _blunter(heights, modes, found, prior))
        probe = replace(heights.probe, radius_nm=float(np.clip(radius, SHARPEST_NM, BLUNTEST_NM)))
        scale = float(np.sqrt(np.median(found.residual_variance)))
        heights = replace(heights, probe=probe, noise_nm=max(scale * heights.noise_nm, LEAST_NOISE_NM))
        found = posterior(heights, modes, *place, N_CLIMB, prior, amplitude=found.mean)
    return _with_line_offsets(heights, modes, found), found


def _blunter(heights: Heights, modes: Modes, found: Posterior, prior: PosePrior) -> float:
    """The step of the tip's radius in nm, at most half of it."""
    position = modes.mean + np.tensordot(found.mean, modes.shape, 1)
    seen = heights.blunted(position, found.rotation, found.shift_A, modes.shape)
    seen = prior.added_to(seen, found.rotation, found.shift_A)
    n = found.mean.shape[1]
    information, evidence = seen.information.copy(), seen.evidence.copy()
    information[:, range(1, n + 1), range(1, n + 1)] += 1
    evidence[:, 1 : n + 1] -= found.mean
    gain = np.linalg.solve(information[:, 1:, 1:], information[:, 1:, :1])[..., 0]
    curvature = information[:, 0, 0] - (gain * information[:, 1:, 0]).sum(1)
    slope = evidence[:, 0] - (gain * evidence[:, 1:]).sum(1)
    most = 0.5 * heights.probe.radius_nm
    return float(np.clip(slope.sum() / max(curvature.sum(), 1e-300), -most, 2 * most))


def _with_line_offsets(heights: Heights, modes: Modes, found: Posterior) -> Heights:
    """Offsets of lines as far as means of lines differ more than the noise of their pixels makes them."""
    position = modes.mean + np.tensordot(found.mean, modes.shape, 1)
    rest = heights.image - heights.model(position, found.rotation, found.shift_A)
    line = 2 if heights.probe.fast_axis == "x" else 1
    low = np.median(rest, line)  # the molecule covers less than half of most lines
    within = 1.4826 * np.median(np.abs(rest - np.expand_dims(low, line)))
    variance = np.median((low - np.median(low, 1, keepdims=True)) ** 2) / 0.4549  # of a normal, from its median
    variance -= 1.571 * within**2 / heights.probe.n_pixels
    offset = float(np.sqrt(max(variance, 0.0)))
    if offset < 0.3 * within:
        return heights
    noise = float(np.sqrt(max(heights.noise_nm**2 - offset**2, within**2)))
    return replace(heights, line_offset_nm=offset, noise_nm=noise)


def search_span(run: Path, setting_file: Path, state_file: Path, out: Path, span: Span) -> None:
    """Poses of every frame of a span, with what is known of them from then on."""
    setting, state, movie = Setting.load(setting_file), load_state(state_file), movie_of(run)
    modes, _ = modes_of(state)
    if state.learned is None:
        modes = Modes(modes.mean, modes.shape[:N_FIRST])
    heights = heights_of(run, setting, [span])
    found, prior = found_poses(heights, modes, faces_of(movie, modes.mean), molecules(movie, [span]))
    files.save_arrays(
        out,
        rotation=found.rotation,
        shift_A=found.shift_A,
        stated_rotation=prior.rotation,
        stated_shift_A=prior.shift_A,
        precision=prior.precision,
    )


def expand_block(
    run: Path, setting_file: Path, state_file: Path, poses: Path, out: Path, span: Span, at: slice
) -> None:  # fmt: skip
    """As `rounds.expand_block`."""
    expand_frames(heights_of(run, Setting.load(setting_file), [span]), load_state(state_file), poses, out, at)


def refine_setting(
    run: Path, setting_file: Path, state_file: Path, spans: list[Span], poses: list[Path], out: Path
) -> None:
    """Tip, noise and the motion that learned modes leave over, from frames of the last round."""
    state = load_state(state_file)
    modes, _ = modes_of(state)
    every = max(1, sum(map(len, spans)) // NOISE_FRAMES)
    heights = heights_of(run, Setting.load(setting_file), spans, every)
    given = [files.load_arrays(path) for path in poses]
    names = ("rotation", "shift_A", "stated_rotation", "stated_shift_A")
    found = joined({name: one[name][::every] for name in names} for one in given)
    prior = prior_of(found | {"precision": given[0]["precision"]})
    assert prior is not None
    first = posterior(heights, modes, found["rotation"], found["shift_A"], N_CLIMB, prior)
    learned, _ = calibrate(heights, modes, first, prior)
    setting_of(learned, rest_shapes(state.shape, modes.shape, state.rest)).save(out)


def embed_span(run: Path, setting_file: Path, state_file: Path, poses: Path, out: Path, span: Span, n: int) -> None:
    """Embed a span with at most `n` expansions; where frames are scanned, again with the motion within them."""
    setting, movie = Setting.load(setting_file), movie_of(run)
    modes, rho = modes_of(load_state(state_file))
    heights, given, molecule = heights_of(run, setting, [span]), files.load_arrays(poses), molecules(movie, [span])
    place, prior = (given["rotation"], given["shift_A"]), prior_of(given)
    found = known.embed(heights, modes, rho, molecule, place, prior, n, setting.rest)
    share = len(movie["y"]) * movie.attrs["line_time_s"] / movie.attrs["frame_interval_s"]
    if share:
        heights = replace(heights, scan_nm=share * _until_next(modes, found, molecule))
        place = found.rotation, found.pose_shift_A
        found = known.embed(heights, modes, rho, molecule, place, prior, n, setting.rest)
    files.save_arrays(out, **vars(found))


def _until_next(modes: Modes, found: known.Embedded, molecule: np.ndarray) -> np.ndarray:
    """How beads (F, N, 3) move in the view until the next frame; not at all at a molecule's last one."""
    smooth = found.state_space_source
    amplitude = found.latent if np.isnan(smooth).any() else smooth
    position = modes.mean + np.tensordot(amplitude, modes.shape, 1)
    view = position @ found.rotation.swapaxes(1, 2)
    view[..., :2] += 0.1 * found.pose_shift_A[:, None]
    step = np.zeros_like(view)
    same = molecule[1:] == molecule[:-1]
    step[:-1][same] = np.diff(view, axis=0)[same]
    return step

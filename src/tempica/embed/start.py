"""What embed begins with: a basis of displacements, the noise, and how much of the images is worth keeping."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from tempica import imaging
from tempica.embed import patterns
from tempica.embed.maps.from_images import Start, map_radius, start_from_images
from tempica.embed.maps.maps import scale_of, scaled
from tempica.embed.micrographs import Micrographs, widened
from tempica.embed.modes import state as modes
from tempica.embed.modes.leftover import place_variance, rest_shapes, turn_variance
from tempica.embed.modes.state import State, unsure
from tempica.embed.noise import Noise, Views, choose_radius, estimate_noise, noise_of_hidden
from tempica.embed.outside import density_outside
from tempica.embed.poses.symmetry import told, turns_onto_itself
from tempica.embed.posterior import posterior
from tempica.embed.quadratic import model_waves
from tempica.embed.rounds import prior_of
from tempica.embed.saved import load_state, modes_of, save_state
from tempica.embed.setting import Setting, Span, joined
from tempica.errors import DataError, IdentifiabilityWarning
from tempica.imaging.fits import check_box
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes, principal_modes
from tempica.recipe.analysis import EmbedRecipe
from tempica.runs.reading import read
from tempica.stores import files

if TYPE_CHECKING:
    import xarray

N_PRINCIPAL = 8  # modes of an ensemble among which images choose
N_ELASTIC = 50  # the same of an elastic network
N_FIRST = 6  # softest modes, by which images are explained before anything is learned
RIGID = 6
NOISE_FRAMES = 300  # from which the noise is learned
SIGNAL_FRAMES = 64  # from which the signal's strength is told
SHIFTS = 16.0  # the deviation of hidden shifts, before it is known: the box over this


def begin(
    recipe: EmbedRecipe,
    run: Path,
    setting_file: Path,
    model_file: Path,
    spans: list[Span],
    poses: list[Path],
    sums: list[Path],
) -> None:
    """The first setting and model, from spans whose poses are in files; none where they are hidden.

    `sums`: files of `from_images.add_spans`, where the images' map stands for the structure.
    """
    movie = read(run, "embed", "movie")
    if movie.attrs["kind"] == "diffraction":
        state = first_state(recipe, run)
        _warn_of_symmetry(movie, state)
        check_beads(recipe, state, movie.sizes["atom"])
        save_state(model_file, state)
        patterns.first_setting(movie, len(state.reference), spans).save(setting_file)
        return
    camera = imaging.camera_of(movie)
    optics, scatterers = camera.optics, Scatterers(camera.scatterer_amplitude_A, camera.scatterer_width_A)
    views, stated = _views(run, spans, poses)
    form = None
    if recipe.modes_from == "images":
        made = start_from_images(run, sums)
        form, scatterers = made.position, _as_strong_as(views, made, stated)
    state = first_state(recipe, run, form)
    _warn_of_symmetry(movie, state)
    n_beads, box_A = len(scatterers.amplitude), optics.n_pixels * optics.pixel_size_A
    check_beads(recipe, state, n_beads)
    check_box(state.reference, scatterers, optics.n_pixels, optics.pixel_size_A, "The molecule")
    guess = Modes(state.reference, state.shape[:N_FIRST])
    if poses:
        noise = _left_over(views, scatterers, guess, stated, recipe.n_iterations)
    else:
        noise = noise_of_hidden(views, scatterers, state.reference)
    save_state(model_file, state)
    Setting(
        scatterers.amplitude,
        scatterers.width_A,
        np.array(noise.variance),
        noise.power,
        np.array(choose_radius(views, scatterers, guess, noise)),
        np.array(box_A / SHIFTS),
        np.array(signal(views, scatterers, state.reference, noise)),
        np.zeros((0, *state.reference.shape)),
        np.zeros(n_beads),
    ).save(setting_file)


def refine_noise(
    recipe: EmbedRecipe,
    run: Path,
    setting_file: Path,
    state_file: Path,
    spans: list[Span],
    poses: list[Path],
    out: Path,
) -> None:
    """The setting with the noise and the motion that learned modes leave over, and beads as wide as this and the
    posteriors of single frames make them.

    `poses` holds those of the last round, which led to the state in `state_file`.
    """
    setting, state = Setting.load(setting_file), load_state(state_file)
    learned, _ = modes_of(state)
    if read(run, "embed", "movie").attrs["kind"] == "diffraction":
        patterns.refined(recipe.n_iterations, run, setting, state, spans, poses).save(out)
        return
    views, found = _views(run, spans, poses)
    blurred = widened(setting.scatterers, unsure(state))
    noise = _left_over(views, blurred, learned, found, recipe.n_iterations)
    observed, place = views.observe(noise, int(setting.radius)), (found["rotation"], found["shift_A"])
    seen = posterior(Micrographs(observed, blurred), learned, *place, recipe.n_iterations, prior_of(found))
    form = learned.mean + np.tensordot(seen.mean, learned.shape, 1)
    outside = density_outside(observed, blurred, form, seen.rotation, seen.shift_A)
    if outside.is_there:
        warnings.warn(outside.told(), stacklevel=2)
    variance = place_variance(state.shape, learned.shape, seen.covariance.mean(0), state.rest)
    variance += turn_variance(learned.mean, seen.pose_covariance.mean(0))
    replace(
        setting,
        width_A=widened(setting.scatterers, variance).width_A,
        noise_variance=np.array(noise.variance),
        noise_power=noise.power,
        rest=rest_shapes(state.shape, learned.shape, state.rest),
    ).save(out)


def _warn_of_symmetry(movie: xarray.Dataset, state: State) -> None:
    if movie.attrs["pose"] == "hidden" and len(turns := turns_onto_itself(state.reference)):
        warnings.warn(told(turns), IdentifiabilityWarning, stacklevel=2)


def check_beads(recipe: EmbedRecipe, state: State, n_beads: int) -> None:
    """Raise DataError unless the molecule has as many beads as the movie was made of."""
    if len(state.reference) != n_beads:
        raise DataError(
            f"The {recipe.modes_from} has {len(state.reference)} beads, and the movie was made of {n_beads}. Both must"
            " be of the same molecule: give the structure of which the images were made."
        )


def first_state(recipe: EmbedRecipe, run: Path, form: np.ndarray | None = None) -> State:
    """The state before anything is learned, of no frames.

    `form` (N, 3) in nm stands for the run's structure, if given.
    """
    least = recipe.most_modes
    if recipe.modes_from == "ensemble":
        ensemble = read(run, "embed", "ensemble")["position"].values
        most = min(len(ensemble) - 1, ensemble[0].size - RIGID)
        return modes.start(principal_modes(ensemble, max(least, min(N_PRINCIPAL, most))), 0)
    if form is None:
        form = read(run, "embed", "structure")["position"].values
    most = form.size - RIGID
    if least > most:
        raise DataError(f"{least} modes need as many motions; {len(form)} beads have {most}. Lower embed.n_modes.")
    # a pose that is known is that of some frame, not of the network's own: rigid motion takes one to the other
    pose_is_known = read(run, "embed", "movie").attrs["pose"] == "known"
    n_basis = max(least, min(N_ELASTIC, most)) + RIGID * pose_is_known
    return modes.elastic_start(form, n_basis, 0, rigid=pose_is_known)


def begin_learning(model_file: Path, state_file: Path, n_frames: int) -> None:
    """The state before the first round, of that many frames."""
    save_state(state_file, for_frames(load_state(model_file), n_frames))


def for_frames(state: State, n_frames: int) -> State:
    """A state before the first round, of that many frames."""
    return replace(state, amplitude=np.zeros((n_frames, len(state.shape))))


def signal(views: Views, scatterers: Scatterers, position: np.ndarray, noise: Noise) -> float:
    """Mean of Σ |model|² / σ² of a structure over views from all sides, at the frames' foci."""
    observed = views.observe(noise, views.whole.radius)
    n = min(len(observed), SIGNAL_FRAMES)
    rotation = Rotation.random(n, rng=np.random.default_rng(0)).as_matrix()
    place = np.broadcast_to(position, (n, *position.shape))
    wave = model_waves(observed.disc, scatterers, place, rotation, np.zeros((n, 2)))
    return float((np.abs(wave * observed.transfer[:n]) ** 2).sum(1).mean())


def _views(run: Path, spans: list[Span], poses: list[Path]) -> tuple[Views, dict[str, np.ndarray]]:
    """Some frames spread over spans, and what files say of their poses."""
    movie = read(run, "embed", "movie")
    every = max(1, sum(len(span) for span in spans) // NOISE_FRAMES)
    parts = [span.of(movie).isel(time=slice(0, None, every)) for span in spans]
    image = np.concatenate([part["image"].values for part in parts]).astype(np.float32)
    focus = [np.concatenate([part[name].values for part in parts]) for name in imaging.FOCUS]
    given = [files.load_arrays(path) for path in poses]
    frames = ("rotation", "shift_A", "stated_rotation", "stated_shift_A")
    found = joined({name: one[name][::every] for name in frames} for one in given) if given else {}
    return Views(imaging.camera_of(movie), image, focus), found | {"precision": given[0]["precision"]} if given else {}


def _as_strong_as(views: Views, made: Start, poses: dict[str, np.ndarray]) -> Scatterers:
    """Pseudo-atoms of a map on the scale of the images, which a map in noise is below."""
    noise = noise_of_hidden(views, made.scatterers, made.position)
    seen = views.observe(noise, map_radius(views.whole.n_pixels, views.whole.pixel_A))
    factor = scale_of(seen, made.scatterers, made.position, poses["rotation"], poses["shift_A"]).factor
    return scaled(made.scatterers, factor)


def _left_over(
    views: Views, scatterers: Scatterers, known: Modes, poses: dict[str, np.ndarray], n_iterations: int
) -> Noise:
    place = poses["rotation"], poses["shift_A"]
    return estimate_noise(views, scatterers, known, *place, n_iterations, prior_of(poses))

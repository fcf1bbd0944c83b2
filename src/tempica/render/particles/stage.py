"""A movie of images that another program recorded or made: a particle stack with its STAR file, block by block.

Images keep their values. An export of ours comes back as the digital levels that it was made of; any other stack
stays in 32-bit floats, with a scale that brings protein to its potential in 1/Å.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica import imaging
from tempica.errors import FormatError, RecipeError
from tempica.exchange.mrc import open_stack
from tempica.exchange.particle_file import Particles, read_particles
from tempica.exchange.relion import KEPT, OF_POSES, UNIFORM
from tempica.recipe.experiment import Recipe
from tempica.recipe.molecule import ArmsRecipe
from tempica.recipe.particles import ParticlesRecipe
from tempica.render.particles.arrangement import Plan, about_particles, arrange, open_stacks
from tempica.render.particles.stated import b_factor, bead_b_factor, levels_of, not_ours, phase_shift, visible_share
from tempica.runs.layout import trajectory_path
from tempica.runs.reading import read
from tempica.runs.work import blocks
from tempica.stores import files, store

if TYPE_CHECKING:
    import xarray

    from tempica.runs.work import Work

BLOCK_FRAMES = 100
SCALE_FRAMES = 500  # particles from which the scale of a foreign stack is learned
SCALE_STRUCTURES = 16  # structures of the ensemble that are expected in them
CERTAIN = 5.0  # standard errors of that scale below which the images do not show the molecule
VIEW = ("pose_quaternion", "pose_shift_A", "defocus_u_A", "defocus_v_A", "defocus_angle")


def check(recipe: Recipe, folder: Path) -> None:
    """Raise whatever is wrong with particles, stacks and pixels before anything is written: every image is read."""
    about = about_particles(recipe)
    star = trajectory_path(folder, about.star)
    particles = read_particles(star, about)
    if particles.quaternion is None and levels_of(particles) is None:
        raise FormatError(
            f"{star} has no poses (rlnAngleRot … rlnOriginYAngst), without which the images' scale cannot be found."
            " Refine the particles, and import the result."
        )
    if about.structure == "docked" and isinstance(recipe.simulate.molecule, ArmsRecipe):
        raise RecipeError("particles.structure = 'docked' needs a structure file, and a molecule of arms has none.")
    b_factor(about, particles, star)
    phase_shift(particles, star)
    rows = arrange(recipe, particles, star).row.ravel()
    stacks = open_stacks(particles, star)
    for number, stack in enumerate(stacks):
        images = np.sort(particles.image[rows[particles.stack[rows] == number]])
        for first in range(0, len(images), BLOCK_FRAMES):
            stack.read(images[first : first + BLOCK_FRAMES])


def run(work: Work) -> None:
    """Look through all images, then write them with what the STAR file says of each."""
    recipe, about = work.recipe, about_particles(work.recipe)
    star = trajectory_path(work.run, about.star)
    particles = read_particles(star, about)
    plan = arrange(recipe, particles, star)
    _say_what_is_used(work, particles, plan, star)
    ensemble = read(work.run, "render", "ensemble")
    optics = imaging.Optics(
        n_pixels=open_stacks(particles, star)[0].n_pixels,
        **particles.optics,
        b_factor_A2=b_factor(about, particles, star),
        bead_b_factor_A2=bead_b_factor(about, particles),
        phase_shift=phase_shift(particles, star),
    )
    views = _views(particles, plan, optics, about, ensemble.attrs)
    plan_file = work.folder / "plan.npz"
    files.save_arrays(
        plan_file, stacks=particles.stacks, stack=particles.stack[plan.row], image=particles.image[plan.row], **views
    )
    n_replicas, n_frames = plan.row.shape
    parts = [(r, a, b) for r in range(n_replicas) for a, b in blocks(n_frames, BLOCK_FRAMES)]
    levels = levels_of(particles)
    seen = _look(work, plan_file, optics, levels, -(-plan.row.size // SCALE_FRAMES), parts)
    if levels is not None and all(part["digital"] for part in seen):
        stored = _as_levels_of(particles, levels, visible_share(particles, ensemble))
    else:
        stored = _as_floats(particles, _strength(about, seen, star), seen)
        if particles.place:
            work.progress.say(f"render: warning: {not_ours(star)}")
    movie = _create_movie(work, particles, plan, optics, stored, ensemble)
    store.write(movie, {name: getattr(plan, name) for name in ("replica", "time", "label", "molecule")} | views)
    work.run_chains(
        f"blocks of {BLOCK_FRAMES} frames",
        [[(f"movie-{r}-{a}", partial(copy_block, plan_file, movie, stored.levels, r, a, b))] for r, a, b in parts],
    )


@dataclass(frozen=True)
class _Stored:
    """How the movie keeps pixel values and noise."""

    levels: imaging.Scale | None  # of an export of ours; None where images are 32-bit floats
    scale: tuple[float, float]  # factor and offset from stored values to potential in 1/Å
    attributes: dict[str, float | str]
    tables: dict[str, np.ndarray]  # over spatial frequency
    shown: float  # share of the molecule's scattering that the images show


def _as_levels_of(particles: Particles, levels: imaging.Scale, shown: float) -> _Stored:
    kept: dict[str, float | str] = {"noise": particles.noise}
    kept |= {name: particles.store[label] for name, label in KEPT.items() if label in particles.store}
    return _Stored(levels, (levels.factor, levels.offset), kept, particles.tables, shown)


def _as_floats(particles: Particles, strength: float, seen: list[dict[str, np.ndarray]]) -> _Stored:
    factor = 1 / strength
    squares, count = (sum(float(part[name]) for part in seen) for name in ("squares", "count"))
    deviation = abs(factor) * float(np.sqrt(squares / count))
    kept: dict[str, float | str] = {"noise": "white", "noise_std": deviation, "electrons_per_pixel": 0.0}
    kept |= {name: particles.store[label] for name, label in OF_POSES.items() if label in particles.store}
    return _Stored(None, (factor, 0.0), kept, UNIFORM, 1.0)


def _say_what_is_used(work: Work, particles: Particles, plan: Plan, star: Path) -> None:
    """Particles and columns that are left out, repeated or assumed."""
    if plan.unused:
        work.progress.say(f"render: the last {plan.unused} particles of {star} are not used")
    again = plan.row.size - len(np.unique(np.stack([particles.stack, particles.image])[:, plan.row.ravel()], axis=1).T)
    if again:
        work.progress.say(
            f"render: warning: {again} of {plan.row.size} particles show an image that another shows too (a file joined"
            " twice, or particles repeated for their symmetry): they are taken for different moments"
        )
    for assumption in particles.assumed:
        work.progress.say(f"render: {assumption}")
    if particles.passed_over:
        work.progress.say(f"render: {star} has {', '.join(particles.passed_over)}, which are not used")


def _look(
    work: Work,
    plan_file: Path,
    optics: imaging.Optics,
    levels: imaging.Scale | None,
    every: int,
    parts: list[tuple[int, int, int]],
) -> list[dict[str, np.ndarray]]:
    """What `look_block` finds in each part (replica, first, last)."""
    paths = [work.folder / "seen" / f"{r}-{a}.npz" for r, a, _ in parts]
    work.run_chains(
        "looking through images",
        [
            [(f"seen-{r}-{a}", partial(look_block, work.run, plan_file, optics, levels, every, path, r, a, b))]
            for path, (r, a, b) in zip(paths, parts, strict=True)
        ],
    )
    return [files.load_arrays(path) for path in paths]


def _create_movie(
    work: Work, particles: Particles, plan: Plan, optics: imaging.Optics, stored: _Stored, ensemble: xarray.Dataset
) -> Path:
    """The movie's store, with everything but images and views."""
    n_replicas, n_frames = plan.row.shape
    movie = work.create_store(
        "movie",
        {"replica": n_replicas, "time": n_frames, "y": optics.n_pixels, "x": optics.n_pixels}
        | {"quaternion": 4, "plane": 2, "atom": ensemble.sizes["atom"], "gaussian": 1}
        | {"node": len(stored.tables["frequency"])},
        chunks={"replica": 1, "time": BLOCK_FRAMES},
        scale={"image": stored.scale},
        dtypes={"image": stored.levels.dtype if stored.levels else "float32"},
        attributes={"pose": particles.pose}
        | stored.attributes
        | {name: value for name, value in vars(optics).items() if name != "n_pixels"},
    )
    dose = particles.place["tempicaDamageDose"][plan.row] if "tempicaDamageDose" in particles.place else 0.0
    beads = {
        "scatterer_amplitude_A": stored.shown * ensemble["scattering_length_A"].values[:, None],
        "scatterer_width_A": optics.width_A(ensemble["bead_width"].values)[:, None],
    }
    store.write(movie, beads | {"damage_dose": dose} | stored.tables)
    return movie


def look_block(
    run: Path,
    plan_file: Path,
    optics: imaging.Optics,
    levels: imaging.Scale | None,
    every: int,
    out: Path,
    replica: int,
    first: int,
    last: int,
) -> None:
    """What a block's images are, into `out`.

    Whether they are digital levels; the spread of their background; and how strongly every N-th of the movie, N =
    `every`, shows the molecule: ⟨image, model⟩ and ⟨model, model⟩, both without their means.
    """
    plan = files.load_arrays(plan_file)
    image = _images(plan, replica, first, last)
    digital = levels is not None and _as_levels(image, levels) is not None
    background = image[:, _corners(optics.n_pixels)].astype(np.float64)
    background -= background.mean(1, keepdims=True)
    number = replica * plan["image"].shape[1] + np.arange(first, last)
    chosen = np.flatnonzero(number % every == 0)
    overlap = np.zeros((2, len(chosen)))
    posed = bool(np.isfinite(plan["pose_shift_A"][replica]).all())
    if len(chosen) and posed and not digital:
        model = _model(run, plan, optics, replica, first + chosen)
        model -= model.mean((1, 2), keepdims=True)
        overlap = np.stack([(image[chosen] * model).sum((1, 2)), np.square(model).sum((1, 2))]).astype(np.float64)
    files.save_arrays(
        out, digital=digital, posed=posed, squares=np.square(background).sum(), count=background.size, overlap=overlap
    )


def copy_block(plan_file: Path, movie: Path, levels: imaging.Scale | None, replica: int, first: int, last: int) -> None:
    """A block's images into the movie store: as levels, or as they are."""
    image = _images(files.load_arrays(plan_file), replica, first, last)
    kept = image if levels is None else _as_levels(image, levels)
    store.write(movie, {"image": kept}, replica=replica, time=slice(first, last))


def _images(plan: dict[str, np.ndarray], replica: int, first: int, last: int) -> np.ndarray:
    which, number = plan["stack"][replica, first:last], plan["image"][replica, first:last]
    parts = {k: open_stack(Path(str(plan["stacks"][k]))) for k in np.unique(which).tolist()}
    image = np.empty((last - first, *2 * [next(iter(parts.values())).n_pixels]), np.float32)
    for k, stack in parts.items():
        image[which == k] = stack.read(number[which == k])
    return image


def _model(
    run: Path, plan: dict[str, np.ndarray], optics: imaging.Optics, replica: int, frames: np.ndarray
) -> np.ndarray:
    """What some frames of a replica show on average over structures of the ensemble."""
    ensemble = read(run, "render", "ensemble")
    chosen = np.unique(np.linspace(0, ensemble.sizes["time"] - 1, SCALE_STRUCTURES).astype(int))
    length, width = ensemble["scattering_length_A"].values, optics.width_A(ensemble["bead_width"].values)
    view = {name: plan[name][replica, frames] for name in VIEW}
    rotation = imaging.rotation_matrix(view["pose_quaternion"])
    potential = np.zeros((len(frames), optics.n_pixels, optics.n_pixels), np.float32)
    for structure in ensemble["position"].values[chosen]:
        place = np.broadcast_to(structure, (len(frames), *structure.shape))
        xy = imaging.to_pixels(place, rotation, view["pose_shift_A"], optics.n_pixels, optics.pixel_size_A)
        potential += imaging.project(xy, length, width, optics.n_pixels, optics.pixel_size_A)
    return imaging.through_optics(potential / len(chosen), optics.transfer(*(view[name] for name in VIEW[2:])))


def _strength(about: ParticlesRecipe, found: list[dict[str, np.ndarray]], star: Path) -> float:
    """s of image = s × model + noise, by least squares; the standard error comes from image to image."""
    if not found[0]["posed"]:
        raise FormatError(
            f"{star} has no poses, and its images are not those of our export any more, so that their scale is unknown."
        )
    shown, norm = np.concatenate([part["overlap"] for part in found], axis=1)
    strength = float(shown.sum() / norm.sum())
    error = float(np.sqrt(np.square(shown - strength * norm).sum()) / norm.sum())
    if not abs(strength) > CERTAIN * error:
        raise FormatError(
            f"The images of {star} do not show the molecule where their poses say: on {len(shown)} of them it stands"
            f" out by {abs(strength) / error if error else 0:.1f} standard errors. Is it the same molecule, and does"
            " the structure stand in the map as particles.structure says?"
        )
    if (strength > 0) != (about.contrast == "positive"):
        seen, write = ("positive", "positive") if strength > 0 else ("negative", "negative")
        raise FormatError(
            f"Protein is {seen} in the images of {star}. Write particles.contrast = '{write}', if it is not the poses"
            " that are wrong."
        )
    return strength


def _views(
    particles: Particles, plan: Plan, optics: imaging.Optics, about: ParticlesRecipe, attributes: dict[str, object]
) -> dict[str, np.ndarray]:
    if particles.quaternion is None or particles.shift_A is None:
        quaternion, shift = np.full((*plan.row.shape, 4), np.nan), np.full((*plan.row.shape, 2), np.nan)
    else:
        quaternion, shift = particles.quaternion[plan.row], particles.shift_A[plan.row]
    if about.structure == "docked":
        middle_A = optics.n_pixels // 2 * optics.pixel_size_A
        away_A = 10 * np.array(attributes["centre_nm"], dtype=np.float64) - middle_A
        shift = shift + (imaging.rotation_matrix(quaternion) @ away_A)[..., :2]
    return {
        "pose_quaternion": quaternion,
        "pose_shift_A": shift,
        **{name: getattr(particles, name)[plan.row] for name in VIEW[2:]},
    }


def _as_levels(image: np.ndarray, levels: imaging.Scale) -> np.ndarray | None:
    """The digital levels that images were made of, if they give exactly these images."""
    level = np.rint((image.astype(np.float64) - levels.offset) / levels.factor)
    if level.min() < 0 or level.max() > levels.levels:
        return None
    same = (level * levels.factor + levels.offset).astype(np.float32) == image
    return level.astype(levels.dtype) if same.all() else None


def _corners(n_pixels: int) -> np.ndarray:
    """Pixels beyond the circle that touches the edges."""
    x = np.arange(n_pixels) - n_pixels // 2
    return x[:, None] ** 2 + x**2 > (n_pixels / 2) ** 2

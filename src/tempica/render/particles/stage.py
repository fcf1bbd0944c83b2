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
from tempica.exchange.mrc_volume import read_volume
from tempica.exchange.particle_file import Particles, read_particles
from tempica.exchange.relion import KEPT, OF_POSES, UNIFORM
from tempica.imaging.fits import check_beads, check_box, check_grid
from tempica.recipe.experiment import Recipe
from tempica.recipe.molecule import ArmsRecipe, MapRecipe
from tempica.recipe.particles import ParticlesRecipe
from tempica.render.particles.arrangement import Plan, about_particles, arrange, open_stacks
from tempica.render.particles.looking import (
    POWER_FRAMES,
    SCALE_FRAMES,
    VIEW,
    Beads,
    as_levels,
    beads_of,
    doubt_of_poses,
    expected_power,
    images,
    look_block,
    strength_at_poses,
    strength_by_power,
)
from tempica.render.particles.stated import b_factor, bead_b_factor, levels_of, not_ours, phase_shift, visible_share
from tempica.runs.layout import trajectory_path
from tempica.runs.work import blocks
from tempica.stores import files, store

if TYPE_CHECKING:
    from tempica.runs.work import Work

BLOCK_FRAMES = 100


def check(recipe: Recipe, folder: Path) -> None:
    """Raise whatever is wrong with particles, stacks and pixels before anything is written: every image is read."""
    about = about_particles(recipe)
    star = trajectory_path(folder, about.star)
    particles = read_particles(star, about)
    molecule = recipe.simulate.molecule
    if about.structure == "docked" and isinstance(molecule, ArmsRecipe | MapRecipe):
        kind = "arms" if isinstance(molecule, ArmsRecipe) else "a map's pseudo-atoms"
        raise RecipeError(f"particles.structure = 'docked' needs a structure file, and a molecule of {kind} has none.")
    if recipe.embed.modes_from == "images" and particles.pose == "hidden":
        raise RecipeError(
            f"embed.modes_from = 'images' makes a map of the images at their poses, and {star} has none. Write"
            " embed.modes_from = 'structure': poses are then found from the images."
        )
    b_factor(about, particles, star)
    phase_shift(particles, star)
    rows = arrange(recipe, particles, star).row.ravel()
    stacks = open_stacks(particles, star)
    for number, stack in enumerate(stacks):
        of_stack = np.sort(particles.image[rows[particles.stack[rows] == number]])
        for first in range(0, len(of_stack), BLOCK_FRAMES):
            part = of_stack[first : first + BLOCK_FRAMES]
            flat = np.flatnonzero(np.ptp(stack.read(part), axis=(1, 2)) == 0)
            if len(flat):
                raise FormatError(
                    f"Image {part[flat[0]] + 1} of {stack.path} is the same in every pixel: it shows nothing. Leave it"
                    " out of the STAR file, or extract the particles again."
                )
    if isinstance(molecule, MapRecipe):
        path = trajectory_path(folder, molecule.map)
        volume = read_volume(path)
        voxel_A = molecule.pixel_size_A or volume.pixel_A
        pixel_A = particles.optics["pixel_size_A"]
        check_grid(volume.density.shape, voxel_A, stacks[0].n_pixels, pixel_A, f"The map {path}")


def run(work: Work) -> None:
    """Look through all images, then write them with what the STAR file says of each."""
    recipe, about = work.recipe, about_particles(work.recipe)
    star = trajectory_path(work.run, about.star)
    particles = read_particles(star, about)
    plan = arrange(recipe, particles, star)
    _say_what_is_used(work, particles, plan, star)
    kind = "structure" if isinstance(recipe.simulate.molecule, MapRecipe) else "ensemble"
    beads = beads_of(work.run, kind)
    if kind == "ensemble" and "tempicaScatterers" in particles.store:
        check_beads(len(beads.bead_width), int(particles.store["tempicaScatterers"]), "The structure")
    optics = imaging.Optics(
        n_pixels=open_stacks(particles, star)[0].n_pixels,
        **particles.optics,
        b_factor_A2=b_factor(about, particles, star),
        bead_b_factor_A2=bead_b_factor(about, particles, of_a_map=kind == "structure"),
        phase_shift=phase_shift(particles, star),
    )
    check_box(beads.position.mean(0), beads.scatterers(optics), optics.n_pixels, optics.pixel_size_A, "The molecule")
    views = _views(particles, plan, optics, about, beads.attributes)
    hidden = {"power": expected_power(beads, optics)} if particles.quaternion is None else {}
    plan_file = work.folder / "plan.npz"
    of_stacks = {"stack": particles.stack[plan.row], "image": particles.image[plan.row]}
    files.save_arrays(plan_file, stacks=particles.stacks, **of_stacks, **views, **hidden)
    n_replicas, n_frames = plan.row.shape
    parts = [(r, a, b) for r in range(n_replicas) for a, b in blocks(n_frames, BLOCK_FRAMES)]
    levels = levels_of(particles)
    seen = _look(work, kind, plan_file, optics, levels, parts)
    strength = strength_by_power if hidden else strength_at_poses
    if levels is not None and all(part["digital"] for part in seen):
        shown = strength(about, seen, star) if kind == "structure" else visible_share(particles, beads)
        stored = _as_levels_of(particles, levels, shown)
    else:
        stored = _as_floats(particles, strength(about, seen, star), seen)
        if particles.place:
            work.warn(not_ours(star))
    if kind == "structure" or stored.levels is None:
        assumed = f"{star} has no poses: the sign of protein is taken from particles.contrast"
        if said := assumed if hidden else doubt_of_poses(strength_at_poses(about, seen, star), seen, star):
            work.remark(said)
    movie = _create_movie(work, particles, plan, optics, stored, beads)
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
    of_images = {name: label for name, label in KEPT.items() if name not in OF_POSES}
    kept |= {name: particles.store[label] for name, label in of_images.items() if label in particles.store}
    return _Stored(levels, (levels.factor, levels.offset), kept, particles.tables, shown)


def _as_floats(particles: Particles, strength: float, seen: list[dict[str, np.ndarray]]) -> _Stored:
    factor = 1 / strength
    squares, count = (sum(float(part[name]) for part in seen) for name in ("squares", "count"))
    deviation = abs(factor) * float(np.sqrt(squares / count))
    kept: dict[str, float | str] = {"noise": "white", "noise_std": deviation, "electrons_per_pixel": 0.0}
    return _Stored(None, (factor, 0.0), kept, UNIFORM, 1.0)


def _say_what_is_used(work: Work, particles: Particles, plan: Plan, star: Path) -> None:
    """Particles and columns that are left out, repeated or assumed."""
    if plan.unused:
        work.progress.say(f"render: the last {plan.unused} particles of {star} are not used")
    again = plan.row.size - len(np.unique(np.stack([particles.stack, particles.image])[:, plan.row.ravel()], axis=1).T)
    if again:
        work.warn(
            f"{again} of {plan.row.size} particles show an image that another shows too (a file joined"
            " twice, or particles repeated for their symmetry): they are taken for different moments"
        )
    for assumption in particles.assumed:
        work.progress.say(f"render: {assumption}")
    if particles.passed_over:
        work.progress.say(f"render: {star} has {', '.join(particles.passed_over)}, which are not used")


def _look(
    work: Work,
    kind: str,
    plan_file: Path,
    optics: imaging.Optics,
    levels: imaging.Scale | None,
    parts: list[tuple[int, int, int]],
) -> list[dict[str, np.ndarray]]:
    """What `look_block` finds in each part (replica, first, last)."""
    plan = files.load_arrays(plan_file)
    every = -(-plan["stack"].size // (POWER_FRAMES if "power" in plan else SCALE_FRAMES))
    paths = [work.folder / "seen" / f"{r}-{a}.npz" for r, a, _ in parts]
    work.run_chains(
        "looking through images",
        [
            [(f"seen-{r}-{a}", partial(look_block, work.run, kind, plan_file, optics, levels, every, path, r, a, b))]
            for path, (r, a, b) in zip(paths, parts, strict=True)
        ],
    )
    return [files.load_arrays(path) for path in paths]


def _create_movie(
    work: Work, particles: Particles, plan: Plan, optics: imaging.Optics, stored: _Stored, beads: Beads
) -> Path:
    """The movie's store, with everything but images and views."""
    n_replicas, n_frames = plan.row.shape
    movie = work.create_store(
        "movie",
        {"replica": n_replicas, "time": n_frames, "y": optics.n_pixels, "x": optics.n_pixels}
        | {"quaternion": 4, "plane": 2, "atom": len(beads.bead_width), "gaussian": 1}
        | {"node": len(stored.tables["frequency"])},
        chunks={"replica": 1, "time": BLOCK_FRAMES},
        scale={"image": stored.scale},
        dtypes={"image": stored.levels.dtype if stored.levels else "float32"},
        attributes={"pose": particles.pose}
        | particles.pose_attributes
        | stored.attributes
        | {name: value for name, value in vars(optics).items() if name != "n_pixels"},
    )
    dose = particles.place["tempicaDamageDose"][plan.row] if "tempicaDamageDose" in particles.place else 0.0
    scatterers = beads.scatterers(optics)
    of_beads = {
        "scatterer_amplitude_A": stored.shown * scatterers.amplitude,
        "scatterer_width_A": scatterers.width_A,
    }
    store.write(movie, of_beads | {"damage_dose": dose} | stored.tables)
    return movie


def copy_block(plan_file: Path, movie: Path, levels: imaging.Scale | None, replica: int, first: int, last: int) -> None:
    """A block's images into the movie store: as levels, or as they are."""
    image = images(files.load_arrays(plan_file), replica, first, last)
    kept = image if levels is None else as_levels(image, levels)
    store.write(movie, {"image": kept}, replica=replica, time=slice(first, last))


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

"""Frames of a trajectory to images of a movie, block by block."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempica import imaging, store
from tempica.recipe import Recipe, RenderRecipe
from tempica.render.detector import Scale, white_noise
from tempica.render.poses import Views, random_views


def optics_of(recipe: RenderRecipe) -> imaging.Optics:
    """The part of the recipe that is the same for all images."""
    return imaging.Optics(**{name: getattr(recipe, name) for name in imaging.Optics.__dataclass_fields__})


def clean_images(
    recipe: RenderRecipe,
    views: Views,
    position: np.ndarray,
    scattering_length: np.ndarray,
    bead_width: np.ndarray,
) -> np.ndarray:
    """Noise-free images (frame, y, x), float32, in 1/Å: projection through the optics."""
    optics = optics_of(recipe)
    rotation = imaging.rotation_matrix(views.pose_quaternion)
    xy = imaging.to_pixels(position, rotation, views.pose_shift, optics.n_pixels, optics.pixel_size_A)
    potential = imaging.project(xy, scattering_length, optics.width_A(bead_width), optics.n_pixels, optics.pixel_size_A)
    return imaging.through_optics(potential, optics.transfer(views.defocus_u, views.defocus_v, views.defocus_angle))


def measure_block(recipe: Recipe, run: Path, out: Path, replica: int, first: int, last: int) -> None:
    """Per-frame variance and extremes of the clean images, from which noise and scale are set."""
    _, image = _clean_block(recipe, run, replica, first, last)
    store.save_arrays(
        out,
        variance=image.var((1, 2), dtype=np.float64),
        low=image.min((1, 2)).astype(np.float64),
        high=image.max((1, 2)).astype(np.float64),
    )


def write_block(
    recipe: Recipe,
    run: Path,
    movie: Path,
    deviation: float,
    scale: Scale,
    replica: int,
    first: int,
    last: int,
) -> None:
    """Noisy, digitised images of a block into the movie store, with their views."""
    views, image = _clean_block(recipe, run, replica, first, last)
    if deviation > 0:
        for row, frame in enumerate(range(first, last)):
            image[row] += white_noise(deviation, recipe.seed, replica, frame, recipe.render.n_pixels)
    store.write(movie, {"image": scale.digitise(image), **vars(views)}, replica=replica, time=slice(first, last))


def _clean_block(recipe: Recipe, run: Path, replica: int, first: int, last: int) -> tuple[Views, np.ndarray]:
    trajectory = store.read(run, "render", "trajectory")
    position = trajectory["position"].isel(replica=replica, time=slice(first, last)).values
    views = random_views(recipe.microscope, recipe.seed, replica, first, last)
    beads = trajectory["scattering_length"].values, trajectory["bead_width"].values
    return views, clean_images(recipe.microscope, views, position, *beads)

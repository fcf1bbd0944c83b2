"""Where the molecule is and how it is turned, and how the microscope is focused: one draw a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica import seeds
from tempica.recipe import RenderRecipe


@dataclass(frozen=True)
class Views:
    """Pose and focus of frames; arrays over frame."""

    pose_quaternion: np.ndarray  # (frame, 4), order x y z w
    pose_shift: np.ndarray  # (frame, 2) Å, order x y
    defocus_u: np.ndarray  # (frame,) Å
    defocus_v: np.ndarray
    defocus_angle: np.ndarray  # rad


def random_views(recipe: RenderRecipe, seed: int, replica: int, first: int, last: int) -> Views:
    """Views of frames first … last − 1 of a replica, each from its own counter.

    Orientations are uniform on SO(3): a normalised 4-vector of normals (Shoemake 1992). Shifts are normal,
    underfocus and astigmatism angle uniform.
    """
    draws = [_draw(recipe, seeds.generator(seed, "view", replica, frame)) for frame in range(first, last)]
    return Views(*(np.array(column) for column in zip(*draws, strict=True)))


def _draw(recipe: RenderRecipe, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float, float, float]:
    quaternion = rng.standard_normal(4)
    quaternion /= np.linalg.norm(quaternion)
    shift = recipe.shift_deviation_A * rng.standard_normal(2)
    defocus = rng.uniform(recipe.defocus_low_A, recipe.defocus_high_A)
    angle = rng.uniform(0, np.pi)
    return quaternion, shift, defocus + recipe.astigmatism_A / 2, defocus - recipe.astigmatism_A / 2, angle

"""Position and orientation of the molecule and focus of the microscope in each frame of a movie."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tempica import imaging, seeds
from tempica.recipe.electron import DiffusingPoses, FixedPoses, RandomPoses, RenderRecipe

BOLTZMANN = 1.380649e-23  # J/K
SHELL_NM = 0.3  # water that turns with a protein
STEP = 0.02  # rad², variance of a step about each axis that stands for a longer motion to 0.2 %
UNIFORM = 20.0  # rad², the same after which any orientation is as likely as another, to e⁻²⁰


@dataclass(frozen=True)
class Views:
    """Pose, focus and dose of frames; arrays over frame."""

    pose_quaternion: np.ndarray  # (frame, 4), order x y z w
    pose_shift_A: np.ndarray  # (frame, 2) Å, order x y
    defocus_u_A: np.ndarray  # (frame,) Å
    defocus_v_A: np.ndarray
    defocus_angle: np.ndarray  # rad
    damage_dose: np.ndarray  # e/Å²


def random_views(recipe: RenderRecipe, seed: int, replica: int, first: int, last: int) -> Views:
    """Views of frames first … last − 1 of a replica, each from its own counter and of a molecule of its own.

    Orientations are uniform on SO(3): a normalised 4-vector of normals (Shoemake 1992); or the viewing
    direction has a von Mises–Fisher distribution about the preferred axes. Shifts are normal, underfocus and
    astigmatism angle uniform.
    """
    draws = [_draw(recipe, seed, replica, frame) for frame in range(first, last)]
    quaternion, shift, u, v, angle = (np.array(column) for column in zip(*draws, strict=True))
    return Views(quaternion, shift, u, v, angle, np.zeros(last - first))


def movie_views(
    recipe: RenderRecipe, seed: int, replica: int, molecule: np.ndarray, interval_s: np.ndarray, diffusion_per_s: float
) -> Views:
    """True views of all frames of a replica.

    `molecule` (frame,) tells the frames of one molecule, which follow each other, from those of the next;
    `interval_s` (frame,) is the time since the frame before. Fixed and diffusing molecules keep their focus;
    fixed ones keep their pose, diffusing ones start from it. Frame t does not depend on how many frames follow it.
    """
    n = len(molecule)
    begins = np.ones(n, dtype=bool)
    begins[1:] = molecule[1:] != molecule[:-1]
    start = np.maximum.accumulate(np.where(begins, np.arange(n), 0))
    views = random_views(recipe, seed, replica, 0, n) if isinstance(recipe.poses, RandomPoses) else None
    if views is None:
        views = _followed(recipe, seed, replica, start, interval_s, diffusion_per_s)
    if not recipe.radiation_damage:
        return views
    assert recipe.dose_per_frame_e_A2 is not None
    dose = recipe.pre_exposure_e_A2 + (np.arange(n) - start + 0.5) * recipe.dose_per_frame_e_A2
    return replace(views, damage_dose=dose)


def stated_poses(
    recipe: RenderRecipe, seed: int, replica: int, molecule: np.ndarray, views: Views
) -> dict[str, np.ndarray]:
    """What the movie says of poses: the truth; the truth with an error; or NaN.

    Errors are normal, of the rotation about each axis and of the shift along each; one a frame, or where poses are
    fixed one a molecule.
    """
    true = {"pose_quaternion": views.pose_quaternion, "pose_shift_A": views.pose_shift_A}
    poses = recipe.poses
    if poses.knowledge == "hidden":
        return {name: np.full_like(value, np.nan) for name, value in true.items()}
    if poses.knowledge == "known":
        return true
    n = len(molecule)
    where = np.arange(n)
    if poses.kind == "fixed":
        where = np.maximum.accumulate(np.where(np.append(True, molecule[1:] != molecule[:-1]), where, 0))
    error = {k: seeds.generator(seed, "pose error", replica, k).standard_normal(5) for k in np.unique(where).tolist()}
    draw = np.array([error[k] for k in where.tolist()])
    turn = imaging.quaternion_of(math.radians(poses.error_deg) * draw[:, :3])
    return {
        "pose_quaternion": imaging.quaternion_product(true["pose_quaternion"], turn),
        "pose_shift_A": true["pose_shift_A"] + poses.error_A * draw[:, 3:],
    }


def stokes_einstein_per_s(radius_nm: float, temperature_K: float, viscosity_mPa_s: float) -> float:
    """Rotational diffusion coefficient D = kT / (8π η a³) of a ball, in rad²/s about each axis."""
    return BOLTZMANN * temperature_K / (8 * np.pi * 1e-3 * viscosity_mPa_s * (1e-9 * radius_nm) ** 3)


def diffusion_of(recipe: RenderRecipe, position: np.ndarray, weight: np.ndarray) -> float:
    """D (rad²/s) that a recipe states, or that of a molecule with positions (atom, space) in nm; 0 if none diffuses."""
    poses = recipe.poses
    if not isinstance(poses, DiffusingPoses):
        return 0.0
    if poses.rotational_diffusion_per_s is not None:
        return poses.rotational_diffusion_per_s
    radius = poses.radius_nm
    if radius is None:
        centred = position - np.average(position, axis=0, weights=weight)
        radius = math.sqrt(5 / 3 * np.average((centred**2).sum(1), weights=weight)) + SHELL_NM
    return stokes_einstein_per_s(radius, poses.temperature_K, poses.viscosity_mPa_s)


def brownian_step(draws: np.random.Generator, variance: float) -> np.ndarray:
    """Rotation vectors (step, 3) whose product is Brownian motion on SO(3) with 2 D Δt = `variance` about each axis.

    The axis's l-th Legendre polynomial decays by exp(−l (l + 1) D Δt): a single normal vector would only for short
    steps, and long ones are cut.
    """
    n = max(1, math.ceil(min(variance, UNIFORM) / STEP))
    return math.sqrt(min(variance, UNIFORM) / n) * draws.standard_normal((n, 3))


def _followed(
    recipe: RenderRecipe, seed: int, replica: int, start: np.ndarray, interval_s: np.ndarray, diffusion_per_s: float
) -> Views:
    """Views of molecules that are seen in several frames; `start` (frame,) is the first frame of each's molecule."""
    poses = recipe.poses
    assert not isinstance(poses, RandomPoses)
    first = {k: _draw(recipe, seed, replica, k) for k in np.unique(start).tolist()}
    quaternion, shift, u, v, angle = (np.array(c) for c in zip(*(first[k] for k in start.tolist()), strict=True))
    if isinstance(poses, DiffusingPoses):
        variance = (2 * diffusion_per_s * interval_s).tolist()
        for frame in range(len(start)):
            if frame == start[frame]:
                continue
            here = quaternion[frame - 1]
            for turn in imaging.quaternion_of(
                brownian_step(seeds.generator(seed, "turn", replica, frame), variance[frame])
            ):
                here = _product(here, turn)
            quaternion[frame] = here / np.linalg.norm(here)
    if poses.drift_A:
        way = {k: seeds.generator(seed, "drift", replica, k).uniform(0, 2 * np.pi) for k in first}
        direction = np.array([way[k] for k in start.tolist()])
        travelled = poses.drift_A * (np.arange(len(start)) - start)
        shift = shift + travelled[:, None] * np.stack([np.cos(direction), np.sin(direction)], -1)
    return Views(quaternion, shift, u, v, angle, np.zeros(len(start)))


def _product(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """`imaging.quaternion_product` of two, without the cost of arrays."""
    x, y, z, w = first.tolist()
    a, b, c, d = then.tolist()
    return np.array(
        [
            d * x + w * a + b * z - c * y,
            d * y + w * b + c * x - a * z,
            d * z + w * c + a * y - b * x,
            d * w - a * x - b * y - c * z,
        ]
    )


def _draw(
    recipe: RenderRecipe, seed: int, replica: int, frame: int
) -> tuple[np.ndarray, np.ndarray, float, float, float]:
    rng = seeds.generator(seed, "view", replica, frame)
    quaternion = rng.standard_normal(4)
    quaternion /= np.linalg.norm(quaternion)
    shift = recipe.shift_deviation_A * rng.standard_normal(2)
    defocus = rng.uniform(recipe.defocus_low_A, recipe.defocus_high_A)
    angle = rng.uniform(0, np.pi)
    if recipe.poses.preferred_axes:
        quaternion = _preferred(recipe, rng)
    if isinstance(recipe.poses, FixedPoses) and recipe.poses.orientation is not None:
        quaternion = np.array(recipe.poses.orientation) / math.hypot(*recipe.poses.orientation)
    return quaternion, shift, defocus + recipe.astigmatism_A / 2, defocus - recipe.astigmatism_A / 2, angle


def _preferred(recipe: RenderRecipe, rng: np.random.Generator) -> np.ndarray:
    """An orientation in which a direction near a preferred axis points towards the viewer.

    cos of the angle to the axis: 1 + ln(1 + (1 − u) (e^(−2κ) − 1)) / κ, the inverse of its distribution on the sphere.
    """
    axes, kappa = recipe.poses.preferred_axes, recipe.poses.preference
    axis = np.array(axes[rng.integers(len(axes))])
    axis = axis / np.abs(axis).max()  # whose squares neither overflow nor vanish
    axis = axis / np.linalg.norm(axis)
    u = rng.uniform()
    cos = 1 + math.log1p((1 - u) * math.expm1(-2 * kappa)) / kappa
    around, spin = rng.uniform(0, 2 * np.pi, 2)
    sin = math.sqrt(max(0.0, 1 - cos**2))
    eye = np.array([0.0, 0.0, 1.0])
    tilted = np.array([sin * math.cos(around), sin * math.sin(around), cos])  # if the axis were `eye`
    # first the axis is turned towards the viewer, then the tilted direction
    upright = _product(imaging.quaternion_between(axis, eye), imaging.quaternion_between(tilted, eye))
    return _product(upright, np.array([0.0, 0.0, math.sin(spin / 2), math.cos(spin / 2)]))

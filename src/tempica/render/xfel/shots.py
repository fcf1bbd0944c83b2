"""What differs between shots of an X-ray laser: orientation, pulse energy, and the photons that are counted."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation

from tempica import seeds
from tempica.recipe.xfel import XfelRecipe


def orientations(recipe: XfelRecipe, seed: int, replica: int, first: int, molecule: np.ndarray) -> np.ndarray:
    """Unit quaternions (frame, 4), order x y z w, of frames first … that show these molecules (frame,).

    Uniform on SO(3): a normalised 4-vector of normals (Shoemake 1992), of each frame or of each molecule.
    """
    each = molecule if recipe.poses.kind == "fixed" else first + np.arange(len(molecule))
    draw = np.stack([seeds.generator(seed, "orientation", replica, int(n)).standard_normal(4) for n in each])
    return draw / np.linalg.norm(draw, axis=1, keepdims=True)


def stated(recipe: XfelRecipe, seed: int, replica: int, first: int, quaternion: np.ndarray) -> np.ndarray:
    """What the movie states of orientations (frame, 4) of frames first …: R exp(w) from the left, w ~ N(0, error²)."""
    if recipe.poses.knowledge == "known":
        return quaternion
    if recipe.poses.knowledge == "hidden":
        return np.full_like(quaternion, np.nan)
    draws = [seeds.generator(seed, "orientation error", replica, first + n) for n in range(len(quaternion))]
    error = math.radians(recipe.poses.error_deg) * np.stack([draw.standard_normal(3) for draw in draws])
    return (Rotation.from_rotvec(error) * Rotation.from_quat(quaternion)).as_quat()


def pulses(recipe: XfelRecipe, seed: int, replica: int, first: int, last: int) -> np.ndarray:
    """Photons per µm² (frame,) of the pulses of frames first … last − 1.

    Gamma-distributed about the recipe's mean with a relative standard deviation of `pulse_jitter`, the law of a
    self-amplified pulse's energy.
    Source: Saldin, Schneidmiller & Yurkov, Opt. Commun. 148, 383 (1998), equation 32.
    """
    mean, jitter = recipe.photons_per_um2, recipe.pulse_jitter
    if jitter == 0:
        return np.full(last - first, mean)
    shape = jitter**-2
    draws = [seeds.generator(seed, "pulse", replica, n).standard_gamma(shape) for n in range(first, last)]
    return mean / shape * np.array(draws)


def counted(expected: np.ndarray, seed: int, replica: int, frame: int) -> np.ndarray:
    """Photons (y, x) that arrive where so many are expected: Poisson, a function of seed, replica and frame."""
    return seeds.generator(seed, "photons", replica, frame).poisson(expected)


def count_dtype(expected: float) -> str:
    """The smallest unsigned integer that holds every count in pixels where at most so many photons are expected.

    Room is left for 12 standard deviations and 40 photons, beyond which a count lies once in 1e30.
    """
    most = expected + 12 * math.sqrt(expected) + 40
    return next(name for name in ("uint8", "uint16", "uint32", "uint64") if most <= np.iinfo(name).max)

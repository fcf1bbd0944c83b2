"""How molecules lie on the support, turn and wander, from frame to frame and within a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from tempica import seeds
from tempica.imaging.afm import flat_faces
from tempica.recipe.afm import AfmRecipe

STATION_DEG = 3.0  # turn within a frame between places that are joined by straight lines: 1 − cos 1.5° is 3e-4


@dataclass(frozen=True)
class Lying:
    """Poses of the frames of a replica, at the start of their scan; arrays over frame."""

    face: np.ndarray  # (frame, 4) quaternion x y z w of molecule to support, before the turn in the plane
    angle: np.ndarray  # (frame,) rad, of the turn in the plane
    shift_nm: np.ndarray  # (frame, 2)
    turn: np.ndarray  # (frame,) rad, that the angle changes by until the next frame
    step_nm: np.ndarray  # (frame, 2) the same of the shift, the stage's drift included
    slope: np.ndarray  # (frame, 2) of the stage along x and y


def lie(recipe: AfmRecipe, seed: int, replica: int, molecule: np.ndarray, position: np.ndarray) -> Lying:
    """Poses of all frames of a replica; `molecule` (frame,) tells molecules apart, `position` (atom, space) in nm.

    A molecule keeps its face. The angle is a random walk from anywhere; the shift is x′ = ρ x + step with
    ρ² = 1 − step² / deviation², so that its deviation stays as it is. Frame t does not depend on frames after it.
    """
    poses, n = recipe.poses, len(molecule)
    begins = np.append(True, molecule[1:] != molecule[:-1])
    start = np.maximum.accumulate(np.where(begins, np.arange(n), 0))
    faces = _faces(recipe, position)
    draws = np.stack([seeds.generator(seed, "lying step", replica, k).standard_normal(3) for k in range(n + 1)])
    turn = math.radians(poses.turn_deg) * draws[:, 0]
    deviation, step = poses.shift_deviation_nm, min(poses.step_nm, poses.shift_deviation_nm)
    rho = math.sqrt(1 - (step / deviation) ** 2) if deviation else 0.0
    face, slope, way = np.empty((n, 4)), np.empty((n, 2)), np.empty((n, 2))
    angle, shift = np.empty(n + 1), np.empty((n + 1, 2))
    for k in range(n + 1):
        first = start[min(k, n - 1)]
        if k == first:
            rng = seeds.generator(seed, "lying", replica, k)
            face[k:] = _drawn(faces, rng, poses.tilt_deg)
            angle[k], shift[k] = rng.uniform(0, 2 * np.pi), deviation * rng.standard_normal(2)
            slope[k:] = np.tan(np.radians(recipe.stage_tilt_deg * rng.standard_normal(2)))
            direction = rng.uniform(0, 2 * np.pi)
            way[k:] = np.cos(direction), np.sin(direction)
        else:
            angle[k], shift[k] = angle[k - 1] + turn[k], rho * shift[k - 1] + step * draws[k, 1:]
    same = np.append(molecule[1:] == molecule[:-1], True)[:, None]  # a molecule's last frame has no next one
    drift = recipe.drift_nm_per_s * recipe.frame_interval_s * way
    move = np.where(same, np.diff(shift, axis=0), 0) + drift
    return Lying(face, angle[:n], shift[:n], np.where(same[:, 0], np.diff(angle), 0), move, slope)


def quaternions(lying: Lying) -> np.ndarray:
    """Rotations (frame, 4) of molecule to view, order x y z w, at the start of each frame."""
    spin = Rotation.from_rotvec(lying.angle[:, None] * [0.0, 0.0, 1.0])
    found: np.ndarray = (spin * Rotation.from_quat(lying.face)).as_quat()
    return found


def scanned(recipe: AfmRecipe, lying: Lying, position: np.ndarray, after: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Places (frame, S, atom, 3) in nm during the scan, at even times; S = 1 where frames are taken at once.

    Molecules move straight from `position` (frame, atom, 3) to those of the next frame, `after`; the lowest atom
    touches the support.
    """
    share = recipe.n_pixels * recipe.line_time_s / recipe.frame_interval_s  # of the interval that the scan takes
    times = np.linspace(0, share, 1 + _n_steps(recipe, share)) if share else np.zeros(1)
    angle = lying.angle[:, None] + times * lying.turn[:, None]
    spin = Rotation.from_rotvec(angle.reshape(-1, 1) * [0.0, 0.0, 1.0])
    faces = Rotation.from_quat(np.repeat(lying.face, len(times), 0))
    turned = (spin * faces).as_matrix().reshape(*angle.shape, 3, 3)
    between = position[:, None] + times[:, None, None] * (after - position)[:, None]
    place = np.einsum("fsij,fsnj->fsni", turned, between)
    place[..., :2] += (lying.shift_nm[:, None] + times[:, None] * lying.step_nm[:, None])[:, :, None]
    place[..., 2] -= (place[..., 2] - radius).min(-1)[..., None]
    return place


def _n_steps(recipe: AfmRecipe, share: float) -> int:
    most = 3 * recipe.poses.turn_deg * share  # three deviations
    return int(np.clip(math.ceil(most / STATION_DEG), 2, 16))


def _faces(recipe: AfmRecipe, position: np.ndarray) -> list[Rotation] | None:
    """Rotations in which molecules may lie; None where every one will do."""
    if recipe.poses.faces:
        return [Rotation.from_quat(face) for face in recipe.poses.faces]
    if recipe.poses.lying == "free":
        return None
    return list(Rotation.from_matrix(flat_faces(position)))


def _drawn(faces: list[Rotation] | None, rng: np.random.Generator, tilt_deg: float) -> np.ndarray:
    quaternion = rng.standard_normal(4)
    which, tilt = rng.uniform(), np.radians(tilt_deg) * rng.standard_normal(2)
    face = Rotation.from_quat(quaternion) if faces is None else faces[int(which * len(faces))]
    found: np.ndarray = (Rotation.from_rotvec([*tilt, 0.0]) * face).as_quat()
    return found

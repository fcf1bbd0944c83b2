"""Rigid domains: found from how beads move, or declared, and their motion by exact rotations.

Two beads belong to one domain if their distance does not change. A structure of which D domains move as bodies is the
body's, with each other domain d turned by R_d about its hinge h_d, the point of the reference that moves least, and
carried along with it: x_i = h_d + v_d + R_d (x̄_i − h_d). Beads of no domain, in linkers, follow the domains next to
them along the index.

Shape legend: F frame or structure, N bead, D domain, K motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from tempica.errors import DataError

NEAR_NM = 1.0
LEAST_BEADS = 8


@dataclass(frozen=True)
class Domains:
    """Which beads move as bodies, and where each turns."""

    label: np.ndarray  # (N,) domain of each bead; 0 is the body, that which has most beads or was declared first
    hinge: np.ndarray  # (D, 3) nm, of the body its centre


def rigid_domains(position: np.ndarray, shape: np.ndarray, n_domains: int) -> Domains:
    """Domains of a structure (N, 3) in nm whose displacements (K, N, 3) are known, as `Modes.shape`.

    Each bead's neighbourhood (1 nm) turns by ω_i in each displacement, by least squares, and moves as a body with the
    velocity u_i − ω_i × x_i at the centre. Beads of one screw are a domain: k-means on (ω_i, (u_i − ω_i × x_i) / r_g),
    r_g the radius of gyration, from starts spread over the beads; then stretches of fewer than eight beads join the
    domain beside them.
    Raises DataError for a number of domains that is not between 1 and N / 8.
    """
    n = len(position)
    if not 1 <= n_domains <= n // LEAST_BEADS:
        raise DataError(f"n_domains = {n_domains} must be 1 to {n // LEAST_BEADS}, an eighth of the {n} beads.")
    centred = position - position.mean(0)
    size = np.sqrt((centred**2).sum(1).mean())
    turn = _local_turns(centred, shape)
    velocity = shape - np.cross(turn, centred)
    screw = np.concatenate([turn, velocity / size], 2).transpose(1, 0, 2).reshape(n, -1)
    label = kmeans2(screw, _spread(screw, n_domains), minit="matrix", iter=100)[1]
    label = _without_pieces(label)
    order = np.argsort(-np.bincount(label), kind="stable")
    return _hinged(position, shape, np.argsort(order)[label])


def declared_domains(position: np.ndarray, shape: np.ndarray, domains: list[np.ndarray]) -> Domains:
    """The same for indices of beads that are declared, the body first. Others go with the nearest in the index.

    Raises DataError for beads in two domains or an empty domain.
    """
    label = np.full(len(position), -1)
    for number, beads in enumerate(domains):
        if len(beads) < 3 or (label[beads] >= 0).any():
            raise DataError(f"Domain {number} has {len(beads)} beads; it needs three or more that are in no other.")
        label[beads] = number
    known = np.flatnonzero(label >= 0)
    return _hinged(position, shape, label[known[cKDTree(known[:, None]).query(np.arange(len(label))[:, None])[1]]])


def domain_motions(
    domains: Domains, position: np.ndarray, rotation_vector: np.ndarray, shift: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Structures (F, N, 3) whose domains are turned about their hinges, and their derivatives (F, K, N, 3).

    The derivatives, in nm per rad, are turns of each domain but the body about x, y and z of the molecule's frame,
    R ← exp(w) R, K = 3 (D − 1): columns for `quadratic.linearise`.

    Parameters:
        position: (N, 3) nm, the reference.
        rotation_vector: (F, D − 1, 3) rad, of each domain but the body, relative to the body.
        shift: (F, D − 1, 3) nm of each hinge; none if left out.
    """
    n_frames, n_moving = rotation_vector.shape[:2]
    place = np.broadcast_to(position, (n_frames, *position.shape)).copy()
    derivative = np.zeros((n_frames, n_moving, 3, *position.shape))
    for d in range(n_moving):
        beads = domains.label == d + 1
        arm = (position[beads] - domains.hinge[d + 1]) @ Rotation.from_rotvec(
            rotation_vector[:, d]
        ).as_matrix().swapaxes(1, 2)
        place[:, beads] = domains.hinge[d + 1] + arm
        if shift is not None:
            place[:, beads] += shift[:, d, None]
        for axis in range(3):
            derivative[:, d, axis, beads] = np.cross(np.eye(3)[axis], arm)
    return place, derivative.reshape(n_frames, 3 * n_moving, *position.shape)


def _local_turns(position: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Turns ω (K, N, 3) per unit of each displacement that fit those of a bead's neighbours best."""
    near = cKDTree(position).query_ball_point(position, NEAR_NM)
    turn = np.empty_like(shape)
    for i, found in enumerate(near):
        arm = position[found] - position[found].mean(0)
        moved = shape[:, found] - shape[:, found].mean(1, keepdims=True)
        inertia = (arm**2).sum() * np.eye(3) - arm.T @ arm
        inertia += 1e-3 * np.trace(inertia) * np.eye(3)  # beads in a line do not say how they turn about it
        turn[:, i] = np.linalg.solve(inertia, np.cross(arm, moved).sum(1).T).T
    return turn


def _spread(points: np.ndarray, number: int) -> np.ndarray:
    """Starts (D, P): the point nearest to the median, then that farthest from those taken; outliers are left out."""
    middle = np.median(points, 0)
    distance = np.linalg.norm(points - middle, axis=1)
    inside = np.flatnonzero(distance <= np.quantile(distance, 0.95))
    chosen = [points[inside[distance[inside].argmin()]]]
    while len(chosen) < number:
        apart = np.min([np.linalg.norm(points[inside] - each, axis=1) for each in chosen], 0)
        chosen.append(points[inside[apart.argmax()]])
    return np.array(chosen)


def _without_pieces(label: np.ndarray) -> np.ndarray:
    """Labels with runs of fewer than LEAST_BEADS given to the longer of the runs beside them, shortest first."""
    label = label.copy()
    while True:
        start = np.flatnonzero(np.r_[True, label[1:] != label[:-1]])
        length = np.diff(np.r_[start, len(label)])
        if len(start) == 1 or length.min() >= LEAST_BEADS:
            return np.unique(label, return_inverse=True)[1]
        k = int(length.argmin())
        beside = [j for j in (k - 1, k + 1) if 0 <= j < len(start)]
        label[start[k] : start[k] + length[k]] = label[start[max(beside, key=lambda j: length[j])]]


def _hinged(position: np.ndarray, shape: np.ndarray, label: np.ndarray) -> Domains:
    """Domains with the point that moves least against the body in all displacements, near the domain's centre."""
    n_domains = int(label.max()) + 1
    hinge = np.array([position[label == d].mean(0) for d in range(n_domains)])
    body_velocity, body_turn = screw(position, shape, label == 0)
    for d in range(1, n_domains):
        velocity, turn = screw(position, shape, label == d)
        v, w = velocity - body_velocity, turn - body_turn  # at x the domain moves by v + w × x against the body
        cross = np.stack([np.cross(w, axis) for axis in np.eye(3)], -1).reshape(-1, 3)
        # along the axis the point is free: the ridge takes that nearest to the domain's centre
        centre = hinge[d]
        right = -(v + np.cross(w, centre)).reshape(-1)
        left = cross.T @ cross
        hinge[d] = centre + np.linalg.solve(left + 1e-6 * np.trace(left) * np.eye(3), cross.T @ right)
    return Domains(label, hinge)


def screw(position: np.ndarray, shape: np.ndarray, beads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Velocity at the origin (K, 3) and turn (K, 3) of the body that beads move as in displacements (K, N, 3)."""
    x = position[beads]
    rows = np.zeros((len(x), 3, 6))
    rows[:, :, :3] = np.eye(3)
    rows[:, :, 3:] = np.stack([np.cross(axis, x) for axis in np.eye(3)], -1)
    found = np.linalg.lstsq(rows.reshape(-1, 6), shape[:, beads].reshape(len(shape), -1).T, rcond=None)[0]
    return found[:3].T, found[3:].T

"""Errors of estimated poses and latents, with both structures known.

A pose refers to the frame of its structure, and that frame is a convention: R x + t and (R Gᵀ)(G x) + t are the same
view. Placed in the view, structures have no frame, so an estimate is compared there: the error of its pose is the
rotation exp(w) that turns R̂ x̂ onto R x by least squares, and the shift that is left.

A posterior is over the coordinates θ = (a, w, t) of its own model, x̄ + Σ_k a_k m_k placed by exp(w) R̂ and t. The true
structure has such coordinates too: those of the placed model nearest to it. Their errors are what the posterior's
covariance must predict.

Shape legend: F frame, N atom, K mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica.imaging.geometry import quaternion_of, rotation_matrix
from tempica.imaging.linearise import Images, Scatterers, Whitened
from tempica.imaging.modes import Modes
from tempica.imaging.poses import POSE, rotation_vector, superposition

LOST = np.radians(15.0)  # beyond which a pose is lost: no smoother or refinement finds back from there
N_STEPS = 12  # of Gauss–Newton, at the most; two or three suffice near the truth


@dataclass(frozen=True)
class Placed:
    """Structures with their poses."""

    position: np.ndarray  # (frame, atom, space) nm
    rotation: np.ndarray  # (frame, 3, 3)
    shift_A: np.ndarray  # (frame, 2)

    def in_view_A(self) -> np.ndarray:
        """(F, N, 3) Å, z counted from the structure's own origin."""
        view = 10.0 * np.einsum("fij,fnj->fni", self.rotation, self.position, optimize=True)
        view[..., :2] += self.shift_A[:, None]
        return view


@dataclass(frozen=True)
class PoseErrors:
    """What takes estimated poses to the true ones."""

    turn: np.ndarray  # (frame, 3) rad, rotation vector w in the view's frame: R = exp(w) R̂
    shift_A: np.ndarray  # (frame, 2) t − t̂
    structure_A: np.ndarray  # (frame,) root mean square distance of the superposed structures
    mirrored: np.ndarray  # (frame,) bool: lost, and in place as seen from behind

    @property
    def angle(self) -> np.ndarray:
        return np.asarray(np.linalg.norm(self.turn, axis=-1))


def pose_errors(truth: Placed, estimate: Placed, weight: np.ndarray) -> PoseErrors:
    """Errors of estimated poses, each with the structure that was estimated, on atoms weighted by `weight` (N,)."""
    true, found = truth.in_view_A(), estimate.in_view_A()
    share = weight / weight.sum()
    centre, origin = (np.einsum("n,fni->fi", share, each) for each in (true, found))
    turn = superposition(found, true, weight)
    vector = rotation_vector(turn)
    # the shift places the estimate's own origin, about which it is turned
    place = np.concatenate([estimate.shift_A, np.zeros((len(found), 1))], 1)
    shift = centre - place - np.einsum("fij,fj->fi", turn, origin - place)
    left = (true - centre[:, None]) - np.einsum("fij,fnj->fni", turn, found - origin[:, None], optimize=True)
    behind = np.linalg.norm(rotation_vector(superposition(found, true * [1, 1, -1], weight)), axis=-1)
    lost = np.linalg.norm(vector, axis=-1) > LOST
    return PoseErrors(
        vector, shift[:, :2], np.sqrt(np.einsum("n,fni->f", share, left**2)), lost & (np.asarray(behind) <= LOST)
    )


def without_structures(
    rotation: np.ndarray, shift_A: np.ndarray, true_rotation: np.ndarray, true_shift_A: np.ndarray
) -> PoseErrors:
    """The same where estimate and truth have no atoms in common: one rotation G and one origin b lie between them.

    G maximises Σ_f tr(Gᵀ R̂_fᵀ R_f) over the frames that are not lost, and b minimises Σ_f |t − t̂ − (R̂ b)_xy|².
    """
    between = rotation.swapaxes(1, 2) @ true_rotation
    kept = np.ones(len(between), dtype=bool)
    vector = np.zeros((len(between), 3))
    for _ in range(10):
        u, _, vt = np.linalg.svd(between[kept].mean(0))
        turned = rotation @ (u * [1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
        vector = rotation_vector(true_rotation @ turned.swapaxes(1, 2))
        angle = np.linalg.norm(vector, axis=-1)
        near = angle <= max(LOST, 3 * float(np.median(angle)))
        if (near == kept).all() or not near.any():
            break
        kept = np.asarray(near)
    step = true_shift_A - shift_A
    origin, *_ = np.linalg.lstsq(rotation[kept, :2].reshape(-1, 3), step[kept].reshape(-1), rcond=None)
    nothing = np.full(len(vector), np.nan)
    return PoseErrors(vector, step - rotation[:, :2] @ origin, nothing, np.zeros(len(vector), dtype=bool))


@dataclass(frozen=True)
class Coordinates:
    """True structures in the coordinates of a model: amplitudes, and what its estimated pose lacks."""

    amplitude: np.ndarray  # (frame, mode)
    pose: np.ndarray  # (frame, 5): w in rad, then t − t̂ in Å
    placed: Placed  # the true structures in the model's frame, with its poses


def coordinates(truth: Placed, modes: Modes, estimate: Placed, amplitude: np.ndarray) -> Coordinates:
    """Those of the placed model nearest to each true structure, |·|² over atoms, by Gauss–Newton from a superposition.

    `estimate` holds the model's structures at the estimated `amplitude` (F, K) and poses.
    """
    true = truth.in_view_A() / 10.0  # z is free
    n_modes, n_atoms = len(modes.shape), len(modes.mean)
    rotation = superposition(estimate.in_view_A(), true, np.ones(n_atoms)) @ estimate.rotation
    a = np.array(amplitude, dtype=np.float64)
    column = np.empty((len(a), n_modes + 6, 3 * n_atoms))
    column[:, :n_modes] = modes.shape.reshape(n_modes, -1)
    column[:, n_modes + 3 :] = np.tile(np.eye(3), n_atoms)
    place = np.zeros((len(a), 3))
    for _ in range(N_STEPS):
        x = modes.mean + np.tensordot(a, modes.shape, 1)
        seen = np.einsum("fji,fnj->fni", rotation, true, optimize=True)  # in the model's frame
        place = seen.mean(1) - x.mean(1)
        for j, axis in enumerate(np.eye(3)):
            column[:, n_modes + j] = np.cross(axis, x).reshape(len(a), -1)
        residual = (seen - place[:, None] - x).reshape(len(a), -1, 1)
        # least squares by a pseudo-inverse: modes may hold rigid motions, which are then shared out evenly
        curvature = column @ column.swapaxes(1, 2)
        scale = 1 / np.sqrt(np.einsum("fpp->fp", curvature))
        inverse = np.linalg.pinv(curvature * scale[:, :, None] * scale[:, None], rcond=1e-9, hermitian=True)
        step = scale * (inverse @ (scale[..., None] * (column @ residual)))[..., 0]
        a += step[:, :n_modes]
        rotation = rotation @ rotation_matrix(quaternion_of(step[:, n_modes : n_modes + 3]))
        if np.abs(step[:, : n_modes + 3]).max(initial=0.0) < 1e-6:
            break
    x = modes.mean + np.tensordot(a, modes.shape, 1)
    seen = np.einsum("fji,fnj->fni", rotation, true, optimize=True)
    place = seen.mean(1) - x.mean(1)
    shift_A = 10.0 * np.einsum("fij,fj->fi", rotation, place)[:, :2]
    turn = rotation_vector(rotation @ estimate.rotation.swapaxes(1, 2))
    placed = Placed(seen - place[:, None], rotation, shift_A)
    return Coordinates(a, np.concatenate([turn, shift_A - estimate.shift_A], 1), placed)


def project_on_modes(position: np.ndarray, modes: Modes) -> np.ndarray:
    """Amplitudes (F, K) of structures (F, N, 3) nearest to x̄ + Σ_k a_k m_k, in the frame of the modes."""
    shape = modes.shape.reshape(len(modes.shape), -1)
    amplitude, *_ = np.linalg.lstsq(shape.T, (position - modes.mean).reshape(len(position), -1).T, rcond=None)
    return np.asarray(amplitude.T)


def bound(
    images: Images, position: np.ndarray, modes: Modes, scatterers: Scatterers, pixel_A: float, noise_variance: float
) -> np.ndarray:
    """Covariance (F, K + 5, K + 5) of amplitudes and pose that no unbiased estimate from one frame goes below.

    (JᵀJ + Λ)⁻¹ of amplitudes, rotation (rad) and shift (Å) at structures (F, N, 3) in nm and the poses of `images`,
    with the prior a ~ N(0, I) and none of the pose (van Trees 1968). A smoother over time may go below.
    """
    n_modes = len(modes.shape)
    whitened = Whitened(images, modes.shape, scatterers, pixel_A, noise_variance, np.float64, pose=True)
    _, jacobian = whitened.linearise(position, slice(None))
    flat = np.ascontiguousarray(jacobian.reshape(len(position), n_modes + POSE, -1)).view(np.float64)
    return covariance_of(flat @ flat.swapaxes(1, 2), n_modes)


def covariance_of(information: np.ndarray, n_modes: int) -> np.ndarray:
    """Covariance (F, K + 5, K + 5) from what frames tell, with the prior a ~ N(0, I); 0 of shifts that none tells."""
    information = information.copy()
    information[:, range(n_modes), range(n_modes)] += 1.0
    told = (np.einsum("fpp->fp", information) > 0).astype(float)
    information[:, range(n_modes + POSE), range(n_modes + POSE)] += 1 - told
    return np.asarray(np.linalg.inv(information) * told[:, :, None] * told[:, None])


def turn_of_body(covariance: np.ndarray, placed: Placed, modes: Modes, weight: np.ndarray) -> np.ndarray:
    """Covariance (F, 3, 3) of the rotation of weighted atoms, from that of amplitudes and pose (F, K + 5, K + 5).

    They turn with the pose, and with the modes by ω_k = (Σ w (|r|² − r rᵀ))⁻¹ Σ w r × m_k, r counted from their centre.
    """
    share = weight / weight.sum()
    arm = placed.position - np.einsum("n,fni->fi", share, placed.position)[:, None]
    inertia = np.einsum("n,fni,fni->f", share, arm, arm)[:, None, None] * np.eye(3)
    inertia -= np.einsum("n,fni,fnj->fij", share, arm, arm, optimize=True)
    moment = np.einsum("n,fkni->fik", share, np.cross(arm[:, None], modes.shape), optimize=True)
    turn = placed.rotation @ np.linalg.solve(inertia, moment)
    way = np.concatenate([turn, np.broadcast_to(np.eye(3, POSE), (len(turn), 3, POSE))], 2)
    return np.asarray(way @ covariance @ way.swapaxes(1, 2))

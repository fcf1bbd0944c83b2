"""Poses as they are reported: in the frame of a chosen part of the molecule, and how well they could be known at best.

Shape legend: F frame, N bead, K amplitude, P parameter of a frame (K amplitudes, 3 rotations in rad, 2 shifts in Å).
"""

from __future__ import annotations

import numpy as np

from tempica.embed.poses.chain import solve
from tempica.embed.poses.motion import Motion, Place, expand_prior, frames_of
from tempica.embed.poses.rotations import logarithm, turned
from tempica.errors import DataError
from tempica.imaging.likelihood import Expansion
from tempica.imaging.modes import Modes
from tempica.imaging.poses import POSE

SMALL = 1e-4  # change of a parameter from which derivatives are told


def report_frame(
    modes: Modes, place: Place, beads: np.ndarray | None = None, covariance: np.ndarray | None = None
) -> tuple[Place, np.ndarray | None]:
    """Poses of the part `beads` of the molecule, as if it were rigid, and their covariance.

    With x_t = x₀ + Σ_k a_k m_k, Q_t the rotation and c_t, c̄ the centroids that superpose the part of x_t on that of x₀
    (Kabsch), the view R_t x + s_t is that of Q_t (x_t − c_t) + c̄ at the pose

        R_t Q_tᵀ,    s_t + R_t (c_t − Q_tᵀ c̄).

    Which body frame the modes have does not matter for an estimate; it does for what is said of the pose.

    Parameters:
        modes: mean structure and displacements in nm.
        place: poses and amplitudes of F frames, in the frame of the modes (`Tracked` and `Path` will do).
        beads: (N,) which beads belong to the part, as a mask or as numbers; all if none.
        covariance: (F, P, P) of the frames' parameters, carried over to first order; none if none.
    Raises DataError for fewer than three beads.
    """
    part = slice(None) if beads is None else np.asarray(beads)
    mean, shape = modes.mean[part], modes.shape[:, part]
    if len(mean) < 3:
        raise DataError(f"{len(mean)} beads have no orientation: give at least three.")

    def reported(rotation: np.ndarray, shift: np.ndarray, amplitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centre = mean.mean(0) + amplitude @ shape.mean(1)
        back = _superposing(mean, shape, amplitude).swapaxes(1, 2)
        offset = centre - np.einsum("fij,j->fi", back, mean.mean(0))
        return rotation @ back, shift + 10.0 * np.einsum("fij,fj->fi", rotation[:, :2], offset)

    here = (place.rotation, place.shift_A, place.amplitude)
    rotation, shift = reported(*here)
    if covariance is None:
        return Place(rotation, shift, place.amplitude), None
    n_modes = len(modes.shape)
    jacobian = np.zeros((len(rotation), n_modes + POSE, n_modes + POSE))
    jacobian[:] = np.eye(n_modes + POSE)
    for p in range(n_modes + POSE):
        step = np.zeros((len(rotation), n_modes + POSE))
        step[:, p] = SMALL
        there = reported(turned(here[0], step[:, n_modes:-2]), here[1] + step[:, -2:], here[2] + step[:, :n_modes])
        jacobian[:, n_modes:-2, p] = logarithm(there[0] @ rotation.swapaxes(1, 2)) / SMALL
        jacobian[:, -2:, p] = (there[1] - shift) / SMALL
    return Place(rotation, shift, place.amplitude), jacobian @ covariance @ jacobian.swapaxes(1, 2)


def pose_bound(
    expansion: Expansion, place: Place, molecule: np.ndarray, motion: Motion, *, in_chain: bool = True
) -> np.ndarray:
    """Cramér–Rao bound (Bayesian) of each frame's pose, a covariance (F, 5, 5) of rotation (rad) and shift (Å).

    The pose's block of (JᵀJ + Λ)⁻¹, with the precision Λ of amplitudes N(0, 1), shifts, and, `in_chain`, of the motion
    between frames; else each frame by itself. At the truth `expansion` and `place` give the bound of the experiment.
    """
    if not in_chain:
        motion = Motion(np.inf, np.inf, motion.shift_spread, np.zeros((1, 2)))
    frames = frames_of(molecule)
    prior = expand_prior(place, frames, motion, None)
    right = np.zeros((*expansion.evidence.shape, 1))
    chain = solve(expansion.information + prior.diagonal, prior.upper, frames.joined, right)
    return chain.covariance[:, -POSE:, -POSE:]


def _superposing(mean: np.ndarray, shape: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """Rotations Q (F, 3, 3) that bring x₀ + Σ_k a_k m_k nearest to x₀, both about their centroids.

    The correlation that is decomposed is linear in the amplitudes, so that no structure is made. Source: Kabsch 1976,
    Acta Cryst. A32, 922.
    """
    reference = mean - mean.mean(0)
    still, moving = reference.T @ reference, np.einsum("ni,knj->kij", reference, shape)
    u, _, vt = np.linalg.svd(still + np.einsum("fk,kij->fij", amplitude, moving))
    hand = np.ones((len(amplitude), 3))
    hand[:, 2] = np.sign(np.linalg.det(u @ vt))
    return (u * hand[:, None, :]) @ vt

"""Elastic networks of one structure: its softest motions, and shapes that keep what is near at its distance.

A network joins beads i and j of a structure x̄ by springs of stiffness k_ij = 1/d_ij² (Yang, Song & Jernigan 2009),
d_ij = |x̄_i − x̄_j|, within a cutoff; its energy for small displacements u is ½ Σ k_ij (n_ij · (u_i − u_j))², with n_ij
the direction of the spring where the beads are (Atilgan et al. 2001).

Shape legend: N bead, C contact (spring), K mode, F structure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from scipy.spatial import cKDTree

from tempica.errors import DataError
from tempica.imaging.modes import Modes

CUTOFF_NM = 1.2
LEAST = 8  # nearest beads that a bead is joined to whatever their distance, so that no end or lone bead hangs loose
RMS_NM = 0.3
DENSE = 1200  # coordinates up to which all eigenvectors are had faster than a few of a sparse matrix
_FLAT = 1e-7  # of the largest eigenvalue: below that a motion costs no energy


@dataclass(frozen=True)
class Network:
    """Springs of a structure; the same ones hold when it moves."""

    pair: np.ndarray  # (C, 2) beads i < j
    stiffness: np.ndarray  # (C,)


def network(position: np.ndarray, cutoff: float = CUTOFF_NM, least: int = LEAST) -> Network:
    """Springs between the beads of a structure (N, 3) in nm.

    Beads within `cutoff` (nm) are joined, and each to its `least` nearest. Parts that stand apart even so, as chains
    may, are joined to the nearest other part by springs between all beads of the two that are at most half a cutoff
    further apart than the gap.
    Raises DataError for fewer than four beads, positions that are not numbers, or beads in one place.
    """
    n = len(position)
    if position.shape != (n, 3) or n < 4 or not np.isfinite(position).all():
        raise DataError(f"A network needs finite positions (N, 3) of four beads or more; these are {position.shape}.")
    tree = cKDTree(position)
    near = tree.query(position, min(least, n - 1) + 1)[1][:, 1:]
    nearest = np.stack([np.repeat(np.arange(n), near.shape[1]), near.ravel()], 1)
    pair = np.unique(np.sort(np.concatenate([tree.query_pairs(cutoff, output_type="ndarray"), nearest]), 1), axis=0)
    while (parts := _parts(n, pair)).max() > 0:
        pair = np.concatenate([pair, _bridge(position, parts, 0.5 * cutoff)])
    pair = np.unique(pair, axis=0)
    square = ((position[pair[:, 0]] - position[pair[:, 1]]) ** 2).sum(1)
    if square.min() < 1e-6:
        i, j = pair[square.argmin()]
        raise DataError(f"Beads {i} and {j} are in one place; leave one of them out.")
    return Network(pair, 1 / square)


def elastic_modes(
    position: np.ndarray,
    n_modes: int,
    cutoff: float = CUTOFF_NM,
    *,
    contacts: Network | None = None,
    body: np.ndarray | None = None,
    rms_nm: float = RMS_NM,
) -> Modes:
    """The `n_modes` softest motions of a structure (N, 3) in nm, free of rigid motion, as modes of unit variance.

    Eigenvectors v_k of the network's second derivatives are scaled by λ_k^{−1/2}, as at one temperature, and all
    together so that the rms displacement of a bead over all modes is `rms_nm`. The largest displacement of each is
    positive.

    Parameters:
        cutoff: nm, of the springs, if no contacts are given.
        contacts: the springs of another form of the molecule, kept here.
        body: mask (N,) or indices of beads that shall not move as a body: a rigid motion is added to each mode that
            takes theirs away. If none, modes have no rigid motion of all beads.
        rms_nm: scale.

    Raises DataError for more modes than there are, and for structures with parts that move without bending a spring.
    """
    springs = network(position, cutoff) if contacts is None else contacts
    most = 3 * len(position) - 6
    if not 1 <= n_modes <= most:
        raise DataError(f"n_modes = {n_modes} must be 1 to {most}, the 3 N − 6 motions of {len(position)} beads.")
    value, vector = _softest(_hessian(position, springs), n_modes + 6)
    loose = int((value < _FLAT * springs.stiffness.max()).sum())
    if loose > 6:
        raise DataError(
            f"{loose - 6} motions of the structure bend no spring of its network; raise the cutoff ({cutoff} nm) or"
            " leave out beads that hang loose."
        )
    shape = (vector[:, 6:] / np.sqrt(value[6:])).T.reshape(n_modes, -1, 3)
    rigid = _orthonormal(rigid_motions(position))
    shape = shape - np.einsum("kr,rnj->knj", np.einsum("knj,rnj->kr", shape, rigid), rigid)
    shape = shape * (rms_nm / np.sqrt((shape**2).sum() / len(position)))
    if body is not None:
        motion = rigid_motions(position)
        left = motion[:, body].reshape(6, -1).T
        fit = np.linalg.lstsq(left, shape[:, body].reshape(n_modes, -1).T, rcond=None)[0]
        shape = shape - np.einsum("rk,rnj->knj", fit, motion)
    flat = shape.reshape(n_modes, -1)
    sign = np.sign(flat[np.arange(n_modes), np.abs(flat).argmax(1)])
    return Modes(np.array(position, dtype=float), shape * sign[:, None, None])


def rigid_motions(position: np.ndarray) -> np.ndarray:
    """Displacements (6, N, 3) of three turns about the centre, by 1 rad, and three shifts, by 1 nm."""
    arm = position - position.mean(0)
    turns = [np.cross(axis, arm) for axis in np.eye(3)]
    return np.stack([*turns, *(np.broadcast_to(axis, arm.shape) for axis in np.eye(3))])


class Isometry:
    """Structures that keep the neighbourhoods of a reference, as rigid as possible (Sorkine & Alexa 2007).

    Each bead's neighbours within `cutoff` (nm) are turned as a body: R_i minimises Σ_j |(y_i − y_j) − R_i (x_i − x_j)|²
    for reference x and target y. Beads are then placed so that Σ_ij |z_i − z_j − ½ (R_i + R_j)(x_i − x_j)|² is
    smallest, a Laplacian system that is factorised once; each part that is connected has the target's centre.
    """

    def __init__(self, reference: np.ndarray, cutoff: float = 1.0, contacts: Network | None = None) -> None:
        n = len(reference)
        near = cKDTree(reference).query_pairs(cutoff, output_type="ndarray") if contacts is None else contacts.pair
        self._i, self._j = near.T.astype(int)
        self._edge = reference[self._i] - reference[self._j]
        at, one = np.arange(len(near)), np.ones(len(near))
        first, second = (sparse.csr_matrix((one, (end, at)), shape=(n, len(near))) for end in (self._i, self._j))
        self._touching, self._leaving = first + second, first - second  # (N, C)
        parts = _parts(n, near)
        member = (parts[:, None] == np.arange(parts.max() + 1)).astype(float)
        self._centre = member / member.sum(0) @ member.T  # the mean of a bead's part
        laplacian = (self._leaving @ self._leaving.T).toarray()
        self._factor = linalg.cho_factor(laplacian + self._centre)

    def rotations(self, target: np.ndarray) -> np.ndarray:
        """Rotations (F, N, 3, 3) of every bead's neighbourhood, from the reference to targets (F, N, 3)."""
        moved = target[:, self._i] - target[:, self._j]
        outer = moved[..., :, None] * self._edge[:, None, :]
        left, _, right = np.linalg.svd(_summed(self._touching, outer))
        left[..., 2] *= np.sign(np.linalg.det(left @ right))[..., None]
        return left @ right

    def nearest(self, target: np.ndarray) -> np.ndarray:
        """Structures (F, N, 3) nearest to targets (F, N, 3) in nm, or one of either."""
        many = np.asarray(target, dtype=float).reshape(-1, *target.shape[-2:])
        turn = self.rotations(many)
        edge = 0.5 * np.einsum("fcij,cj->fci", turn[:, self._i] + turn[:, self._j], self._edge)
        right = self._centre @ many + _summed(self._leaving, edge)
        solved = linalg.cho_solve(self._factor, right.transpose(1, 0, 2).reshape(right.shape[1], -1))
        return solved.reshape(right.shape[1], -1, 3).transpose(1, 0, 2).reshape(target.shape)


def nearest_isometric(reference: np.ndarray, target: np.ndarray, cutoff: float = 1.0) -> np.ndarray:
    """The structure nearest to `target` (N, 3), or (F, N, 3), that is locally a turned `reference`; see `Isometry`."""
    return Isometry(reference, cutoff).nearest(target)


def _summed(matrix: sparse.csr_matrix, values: np.ndarray) -> np.ndarray:
    """Sums (F, N, …) over contacts of values (F, C, …), weighted by a matrix (N, C)."""
    flat = np.moveaxis(values, 0, 1).reshape(values.shape[1], -1)
    return np.moveaxis((matrix @ flat).reshape(-1, len(values), *values.shape[2:]), 1, 0)


def _adjacency(n: int, pair: np.ndarray) -> sparse.csr_matrix:
    one = sparse.csr_matrix((np.ones(len(pair)), (pair[:, 0], pair[:, 1])), shape=(n, n))
    return one + one.T


def _parts(n: int, pair: np.ndarray) -> np.ndarray:
    """Number (N,) of the part that each bead is in, from 0."""
    return connected_components(_adjacency(n, pair), directed=False)[1]


def _bridge(position: np.ndarray, parts: np.ndarray, more: float) -> np.ndarray:
    """Pairs (C, 2) between the first part and the one nearest to it, up to `more` beyond the gap."""
    inside, outside = np.flatnonzero(parts == 0), np.flatnonzero(parts != 0)
    tree = cKDTree(position[inside])
    gap = tree.query(position[outside])[0]
    other = outside[parts[outside] == parts[outside[gap.argmin()]]]
    close = tree.query_ball_point(position[other], gap.min() + more)
    return np.sort([(inside[i], j) for j, row in zip(other, close, strict=True) for i in row], 1)


def _hessian(position: np.ndarray, springs: Network) -> sparse.csr_matrix:
    """Second derivatives (3N, 3N) of the energy at a structure at which the springs are at rest."""
    n, (i, j) = len(position), springs.pair.T
    direction = position[i] - position[j]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    row = np.repeat(np.arange(len(i)), 3)
    root = (np.sqrt(springs.stiffness)[:, None] * direction).ravel()
    stretch = sparse.csr_matrix(
        (
            np.concatenate([root, -root]),
            (
                np.concatenate([row, row]),
                np.concatenate([(3 * end[:, None] + np.arange(3)).ravel() for end in (i, j)]),
            ),
        ),
        shape=(len(i), 3 * n),
    )
    return stretch.T @ stretch


def _softest(matrix: sparse.csr_matrix, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest eigenvalues (K,) of a semidefinite matrix, ascending, and their vectors (3N, K)."""
    n = matrix.shape[0]
    if n <= DENSE or number > n // 4:
        value, vector = linalg.eigh(matrix.toarray(), subset_by_index=[0, number - 1])
        return value, vector
    shift = -1e-6 * matrix.diagonal().max()  # below zero, so that the matrix to be factorised is definite
    start = np.random.default_rng(0).normal(size=n)
    value, vector = eigsh(matrix.tocsc(), k=number, sigma=shift, which="LM", v0=start)
    order = value.argsort()
    return value[order], vector[:, order]


def _orthonormal(motion: np.ndarray) -> np.ndarray:
    """An orthonormal basis (K, N, 3) of displacements (K, N, 3)."""
    return np.linalg.qr(motion.reshape(len(motion), -1).T)[0].T.reshape(motion.shape)

"""Domains of a protein, from two forms, from frames, or from the softest motions of one form.

What moves is given as displacements of the beads: form to form, mode by mode, or frame by frame. Domains are found by
`simulate.domains.rigid_parts` and judged by what is left of the displacements when every domain moves as a body.

Shape legend: N bead, K displacement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import eigsh
from scipy.spatial import cKDTree

from tempica.embed.modes.domains import screw
from tempica.embed.modes.elastic import elastic_modes, network
from tempica.errors import StructureError
from tempica.simulate.domains import rigid_parts

N_MODES = 6  # softest motions that are looked at
MOST_BEADS = 1200  # of larger proteins, every so manieth is clustered
MOST_DOMAINS = 3
LEAST_SHARE = 0.08  # of the beads, in a domain
GAIN = {2: 1.0, 3: 0.8}  # each further domain must leave at most this much of what was left
TRIM = 0.9  # share of the beads that is judged: loops move by themselves
NEAR_NM = 1.0


@dataclass(frozen=True)
class Division:
    """Which bead moves with which."""

    label: np.ndarray  # (N,) domain of each bead, 0 the largest, the body
    left: float  # share of the motion that rigid domains do not explain, root mean square of nine beads in ten
    by: str  # what they were found by

    @property
    def n_domains(self) -> int:
        return int(self.label.max()) + 1


def divide(position: np.ndarray, motion: np.ndarray, changes: dict[str, np.ndarray]) -> Division:
    """Domains of a structure (N, 3) nm: as few as explain its displacements (K, N, 3).

    Parameters:
        position: (N, 3) nm.
        motion: (K, N, 3) nm, displacements that domains are to explain.
        changes: of which kind of evidence, how much the distances of beads change (N, N), nm.
    """
    whole = _left(position, motion, np.zeros(len(position), dtype=int))
    best: Division | None = None
    for n_domains in range(2, MOST_DOMAINS + 1):
        found = [
            Division(label, _left(position, motion, label) / max(whole, 1e-12), by)
            for by, change in changes.items()
            if (label := _parts(position, change, n_domains)) is not None
        ]
        if not found:
            continue
        better = min(found, key=lambda division: division.left)
        if best is None or better.left <= GAIN[n_domains] * best.left:
            best = better
    if best is None:
        label = _halves(position)
        best = Division(label, _left(position, motion, label) / max(whole, 1e-12), "the two halves of its contacts")
    return best


def soft_motions(position: np.ndarray) -> np.ndarray:
    """The softest displacements (K, N, 3) of a structure (N, 3) nm by its elastic network."""
    return elastic_modes(position, min(N_MODES, 3 * len(position) - 6)).shape


def changes_of_modes(position: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """How much distances (N, N) change in displacements (K, N, 3): √Σ_k (n_ij · (u_ik − u_jk))²."""
    apart = position[:, None] - position[None]
    direction = apart / np.maximum(np.linalg.norm(apart, axis=-1, keepdims=True), 1e-9)
    total = np.zeros(direction.shape[:2])
    for displacement in shape:
        total += ((displacement[:, None] - displacement[None]) * direction).sum(-1) ** 2
    return np.sqrt(total)


def changes_of_frames(positions: np.ndarray) -> np.ndarray:
    """How much distances (N, N) change in frames (F, N, 3): the range of two forms, the deviation of more frames."""
    if len(positions) == 2:
        one, other = (np.linalg.norm(x[:, None] - x[None], axis=-1) for x in positions)
        return np.abs(one - other)
    mean, square = np.zeros((2, positions.shape[1], positions.shape[1]))
    for x in positions:
        apart = np.linalg.norm(x[:, None] - x[None], axis=-1)
        mean += apart / len(positions)
        square += apart**2 / len(positions)
    return np.sqrt(np.maximum(square - mean**2, 0))


def superposed(positions: np.ndarray, onto: np.ndarray, beads: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Frames (F, N, 3) turned and shifted so that some beads lie best on those of a structure (N, 3) (Kabsch 1976)."""
    centre = onto[beads].mean(0)
    found = np.empty(positions.shape)
    for i, x in enumerate(positions):
        middle = x[beads].mean(0)
        u, _, v = np.linalg.svd((x[beads] - middle).T @ (onto[beads] - centre))
        u[:, -1] *= np.sign(np.linalg.det(u @ v))
        found[i] = (x - middle) @ (u @ v) + centre
    return found


def _parts(position: np.ndarray, change: np.ndarray, n_domains: int) -> np.ndarray | None:
    """Domains by their changes of distance, without tails, which join the domain beside them; None if there are none.

    Large changes are cut to the 90th percentile, so that a loop is no domain.
    """
    n = len(position)
    core = np.flatnonzero(~tails(position))
    core = core[:: -(-len(core) // MOST_BEADS)]
    part = change[np.ix_(core, core)]
    part = np.minimum(part, np.quantile(part, 0.9))
    try:
        found = rigid_parts(part, np.zeros(len(core), dtype=int), n_domains)
    except StructureError:
        return None
    label = found[cKDTree(core[:, None].astype(float)).query(np.arange(n)[:, None])[1]]
    sizes = np.bincount(label, minlength=n_domains)
    if sizes.min() < max(LEAST_SHARE * n, 1):
        return None
    return np.argsort(np.argsort(-sizes, kind="stable"))[label]


def tails(position: np.ndarray) -> np.ndarray:
    """Mask (N,) of the ends of a chain that stick out: fewer than half as many neighbours as the median bead."""
    near = np.array([len(found) for found in cKDTree(position).query_ball_point(position, NEAR_NM)])
    buried = np.flatnonzero(near >= 0.5 * np.median(near))
    loose = np.ones(len(position), dtype=bool)
    loose[buried[0] : buried[-1] + 1] = False
    return loose


def _halves(position: np.ndarray) -> np.ndarray:
    """Two domains by the slowest mode of diffusion on the contacts (Fiedler vector), cut at its median if need be."""
    springs = network(position)
    n = len(position)
    laplacian = np.zeros((n, n))
    for i, j in springs.pair:
        laplacian[i, j] = laplacian[j, i] = -1
    laplacian -= np.diag(laplacian.sum(1))
    vector = np.linalg.eigh(laplacian)[1][:, 1] if n <= MOST_BEADS else _fiedler(laplacian)
    label = (vector > 0).astype(int)
    if min(label.sum(), n - label.sum()) < n // 4:
        label = (vector > np.median(vector)).astype(int)
    return label if 2 * label.sum() <= n else 1 - label


def _fiedler(laplacian: np.ndarray) -> np.ndarray:
    start = np.random.default_rng(0).normal(size=len(laplacian))
    return eigsh(laplacian, k=2, sigma=-1e-3, which="LM", v0=start)[1][:, 1]


def _left(position: np.ndarray, motion: np.ndarray, label: np.ndarray) -> float:
    """Root mean square (nm) of what rigid motions of the domains leave of the displacements, of the best TRIM beads."""
    rest = np.empty(motion.shape)
    for domain in np.unique(label):
        beads = label == domain
        velocity, turn = screw(position, motion, beads)
        rest[:, beads] = motion[:, beads] - velocity[:, None] - np.cross(turn[:, None], position[beads])
    square = np.sort((rest**2).sum((0, 2)))
    return float(np.sqrt(square[: max(1, int(TRIM * len(square)))].mean()))

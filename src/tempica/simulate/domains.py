"""Rigid domains and the hinges between them, from two forms of a molecule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica.errors import StructureError
from tempica.simulate.structures import Molecule

LEAST_BEADS = 8  # of a domain; shorter pieces of the chain than SHORTEST go to their neighbours' domain
SHORTEST = 5
REACH = 3  # beads on either side of a place where the chain crosses from one domain to another
LEAST_TURN = np.radians(2.0)


@dataclass(frozen=True)
class Domains:
    """Domains in order of size, and for each but the first the three groups of beads of its hinge angle."""

    beads: tuple[np.ndarray, ...]
    hinges: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]


def find_domains(first: Molecule, second: Molecule, n_domains: int) -> Domains:
    """Domains that move as rigid bodies from one form to the other.

    Within a rigid body no distance changes: spectral clustering of exp(−(Δ/σ)²), Δ_ij = | |r_i − r_j| of one form less
    that of the other |, σ half the root mean square of Δ. (Rigid-body comparison as in DynDom, Hayward & Berendsen,
    Proteins 30, 144 (1998), but of distances, which need no superposition.) A domain's hinge is where the chain
    crosses to the domain that it crosses to most; its angle is between the centroids of that domain, hinge and domain.
    Raises StructureError when the forms do not differ, or not as n_domains rigid bodies.
    """
    apart = [np.linalg.norm(m.position[:, None] - m.position[None], axis=-1) for m in (first, second)]
    chain = np.array([atom.residue.chain.index for atom in first.topology.atoms])
    rank = rigid_parts(np.abs(apart[0] - apart[1]), chain, n_domains)
    beads = tuple(np.flatnonzero(rank == k) for k in range(n_domains))
    return Domains(beads, tuple(_hinge(k, rank, chain, (first, second)) for k in range(1, n_domains)))


def rigid_parts(change: np.ndarray, chain: np.ndarray, n_domains: int) -> np.ndarray:
    """Domain (bead,) of each bead, 0 the largest: spectral clustering of exp(−(Δ/σ)²), as `find_domains` says.

    Parameters:
        change: Δ (bead, bead) nm, how much the distances of beads change.
        chain: (bead,) number of each bead's chain.
        n_domains: how many.

    Raises StructureError when nothing changes, or not as n_domains rigid bodies.
    """
    scale = 0.5 * np.sqrt((change**2).mean())
    if scale < 1e-4:
        raise StructureError("The two forms are the same, so no domains can be found. Give another second_structure.")
    if n_domains * LEAST_BEADS > len(change):
        raise StructureError(
            f"{len(change)} beads are too few for {n_domains} domains of at least {LEAST_BEADS}. Lower"
            " simulate.molecule.n_domains."
        )
    from sklearn.cluster import SpectralClustering

    clusters = SpectralClustering(n_domains, affinity="precomputed", random_state=0)
    label = _without_short_pieces(clusters.fit_predict(np.exp(-((change / scale) ** 2))), chain)
    sizes = np.bincount(label, minlength=n_domains)
    if sizes.min() < LEAST_BEADS:
        raise StructureError(
            f"The two forms do not differ as {n_domains} rigid domains: the smallest would have {sizes.min()} beads,"
            f" and {LEAST_BEADS} is the least. Lower simulate.molecule.n_domains."
        )
    return np.argsort(np.argsort(-sizes, kind="stable"))[label]


def _without_short_pieces(label: np.ndarray, chain: np.ndarray) -> np.ndarray:
    """Labels (bead,) in which no piece of a chain is shorter than SHORTEST, if there is a longer one to join."""
    label = label.copy()
    while True:
        edges = np.flatnonzero((np.diff(label) != 0) | (np.diff(chain) != 0)) + 1
        pieces = np.split(np.arange(len(label)), edges)
        short = [i for i, piece in enumerate(pieces) if len(piece) < SHORTEST]
        for i in sorted(short, key=lambda i: len(pieces[i])):
            beside = [j for j in (i - 1, i + 1) if 0 <= j < len(pieces) and chain[pieces[j][0]] == chain[pieces[i][0]]]
            if beside:
                label[pieces[i]] = label[pieces[max(beside, key=lambda j: len(pieces[j]))][0]]
                break
        else:
            return label


def _hinge(
    domain: int, label: np.ndarray, chain: np.ndarray, forms: tuple[Molecule, Molecule]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups of beads: the domain that it is connected to, the hinge between them, and the domain."""
    crossings = np.flatnonzero((label[1:] != label[:-1]) & (chain[1:] == chain[:-1]))
    other = np.where(label[crossings] == domain, label[crossings + 1], label[crossings])
    mine = (label[crossings] == domain) | (label[crossings + 1] == domain)
    if not mine.any():
        raise StructureError(
            f"Domain {domain + 1} is not connected to any other domain along the chain. Declare domains and"
            " hinges yourself."
        )
    parent = int(np.bincount(other[mine]).argmax())
    near = [
        np.arange(max(0, c - REACH + 1), min(len(label), c + REACH + 1)) for c in crossings[mine & (other == parent)]
    ]
    hinge = np.unique(np.concatenate(near))
    groups = tuple(np.setdiff1d(np.flatnonzero(label == k), hinge) for k in (parent, domain))
    if not all(map(len, groups)):
        raise StructureError(
            f"In domain {domain + 1}, or the one that it is connected to, every bead is part of the hinge between"
            " them, so no angle can be measured. Lower simulate.molecule.n_domains, or declare domains and"
            " simulate.collective_variables yourself."
        )
    angle = [_angle(form.position, (groups[0], hinge, groups[1])) for form in forms]
    if abs(angle[1] - angle[0]) < LEAST_TURN:
        raise StructureError(
            f"Domain {domain + 1} does not bend about its hinge from one form to the other (by"
            f" {np.degrees(abs(angle[1] - angle[0])):.1f}°). Declare simulate.collective_variables yourself."
        )
    return groups[0], hinge, groups[1]


def _angle(position: np.ndarray, groups: tuple[np.ndarray, ...]) -> float:
    a, b, c = (position[group].mean(0) for group in groups)
    return float(np.arccos((a - b) @ (c - b) / (np.linalg.norm(a - b) * np.linalg.norm(c - b))))

"""Coarse-grained force fields: a Cα network with rigid domains and a flat-bottomed pair of basins."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import openmm
from scipy.spatial import cKDTree

from tempica.recipe.simulate import NetworkRecipe
from tempica.simulate.structures import Molecule

N_NEAREST = 16  # springs of a bead that has too few neighbours in its body
CHAIN_BREAK_NM = 0.45  # consecutive Cα atoms are 0.38 nm apart (0.30 nm across a cis peptide bond)


def build_system(
    first: Molecule,
    second: Molecule,
    domain: np.ndarray,
    forbidden: set[frozenset[int]],
    recipe: NetworkRecipe,
) -> openmm.System:
    """The network as an OpenMM system.

    Energy = Σ ½ k (r − r₀)² over backbone bonds and over pairs of the same domain within the cutoff, plus
    Σ ½ k [max(0, r_min − r) + max(0, r − r_max)]² over pairs of two domains within the cutoff in either form;
    r_min and r_max span the two forms, widened by the margin. `domain` (atom,) holds a domain index per bead,
    −1 for beads of none (they count as a domain of their own each); `forbidden` lists pairs of domains
    without contacts.
    """
    system = openmm.System()
    for _ in first.residue:
        system.addParticle(recipe.bead_mass)
    bonded = _backbone(first)
    reach = max(recipe.domain_cutoff, recipe.contact_cutoff)
    close = [cKDTree(m.position).query_pairs(reach, output_type="ndarray") for m in (first, second)]
    pairs = np.unique(np.concatenate(close), axis=0)  # never all pairs, which would fill the memory with 10,000 beads
    near, other = (_apart(m, pairs) for m in (first, second))
    low, high = np.minimum(near, other), np.maximum(near, other)

    harmonic = openmm.HarmonicBondForce()
    flat = openmm.CustomBondForce("0.5*stiffness*(max(0,low-r)^2+max(0,r-high)^2)")
    flat.addGlobalParameter("stiffness", recipe.contact_stiffness)
    flat.addPerBondParameter("low")
    flat.addPerBondParameter("high")
    bonds = np.array(bonded, dtype=int).reshape(-1, 2)
    for (i, j), length in zip(bonded, _apart(first, bonds).tolist(), strict=True):
        harmonic.addBond(i, j, length, recipe.backbone_stiffness)
    skip = set(bonded)
    same = (domain[pairs[:, 0]] == domain[pairs[:, 1]]) & (domain[pairs[:, 0]] >= 0)
    for n, (i, j) in enumerate(pairs.tolist()):
        if (i, j) in skip:
            continue
        if same[n] and near[n] < recipe.domain_cutoff:
            harmonic.addBond(i, j, near[n], recipe.domain_stiffness)
        elif (
            not same[n]
            and low[n] < recipe.contact_cutoff
            and frozenset((int(domain[i]), int(domain[j]))) not in forbidden
        ):
            flat.addBond(i, j, (max(0.0, low[n] - recipe.contact_margin), high[n] + recipe.contact_margin))
    system.addForce(harmonic)
    system.addForce(flat)
    return system


def build_bodies(molecule: Molecule, bodies: list[np.ndarray], recipe: NetworkRecipe) -> openmm.System:
    """Rigid bodies (arrays of beads) that meet in shared beads: springs between the beads of a body.

    The first body's springs are as long as the cutoff, and every bead has at least N_NEAREST; the others, small and
    slender, have one for every pair, since a thin body that is held by its neighbours alone twists slowly.
    """
    system = openmm.System()
    for _ in molecule.residue:
        system.addParticle(recipe.bead_mass)
    apart = np.linalg.norm(molecule.position[:, None] - molecule.position[None], axis=-1)
    bound = np.zeros(apart.shape, dtype=bool)
    for number, body in enumerate(bodies):
        block = np.ix_(body, body)
        if number:
            bound[block] = True
        else:
            nearest = np.sort(apart[block], axis=1)[:, min(N_NEAREST, len(body) - 1)]
            near = apart[block] <= np.maximum(nearest, recipe.domain_cutoff)[:, None]
            bound[block] = near | near.T
    harmonic = openmm.HarmonicBondForce()
    for i, j in zip(*(index.tolist() for index in np.nonzero(np.triu(bound, 1))), strict=True):
        harmonic.addBond(i, j, apart[i, j], recipe.domain_stiffness)
    system.addForce(harmonic)
    return system


def _apart(molecule: Molecule, pairs: np.ndarray) -> np.ndarray:
    return np.linalg.norm(molecule.position[pairs[:, 0]] - molecule.position[pairs[:, 1]], axis=-1)


def _backbone(molecule: Molecule) -> list[tuple[int, int]]:
    gap = np.linalg.norm(np.diff(molecule.position, axis=0), axis=1)
    chain = [atom.residue.chain.index for atom in molecule.topology.atoms]
    return [(i, j) for i, j in pairwise(range(len(chain))) if chain[i] == chain[j] and gap[i] < CHAIN_BREAK_NM]

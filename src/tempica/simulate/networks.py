"""Coarse-grained force fields: a Cα network with rigid domains and a flat-bottomed pair of basins."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import openmm

from tempica.recipe import NetworkRecipe
from tempica.simulate.structures import Molecule

N_NEAREST = 16  # springs of a bead that stands out of its body
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
    apart = [np.linalg.norm(m.position[:, None] - m.position[None], axis=-1) for m in (first, second)]
    near, low, high = apart[0], np.minimum(*apart), np.maximum(*apart)
    bonded = _backbone(first)

    harmonic = openmm.HarmonicBondForce()
    flat = openmm.CustomBondForce("0.5*stiffness*(max(0,low-r)^2+max(0,r-high)^2)")
    flat.addGlobalParameter("stiffness", recipe.contact_stiffness)
    flat.addPerBondParameter("low")
    flat.addPerBondParameter("high")
    for i, j in bonded:
        harmonic.addBond(i, j, near[i, j], recipe.backbone_stiffness)
    skip = set(bonded)
    for i, j in zip(*(index.tolist() for index in np.triu_indices(len(domain), 1)), strict=True):
        if (i, j) in skip:
            continue
        same = domain[i] == domain[j] and domain[i] >= 0
        if same and near[i, j] < recipe.domain_cutoff:
            harmonic.addBond(i, j, near[i, j], recipe.domain_stiffness)
        elif (
            not same
            and low[i, j] < recipe.contact_cutoff
            and frozenset((int(domain[i]), int(domain[j]))) not in forbidden
        ):
            flat.addBond(i, j, (max(0.0, low[i, j] - recipe.contact_margin), high[i, j] + recipe.contact_margin))
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


def _backbone(molecule: Molecule) -> list[tuple[int, int]]:
    gap = np.linalg.norm(np.diff(molecule.position, axis=0), axis=1)
    chain = [atom.residue.chain.index for atom in molecule.topology.atoms]
    return [(i, j) for i, j in pairwise(range(len(chain))) if chain[i] == chain[j] and gap[i] < CHAIN_BREAK_NM]

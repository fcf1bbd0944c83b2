"""What the beads of a run are: residues, chains, domains and hinges, as the page draws them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tempica.recipe.molecule import StructureRecipe
from tempica.recipe.residues import residues

if TYPE_CHECKING:
    from tempica.recipe.experiment import Recipe

BREAK = 1.9  # neighbours along a chain this many times as far apart as the median pair are not joined
MOST_GROUPS = 12  # chains or domains with a name each


@dataclass(frozen=True, eq=False)
class Beads:
    """Beads (atom,) of a molecule.

    `number` is that of the residue, `group` the place of its domain, or chain, in `names`, −1 for none; `hinge` says
    where two domains meet along the chain, `joined` whether a bead is the next one of its predecessor's chain.
    `kind` is what the groups are: domains, arms, chains, or nothing. `traced` says whether there is one bead a residue.
    """

    number: np.ndarray
    group: np.ndarray
    names: tuple[str, ...]
    kind: str
    hinge: np.ndarray
    joined: np.ndarray
    traced: bool
    body: np.ndarray

    def thinned(self, step: int) -> Beads:
        """Every `step`-th bead, for molecules that are too large for a page."""
        at = slice(None, None, step)
        joined = np.array([self.joined[i - step + 1 : i + 1].all() for i in range(0, len(self.number), step)])
        joined[:1] = False
        hinge = np.array([self.hinge[i : i + step].any() for i in range(0, len(self.number), step)])
        return replace(self, number=self.number[at], group=self.group[at], hinge=hinge, joined=joined)


def beads_of(recipe: Recipe, topology: str | None, mean: np.ndarray) -> Beads:
    """The beads of a run, from its recipe, the topology that its stores carry (JSON), and its structure (atom, space).

    Domains are those that the recipe declares; without any, arms or chains take their place.
    """
    number, chain = _residues(topology, len(mean))
    same = np.concatenate([[False], (chain[1:] == chain[:-1]) & (number[1:] != number[:-1])])
    apart = np.concatenate([[0.0], np.linalg.norm(np.diff(mean, axis=0), axis=1)])
    kind = recipe.simulate.molecule.kind
    of_chains = kind in ("structure", "trajectory") and same.any()
    traced = bool(of_chains and same.sum() + len(np.unique(chain)) == len(mean))
    joined = same & (apart <= BREAK * float(np.median(apart[same]))) if traced else np.zeros(len(mean), bool)
    group, names = _domains(recipe, number, chain)
    what = "domains"
    if not names:
        group, names = _chains(chain, kind)
        what = "arms" if kind == "arms" else "chains" if names else ""
    hinge = np.zeros(len(mean), dtype=bool)
    if what == "domains":
        meet = same & (group != np.roll(group, 1))
        hinge = meet | np.roll(meet, -1)
    return Beads(number, group, names, what, hinge, joined, traced, _body(recipe, group, names))


def _residues(topology: str | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Residue number and chain of each bead; beads are counted where a run has no topology for them."""
    if topology:
        chains = json.loads(topology)["chains"]
        rows = [
            (residue["resSeq"], c)
            for c, one in enumerate(chains)
            for residue in one["residues"]
            for _ in residue["atoms"]
        ]
        if len(rows) == n:
            number, chain = np.array(rows).T
            return number, chain
    return np.arange(1, n + 1), np.zeros(n, dtype=int)


def _domains(recipe: Recipe, number: np.ndarray, chain: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Domains that the recipe declares; chain letters stand for the chains in their order, where they are as many."""
    molecule = recipe.simulate.molecule
    group = np.full(len(number), -1)
    if not isinstance(molecule, StructureRecipe) or not molecule.domains:
        return group, ()
    asked = {name: residues(text) for name, text in molecule.domains.items()}
    letters = sorted({letter for those in asked.values() for letter, _ in those} - {""})
    if letters and len(letters) != len(np.unique(chain)):
        return group, ()
    for index, those in enumerate(asked.values()):
        for letter, wanted in those:
            group[(number == wanted) & ((chain == letters.index(letter)) if letter else True)] = index
    return group, tuple(asked)


def _chains(chain: np.ndarray, kind: str) -> tuple[np.ndarray, tuple[str, ...]]:
    n = int(chain.max(initial=0)) + 1
    if not 1 < n <= MOST_GROUPS:
        return np.full(len(chain), -1), ()
    names = ["hub", *(f"arm {i}" for i in range(1, n))] if kind == "arms" else [f"chain {i + 1}" for i in range(n)]
    return chain, tuple(names)


def _body(recipe: Recipe, group: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Beads on which frames were superposed, as far as the recipe says it by a domain; else all."""
    molecule = recipe.simulate.molecule
    if isinstance(molecule, StructureRecipe) and molecule.body in names:
        return np.flatnonzero(group == names.index(str(molecule.body)))
    return np.flatnonzero(group == 0) if molecule.kind == "arms" and names else np.arange(len(group))

"""Molecules that a periodic box has broken, made whole along their bonds."""

from __future__ import annotations

import mdtraj
import numpy as np


def make_whole(position: np.ndarray, box: np.ndarray | None, links: np.ndarray) -> np.ndarray:
    """Positions (time, atom, space) with each link's second atom at its image next to the first; box (time, 3, 3)."""
    if box is None or not len(links):
        return position
    position, box = position.copy(), box.astype(np.float64)
    inverse = np.linalg.inv(box)
    for placed, other in links.tolist():
        apart = position[:, other] - position[:, placed]
        cells = np.round(np.einsum("ti,tij->tj", apart, inverse))
        position[:, other] -= np.einsum("ti,tij->tj", cells, box)
    return position


def bonded_links(topology: mdtraj.Topology, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All atoms bonded to the wanted ones, however far, and the links by which each is placed next to another.

    Parts of a chain without a bond between them are linked from the last atom of the one to the first of the next.
    """
    bonded: dict[int, list[int]] = {}
    for a, b in topology.bonds:
        bonded.setdefault(a.index, []).append(b.index)
        bonded.setdefault(b.index, []).append(a.index)
    reached: set[int] = set()
    links: list[tuple[int, int]] = []
    last: dict[int, int] = {}
    for start in wanted.tolist():
        if start in reached:
            continue
        chain = topology.atom(start).residue.chain.index
        if chain in last:
            links.append((last[chain], start))
        queue = [start]
        reached.add(start)
        for atom in queue:  # grows while it is walked along: breadth first
            for other in bonded.get(atom, ()):
                if other not in reached:
                    reached.add(other)
                    links.append((atom, other))
                    queue.append(other)
        last[chain] = max(queue)
    atoms = np.array(sorted(reached))
    return atoms, np.searchsorted(atoms, np.array(links, dtype=int).reshape(-1, 2))

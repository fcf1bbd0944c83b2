"""Turns of a structure onto itself: poses that images cannot tell apart.

Where a turn exchanges equal parts of a molecule, images show which angle belongs to which place, and not to which part.
Known poses tell, and so does a movie that turns slowly, once for each molecule; hidden poses that are new in each frame
do not, whatever comes after.

Shape legend: G rotation, N bead.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from tempica.embed.poses.grids import rotation_grid, rotations_for

SAME_NM = 0.15  # root mean square between beads and the nearest beads of the turned structure
LEAST = np.radians(25.0)  # smaller turns are not looked for
FEW = 60  # beads, evenly spread along the chain, by which a grid of rotations is looked through
TRIED = 40  # of its rotations that are followed to the nearest fit
STEPS = 12


def turns_onto_itself(position: np.ndarray) -> np.ndarray:
    """Rotations (G, 3, 3), without the identity, that bring a structure (N, 3) in nm onto itself within 1.5 Å.

    Axes go through the centroid. Beads count as equal. The best rotations of a grid are followed by matching each bead
    to the nearest one and superposing anew.
    Source of the matching: Besl and McKay 1992, IEEE Trans. Pattern Anal. Mach. Intell. 14, 239.
    """
    about = position - position.mean(0)
    tree, some = cKDTree(about), about[:: max(1, len(about) // FEW)]
    rotation = rotation_grid(rotations_for(position)).rotation
    far, _ = tree.query((rotation @ some.T).swapaxes(1, 2), distance_upper_bound=1.0)
    order = np.argsort((np.minimum(far, 1.0) ** 2).mean(1))
    angle = Rotation.from_matrix(rotation).magnitude()
    found: list[Rotation] = []
    for start in order[angle[order] > LEAST][:TRIED]:
        turn = Rotation.from_matrix(rotation[start])
        for _ in range(STEPS):
            distance, nearest = tree.query(turn.apply(about))
            turn, _ = Rotation.align_vectors(about[nearest], about)
        distance, nearest = tree.query(turn.apply(about))
        whole = len(np.unique(nearest)) > 0.9 * len(about)
        new = all((turn * other.inv()).magnitude() > LEAST / 2 for other in found)
        if whole and new and turn.magnitude() > LEAST and np.sqrt((distance**2).mean()) < SAME_NM:
            found.append(turn)
    return np.array([turn.as_matrix() for turn in found]).reshape(-1, 3, 3)


def told(turns: np.ndarray) -> str:
    """One sentence on what follows for hidden poses, of at least one turn."""
    degrees = sorted({round(angle) for angle in np.degrees(Rotation.from_matrix(turns).magnitude()).tolist()})
    by = ", ".join(map(str, degrees))
    return (
        f"a turn by {by}° brings the structure onto itself: hidden poses are found up to such turns, and sources of"
        " parts that they exchange can be told apart only in movies that turn slowly, or with poses that are known"
    )

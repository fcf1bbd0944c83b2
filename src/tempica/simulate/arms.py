"""The designed molecule: a rigid hub with arms on joints; there are as many independent sources as arms.

Nothing acts between two arms but the hub that carries both; should they meet, they pass through each other.
"""

from __future__ import annotations

import mdtraj
import numpy as np

from tempica.errors import RecipeError
from tempica.imaging import AVERAGE_RESIDUE, SCATTERING_LENGTH_A, formula
from tempica.recipe.molecule import ArmsRecipe
from tempica.simulate.beads import BEAD_WIDTH_NM
from tempica.simulate.coordinates import CollectiveVariable
from tempica.simulate.structures import Molecule

JOINT_HEIGHT = 0.6  # of a joint above the hub, in bead spacings
MOST_BEADS = 5_000
HEAD_NM = 0.65  # radius of the ball at the end of the longest arm


def build_arms(recipe: ArmsRecipe) -> tuple[Molecule, list[np.ndarray], tuple[CollectiveVariable, ...]]:
    """The molecule, its rigid bodies (beads of the hub, then of each arm) and the rotation of each arm about its axle.

    An arm and the hub share two beads, the axle of their joint: the arm can turn about the line through them and
    do nothing else. A hinge's axle is tangential to the hub, a swivel's radial. A handle is beads of the hub.
    """
    radius = recipe.hub_radius or least_hub(recipe)
    if recipe.identical:
        hub = _symmetric_ball(radius, recipe.bead_spacing, recipe.n_arms)
    else:
        hub = _ball(radius, recipe.bead_spacing)
    beads, owner = [hub], [np.zeros(len(hub), dtype=int)]
    bodies: list[list[int]] = [list(range(len(hub)))]
    directions = _directions(recipe)
    if recipe.handle:
        handle = np.concatenate(_arm(recipe, radius, *directions[-1], 1.0)[:2])
        bodies[0] += range(len(hub), len(hub) + len(handle))
        beads.append(handle)
        owner.append(np.zeros(len(handle), dtype=int))
    groups = []
    for i, (up, across) in enumerate(directions[: recipe.n_arms]):
        size = 1.0 if recipe.identical or recipe.n_arms == 1 else 1 - 0.4 * i / (recipe.n_arms - 1)
        first = sum(map(len, beads))
        axle, arm, n_head = _arm(recipe, radius, up, across, size)
        beads += [axle, arm]
        owner += [np.zeros(2, dtype=int), np.full(len(arm), i + 1)]
        bodies[0] += [first, first + 1]
        last = first + 2 + len(arm)
        bodies.append(list(range(first, last)))
        # hub beads on the side that the arm leans to: away from the axle, so that the angle is defined
        lean = np.cross(across, up)
        side = np.flatnonzero((hub @ lean > 0.35 * radius) & (hub @ up > 0.35 * radius))
        head = tuple(range(last - n_head, last))
        groups.append((tuple(side.tolist()), (first,), (first + 1,), head))
    position = np.concatenate(beads)
    n = len(position)
    if n > MOST_BEADS:
        raise RecipeError(
            f"The molecule of arms would have {n} beads, and {MOST_BEADS} are the most, since the beads of an arm are"
            " all joined. Take a larger simulate.molecule.bead_spacing, or a smaller hub_radius or arm_length."
        )
    variables = [
        CollectiveVariable.of(name, group, "rotation", position)
        for name, group in zip(recipe.variables, groups, strict=True)
    ]
    molecule = Molecule(
        topology=_topology(np.concatenate(owner)),
        position=position - position.mean(0),
        residue=np.arange(1, n + 1),
        scattering_length_A=np.full(n, sum(k * SCATTERING_LENGTH_A[e] for e, k in AVERAGE_RESIDUE.items() if e != "H")),
        bead_width=np.full(n, BEAD_WIDTH_NM),
        formula=np.full(n, formula(AVERAGE_RESIDUE)),
    )
    return molecule, [np.array(body) for body in bodies], tuple(variables)


def _arm(
    recipe: ArmsRecipe, radius: float, up: np.ndarray, across: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Axle (2, space), the arm's other beads, those of its head last, and how many those are."""
    spacing = recipe.bead_spacing
    lean = np.cross(across, up)
    foot = (radius + JOINT_HEIGHT * spacing) * up
    if recipe.joint == "hinge":
        axle = foot + spacing * np.array([[-0.8], [0.8]]) * across
        along, start = up, foot
    else:
        axle = foot + spacing * np.array([[0.0], [1.2]]) * up
        along, start = lean, foot + 1.2 * spacing * up
    side = np.cross(along, across)
    turn = 2 * np.pi * np.arange(3) / 3
    ring = 0.58 * spacing * (np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * side)
    head_radius = HEAD_NM * size * recipe.arm_length / 2.2
    stem = size * recipe.arm_length - 2 * head_radius
    layers = spacing * np.arange(0.8, max(0.9, stem / spacing))
    rod = (start + layers[:, None, None] * along + ring).reshape(-1, 3)
    ball = _ball(head_radius, spacing) @ np.stack([across, side, along])
    head = start + (layers[-1] + spacing + head_radius * 0.8) * along + ball
    return axle, np.concatenate([rod, head]), len(head)


def _ball(radius: float, spacing: float) -> np.ndarray:
    """Points (bead, space) of a face-centred cubic lattice within a ball, at least a tetrahedron."""
    n = int(np.ceil(radius / spacing * np.sqrt(2))) + 1
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    points = (grid[grid.sum(1) % 2 == 0] - [0.5, 0.5, 0.0]) * spacing / np.sqrt(2)
    far = np.linalg.norm(points, axis=1)
    return points[(far <= max(radius, np.sort(far)[3] + 1e-9))]


def _symmetric_ball(radius: float, spacing: float, n: int) -> np.ndarray:
    """Beads on rings about z, a multiple of n on each, within a ball: unchanged by a turn of 2π/n."""
    points = []
    levels = spacing * np.arange(-(radius // spacing), radius // spacing + 1)
    for z in levels.tolist():
        for k in range(int(np.sqrt(max(0.0, radius**2 - z**2)) / spacing) + 1):
            number = 1 if k == 0 else n * max(1, round(2 * np.pi * k / n))
            turn = 2 * np.pi * np.arange(number) / number
            points += [(k * spacing * np.cos(t), k * spacing * np.sin(t), z) for t in turn.tolist()]
    return np.array(points)


def least_hub(recipe: ArmsRecipe) -> float:
    """Radius (nm) of a hub on which neighbouring arms do not touch; the bent arms of swivels need more room."""
    apart = (
        2.6 * recipe.bead_spacing
        if recipe.joint == "hinge"
        else max(2.6 * recipe.bead_spacing, 0.8 * recipe.arm_length)
    )
    if recipe.identical:
        return max(1.1, recipe.n_arms * apart / (2 * np.pi) - JOINT_HEIGHT * recipe.bead_spacing)
    up = np.array([up for up, _ in _directions(recipe)])
    nearest = np.sqrt(np.clip(2 - 2 * (up @ up.T - 3 * np.eye(len(up))).max(), 0.01, None)) if len(up) > 1 else 2.0
    return max(1.1, apart / nearest - JOINT_HEIGHT * recipe.bead_spacing)


def _directions(recipe: ArmsRecipe) -> list[tuple[np.ndarray, np.ndarray]]:
    """Direction of each arm, of the handle last, and one perpendicular: on a ring, or on a sphere by a golden spiral.

    A ring of n arms is its own mirror image in the planes at multiples of π/n about z and in the one across z, and the
    projection of a body that is its own mirror image has two poses: the handle stands off all of them.
    """
    n = recipe.n_arms
    k = np.arange(n)
    if recipe.identical:
        k = np.append(k, 0.25)[: n + recipe.handle]
        height, turn = np.where(k % 1, 0.6, 0.0), 2 * np.pi * k / n
    else:
        height, turn = 1 - (2 * k + 1) / n, np.pi * (3 - np.sqrt(5)) * k
    flat = np.sqrt(1 - height**2)
    up = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], -1)
    across = np.stack([-np.sin(turn), np.cos(turn), np.zeros(len(turn))], -1)
    return list(zip(up, across, strict=True))


def _topology(owner: np.ndarray) -> mdtraj.Topology:
    """One Cα a bead; the hub is chain 0, arm i chain i."""
    topology = mdtraj.Topology()
    chains = [topology.add_chain() for _ in range(owner.max() + 1)]
    for number, chain in enumerate(owner.tolist(), 1):
        residue = topology.add_residue("ALA", chains[chain], resSeq=number)
        topology.add_atom("CA", mdtraj.element.carbon, residue)
    return topology

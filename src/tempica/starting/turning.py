"""How domains turn against each other, and a second form in which they have turned.

Shape legend: N bead, K displacement, M move.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from tempica.embed.modes.domains import screw
from tempica.embed.modes.elastic import Isometry
from tempica.starting.dividing import Division, superposed

REACH = 3  # residues on either side of a crossing of the chain that are its hinge
N_NEAREST = 8  # pairs of beads that are the hinge of domains which no chain connects
RANGE_NM = 0.7  # by which a domain moves from one end to the other, root mean square: what a camera can follow
MOST_TURN, LEAST_TURN = np.radians(35.0), np.radians(6.0)
CLASH_NM = 0.36  # nearest distance of beads that are no neighbours; consecutive ones are 0.38 apart
EXPLAINED = 0.75  # of the motion between two forms at most this much may be left unexplained by rigid domains


@dataclass(frozen=True)
class Joint:
    """Two domains and what lies between them."""

    domain: int
    parent: int
    beads: np.ndarray  # those of the hinge, of both domains
    by_chain: bool  # whether the chain crosses there


@dataclass(frozen=True)
class Move:
    """A turn of a domain about its joint, relative to the domain that it is joined to."""

    joint: Joint
    axis: np.ndarray  # (3,) unit vector
    centre: np.ndarray  # (3,) nm, of the joint
    angle: float  # rad, from one end of the motion to the other; may be negative
    lever: float  # nm, root mean square distance of the domain's beads from the axis
    have: float = 0.0  # rad, what two forms show of it


def joints(position: np.ndarray, numbers: np.ndarray, label: np.ndarray) -> list[Joint]:
    """The joint of each domain but the body: where the chain crosses to the domain that it crosses to most.

    Parameters:
        position: (N, 3) nm.
        numbers: (N,) residue numbers, by which neighbours along the chain are told.
        label: (N,) domains.
    """
    follows = np.diff(numbers) == 1
    crossings = np.flatnonzero((label[1:] != label[:-1]) & follows)
    found, reached = [], {0}
    for domain in range(1, int(label.max()) + 1):
        mine = crossings[(label[crossings] == domain) | (label[crossings + 1] == domain)]
        other = np.where(label[mine] == domain, label[mine + 1], label[mine])
        known = np.isin(other, list(reached))  # no circle of joints
        mine, other = mine[known], other[known]
        reached.add(domain)
        if len(mine):
            parent = int(np.bincount(other).argmax())
            near = [np.arange(max(0, c - REACH + 1), min(len(label), c + REACH + 1)) for c in mine[other == parent]]
            beads = np.unique(np.concatenate(near))
            found.append(Joint(domain, parent, beads[np.isin(label[beads], (domain, parent))], True))
        else:
            found.append(_touching(position, label, domain))
    return found


def _touching(position: np.ndarray, label: np.ndarray, domain: int) -> Joint:
    """The joint of a domain that no chain connects: where it is nearest to another."""
    own = np.flatnonzero(label == domain)
    others = np.flatnonzero(label < domain)
    distance, place = cKDTree(position[others]).query(position[own])
    near = distance.argsort()[:N_NEAREST]
    parent = int(np.bincount(label[others[place[near]]]).argmax())
    beads = np.unique(np.concatenate([own[near], others[place[near]]]))
    return Joint(domain, parent, beads[np.isin(label[beads], (domain, parent))], False)


def moves_of(
    position: np.ndarray, second: np.ndarray | None, motion: np.ndarray, division: Division, numbers: np.ndarray
) -> list[Move]:
    """Turns that are worth following: one of each domain, or two of a single one, so that there are two sources.

    Parameters:
        position: (N, 3) nm, the first form.
        second: (N, 3) nm, the other form, where rigid domains explain the difference; else None.
        motion: (K, N, 3) nm, its soft motions, scaled as at one temperature.
        division: the domains.
        numbers: (N,) residue numbers.
    """
    found = []
    each = 1 if division.n_domains > 2 else 2
    for joint in joints(position, numbers, division.label):
        domain, parent = (division.label == k for k in (joint.domain, joint.parent))
        turns = screw(position, motion, domain)[1] - screw(position, motion, parent)[1]  # (K, 3)
        axes = np.linalg.svd(turns)[2]
        seen = None if second is None else _relative(position, second, parent, domain)
        if seen is not None and np.linalg.norm(seen) > 0.5 * LEAST_TURN:
            first = seen / np.linalg.norm(seen)
            rest = turns - np.outer(turns @ first, first)
            axes = np.stack([first, np.linalg.svd(rest)[2][0]])
        for axis in axes[:each]:
            found.append(_move(position, domain, joint, axis, 0.0 if seen is None else float(seen @ axis)))
    return found


def _move(position: np.ndarray, domain: np.ndarray, joint: Joint, axis: np.ndarray, have: float) -> Move:
    centre = position[joint.beads].mean(0)
    arm = position[domain] - centre
    lever = float(np.sqrt((np.cross(axis, arm) ** 2).sum(1).mean()))
    angle = float(np.clip(RANGE_NM / max(lever, 1e-3), LEAST_TURN, MOST_TURN))
    return Move(joint, axis, centre, angle, lever, have)


def _relative(first: np.ndarray, second: np.ndarray, parent: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """Rotation vector (3,) rad of a domain from one form to the other, seen from its parent."""
    moved = superposed(second[None], first, parent)[0]
    x, y = first[domain] - first[domain].mean(0), moved[domain] - moved[domain].mean(0)
    return Rotation.align_vectors(y, x)[0].as_rotvec()


def turned(position: np.ndarray, label: np.ndarray, move: Move, angle: float) -> np.ndarray:
    """The structure (N, 3) with a move's domain turned as a body."""
    rotation = Rotation.from_rotvec(angle * move.axis).as_matrix()
    domain = label == move.joint.domain
    target = position.copy()
    target[domain] = move.centre + (position[domain] - move.centre) @ rotation.T
    return target


def second_form(
    first: np.ndarray, second: np.ndarray | None, label: np.ndarray, moves: list[Move]
) -> tuple[np.ndarray, np.ndarray, list[Move]]:
    """A form (N, 3) in which every move has gone to its end, its beads' rotations (N, 3, 3), and how far moves went.

    It starts from the second form if there is one, and goes on from what that shows of a move; a move that the forms
    show by half or more is left alone. Each goes the way on which fewer beads clash, and less far where they do.
    """
    start = first if second is None else second
    smooth = Isometry(start)
    target, went = start, []
    for move in moves:
        if abs(move.have) >= 0.5 * move.angle:
            went.append(_with(move, move.have))
            continue
        ways = [1.0, -1.0] if move.have == 0 else [float(np.sign(move.have))]
        least = min(CLASH_NM, _nearest(target))
        options = []
        for share in (1.0, 0.75, 0.5, 0.35):
            for way in ways:
                more = way * share * (move.angle - abs(move.have))
                form = smooth.nearest(turned(target, label, move, more))
                options.append((_nearest(form) >= 0.95 * least, _apart(form, label, move), form, more))
            if any(free for free, *_ in options):
                break
        _, _, form, more = max(options, key=lambda option: (option[0], option[1]))
        target = form
        went.append(_with(move, move.have + more))
    if target is start:
        return start, np.broadcast_to(np.eye(3), (len(start), 3, 3)), went
    return target, smooth.rotations(target[None])[0], went


def free_play(forms: tuple[np.ndarray, np.ndarray], label: np.ndarray, moves: list[Move], cutoff: float) -> float:
    """Free play (nm) that contacts between domains need beyond the two forms, so that each move can go by itself.

    Nine contacts in ten have it, of those within the cutoff (nm) in either form, whichever of the moves have gone to
    their ends. The network allows distances between those of the two forms, in which all moves have gone together.
    """
    pairs = np.unique(np.concatenate([cKDTree(x).query_pairs(cutoff, output_type="ndarray") for x in forms]), axis=0)
    pairs = pairs[label[pairs[:, 0]] != label[pairs[:, 1]]]
    if not len(pairs):
        return 0.0

    def apart(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=-1)

    ends = np.stack([apart(x) for x in forms])
    low, high = ends.min(0), ends.max(0)
    beyond = np.zeros(len(pairs))
    for shares in itertools.product((0.0, 1.0), repeat=len(moves)):
        x = forms[0]
        for move, share in zip(moves, shares, strict=True):
            x = turned(x, label, move, share * move.angle)
        here = apart(x)
        beyond = np.maximum(beyond, np.maximum(low - here, here - high))
    return float(np.quantile(beyond, 0.9))


def _with(move: Move, angle: float) -> Move:
    return Move(move.joint, move.axis, move.centre, angle, move.lever, move.have)


def _apart(position: np.ndarray, label: np.ndarray, move: Move) -> float:
    """Distance of the centres of a move's domains, nm."""
    centres = [position[label == k].mean(0) for k in (move.joint.domain, move.joint.parent)]
    return float(np.linalg.norm(centres[0] - centres[1]))


def _nearest(position: np.ndarray) -> float:
    """Least distance (nm) of beads that are three or more apart along the chain."""
    pairs = cKDTree(position).query_pairs(0.6, output_type="ndarray")
    pairs = pairs[np.abs(pairs[:, 0] - pairs[:, 1]) >= 3]
    apart = np.linalg.norm(position[pairs[:, 0]] - position[pairs[:, 1]], axis=-1)
    return float(apart.min(initial=0.6))

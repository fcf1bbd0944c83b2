"""Collective variables that measure given moves well: hinge angles where they bend, others near 0° and 180°.

A variable is judged by how much of a domain's displacement it shows: its change times its lever, over the displacement.
A hinge angle counts only where it stays away from 0° and 180°, at which it has no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tempica.simulate.coordinates import CollectiveVariable
from tempica.starting.turning import Move, turned

BEND = np.radians(25.0), np.radians(155.0)  # where a hinge angle is good at both ends of a motion
WINDOW = 8  # residues of a group that is a piece of a domain
STEP = 4
# of variables that show a move equally well: by how readily they are understood
PREFERENCE = {"hinge": 1.0, "twist": 0.85, "swing": 0.75, "distance": 0.6}


@dataclass(frozen=True)
class Proposal:
    """A variable for a move."""

    name: str
    variable: CollectiveVariable
    move: Move
    ends: tuple[float, float]  # in the two forms, rad or nm
    range: float  # over the move alone, rad or nm
    lever: float  # nm per unit of the variable: of a domain's root mean square displacement
    shown: float  # share of the move's displacement

    @property
    def mean(self) -> float:
        """Middle of the motion, degrees or nm."""
        return float(self.variable.to_recipe(sum(self.ends) / 2))

    @property
    def deviation(self) -> float:
        """A quarter of the range over its own move, degrees or nm."""
        return float(self.variable.to_recipe(self.range / 4))


def propose(forms: tuple[np.ndarray, np.ndarray], label: np.ndarray, moves: list[Move]) -> list[Proposal]:
    """A variable for each move, those of one domain as different as they can be.

    Parameters:
        forms: (N, 3) nm each, the two ends of the motion.
        label: (N,) domains.
        moves: turns, with the angles that they go.
    """
    found: list[Proposal] = []
    for move in moves:
        of_domain = [one for one in moves if one.joint.domain == move.joint.domain]
        taken = [one for one in found if one.move.joint.domain == move.joint.domain]
        candidates = list(_candidates(forms, label, of_domain, move))
        scores = [_score(candidate, move, of_domain, taken, forms[0], label) for candidate in candidates]
        best = candidates[int(np.argmax(scores))]
        found.append(_proposal(best, forms, label, move, [one.name for one in found]))
    return found


_Candidate = tuple[CollectiveVariable, float]  # a variable and its lever, nm per rad or 1


def _candidates(
    forms: tuple[np.ndarray, np.ndarray], label: np.ndarray, moves: list[Move], move: Move
) -> Iterator[_Candidate]:
    """Variables between a domain and its parent."""
    joint, x = move.joint, forms[0]
    parent, domain = (np.setdiff1d(np.flatnonzero(label == k), joint.beads) for k in (joint.parent, joint.domain))
    if len(parent) < 3 or len(domain) < 3:  # all hinge: small domains
        parent, domain = (np.flatnonzero(label == k) for k in (joint.parent, joint.domain))
    else:
        lever = float(np.linalg.norm(x[domain].mean(0) - x[joint.beads].mean(0)))
        yield (
            CollectiveVariable.of("hinge", [parent.tolist(), joint.beads.tolist(), domain.tolist()], "hinge_angle", x),
            lever,
        )
    yield CollectiveVariable.of("distance", [parent.tolist(), domain.tolist()], "distance", x), 1.0
    yield from _mouths(x, label, move, parent, domain)
    yield from _twists(x, parent, domain)
    for each in moves:
        yield from _swings(x, parent, domain, each)


def _mouths(
    x: np.ndarray, label: np.ndarray, move: Move, parent: np.ndarray, domain: np.ndarray
) -> Iterator[_Candidate]:
    """The distance between those pieces of two domains that it changes most."""
    ends = x, turned(x, label, move, move.angle)
    pieces = [_windows(beads) for beads in (parent, domain)]
    centres = [[np.array([end[piece].mean(0) for piece in of_domain]) for of_domain in pieces] for end in ends]
    apart = [np.linalg.norm(one[:, None] - other[None], axis=-1) for one, other in centres]
    change = np.abs(apart[1] - apart[0])
    change[np.minimum(*apart) < 0.8] = 0  # a distance whose least is near zero is no good variable either
    i, j = np.unravel_index(change.argmax(), change.shape)
    yield CollectiveVariable.of("distance", [pieces[0][i].tolist(), pieces[1][j].tolist()], "distance", x), 1.0


def _twists(x: np.ndarray, parent: np.ndarray, domain: np.ndarray) -> Iterator[_Candidate]:
    """Turns about the line between two domains, seen at the piece of each that is farthest from it."""
    start, end = x[parent].mean(0), x[domain].mean(0)
    axis = (end - start) / np.linalg.norm(end - start)
    near, far = (_farthest(x, beads, start, axis) for beads in (parent, domain))
    groups = [near.tolist(), parent.tolist(), domain.tolist(), far.tolist()]
    yield CollectiveVariable.of("twist", groups, "rotation", x), _off(x, domain, start, axis)


def _swings(x: np.ndarray, parent: np.ndarray, domain: np.ndarray, move: Move) -> Iterator[_Candidate]:
    """The turn about a move's own axis, whose ends are pieces of the parent near it."""
    pieces = [piece for piece in _windows(parent) if len(piece) < len(parent)]
    if len(pieces) < 3:
        return
    centre = np.array([x[piece].mean(0) for piece in pieces])
    along = (centre - move.centre) @ move.axis
    away = np.linalg.norm(np.cross(centre - move.centre, move.axis), axis=1)
    low, high = (int((away + np.where(side * along > 0.3, 0, 10)).argmin()) for side in (-1, 1))
    if low == high or min(-along[low], along[high]) < 0.3:
        return
    axis = centre[high] - centre[low]
    axis /= np.linalg.norm(axis)
    body = _farthest(x, parent, centre[low], axis)
    if _off(x, body, centre[low], axis) < 0.3 or np.linalg.norm(np.cross(x[domain].mean(0) - centre[low], axis)) < 0.3:
        return
    groups = [body.tolist(), pieces[low].tolist(), pieces[high].tolist(), domain.tolist()]
    if len({tuple(group) for group in groups}) < 4:
        return
    yield CollectiveVariable.of("swing", groups, "rotation", x), _off(x, domain, centre[low], axis)


def _windows(beads: np.ndarray) -> list[np.ndarray]:
    """Pieces of WINDOW beads of a domain, in its order; all of it where it is shorter."""
    starts = range(0, max(1, len(beads) - WINDOW + 1), STEP)
    return [beads[i : i + WINDOW] for i in starts]


def _farthest(x: np.ndarray, beads: np.ndarray, start: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """The piece of a domain that is farthest from a line."""
    return max(_windows(beads), key=lambda piece: np.linalg.norm(np.cross(x[piece].mean(0) - start, axis)))


def _off(x: np.ndarray, beads: np.ndarray, start: np.ndarray, axis: np.ndarray) -> float:
    """Root mean square distance (nm) of beads from a line."""
    return float(np.sqrt((np.cross(x[beads] - start, axis) ** 2).sum(1).mean()))


def _responses(candidate: _Candidate, moves: list[Move], x: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Share (M,) of each move's displacement that a variable shows, with its sign."""
    variable, lever = candidate
    found = []
    for move in moves:
        half = 0.25 * move.angle
        ends = [variable.measure(turned(x, label, move, side * half)) for side in (-1, 1)]
        change = _difference(variable, float(ends[1]), float(ends[0]))
        found.append(change * lever / (2 * abs(half) * max(move.lever, 1e-6)))
    return np.clip(found, -1.0, 1.0)


def _score(
    candidate: _Candidate,
    move: Move,
    moves: list[Move],
    taken: list[Proposal],
    x: np.ndarray,
    label: np.ndarray,
) -> float:
    """How well a variable shows a move that those taken before do not."""
    variable, response = candidate[0], _responses(candidate, moves, x, label)
    wanted = np.array([one is move for one in moves], dtype=float)
    for one in taken:
        before = _responses((one.variable, one.lever), moves, x, label)
        size = float(before @ before)
        if size > 0:
            response = response - (response @ before) / size * before
            wanted = wanted - (wanted @ before) / size * before
    size = float(np.linalg.norm(wanted))
    shown = abs(float(response @ wanted)) / size if size > 1e-3 else float(np.linalg.norm(response))
    return PREFERENCE[variable.name] * shown * _good(variable, x, label, move)


def _good(variable: CollectiveVariable, x: np.ndarray, label: np.ndarray, move: Move) -> float:
    """1 for a variable that keeps a gradient over a move; less for a hinge angle that comes near 0° or 180°."""
    if variable.kind != "hinge_angle":
        return 1.0
    ends = [float(variable.measure(turned(x, label, move, share * move.angle))) for share in (-0.25, 0, 1, 1.25)]
    return 1.0 if BEND[0] <= min(ends) and max(ends) <= BEND[1] else 0.0


def _proposal(
    candidate: _Candidate, forms: tuple[np.ndarray, np.ndarray], label: np.ndarray, move: Move, used: list[str]
) -> Proposal:
    variable, lever = candidate
    one, other = (float(variable.measure(form)) for form in forms)
    ends = one, one + _difference(variable, other, one)
    shown = abs(float(_responses(candidate, [move], forms[0], label)[0]))
    name = f"{variable.name}_{move.joint.domain + 1}"
    name = f"{name}b" if name in used else name
    alone = [float(variable.measure(turned(forms[0], label, move, share * move.angle))) for share in (0.0, 1.0)]
    return Proposal(name, variable, move, ends, abs(_difference(variable, alone[1], alone[0])), lever, shown)


def _difference(variable: CollectiveVariable, one: float, other: float) -> float:
    """One value less the other, the short way round for rotations."""
    apart = one - other
    return float((apart + np.pi) % (2 * np.pi) - np.pi) if variable.kind == "rotation" else apart

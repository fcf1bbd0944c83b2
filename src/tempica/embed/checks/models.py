"""Models that a check sets against a run's: other shapes of the same beads, other motions, and how models compare.

Shape legend: N bead, K mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from tempica.embed.maps.maps import mirror
from tempica.embed.modes.elastic import CUTOFF_NM, elastic_modes, rigid_motions
from tempica.imaging.modes import Modes

SMOOTH = 3.0  # beads over which a made-up chain keeps its direction
SPREAD = 30.0  # beads over which it comes back to its centre
ROUGH = 0.1  # of its size, by which beads lie off it: a straight chain would bend without a spring


def superposed(modes: Modes, onto: np.ndarray) -> Modes:
    """A model turned and shifted onto a structure (N, 3) in nm, its shapes freed of rigid motion."""
    to, of = onto - onto.mean(0), modes.mean - modes.mean.mean(0)
    turn = Rotation.align_vectors(to, of)[0].as_matrix()
    mean = of @ turn.T + onto.mean(0)
    return Modes(mean, without_rigid(modes.shape @ turn.T, mean))


def without_rigid(shape: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Displacements (K, N, 3) without the rigid motions of a structure (N, 3) that are in them."""
    rigid = rigid_motions(position).reshape(6, -1).T
    flat = shape.reshape(len(shape), position.size).T
    return (flat - rigid @ np.linalg.lstsq(rigid, flat, rcond=None)[0]).T.reshape(shape.shape)


def mirrored(modes: Modes) -> Modes:
    """The mirror image, about a plane through the centre."""
    centre = modes.mean.mean(0)
    turned_round = mirror(Modes(modes.mean - centre, modes.shape))
    return Modes(turned_round.mean + centre, turned_round.shape)


def folded_differently(modes: Modes, rng: np.random.Generator) -> Modes:
    """The same beads along a smooth random chain with the structure's moments of inertia, moving softly as strongly.

    Its modes are the softest of its elastic network, with the strength of the run's.
    """
    n, centre = len(modes.mean), modes.mean.mean(0)
    own = modes.mean - centre
    chain = np.cumsum(gaussian_filter1d(rng.normal(size=(n, 3)), SMOOTH, axis=0), 0)
    chain -= gaussian_filter1d(chain, SPREAD, axis=0)
    chain += ROUGH * rng.normal(size=chain.shape) * chain.std()
    chain = _with_moments(chain - chain.mean(0), own) + centre
    k, size = len(modes.shape), float(np.sqrt((own**2).sum(1).mean()))
    shape = elastic_modes(chain, k, max(size, CUTOFF_NM)).shape if k else modes.shape  # a loose chain: long springs
    return Modes(chain, as_strong(shape, modes.shape))


def reversed_motion(modes: Modes) -> Modes:
    """The run's structure with its displacements at the beads in reversed order."""
    return Modes(modes.mean, as_strong(without_rigid(modes.shape[:, ::-1], modes.mean), modes.shape))


def soft_motion_of(other: Modes, modes: Modes) -> Modes:
    """The run's structure with another molecule's displacements, bead by bead."""
    return Modes(modes.mean, as_strong(without_rigid(other.shape, modes.mean), modes.shape))


def as_strong(shape: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Displacements scaled so that their mean square, over all modes, is that of others."""
    return shape * np.sqrt((like**2).sum() / max((shape**2).sum(), 1e-300))


@dataclass(frozen=True)
class Agreement:
    """How alike two models are."""

    mean_A: float  # rms distance of superposed means
    beyond_A: float  # of that, what no motion of the two makes up for
    share: float  # of the variance of motion seen by either that lies in the span of the other's modes
    angle_deg: tuple[float, ...]  # principal angles between the spans


def agreement(one: Modes, two: Modes, seen: tuple[np.ndarray, np.ndarray] | None = None) -> Agreement:
    """Of two models, once the second is superposed on the first.

    `seen` are amplitudes (F, K) of the same frames by each, which say how much of each mode there is; if none, modes
    count by their prior.
    """
    first, second = Modes(one.mean, without_rigid(one.shape, one.mean)), superposed(two, one.mean)
    away = 10 * (first.mean - second.mean).ravel() / np.sqrt(len(one.mean))
    flat = [model.shape.reshape(len(model.shape), one.mean.size).T for model in (first, second)]
    basis = [np.linalg.qr(fields)[0] for fields in flat]
    shares = []
    for i, fields in enumerate(flat):
        moment = np.eye(fields.shape[1]) if seen is None else np.atleast_2d(np.cov(seen[i].T))
        inside = basis[1 - i].T @ fields
        shares.append(np.trace(inside @ moment @ inside.T) / max(np.trace(fields.T @ fields @ moment), 1e-300))
    cosine = np.clip(np.linalg.svd(basis[0].T @ basis[1], compute_uv=False), 0, 1)
    angles = np.degrees(np.arccos(cosine)).tolist()
    both = np.linalg.qr(np.concatenate(flat, 1))[0]
    beyond = away - both @ (both.T @ away)
    distance, rest = (float(np.linalg.norm(v)) for v in (away, beyond))
    return Agreement(distance, rest, float(np.mean(shares)), tuple(angles))


def _with_moments(chain: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A centred chain (N, 3) stretched along its axes to have the second moments of another structure, on its axes."""
    value, axis = np.linalg.eigh(chain.T @ chain)
    wanted, onto = np.linalg.eigh(like.T @ like)
    return (chain @ axis) * np.sqrt(wanted / value) @ onto.T

"""Heights from another program or instrument, with a structure: what a file does not say is found from the images.

Formats and programs differ in where a frame's first line lies, at the top or at the bottom. Read the wrong way round,
every frame is the mirror image of a molecule that does not exist, and no rotation makes up for it: both ways are
tried, with blunt and sharp tips, and the one that leaves less unexplained is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tempica.embed.heights.search import found_poses
from tempica.embed.heights.tasks import FIRST_TIPS_NM, calibrate
from tempica.embed.poses.settling import PosePrior
from tempica.embed.posterior import Posterior, posterior
from tempica.errors import DataError
from tempica.imaging.heights import Heights
from tempica.imaging.modes import Modes

HAND_FRAMES = 20  # by which hand and tip are chosen
SPREADS = 3  # rounds in which the modes' deviations are learned
STEPS = 8
POOR = 6.0  # standard deviations of what noise leaves, beyond which a frame is searched again
WIDELY = 4.0


@dataclass(frozen=True)
class Fitted:
    """Posteriors of frames, and what they were found with."""

    found: Posterior
    modes: Modes  # of the deviations that frames have
    heights: Heights  # the way round that was taken, with tip and noise
    mirrored: bool
    other_hand_nm: float  # what the other way round leaves unexplained in a pixel; `heights.noise_nm` is this one's

    @property
    def displacement(self) -> np.ndarray:
        """Amplitudes (F, K) in nm, rms over the beads: of directions that cost the same to see."""
        return np.asarray(self.found.mean * np.sqrt((self.modes.shape**2).sum(2).mean(1)))


def fit(heights: Heights, modes: Modes, faces: np.ndarray, molecule: np.ndarray, *, tip_known: bool = False) -> Fitted:
    """Posteriors of amplitudes and poses of frames whose hand, tip and noise nobody tells.

    Deviations of the modes are those that frames have: λ_k² ← mean over frames of a_k² + C_kk, C the posterior
    covariance (expectation and maximisation; Dempster, Laird & Rubin 1977).

    Parameters:
        heights: F frames in nm; of its probe the pixels and the cone's half-angle are believed.
        modes: mean structure and motions of unit deviation among which the images choose.
        faces: (G, 3, 3) rotations in which a molecule may lie, up to turns in the plane.
        molecule: (F,) labels of frames of one molecule in sequence, which lies on one face.
        tip_known: whether the radius of the probe is believed too.

    Raises DataError for no frames, and for images that are not numbers.

    Example:
        >>> from tempica.embed.modes.elastic import elastic_modes
        >>> from tempica.imaging.afm import Probe, flat_faces
        >>> form = np.random.default_rng(0).normal(size=(30, 3)) * [1.5, 1.0, 0.4]
        >>> seen = Heights(np.zeros((4, 24, 24), np.float32), np.full(30, 0.3), Probe(1.0, 0.2, 24, 0.4), 0.1)
        >>> upright, still = np.repeat(flat_faces(form)[:1], 4, 0), np.repeat(form[None], 4, 0)
        >>> seen = replace(seen, image=seen.model(still, upright, np.zeros((4, 2)))[:, ::-1])
        >>> fit(seen, elastic_modes(form, 2), flat_faces(form), np.arange(4)).mirrored
        True
    """
    if not len(heights):
        raise DataError("There are no frames to fit.")
    if not np.isfinite(heights.image).all():
        raise DataError("Heights of frames must be numbers; leave frames that are not out.")
    some = np.unique(np.linspace(0, len(heights) - 1, min(len(heights), HAND_FRAMES)).round().astype(int))
    hands = [heights.image, np.ascontiguousarray(heights.image[:, ::-1])]
    best = [
        min(told, key=lambda one: one.noise_nm)
        for told in _tried(heights, hands, some, modes, faces, molecule, tip_known)
    ]
    mirrored = best[1].noise_nm < best[0].noise_nm
    seen = replace(best[int(mirrored)], image=hands[int(mirrored)])
    start, prior = found_poses(seen, modes, faces, molecule)
    seen, found = calibrate(seen, modes, start, prior, tip_known=tip_known)
    for _ in range(SPREADS):
        second = (found.mean**2).mean(0) + np.diagonal(found.covariance, axis1=1, axis2=2).mean(0)
        deviation = np.sqrt(second)
        modes = Modes(modes.mean, modes.shape * deviation[:, None, None])
        amplitude = found.mean / deviation
        found = posterior(seen, modes, found.rotation, found.shift_A, STEPS, prior, amplitude=amplitude)
        if len(np.unique(molecule)) == len(molecule):  # else the other frames of a molecule have told its face
            found, prior = _looked_again(seen, modes, faces, found, prior)
    return Fitted(found, modes, seen, mirrored, best[1 - int(mirrored)].noise_nm)


def _looked_again(
    heights: Heights, modes: Modes, faces: np.ndarray, found: Posterior, prior: PosePrior
) -> tuple[Posterior, PosePrior]:
    """The same after a wider search for frames that leave much more unexplained than others do."""
    left = found.residual_variance
    poor = np.flatnonzero(left > np.median(left) * (1 + POOR * np.sqrt(2 / heights.n_values)))
    if not len(poor) or prior.rotation is None:
        return found, prior
    again, known = found_poses(heights[poor], modes, faces, np.arange(len(poor)), widely=WIDELY)
    assert known.rotation is not None
    place = again.rotation, again.shift_A
    again = posterior(heights[poor], modes, *place, STEPS, known, amplitude=again.mean)
    better = again.residual_variance < left[poor]
    parts = {name: part.copy() for name, part in vars(found).items()}
    for name, part in vars(again).items():
        parts[name][poor[better]] = part[better]
    rotation = prior.rotation.copy()
    rotation[poor[better]] = known.rotation[better]
    return Posterior(**parts), PosePrior(rotation, prior.shift_A, prior.precision)


def _tried(
    heights: Heights,
    hands: list[np.ndarray],
    some: np.ndarray,
    modes: Modes,
    faces: np.ndarray,
    molecule: np.ndarray,
    tip_known: bool,
) -> list[list[Heights]]:
    """For each way round, some of the frames with the tip and noise that a search with each first tip leads to."""
    both = replace(heights, image=np.concatenate([image[some] for image in hands]))
    own = np.unique(molecule[some], return_inverse=True)[1]
    label, half = np.concatenate([own, own + len(own)]), np.split(np.arange(2 * len(some)), 2)
    told: list[list[Heights]] = [[], []]
    for radius in (heights.probe.radius_nm,) if tip_known else FIRST_TIPS_NM:
        blunt = replace(both, probe=replace(both.probe, radius_nm=radius))
        found, prior = found_poses(blunt, modes, faces, label)
        for attempts, rows in zip(told, half, strict=True):
            start = Posterior(*(part[rows] for part in vars(found).values()))
            attempts.append(calibrate(blunt[rows], modes, start, prior[rows], tip_known=tip_known)[0])
    return told

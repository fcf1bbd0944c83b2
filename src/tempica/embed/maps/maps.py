"""What a map or structure owes to the images that it is to explain: its scale, and its hand.

Where poses are hidden, images cannot tell the hand: a projection of the mirror image through the plane of the view, r →
(x, y, −z), is the same image, so that the mirrored molecule at mirrored poses M R M explains every image as well (weak
phase, flat Ewald sphere). Found poses then go with whichever hand the map has. Poses that are known, or nearly so, fix
the hand, up to a map that was mirrored after its poses were refined: that is what `hand_evidence` looks for.

Shape legend: F frame, N atom, K mode, P parameter (K modes and 5 of the pose), M coefficient of the disc.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica.embed.quadratic import Observed, linearise, model_waves
from tempica.errors import DataError
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes
from tempica.imaging.poses import POSE

CERTAIN = 5.0  # standard errors by which a mirror image must be better to be called so
AT_ONCE = 100  # frames


@dataclass(frozen=True)
class Scale:
    factor: float  # by which the scatterers' amplitudes are to be multiplied
    error: float  # its standard error, from frame to frame


def scale_of(
    observed: Observed, scatterers: Scatterers, position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray
) -> Scale:
    """The factor that brings a structure (N, 3), in nm, to the scale of images at their poses: Σ Re⟨y, m⟩ / Σ |m|²."""
    overlap, norm = np.empty(len(observed)), np.empty(len(observed))
    for first in range(0, len(observed), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        frames = observed[part]
        place = np.broadcast_to(position, (len(frames), *position.shape))
        wave = model_waves(observed.disc, scatterers, place, rotation[part], shift_A[part]) * frames.transfer
        overlap[part] = (wave.conj() * frames.target).real.sum(1)
        norm[part] = np.square(np.abs(wave)).sum(1)
    factor = float(overlap.sum() / norm.sum())
    return Scale(factor, float(np.sqrt(np.square(overlap - factor * norm).sum()) / norm.sum()))


def scaled(scatterers: Scatterers, factor: float) -> Scatterers:
    return Scatterers(factor * scatterers.amplitude, scatterers.width_A)


def mirror(modes: Modes, axis: int = 2) -> Modes:
    """The mirror image of a molecule and its motions, with one coordinate turned round."""
    flip = np.ones(3)
    flip[axis] = -1.0
    return Modes(modes.mean * flip, modes.shape * flip)


@dataclass(frozen=True)
class HandEvidence:
    """How much better images of stated poses go with a molecule than with the best of its mirror images."""

    difference: float  # mean over frames of ln p(image | own) − ln p(image | mirror image)
    error: float  # its standard error
    axis: int  # along which the best mirror image is turned round

    @property
    def is_mirrored(self) -> bool:
        """Whether the mirror image is certainly better."""
        return self.difference < -CERTAIN * self.error

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        by = f"{abs(self.difference):.3g} ± {self.error:.2g} a frame (ln likelihood), turned round along"
        along = f"{by} {'xyz'[self.axis]}"
        if self.is_mirrored:
            return f"the mirror image of the molecule explains the images better, by {along}: its hand is the other one"
        if self.difference > CERTAIN * self.error:
            return f"the molecule explains the images better than its mirror image, by {along}"
        return f"the images do not tell the molecule from its mirror image ({along})"


def hand_evidence(
    observed: Observed,
    scatterers: Scatterers,
    modes: Modes,
    rotation: np.ndarray,
    shift_A: np.ndarray,
    pose_precision: np.ndarray | None = None,
) -> HandEvidence:
    """Likelihood of images at stated poses, of a molecule and of its mirror images along x, y and z.

    Each likelihood is the greatest of a step in mode amplitudes, a ~ N(0, I), and in the pose.

    Parameters:
        rotation: (F, 3, 3) of molecule to view, known or nearly so; poses found with this molecule as a template say
            nothing (see the top of this module).
        shift_A: (F, 2).
        pose_precision: (5, 5) of the stated poses; none where they are exact.

    Raises DataError for fewer than 20 frames.
    """
    if len(observed) < 20:
        raise DataError(f"The hand is told from 20 frames or more, and there are {len(observed)}.")
    own = _log_likelihood(observed, scatterers, modes, rotation, shift_A, pose_precision)
    best: HandEvidence | None = None
    for axis in range(3):
        other = _log_likelihood(observed, scatterers, mirror(modes, axis), rotation, shift_A, pose_precision)
        apart = own - other
        error = float(apart.std(ddof=1) / np.sqrt(len(apart)))
        found = HandEvidence(float(apart.mean()), error, axis)
        if best is None or found.difference < best.difference:
            best = found
    assert best is not None
    return best


def _log_likelihood(
    observed: Observed,
    scatterers: Scatterers,
    modes: Modes,
    rotation: np.ndarray,
    shift_A: np.ndarray,
    pose_precision: np.ndarray | None,
) -> np.ndarray:
    """ln p (F,) of every image at the maximum of its quadratic expansion, but for what is the same for all models."""
    n_modes = len(modes.shape)
    prior = np.eye(n_modes + (0 if pose_precision is None else POSE))
    if pose_precision is not None:
        prior[n_modes:, n_modes:] = pose_precision
    found = np.empty(len(observed))
    for first in range(0, len(observed), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        frames = observed[part]
        place = np.broadcast_to(modes.mean, (len(frames), *modes.mean.shape))
        view = (place, rotation[part], shift_A[part], modes.shape)
        around = linearise(frames, scatterers, *view, pose=pose_precision is not None)
        step = np.linalg.solve(around.information + prior, around.evidence[..., None])[..., 0]
        found[part] = -0.5 * (around.misfit - (step * around.evidence).sum(1))
    return found

"""Embedding of frames whose poses are stated, exactly or with an error, in modes that were learned.

Where molecules have several frames, each image is expanded about the posterior given all of them: at low SNR the
maximum of one image's own posterior lies far off, and an expansion there misleads. The latents are nevertheless those
of single frames, whose errors are independent in time. Motion that the modes leave out is marginalised in the last
expansion; before, it would only slow down the search for where to expand.

Shape legend: F frame, K mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tempica.embed.modes.state_space import apply, single_frames
from tempica.embed.poses.settling import PosePrior, settle
from tempica.embed.posterior import posterior
from tempica.embed.rounds import prior_of
from tempica.embed.saved import load_state, modes_of
from tempica.embed.setting import EXACT, Setting, Span, likelihood_of, molecules
from tempica.imaging.likelihood import Expansion, Likelihood, without, without_pose
from tempica.imaging.modes import Modes
from tempica.imaging.photons import Patterns
from tempica.imaging.poses import POSE
from tempica.runs.reading import read
from tempica.stores import files

SETTLED = 0.03  # mean change of amplitudes, in standard deviations of the prior, that ends the expansions


@dataclass(frozen=True)
class Embedded:
    """What the stage stores of frames."""

    latent: np.ndarray  # (F, K)
    latent_covariance: np.ndarray  # (F, K, K)
    residual_variance: np.ndarray  # (F,) of the whitened image, relative to the noise
    rotation: np.ndarray  # (F, 3, 3)
    pose_shift_A: np.ndarray  # (F, 2)
    pose_covariance: np.ndarray  # (F, 5, 5)
    state_space_source: np.ndarray  # (F, K)
    state_space_variance: np.ndarray  # (F, K)


def embed_span(run: Path, setting_file: Path, state_file: Path, poses: Path, out: Path, span: Span, n: int) -> None:
    """Embed a span with at most `n` expansions."""
    setting = Setting.load(setting_file)
    modes, rho = modes_of(load_state(state_file))
    given = files.load_arrays(poses)
    molecule = molecules(read(run, "embed", "movie"), [span])
    likelihood, pose, prior = likelihood_of(run, setting, span), (given["rotation"], given["shift_A"]), prior_of(given)
    start = None
    if isinstance(likelihood, Patterns):  # bright fringes catch a step that is too long: climb with little detail first
        start = posterior(likelihood, modes, *pose, n, prior).mean
    found = embed(likelihood, modes, rho, molecule, pose, prior, n, setting.rest, start=start)
    files.save_arrays(out, **vars(found))


def embed(
    likelihood: Likelihood,
    modes: Modes,
    rho: np.ndarray,
    molecule: np.ndarray,
    pose: tuple[np.ndarray, np.ndarray],
    prior: PosePrior | None,
    n_expansions: int,
    rest: np.ndarray | None = None,
    *,
    start: np.ndarray | None = None,
) -> Embedded:
    """Posteriors of amplitudes under the prior N(0, I), expanded about the posterior under autoregressions.

    Parameters:
        rho: (K,) of the amplitudes from one frame of a molecule to the next; zeros for snapshots.
        molecule: (F,) labels.
        pose: rotations (F, 3, 3) and shifts (F, 2).
        prior: of the poses, which are then estimated too; none where they are known.
        n_expansions: at the most, and the last with `rest`.
        rest: (L, N, 3) displacements in nm of amplitudes ~ N(0, 1) that the modes leave out.
        start: (F, K) amplitudes of the first expansion; 0 if none.
    """
    n_modes = len(modes.shape)
    amplitude = np.zeros((len(likelihood), n_modes)) if start is None else start
    rotation, shift_A = pose
    steady = False
    for number in range(n_expansions):
        last = steady or number == n_expansions - 1
        if prior is not None:
            position = modes.mean + np.tensordot(amplitude, modes.shape, 1)
            rotation, shift_A = settle(likelihood, position, rotation, shift_A, prior)
        shape = modes.shape if rest is None or not last else np.concatenate([modes.shape, rest])
        expansion, full = _expand(likelihood, modes, amplitude, shape, (rotation, shift_A), prior)
        evidence = expansion.evidence + (expansion.information @ amplitude[..., None])[..., 0]
        known = apply(expansion.information, evidence, molecule, np.zeros(n_modes), np.eye(n_modes), rho)
        if last:
            break
        steady = bool(np.sqrt(((known.mean - amplitude) ** 2).mean()) < SETTLED)
        amplitude = known.mean
    latent, covariance = single_frames(evidence, expansion.information)
    timeless = not rho.any()
    nothing = np.full_like(latent, np.nan)
    return Embedded(
        latent,
        covariance,
        expansion.misfit / likelihood.n_values,
        rotation,
        shift_A,
        _pose_covariance(full, n_modes, prior),
        nothing if timeless else known.mean,
        nothing if timeless else np.diagonal(known.covariance, axis1=1, axis2=2),
    )


def _expand(
    likelihood: Likelihood,
    modes: Modes,
    amplitude: np.ndarray,
    shape: np.ndarray,
    pose: tuple[np.ndarray, np.ndarray],
    prior: PosePrior | None,
) -> tuple[Expansion, np.ndarray]:
    """Expansion in the amplitudes alone, and the information (F, K + 5, K + 5) with the pose, or (F, 0, 0).

    The displacements `shape` begin with the modes; the rest of them are marginalised.
    """
    position = modes.mean + np.tensordot(amplitude, modes.shape, 1)
    seen = likelihood.expand(position, *pose, shape, pose=prior is not None)
    if len(shape) > len(modes.shape):
        seen = without(seen, slice(len(modes.shape), len(shape)))
    if prior is None:
        return seen, np.zeros((len(likelihood), 0, 0))
    seen = prior.added_to(seen, *pose)
    return without_pose(seen, np.zeros((POSE, POSE))), seen.information


def _pose_covariance(full: np.ndarray, n_modes: int, prior: PosePrior | None) -> np.ndarray:
    """Covariances (F, 5, 5), 0 of what is exact."""
    if prior is None:
        return np.zeros((len(full), POSE, POSE))
    whole = full.copy()
    whole[:, range(n_modes), range(n_modes)] += 1
    free = (prior.precision < EXACT**-2.0).astype(float)
    return np.linalg.inv(whole)[:, n_modes:, n_modes:] * np.outer(free, free)

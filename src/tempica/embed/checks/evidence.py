"""How well a model of a molecule explains frames: the log-evidence of each against an image without a molecule.

ln p(y | model) − ln p(y | nothing), amplitudes a ~ N(0, I) marginalised (Laplace), and poses too, as far as they are
not known: over their stated error, or over all rotations and N(0, σ²) of the shift. Each frame counts by itself.

Where poses are hidden, the integral over rotations is the sum over the peaks of a search,

    ln Z = ln Σ_p exp(−½ (|r|² + |a|² + |t|²/σ² + ln det(H + Λ)) − 2 ln σ) + ln (2π)^{3/2} / 8π²,

with 8π² the volume of all rotations. So it is low for images in which no pose stands out, and right for others.

Shape legend: F frame, K mode, P peak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from tempica.embed.checks.frames import Sample
from tempica.embed.micrographs import Micrographs
from tempica.embed.poses.grids import Grid
from tempica.embed.poses.refine import Peaks
from tempica.embed.poses.search import search
from tempica.embed.posterior import posterior
from tempica.embed.quadratic import linearise
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes

N_PEAKS = 4
N_ITERATIONS = 8
_ROTATIONS = 1.5 * np.log(2 * np.pi) - np.log(8 * np.pi**2)


@dataclass(frozen=True)
class Explained:
    """What a model says of frames."""

    log_evidence: np.ndarray  # (F,) nats, against no molecule
    amplitude: np.ndarray  # (F, K)
    rotation: np.ndarray  # (F, 3, 3)
    share: np.ndarray  # (F, P) posterior probability of each pose, the best first; (F, 1) where they are not hidden


def explain(sample: Sample, scatterers: Scatterers, modes: Modes, grid: Grid) -> Explained:
    """Evidence, amplitudes and poses of frames, by a model; `grid` is for poses that are hidden."""
    empty = 0.5 * (np.abs(sample.observed.target) ** 2).sum(1)
    if sample.rotation is None:
        peaks = search(sample.observed, scatterers, modes, grid, sample.spread_A, N_PEAKS)
        return _of_peaks(peaks, empty)
    return _at_stated(sample, scatterers, modes, empty)


def _of_peaks(peaks: Peaks, empty: np.ndarray) -> Explained:
    total = logsumexp(peaks.log_evidence, axis=1)
    share = np.exp(peaks.log_evidence - total[:, None])
    return Explained(total + _ROTATIONS + empty, peaks.amplitude[:, 0], peaks.rotation[:, 0], share)


def _at_stated(sample: Sample, scatterers: Scatterers, modes: Modes, empty: np.ndarray) -> Explained:
    """−2 ln Z = |r|² + |a|² + |pose − stated|² + ln det(H + Λ) − ln det Λ at the maximum, a last step included."""
    assert sample.rotation is not None
    k, prior = len(modes.shape), sample.prior
    found = (
        posterior(Micrographs(sample.observed, scatterers), modes, sample.rotation, sample.shift_A, N_ITERATIONS, prior)
        if k or prior is not None
        else None
    )
    amplitude = np.zeros((len(sample), k)) if found is None else found.mean
    rotation, shift = (sample.rotation, sample.shift_A) if found is None else (found.rotation, found.shift_A)
    position = modes.mean + np.tensordot(amplitude, modes.shape, 1)
    seen = linearise(sample.observed, scatterers, position, rotation, shift, modes.shape, pose=prior is not None)
    constant = 0.0
    if prior is not None:
        seen = prior.added_to(seen, rotation, shift)
        constant = np.log(prior.precision).sum()
    information = seen.information.copy()
    information[:, range(k), range(k)] += 1
    pull = seen.evidence.copy()
    pull[:, :k] -= amplitude
    total = -0.5 * (seen.misfit + (amplitude**2).sum(1) - constant)
    if pull.shape[1]:
        step = np.linalg.solve(information, pull[..., None])[..., 0]
        total += 0.5 * ((pull * step).sum(1) - np.linalg.slogdet(information)[1])
        amplitude = amplitude + step[:, :k]
    return Explained(total + empty, amplitude, rotation, np.ones((len(sample), 1)))

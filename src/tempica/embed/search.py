"""Hidden poses, frame by frame: a search over all rotations and shifts, then a refinement of its best peaks.

The coarse search scores the mean structure at every rotation R_g of a grid and every shift s of another. With y the
whitened image, C its transfer function and T_g = F[P(R_g x̄)] on a small disc of Fourier space,

    ℓ(g, s) = Re⟨C* y e^{2πi k·s}, T_g⟩ − ½ Σ_k |C|² |T_g|² − |s − m|²/2σ² − 2 ln σ,

which is ln p(y | R_g, s) p(s) up to what all poses of a frame share, with the shape's amplitudes at their mean. The
transfer function is on the image, so that one set of templates serves all frames, and both sums are matrix products.

Shape legend: F frame, G rotation, S shift, P peak, M coefficient of the disc.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tempica.embed.grids import Grid, shift_grid
from tempica.embed.quadratic import Disc, Observed, model_waves
from tempica.embed.refine import Peaks, ShiftPrior, climb, shift_prior
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes

TEMPLATE_RADIUS = 8  # Fourier radius of the coarse search
STEP_A = 3.5  # of its shifts
BEHIND = 12.0  # nats on the small disc behind a frame's best peak that leave another out
VIEWS = 64  # templates made at once


@dataclass(frozen=True)
class Templates:
    """Views of the mean structure at the rotations of a grid."""

    disc: Disc
    grid: Grid
    wave: np.ndarray  # (2 M, G) float32, real and imaginary parts in turn
    power: np.ndarray  # (M, G) float32


def refine(
    observed: Observed,
    scatterers: Scatterers,
    modes: Modes,
    peaks: Peaks,
    prior: ShiftPrior,
    *,
    n_kept: int = 2,
    n_steps: int = 6,
    radius: int = 12,
) -> Peaks:
    """The best `n_kept` of the peaks (F, P, …) with amplitudes, each at the maximum of its posterior, best first.

    All peaks take three steps of the pose alone on a disc of that radius; the best of them go on with amplitudes, and
    those that fall too far behind are left out before the last steps on the observed disc.
    """
    n_modes = len(modes.shape)
    if peaks.amplitude.shape[2] != n_modes:
        peaks = replace(peaks, amplitude=np.zeros((*peaks.log_evidence.shape, n_modes)))
    small = observed.within(radius)
    peaks = climb(small, scatterers, modes, peaks, prior, 3, pose_only=True).best(n_kept)
    peaks = climb(small, scatterers, modes, peaks, prior, n_steps).best(n_kept)
    if small.disc.radius == observed.disc.radius:
        return peaks
    behind = peaks.log_evidence < peaks.log_evidence[:, :1] - BEHIND
    peaks = replace(peaks, log_evidence=np.where(behind, -np.inf, peaks.log_evidence))
    return climb(observed, scatterers, modes, peaks, prior, n_steps).best(n_kept)


def search(
    observed: Observed,
    scatterers: Scatterers,
    modes: Modes,
    grid: Grid,
    shift_deviation_A: float,
    n_peaks: int = 4,
    *,
    n_kept: int = 2,
) -> Peaks:
    """Coarse search over the grid and refinement of its best peaks."""
    disc = replace(observed.disc, radius=min(TEMPLATE_RADIUS, observed.disc.radius))
    templates = make_templates(disc, scatterers, modes, grid)
    prior = shift_prior(len(observed), shift_deviation_A)
    return refine(observed, scatterers, modes, coarse(observed, templates, prior, n_peaks), prior, n_kept=n_kept)


def make_templates(disc: Disc, scatterers: Scatterers, modes: Modes, grid: Grid) -> Templates:
    """Views of the mean structure at all rotations of a grid, on a disc."""
    shift = np.zeros((VIEWS, 2))
    waves = [
        model_waves(disc, scatterers, np.broadcast_to(modes.mean, (len(r), *modes.mean.shape)), r, shift[: len(r)])
        for r in (grid.rotation[a : a + VIEWS] for a in range(0, len(grid), VIEWS))
    ]
    wave = np.concatenate(waves).astype(np.complex64)
    return Templates(disc, grid, np.ascontiguousarray(_real(wave).T), np.ascontiguousarray((np.abs(wave) ** 2).T))


def coarse(
    observed: Observed,
    templates: Templates,
    prior: ShiftPrior,
    n_peaks: int,
    *,
    step_A: float = STEP_A,
    block: int = 8,
) -> Peaks:
    """The `n_peaks` best rotations of the grid of each frame, further apart than `grid.apart`, each at its best shift.

    The log-evidence is ℓ(g, s): neither amplitudes nor pose are marginalised, and there are no amplitudes yet.

    Parameters:
        observed: images on the templates' disc, or on a larger one.
        prior: of the shifts; the search reaches 4 of its deviations.
        step_A: between shifts.
        block: frames at once; they do not matter for the result.
    """
    observed = observed.within(templates.disc.radius)
    shift = shift_grid(float(prior.deviation_A.max()), step_A)
    parts = []
    for first in range(0, len(observed), block):
        frames = slice(first, first + block)
        score = _scores(observed[frames], templates, prior[frames], shift)
        parts.append(_highest(score, templates.grid, n_peaks))
    chosen, where, score = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Peaks(
        templates.grid.rotation[chosen],
        prior.mean_A[:, None] + shift[where],
        np.zeros((*chosen.shape, 0)),
        score,
    )


def _scores(observed: Observed, templates: Templates, prior: ShiftPrior, shift: np.ndarray) -> np.ndarray:
    """ℓ (F, S, G) at shifts (S, 2) from the prior's mean."""
    disc, n_frames = observed.disc, len(observed)
    ky, kx = disc.index
    steps = 2j * np.pi / (disc.n_pixels * disc.pixel_A) * np.stack([kx, ky])  # per Å
    image = observed.target * observed.transfer * np.exp(prior.mean_A @ steps).astype(np.complex64)
    moved = image[:, None] * np.exp(shift @ steps).astype(np.complex64)
    score = (_real(moved).reshape(n_frames * len(shift), -1) @ templates.wave).reshape(n_frames, len(shift), -1)
    flat = (shift**2).sum(1) / (2 * prior.deviation_A[:, None] ** 2) + 2 * np.log(prior.deviation_A[:, None])
    score -= flat.astype(np.float32)[..., None]
    score -= (0.5 * observed.transfer**2 @ templates.power)[:, None]
    return score


def _highest(score: np.ndarray, grid: Grid, n_peaks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations, shifts and scores (F, P) of the highest scores (F, S, G), no two rotations near each other."""
    rows = np.arange(len(score))
    left = score.max(1)
    chosen = np.zeros((len(score), n_peaks), dtype=int)
    height = np.zeros(chosen.shape)
    for peak in range(n_peaks):
        best = left.argmax(1)
        chosen[:, peak], height[:, peak] = best, left[rows, best]
        left[rows[:, None], grid.near[best]] = -np.inf
    where = score[rows[:, None], :, chosen].argmax(2)
    return chosen, where, height


def _real(wave: np.ndarray) -> np.ndarray:
    """Complex coefficients (…, M) as real vectors (…, 2 M) with the same inner products."""
    return np.ascontiguousarray(wave).view(np.float32)

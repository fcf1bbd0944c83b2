"""Views of a molecule at the rotations of a grid, and how well images agree with them.

With y the whitened image, C its transfer function and T_g = F[P(R_g x̄)] on a small disc of Fourier space, the mean
structure at rotation R_g and shift s has the log-posterior

    ℓ(g, s) = Re⟨C* y e^{2πi k·s}, T_g⟩ − ½ Σ_k |C|² |T_g|² − |s − m|²/2σ² − 2 ln σ

up to what all poses of a frame share. The transfer function is on the image, so that one set of templates serves all
frames, and both sums are matrix products. The templates' derivatives allow one Gauss–Newton step from a point of the
grids, and the evidence that goes with it, at the price of a few products of small matrices.

Shape legend: F frame, G rotation, S shift, P peak, L point (of some frame), K mode, Q parameter (K + 5), M coefficient
of the disc.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from tempica.embed.poses.grids import Grid
from tempica.embed.poses.refine import LEAST_DEVIATION_A, Peaks, ShiftPrior
from tempica.embed.quadratic import Disc, Observed, as_real
from tempica.imaging.geometry import quaternion_of, rotation_matrix, to_pixels
from tempica.imaging.linearise import Scatterers
from tempica.imaging.modes import Modes
from tempica.imaging.projection import project_with_jacobian

VIEWS = 64  # templates made at once
MARGIN = 40  # pixels of a sheet beyond the disc's radius: what they fold into the disc is next to nothing


@dataclass(frozen=True)
class Templates:
    """Views of the mean structure at the rotations of a grid, and their derivatives."""

    disc: Disc
    grid: Grid
    wave: np.ndarray  # (2 M, G) float32, real and imaginary parts in turn
    power: np.ndarray  # (M, G) float32
    column: np.ndarray  # (G, 1 + Q, M) complex64: the view, then its derivatives in amplitudes, turns (rad), shifts (Å)


def make_templates(disc: Disc, scatterers: Scatterers, modes: Modes, grid: Grid) -> Templates:
    """Views of the mean structure at all rotations of a grid, on a disc."""
    pieces = [grid.rotation[first : first + VIEWS] for first in range(0, len(grid), VIEWS)]
    column = np.concatenate([_columns(disc, scatterers, modes, piece) for piece in pieces])
    wave = column[:, 0]
    return Templates(
        disc, grid, np.ascontiguousarray(as_real(wave).T), np.ascontiguousarray((np.abs(wave) ** 2).T), column
    )


def _columns(disc: Disc, scatterers: Scatterers, modes: Modes, rotation: np.ndarray) -> np.ndarray:
    """Views (G, 1 + Q, M) and derivatives, before the transfer function."""
    n = min(disc.n_pixels, 2 * (disc.radius // 2) + MARGIN)
    pixel_A = disc.edge_A / n
    position = np.broadcast_to(modes.mean, (len(rotation), *modes.mean.shape))
    xy = to_pixels(position, rotation, np.zeros((len(rotation), 2)), n, pixel_A)
    bend = 10.0 / pixel_A * np.einsum("gij,knj->gkni", rotation[:, :2], modes.shape, optimize=True)
    x, y, z = np.moveaxis(10.0 / pixel_A * np.einsum("gij,gnj->gni", rotation, position), -1, 0)
    turn = np.stack([np.stack(v, -1) for v in ((np.zeros_like(z), -z), (z, np.zeros_like(z)), (-y, x))], 1)
    velocity = np.concatenate([bend, turn], 1)
    sheet = project_with_jacobian(xy, velocity, scatterers.amplitude, scatterers.width_A, n, pixel_A)
    column = disc.gather(fft.rfft2(sheet)) * (n / disc.n_pixels) ** -2.0
    return np.concatenate([column, -_phase_steps(disc)[None] * column[:, :1]], 1).astype(np.complex64)


def scores(observed: Observed, templates: Templates, prior: ShiftPrior, shift: np.ndarray) -> np.ndarray:
    """ℓ (F, S, G) of images on the templates' disc, at shifts (S, 2) from the prior's mean."""
    steps, n_frames = _phase_steps(observed.disc), len(observed)
    image = observed.target * observed.transfer * np.exp(prior.mean_A @ steps).astype(np.complex64)
    moved = image[:, None] * np.exp(shift @ steps).astype(np.complex64)
    score = (as_real(moved).reshape(n_frames * len(shift), -1) @ templates.wave).reshape(n_frames, len(shift), -1)
    flat = (shift**2).sum(1) / (2 * prior.deviation_A[:, None] ** 2) + 2 * np.log(prior.deviation_A[:, None])
    score -= flat.astype(np.float32)[..., None]
    score -= (0.5 * observed.transfer**2 @ templates.power)[:, None]
    return score


def highest(score: np.ndarray, grid: Grid, n_peaks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations, shifts and scores (F, P) of the highest scores (F, S, G), no two rotations near each other."""
    rows = np.arange(len(score))
    left = score.max(1)
    chosen = np.zeros((len(score), n_peaks), dtype=int)
    height = np.zeros(chosen.shape)
    for peak in range(n_peaks):
        best = left.argmax(1)
        chosen[:, peak], height[:, peak] = best, left[rows, best]
        left[rows[:, None], grid.near[best]] = -np.inf
    return chosen, score[rows[:, None], :, chosen].argmax(2), height


def stepped(
    observed: Observed,
    templates: Templates,
    frame: np.ndarray,
    chosen: np.ndarray,
    shift_A: np.ndarray,
    prior: ShiftPrior,
    step_A: float,
) -> Peaks:
    """Points (L,) of the grids after one Gauss–Newton step, with the evidence of the quadratic around the grid.

    −2 ln Z = |r|² + |s − m|²/σ² + 4 ln σ − bᵀA⁻¹b + ln det A, A = JᵀJ + Λ: amplitudes a ~ N(0, I) are marginalised, and
    the pose within a cell of the grids, a normal of the cell's size. Where even the best point leaves over more than
    noise, since grids are coarse and shapes differ from the mean, that much is taken for noise too.

    Parameters: `frame` (L,) number of each point's frame; `chosen` (L,) rotations of the grid; `shift_A` (L, 2);
    `step_A` between the shifts of the grid. Peaks are (L, …).
    """
    disc, n_modes = observed.disc, templates.column.shape[1] - 6
    rotation = templates.grid.rotation[chosen]
    phase = observed.transfer[frame] * np.exp(-shift_A @ _phase_steps(disc)).astype(np.complex64)
    column = as_real(templates.column[chosen] * phase[:, None])
    residual = as_real(observed.target)[frame] - column[:, 0]
    jacobian = column[:, 1:]
    information = (jacobian @ jacobian.swapaxes(1, 2)).astype(np.float64)
    slope = (jacobian @ residual[..., None])[..., 0].astype(np.float64)
    misfit = np.einsum("lm,lm->l", residual, residual).astype(np.float64)
    least = np.full(len(observed), np.inf)
    np.minimum.at(least, frame, misfit)
    excess = np.maximum(least / disc.n_values, 1.0)[frame]
    information, slope, misfit = information / excess[:, None, None], slope / excess[:, None], misfit / excess
    deviation = prior.deviation_A[frame]
    away = shift_A - prior.mean_A[frame]
    diagonal = np.einsum("lqq->lq", information)
    diagonal[:, :n_modes] += 1
    diagonal[:, n_modes:-2] += templates.grid.cell**-2.0
    diagonal[:, -2:] += deviation[:, None] ** -2.0 + (4 / max(step_A, LEAST_DEVIATION_A) ** 2)
    slope[:, -2:] -= away / deviation[:, None] ** 2
    step = np.linalg.solve(information, slope[..., None])[..., 0]
    _, volume = np.linalg.slogdet(information)
    twice = misfit + ((away / deviation[:, None]) ** 2).sum(1) + 4 * np.log(deviation) + volume - (step * slope).sum(1)
    turn = rotation_matrix(quaternion_of(step[:, n_modes:-2]))
    return Peaks(turn @ rotation, shift_A + step[:, -2:], step[:, :n_modes], -0.5 * twice)


def worthwhile(observed: Observed, height: np.ndarray, prior: ShiftPrior, gap: float, least: int) -> np.ndarray:
    """Which of the scores (F, P), highest first, are within `gap` nats of the first; and the `least` first anyway.

    Where even the first leaves over more than noise, |y|² − 2 (ℓ + 2 ln σ) above the number of values, the gap is wider
    in that proportion.
    """
    left_over = (np.abs(observed.target) ** 2).sum(1) - 2 * (height[:, 0] + 2 * np.log(prior.deviation_A))
    wide = gap * np.maximum(left_over / observed.disc.n_values, 1.0)
    near = height >= (height[:, 0] - wide)[:, None]
    near[:, :least] = True
    return near & np.isfinite(height)


def _phase_steps(disc: Disc) -> np.ndarray:
    """2πi k (2, M) per Å, so that a shift t turns coefficients by exp(−t·2πi k)."""
    ky, kx = disc.index
    return 2j * np.pi / (disc.n_pixels * disc.pixel_A) * np.stack([kx, ky])

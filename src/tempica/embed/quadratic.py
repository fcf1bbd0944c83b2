"""Images as quadratic log-likelihoods of what moves: the only module of this room that sees images.

Model of an image, in whitened Fourier coefficients of unit noise: y = C F[P(R x + t)] + ε, with the structure
x = x₀ + Σ_k a_k m_k, rotation R ← exp(w) R with w in the view's frame (rad), and shift t (Å). Around a point
θ = (a, w, t), with r the residual and J the Jacobian there,

    −2 ln p(y | θ + δ) = |r|² − 2 δᵀ Jᵀr + δᵀ JᵀJ δ + constant.

Only coefficients within a disc of Fourier space are kept, where the molecule's signal is; the model is projected on a
grid that is as coarse as the disc allows.

Shape legend: F frame, N atom, K mode, P parameter (K modes, then 3 rotations and 2 shifts), M coefficient of the disc,
D pixels along an edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import fft

from tempica.imaging.camera import Camera
from tempica.imaging.geometry import to_pixels
from tempica.imaging.linearise import Scatterers
from tempica.imaging.optics import plane_weights
from tempica.imaging.projection import project, project_with_jacobian

POSE = 5  # columns of a pose: rotation about x, y, z of the view, then shift along x, y


@dataclass(frozen=True)
class Disc:
    """Fourier coefficients of the half plane within a radius, for images of `n_pixels`."""

    n_pixels: int
    pixel_A: float
    radius: int  # in steps of 1 / (n_pixels pixel_A)

    @cached_property
    def index(self) -> tuple[np.ndarray, np.ndarray]:
        """(ky, kx) (M,) of the coefficients, in steps; kx ≥ 0."""
        ky = np.rint(fft.fftfreq(self.n_pixels) * self.n_pixels).astype(int)[:, None]
        kx = np.arange(self.n_pixels // 2 + 1)[None]
        inside = ky**2 + kx**2 <= self.radius**2
        inside &= np.abs(ky) < self.n_pixels // 2
        inside &= kx < self.n_pixels // 2
        row, column = np.nonzero(inside)
        return ky[row, 0], column

    @cached_property
    def coarse(self) -> int:
        """Pixels along an edge of the grid on which models are projected."""
        # what the grid folds into the disc comes from beyond coarse − radius, where beads have next to nothing
        return min(self.n_pixels, 2 * (max(2 * self.radius + 2, self.radius + 32) // 2))

    @property
    def coarse_pixel_A(self) -> float:
        return self.n_pixels * self.pixel_A / self.coarse

    @cached_property
    def n_numbers(self) -> int:
        """Independent numbers in the coefficients of a real image: what |noise|² sums to."""
        return len(self.index[0]) + int((self.index[1] > 0).sum())

    def gather(self, wave: np.ndarray) -> np.ndarray:
        """Coefficients (…, M) of half planes (…, D, D//2 + 1) of either grid."""
        return wave[..., self.index[0], self.index[1]]  # a negative ky counts from the end, as fft orders them


@dataclass(frozen=True)
class Observed:
    """Images as whitened coefficients of a disc, each of noise variance 1 (½ in the real and ½ in the imaginary part
    but for kx = 0, and counted twice for kx > 0, so that Σ |·|² is that over the image's pixels)."""

    disc: Disc
    target: np.ndarray  # (F, M) complex64
    transfer: np.ndarray  # (F, M) float32, whitening and the coarse grid's factor included

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, frames: np.ndarray | slice) -> Observed:
        return Observed(self.disc, self.target[frames], self.transfer[frames])


@dataclass(frozen=True)
class Expansion:
    """Quadratic log-likelihoods around a point, in P parameters."""

    information: np.ndarray  # (F, P, P) JᵀJ
    evidence: np.ndarray  # (F, P) Jᵀr
    misfit: np.ndarray  # (F,) |r|²


def observe(
    camera: Camera,
    image: np.ndarray,
    focus: list[np.ndarray],
    noise_variance: float,
    radius: int,
    power: np.ndarray | None = None,
) -> Observed:
    """Whitened coefficients of images (F, D, D), whose foci are those of `camera.transfer`.

    `power` (D, D//2 + 1) is the noise's spectrum relative to white noise; the camera's if none.
    """
    disc = Disc(image.shape[-1], camera.optics.pixel_size_A, radius)
    weight = np.sqrt(plane_weights(disc.n_pixels) / ((camera.power() if power is None else power) * noise_variance))
    weight = disc.gather(np.broadcast_to(weight, (disc.n_pixels, disc.n_pixels // 2 + 1))).astype(np.float32)
    target = disc.gather(fft.rfft2(image.astype(np.float32))) * weight
    transfer = disc.gather(camera.transfer(*focus)) * weight * np.float32((disc.coarse_pixel_A / disc.pixel_A) ** 2)
    return Observed(disc, target, transfer)


def model_waves(
    disc: Disc, scatterers: Scatterers, position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray
) -> np.ndarray:
    """Coefficients (F, M) of projections of structures (F, N, 3) in nm, before the transfer function."""
    n, pixel_A = disc.coarse, disc.coarse_pixel_A
    xy = to_pixels(position, rotation, shift_A, n, pixel_A)
    return disc.gather(fft.rfft2(project(xy, scatterers.amplitude, scatterers.width_A, n, pixel_A)))


def linearise(
    observed: Observed,
    scatterers: Scatterers,
    position: np.ndarray,
    rotation: np.ndarray,
    shift_A: np.ndarray,
    shape: np.ndarray,
    *,
    pose: bool,
) -> Expansion:
    """Expansion of every image at its structure (F, N, 3) in nm, rotation (F, 3, 3) and shift (F, 2).

    Parameters:
        shape: displacements (K, N, 3) or (F, K, N, 3) in nm for one unit of each amplitude.
        pose: whether three rotations of the view (rad) and two shifts (Å) follow the K amplitudes.
    """
    disc = observed.disc
    n, pixel_A = disc.coarse, disc.coarse_pixel_A
    xy = to_pixels(position, rotation, shift_A, n, pixel_A)
    sum_over = "fij,knj->fkni" if shape.ndim == 3 else "fij,fknj->fkni"
    velocity = 10.0 / pixel_A * np.einsum(sum_over, rotation[:, :2], shape, optimize=True)
    if pose:
        x, y, z = np.moveaxis(10.0 / pixel_A * np.einsum("fij,fnj->fni", rotation, position), -1, 0)
        nil, one = np.zeros_like(x), np.full_like(x, 1.0 / pixel_A)
        turns = [(nil, -z), (z, nil), (-y, x), (one, nil), (nil, one)]
        velocity = np.concatenate([velocity, np.stack([np.stack(turn, -1) for turn in turns], 1)], 1)
    columns = project_with_jacobian(xy, velocity, scatterers.amplitude, scatterers.width_A, n, pixel_A)
    wave = disc.gather(fft.rfft2(columns)) * observed.transfer[:, None]
    residual = _real(observed.target - wave[:, 0])
    jacobian = _real(wave[:, 1:])
    return Expansion(
        (jacobian @ jacobian.swapaxes(1, 2)).astype(np.float64),
        (jacobian @ residual[..., None])[..., 0].astype(np.float64),
        np.einsum("fp,fp->f", residual, residual).astype(np.float64),
    )


def without_pose(expansion: Expansion, prior: np.ndarray) -> Expansion:
    """The same with the last five parameters eliminated (Schur complement), given their prior precision (5, 5).

    Evidence and information are those of ∫ p(y | a, pose) p(pose) d pose, in the normal approximation.
    """
    aa = expansion.information[:, :-POSE, :-POSE]
    ap = expansion.information[:, :-POSE, -POSE:]
    pp = expansion.information[:, -POSE:, -POSE:] + prior
    gain = np.linalg.solve(pp, ap.swapaxes(1, 2)).swapaxes(1, 2)
    return Expansion(
        aa - gain @ ap.swapaxes(1, 2),
        expansion.evidence[:, :-POSE] - (gain @ expansion.evidence[:, -POSE:, None])[..., 0],
        expansion.misfit,
    )


def _real(wave: np.ndarray) -> np.ndarray:
    """Complex coefficients (…, M) as real vectors (…, 2 M) with the same inner products."""
    return np.ascontiguousarray(wave).view(np.float32)

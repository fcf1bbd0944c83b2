"""Electron images as quadratic log-likelihoods of what moves.

Model of an image, in whitened Fourier coefficients of unit noise: y = C F[P(R x + t)] + ε, with the structure
x = x₀ + Σ_k a_k m_k, rotation R ← exp(w) R with w in the view's frame (rad), and shift t (Å). Around a point
θ = (a, w, t), with r the residual and J the Jacobian there,

    −2 ln p(y | θ + δ) = |r|² − 2 δᵀ Jᵀr + δᵀ JᵀJ δ + constant.

Only coefficients within a disc of Fourier space are kept, where the molecule's signal is. The model is made in float32
on a grid as coarse as the disc allows (`imaging.spreading`), and inner products are summed in float64. Information is
off by 5e-4 of √(H_pp H_qq) at the most and evidence by 5e-3 of √H_pp at SNR 0.1 against the same sums in float64
(`imaging.linearise.Whitened` where the grid is the images' own, the exact transform of the beads where it is another;
those two differ by 0.5 to 2 %, since images that are sampled at pixel centres hold aliases of narrow beads).

Shape legend: F frame, N atom, K mode, P parameter (K modes, then 3 rotations and 2 shifts), M coefficient of the disc,
D pixels along an edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy import fft

from tempica.errors import DataError
from tempica.imaging.camera import Camera
from tempica.imaging.kernels_fourier import passes_of
from tempica.imaging.kernels_quadratic import Places, expand
from tempica.imaging.likelihood import Expansion
from tempica.imaging.linearise import Scatterers
from tempica.imaging.optics import plane_weights
from tempica.imaging.spreading import Grid, grid_of

AT_ONCE = 32  # images whose transforms are made together


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

    @property
    def edge_A(self) -> float:
        return self.n_pixels * self.pixel_A

    @cached_property
    def n_values(self) -> int:
        """Real numbers that the coefficients stand for: those of kx > 0 are twice in the whole plane."""
        return int(np.where(self.index[1] > 0, 2, 1).sum())

    def gather(self, wave: np.ndarray) -> np.ndarray:
        """Coefficients (…, M) of half planes (…, D, D//2 + 1)."""
        return wave[..., self.index[0], self.index[1]]  # a negative ky counts from the end, as fft orders them


@dataclass(frozen=True)
class Observed:
    """Images as whitened coefficients of a disc, each of noise variance 1 (½ in the real and ½ in the imaginary part
    but for kx = 0, and counted twice for kx > 0, so that Σ |·|² is that over the image's pixels)."""

    disc: Disc
    target: np.ndarray  # (F, M) complex64
    transfer: np.ndarray  # (F, M) float32, whitening included

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, frames: np.ndarray | slice) -> Observed:
        return Observed(self.disc, self.target[frames], self.transfer[frames])

    def within(self, radius: int) -> Observed:
        """The same images on a smaller disc; the same images if it is not smaller."""
        if radius >= self.disc.radius:
            return self
        ky, kx = self.disc.index
        kept = np.flatnonzero(ky**2 + kx**2 <= radius**2)  # both in the order of rows and columns
        return Observed(replace(self.disc, radius=radius), self.target[:, kept], self.transfer[:, kept])


def together(parts: Sequence[Observed]) -> Observed:
    """Images of several, all on one disc, one after the other."""
    target, transfer = (np.concatenate([getattr(part, name) for part in parts]) for name in ("target", "transfer"))
    return Observed(parts[0].disc, target, transfer)


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
    target = np.empty((len(image), len(weight)), dtype=np.complex64)
    transfer = np.empty(target.shape, dtype=np.float32)
    for first in range(0, len(image), AT_ONCE):  # few enough to stay in the cache
        part = slice(first, first + AT_ONCE)
        np.multiply(disc.gather(fft.rfft2(image[part].astype(np.float32, copy=False))), weight, out=target[part])
        np.multiply(camera.transfer_at(*disc.index, [v[part] for v in focus]), weight, out=transfer[part])
    return Observed(disc, target, transfer)


def model_waves(
    disc: Disc, scatterers: Scatterers, position: np.ndarray, rotation: np.ndarray, shift_A: np.ndarray
) -> np.ndarray:
    """Coefficients (F, M) of projections of structures (F, N, 3) in nm, before the transfer function."""
    n_frames, n_coefficients = len(rotation), len(disc.index[0])
    nothing = np.zeros((n_frames, n_coefficients), dtype=np.complex64)
    observed = Observed(disc, nothing, np.ones((n_frames, n_coefficients), dtype=np.float32))
    shape = np.zeros((0, position.shape[1], 3))
    return -_expand(observed, scatterers, position, rotation, shift_A, shape, pose=False, keep_residual=True)[1]


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

    A bead whose centre lies outside the box is left out; one near an edge continues on the other side.

    Parameters:
        shape: displacements (K, N, 3) or (F, K, N, 3) in nm for one unit of each amplitude.
        pose: whether three rotations of the view (rad) and two shifts (Å) follow the K amplitudes.

    Raises DataError for positions and poses that are not numbers.
    """
    return _expand(observed, scatterers, position, rotation, shift_A, shape, pose=pose, keep_residual=False)[0]


def _expand(
    observed: Observed,
    scatterers: Scatterers,
    position: np.ndarray,
    rotation: np.ndarray,
    shift_A: np.ndarray,
    shape: np.ndarray,
    *,
    pose: bool,
    keep_residual: bool,
) -> tuple[Expansion, np.ndarray]:
    """The expansion, and the residual (F, M) (or (F, 0)) that it has without a step."""
    if not np.isfinite(position.sum() + rotation.sum() + shift_A.sum()):
        raise DataError("Positions or poses are not numbers. Look for the frames in which they are not finite.")
    disc = observed.disc
    grid = grid_of(scatterers.amplitude, scatterers.width_A, disc.n_pixels, disc.pixel_A, disc.radius)
    n_modes, n_frames = shape.shape[-3], len(observed)
    image = n_modes + 3 * pose
    order = np.concatenate([np.arange(image), image + 1 + np.arange(2 * pose)])
    n_lanes = 8 * (image // 8 + 1)
    displacement = np.zeros((*shape.shape[:-3], position.shape[1], 3, n_lanes), dtype=np.float32)
    displacement[..., :n_modes] = 10.0 / grid.pixel_A * np.moveaxis(shape, -3, -1)
    unit = np.zeros((4, n_lanes), dtype=np.float32)
    unit[3, image] = 1
    if pose:
        unit[range(3), range(n_modes, image)] = 1
    centre = disc.n_pixels // 2 * disc.pixel_A
    expansion = Expansion(
        np.empty((n_frames, len(order), len(order))), np.empty((n_frames, len(order))), np.empty(n_frames)
    )
    residual = np.empty((n_frames, 2 * observed.target.shape[1] * keep_residual), dtype=np.float32)
    expand(
        (
            np.ascontiguousarray(position * (10.0 / grid.pixel_A), dtype=np.float64),
            np.ascontiguousarray(rotation, dtype=np.float64),
            (shift_A + centre) / grid.pixel_A,
        ),
        displacement.reshape(-1, *displacement.shape[-3:]),
        grid.spreading,
        passes_of(grid.n),
        _places(disc, grid),
        (as_real(observed.target), np.ascontiguousarray(observed.transfer, dtype=np.float32)),
        unit,
        order,
        (expansion.information, expansion.evidence, expansion.misfit, residual),
    )
    return expansion, residual.view(np.complex64)


@lru_cache(maxsize=16)
def _places(disc: Disc, grid: Grid) -> Places:
    """Where the disc's coefficients lie on a grid, and their factors."""
    ky, kx = disc.index
    order = np.argsort(kx, kind="stable")
    ky, kx = ky[order], kx[order]
    k2 = (ky**2 + kx**2) / disc.edge_A**2
    # the transform of rows gives twice the coefficients
    weight = 0.5 * (grid.pixel_A / disc.pixel_A) ** 2 * np.exp(2 * np.pi**2 * grid.extra_A2 * k2)
    turn = 2 * np.pi / disc.edge_A * np.stack([kx, ky], 1)
    return Places(
        np.searchsorted(kx, np.arange(kx[-1] + 2)),
        ky % grid.n,
        order,
        weight.astype(np.float32),
        turn.astype(np.float32),
    )


def as_real(wave: np.ndarray) -> np.ndarray:
    """Complex coefficients (…, M) as real vectors (…, 2 M) with the same inner products."""
    return np.ascontiguousarray(wave).view(np.float32)

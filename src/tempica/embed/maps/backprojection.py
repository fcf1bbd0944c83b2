"""A map from images whose poses are known or nearly so: slices of Fourier space, weighted by their transfer.

Projection-slice theorem: an image's coefficient at (kx, ky) is C(k) V(Rᵀ (kx, ky, 0)) plus noise of variance 1 (images
are whitened). Sums over coefficients near a point of the grid, Σ C* y and Σ |C|², give by least squares with the prior
V ~ N(0, τ²) of each shell V = Σ C* y / (Σ |C|² + 1/τ²). τ² comes from the correlation of two halves of the images. The
grid is twice as fine as the box needs, and the trilinear weights' envelope in space, Π sinc², is divided out.

Source: Scheres, J. Struct. Biol. 180, 519 (2012), equations 5 to 8.

Shape legend: F frame, M coefficient of a disc, C cells of the grid along an edge, its zero frequency in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from tempica.embed.maps.insertion import insert
from tempica.embed.quadratic import Disc, Observed
from tempica.errors import DataError

FINE = 2  # how much finer the grid is than 1 / box
RESOLVED = 0.143  # correlation of the two halves at the resolution that is quoted


@dataclass
class Sums:
    """What images add up to; sums of blocks may be added in any order."""

    disc: Disc
    value: np.ndarray  # (2, C, C, C) complex128, of each half of the images
    weight: np.ndarray  # (2, C, C, C) float64
    n_images: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.disc, self.value + other.value, self.weight + other.weight, self.n_images + other.n_images)


@dataclass(frozen=True)
class Reconstruction:
    density: np.ndarray  # (z, y, x) float32, 1/Å², of D voxels along an edge, voxel i at (i − D//2) · pixel
    pixel_A: float
    correlation: np.ndarray  # (shell,) Fourier shell correlation of the halves, shells 1 / (D pixel) apart
    resolution_A: float  # where it falls below 0.143


def no_sums(disc: Disc) -> Sums:
    """Sums of no images."""
    size = 2 * (FINE * disc.radius + 2) + 1
    return Sums(disc, np.zeros((2, size, size, size), np.complex128), np.zeros((2, size, size, size)))


def add_images(sums: Sums, observed: Observed, rotation: np.ndarray, shift_A: np.ndarray, half: np.ndarray) -> None:
    """Add images to sums, in place.

    Parameters:
        rotation: (F, 3, 3) of molecule to view.
        shift_A: (F, 2) particle's place in the box.
        half: (F,) 0 or 1, the half that each image belongs to.
    """
    disc = observed.disc
    ky, kx = disc.index
    place = shift_A / disc.pixel_A + disc.n_pixels // 2
    phase = np.exp(2j * np.pi / disc.n_pixels * (place[:, :1] * kx + place[:, 1:] * ky))
    transfer = observed.transfer.astype(np.float64) / disc.pixel_A**2  # of the continuous transform
    value = observed.target * transfer * phase
    for h in (0, 1):
        mine = half == h
        arrays = value[mine], np.square(transfer[mine]), ky, kx, np.ascontiguousarray(rotation[mine])
        insert(*arrays, float(FINE), sums.value[h], sums.weight[h])
    sums.n_images += len(observed)


def back_project(observed: Observed, rotation: np.ndarray, shift_A: np.ndarray) -> Reconstruction:
    """The map of images at their poses, every other image in the other half; see `add_images` and `reconstruct`."""
    sums = no_sums(observed.disc)
    add_images(sums, observed, rotation, shift_A, np.arange(len(observed)) % 2)
    return reconstruct(sums)


def reconstruct(sums: Sums) -> Reconstruction:
    """The map that sums of images determine. Raises DataError where there are too few images or they show nothing."""
    disc = sums.disc
    if sums.n_images < 2:
        raise DataError(f"A map needs at least two images, and there are {sums.n_images}. Give more frames.")
    value = sums.value + np.conj(sums.value[:, ::-1, ::-1, ::-1])  # of a real density
    weight = sums.weight + sums.weight[:, ::-1, ::-1, ::-1]
    shell = _shells(value.shape[-1])
    correlation = _correlation(value, weight, shell, disc.radius)
    below = np.flatnonzero(correlation[1:] < RESOLVED)
    last = int(below[0]) if len(below) else disc.radius
    if last < 2:
        raise DataError(
            f"Two halves of the {sums.n_images} images give maps that do not agree (correlation"
            f" {correlation[1]:.2f} at the lowest frequency): the images do not show one molecule at these poses."
        )
    # a coefficient of the sum of both halves has the information Σ|C|²; SSNR = 2 FSC / (1 − FSC)
    whole, both = value.sum(0), weight.sum(0)
    agreed = np.clip(correlation, 0.0, 0.999)
    agreed[last + 1 :] = 0.0
    mean = np.bincount(shell.ravel(), both.ravel()) / np.bincount(shell.ravel())
    with np.errstate(divide="ignore"):
        prior = mean[: len(agreed)] * (1 - agreed) / (2 * agreed)  # 1/τ², infinite where nothing is known
    kept = (shell <= disc.radius) & np.isfinite(np.append(prior, np.inf)[np.minimum(shell, len(prior))])
    wave = np.zeros_like(whole)
    wave[kept] = whole[kept] / (both[kept] + prior[shell[kept]])
    return Reconstruction(_density(wave, disc), disc.pixel_A, correlation, disc.n_pixels * disc.pixel_A / last)


def _shells(size: int) -> np.ndarray:
    """Number of the shell, 1 / box apart, of each cell (C, C, C)."""
    k = np.square((np.arange(size) - size // 2) / FINE)
    return np.rint(np.sqrt(k[:, None, None] + k[:, None] + k)).astype(int)


def _correlation(value: np.ndarray, weight: np.ndarray, shell: np.ndarray, radius: int) -> np.ndarray:
    """Fourier shell correlation (radius + 1,) of the two halves, each regularised by its shell's mean weight."""
    mean = np.stack([np.bincount(shell.ravel(), w.ravel()) / np.bincount(shell.ravel()) for w in weight])
    both = (weight > 0.01 * mean[:, shell]).all(0) & (shell <= radius)
    one, other = (value[h][both] / (weight[h][both] + 0.1 * mean[h][shell[both]]) for h in (0, 1))
    where = shell[both]

    def total(product: np.ndarray) -> np.ndarray:
        return np.bincount(where, product, radius + 1)

    norm = np.sqrt(total(np.square(np.abs(one))) * total(np.square(np.abs(other))))
    return np.divide(total((one * np.conj(other)).real), norm, out=np.zeros(radius + 1), where=norm > 0)


def _density(wave: np.ndarray, disc: Disc) -> np.ndarray:
    """Density (D, D, D) of a transform (C, C, C) on the fine grid, float32."""
    n, fine = disc.n_pixels, FINE * disc.n_pixels
    middle = len(wave) // 2
    reach = min(middle, fine // 2 - 1)
    part = slice(middle - reach, middle + reach + 1)
    whole = np.zeros((fine,) * 3, np.complex128)
    at = np.arange(-reach, reach + 1) % fine
    whole[np.ix_(at, at, at)] = wave[part, part, part]
    # voxels at (i − D//2) · pixel: of the grid's transform, roll the middle there
    density = fft.ifftn(whole, overwrite_x=True).real / disc.pixel_A**3
    inside = (np.arange(n) - n // 2) % fine
    envelope = np.square(np.sinc((np.arange(n) - n // 2) / fine))
    density = density[np.ix_(inside, inside, inside)]
    return (density / (envelope[:, None, None] * envelope[:, None] * envelope)).astype(np.float32)

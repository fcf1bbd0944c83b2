"""Pseudo-atoms: a density map as a sum of equal Gaussians, for work that needs points where only a map is known.

ρ(r) ≈ b + Σ_n a_n N(r − r_n, s² I), with one width s, amplitudes a_n ≥ 0 and a level b of the solvent, by least squares
in the part of the map that shows the molecule. Points begin at the centroids of a weighted Voronoi tessellation of it.

Sources: Nogales-Cadenas et al., Nucleic Acids Res. 41, W363 (2013), for pseudo-atoms of maps; Otsu, IEEE Trans. SMC 9,
62 (1979), for the threshold.

Shape legend: N point, V voxel of the molecule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from tempica.errors import DataError
from tempica.imaging import kernels_volume as kernels
from tempica.imaging.linearise import Scatterers

RESIDUE_A3 = 134.0  # of an average residue of 110 Da at 1.35 g/cm³
CERTAIN = 4.0  # standard deviations of the solvent that the molecule's density must exceed
LEAST_PART = 0.05  # of the largest connected part's mass: a smaller one is taken for noise
MOST_POINTS = 3000
STAY = 0.1  # weight of (displacement / spacing)² and (√amplitude − 1)², beside the relative misfit
ENOUGH, MORE = 0.98, (1.0, 1.4, 2.0, 3.0)  # correlation with the map, and times the usual number of points to get there
ROUNDS = 25  # of Lloyd's algorithm
STEPS = 120  # of L-BFGS


@dataclass(frozen=True)
class PseudoAtoms:
    """A map as Gaussians."""

    position: np.ndarray  # (N, 3) x y z, nm, from voxel D//2 along each edge
    scatterers: Scatterers  # (N, 1); amplitudes in Å where the map is in 1/Å², else in the map's unit times Å³
    correlation: float  # of the map and the Gaussians, in the part that was fitted
    threshold: float  # density above which a voxel belongs to the molecule
    volume_A3: float  # of those voxels


def pseudo_atoms(density: np.ndarray, pixel_A: float, n_points: int | None = None) -> PseudoAtoms:
    """A map (z, y, x) of voxels with edge `pixel_A`, protein positive, as Gaussians.

    Parameters:
        density: values at voxels, voxel i of D at (i − D//2) · pixel.
        pixel_A: Å.
        n_points: how many. If none, about one a residue of the volume above the threshold; more, up to three times as
            many and 3,000, while the correlation is below 0.98.

    Raises DataError where the map shows no molecule: nothing stands out of the solvent, or the molecule reaches the
    edges of the box.
    """
    density = np.asarray(density, dtype=np.float64)
    inside, threshold = molecule_of(density, pixel_A)
    volume_A3 = float(inside.sum() * pixel_A**3)
    voxel = np.argwhere(inside)
    if n_points is not None and n_points > len(voxel):
        raise DataError(
            f"{n_points} pseudo-atoms need a map with as many voxels in the molecule, and it has {len(voxel)} above"
            f" {threshold:.4g}. Ask for fewer, or give a map with finer voxels."
        )
    reach = max(2, round(6.0 / pixel_A))
    low = np.maximum(voxel.min(0) - reach, 0)
    high = np.minimum(voxel.max(0) + reach + 1, density.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    fitted = ndimage.binary_dilation(inside[box], iterations=reach)
    usual = int(np.clip(round(volume_A3 / RESIDUE_A3), 10, min(MOST_POINTS, len(voxel))))
    sizes = [n_points] if n_points else [min(round(usual * more), MOST_POINTS, len(voxel)) for more in MORE]
    for size in sizes:
        start = _centroids(voxel.astype(np.float64), density[inside], size)
        centre, amplitude, width, correlation = _fit(start - low, density[box], fitted, volume_A3 / pixel_A**3)
        if correlation >= ENOUGH:
            break
    place = (centre + low - np.array(density.shape) // 2)[:, ::-1] * (0.1 * pixel_A)
    scatterers = Scatterers((amplitude * pixel_A**3)[:, None], np.full((len(place), 1), width * pixel_A))
    return PseudoAtoms(place, scatterers, correlation, threshold, volume_A3)


def density_of(position: np.ndarray, scatterers: Scatterers, n_voxels: int, pixel_A: float) -> np.ndarray:
    """Density (z, y, x), float64, in a cube of `n_voxels` along an edge, of points (N, 3) in nm."""
    volume = np.zeros((n_voxels,) * 3)
    centre = np.ascontiguousarray(10 * position / pixel_A + n_voxels // 2, dtype=np.float64)
    for width in np.unique(scatterers.width_A):
        amplitude = np.where(scatterers.width_A == width, scatterers.amplitude, 0.0).sum(1)
        held = amplitude != 0
        kernels.add_gaussians(centre[held], amplitude[held] / pixel_A**3, width / pixel_A, volume)
    return volume


def molecule_of(density: np.ndarray, pixel_A: float) -> tuple[np.ndarray, float]:
    """Voxels (z, y, x) of the molecule, and the density above which they are.

    The threshold parts voxels of the smoothed map into two classes (Otsu), and is at least four deviations of the
    solvent, which is what lies outside the sphere that touches the edges. Parts not connected to others count where
    they are at least a twentieth of the largest. Raises DataError as `pseudo_atoms` does.
    """
    smooth = ndimage.gaussian_filter(density, 1.5 / pixel_A)
    axes = (np.arange(size) - size // 2 for size in density.shape)
    radius = np.sqrt(sum(np.square(axis) for axis in np.meshgrid(*axes, indexing="ij", sparse=True)))
    within = radius < min(density.shape) // 2 - 1
    solvent = smooth[~within]
    level = float(np.median(solvent))
    deviation = 1.4826 * float(np.median(np.abs(solvent - level)))  # of a normal distribution
    threshold = max(_parted(smooth[within]), level + CERTAIN * deviation)
    label, n_parts = ndimage.label((smooth > threshold) & within)
    if n_parts == 0:
        raise DataError(
            f"The map shows no molecule: nothing in it exceeds {threshold:.4g}, which is four deviations of what"
            " surrounds it. Is protein positive in it? Give the map of the whole box."
        )
    mass = ndimage.sum_labels(density, label, np.arange(1, n_parts + 1))
    inside = np.isin(label, 1 + np.flatnonzero(mass >= LEAST_PART * mass.max()))
    edge = float(inside[radius > min(density.shape) // 2 - 2].sum() / inside.sum())
    if edge > 1e-3:
        raise DataError(
            f"The molecule of the map reaches the edges of its box ({100 * edge:.2g} % of it): the box is too small, or"
            " the map shows no molecule but noise. Give a map in a box about 1.5 times as wide as the molecule."
        )
    return inside, threshold


def _parted(values: np.ndarray) -> float:
    """The threshold that parts values into two classes with the most variance between them."""
    count, edge = np.histogram(values, 512)
    middle = 0.5 * (edge[1:] + edge[:-1])
    total, whole = count.sum(), (count * middle).sum()
    below, sum_below = np.cumsum(count)[:-1], np.cumsum(count * middle)[:-1]  # of the class below each inner edge
    above = total - below
    between = np.square(whole * below / total - sum_below) / np.maximum(below * above, 1)
    return float(edge[1 + int(between.argmax())])


def _centroids(voxel: np.ndarray, weight: np.ndarray, n_points: int) -> np.ndarray:
    """Points (N, 3) that are centroids of the voxels (V, 3) nearest to them; deterministic.

    The first is the heaviest voxel, and each further one that farthest from those before (Gonzalez).
    """
    weight = np.maximum(weight, 1e-6 * weight.max())
    chosen = np.empty(n_points, dtype=int)
    nearest = np.full(len(voxel), np.inf)
    chosen[0] = int(weight.argmax())
    for n in range(1, n_points):
        nearest = np.minimum(nearest, np.square(voxel - voxel[chosen[n - 1]]).sum(1))
        chosen[n] = int(nearest.argmax())
    point = voxel[chosen]
    for _ in range(ROUNDS):
        _, owner = cKDTree(point).query(voxel)
        mass = np.bincount(owner, weight, n_points)
        point = np.stack([np.bincount(owner, weight * x, n_points) for x in voxel.T], 1) / mass[:, None]
    return point


def _fit(
    centre: np.ndarray, density: np.ndarray, fitted: np.ndarray, n_voxels: float
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Centres (N, 3) in z, y, x, amplitudes (N,), width, all in voxels, and the correlation, by least squares.

    Unknowns: centres, √amplitudes, the logarithm of the width, and the solvent's level.
    """
    n = len(centre)
    spacing = (n_voxels / n) ** (1 / 3)
    mean = float(density[fitted].mean())
    norm = float(np.square(density[fitted] - mean).sum())
    unit = max(float(density[fitted].sum()), norm**0.5) / n  # of an amplitude

    def parts(unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
        place = np.ascontiguousarray(unknown[: 3 * n].reshape(n, 3) * spacing)
        return place, unit * np.square(unknown[3 * n : 4 * n]), spacing * float(np.exp(unknown[-2])), unknown[-1]

    def model(unknown: np.ndarray) -> np.ndarray:
        place, amplitude, width, level = parts(unknown)
        volume = np.full(density.shape, level * norm**0.5 / n_voxels)
        kernels.add_gaussians(place[:, ::-1].copy(), amplitude, width, volume)
        return volume

    def misfit(unknown: np.ndarray) -> tuple[float, np.ndarray]:
        place, amplitude, width, _ = parts(unknown)
        force = np.where(fitted, model(unknown) - density, 0.0) / norm
        by_centre, by_amplitude = np.empty((n, 3)), np.empty(n)
        by_width = kernels.pull(place[:, ::-1].copy(), amplitude, width, force, by_centre, by_amplitude)
        slope = [
            (by_centre[:, ::-1] * spacing).ravel(),
            2 * unit * unknown[3 * n : 4 * n] * by_amplitude,
            [by_width * width, force.sum() * norm**0.5 / n_voxels],
        ]
        astray = unknown - start
        astray[-2:] = 0.0
        value = 0.5 * float(np.square(force).sum()) * norm + 0.5 * STAY / n * float(astray @ astray)
        return value, np.concatenate(slope) + STAY / n * astray

    start = np.concatenate([(centre / spacing).ravel(), np.ones(n), [np.log(0.6), 0.0]])
    found = minimize(misfit, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "maxcor": 20}).x
    place, amplitude, width, _ = parts(found)
    return place, amplitude, width, float(np.corrcoef(model(found)[fitted], density[fitted])[0, 1])

"""Latents of aligned crops, without a structure: probabilistic principal components of how each molecule differs from
its own mean."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from tempica import seeds
from tempica.stores import files, store

if TYPE_CHECKING:
    from pathlib import Path

    import xarray

    from tempica.recipe.experiment import Recipe
    from tempica.runs.work import Work

N_NULL = 20  # draws of the parallel analysis
OCCUPIED = 0.05  # share of a molecule's frames in which a pixel must be covered
SHARE = 1 / 3  # of the height of molecules, from which a pixel is covered


@dataclass(frozen=True)
class Components:
    """Probabilistic principal components: f = W z + noise, z ~ N(0, I), noise ~ N(0, σ² I).

    Attributes:
        W: (pixel, component), nm.
        variance: σ², nm².
        n_above_noise: components beyond the 95 % quantile of what data without correlations between pixels have.
    """

    W: np.ndarray
    variance: float
    n_above_noise: int

    def posterior(self, F: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean (row, component) and covariance (row, component, component) of amplitudes, and what is left over (row,).

        Each row has a noise of its own, as rough as what components leave over of it: frames of a movie differ.
        """
        n: int = self.W.shape[1]
        inner = self.W.T @ self.W
        left = F - F @ self.W @ np.linalg.inv(inner) @ self.W.T
        own = np.square(left).sum(1) / max(1, F.shape[1] - n)
        covariance = own[:, None, None] * np.linalg.inv(inner + own[:, None, None] * np.eye(n))
        mean = np.einsum("rij,rj->ri", covariance, F @ self.W) / own[:, None]
        return mean, covariance, own


@dataclass(frozen=True)
class Differences:
    """How crops differ from the mean of their molecule.

    Attributes:
        F: (row, pixel), nm: without the mean, and without what small shifts, turns and offsets in height do to it.
        used: (y, x) pixels where molecules are.
        mean: (molecule, y, x).
    """

    F: np.ndarray
    used: np.ndarray
    mean: np.ndarray


def differences(image: np.ndarray, track: np.ndarray, height: float) -> Differences:
    """Differences of crops (row, y, x) of molecules (row,) from their means.

    The pose of a frame is known to a fraction of a pixel. To first order an error changes a crop by the derivatives of
    the mean with respect to shift and turn, and an offset of the frame by a constant: these four are regressed out of
    each row, so that none of them is taken for motion. Windows, which are not turned, have the offsets of their lines
    taken away too: where a crystal covers the support, flattening cannot tell them from it.

    Parameters:
        image: (row, y, x), nm.
        track: (row,) numbers of molecules, from 0.
        height: of molecules, nm; 0 where windows without molecules are to be used whole.
    """
    numbers = np.unique(track)
    if height == 0:
        image = image - image.mean(2, keepdims=True)
    mean = np.stack([image[track == number].mean(0) for number in numbers]).astype(np.float64)
    used = np.ones(image.shape[1:], bool)
    if height > 0:
        smooth = ndimage.gaussian_filter(image, (0, 1, 1)) > SHARE * height
        covered = np.stack([smooth[track == number].mean(0) for number in numbers]).max(0) >= OCCUPIED
        used = ndimage.binary_dilation(covered, iterations=2)
        used = used if used.any() else np.ones_like(used)
    F = np.empty((len(image), used.sum()))
    y, x = (np.arange(each) - (each - 1) / 2 for each in image.shape[1:])
    for number, average in zip(numbers, mean, strict=True):
        rows = track == number
        dy, dx = np.gradient(ndimage.gaussian_filter(average, 0.7))
        turn = y[:, None] * dx - x * dy
        nuisance = np.stack([part[used] for part in (dy, dx, turn, np.ones_like(dy))], 1)
        basis, strength, _ = np.linalg.svd(nuisance / np.linalg.norm(nuisance, axis=0).clip(1e-12), full_matrices=False)
        basis = basis[:, strength > 1e-6]
        own = image[rows][:, used] - average[used]
        F[rows] = own - (own @ basis) @ basis.T
    return Differences(F, used, mean)


def components(F: np.ndarray, track: np.ndarray, least: int, most: int, rng: np.random.Generator) -> Components:
    """Probabilistic principal components of rows F (row, pixel), by maximum likelihood (Tipping & Bishop 1999).

    As many as have more variance than 95 % of data in which each pixel's values are dealt to other rows of the same
    molecule (parallel analysis, Horn 1965), from `least` to `most`.
    """
    N, P = F.shape
    rank = max(1, min(N - len(np.unique(track)), P) - 1)
    value, vector = _spectrum(F, most)
    null = np.quantile([_spectrum(_dealt(F, track, rng), most)[0] for _ in range(N_NULL)], 0.95, axis=0)
    below = np.flatnonzero(value <= null[: len(value)])
    above = int(below[0]) if len(below) else len(value)
    n = min(max(above, least), most, len(value))
    left = np.square(F).sum() / N - value[:n].sum()
    noise = float(left / max(1, rank - n))
    scale = np.sqrt(np.maximum(value[:n] - noise, 1e-3 * noise))
    return Components(vector[:, :n] * scale, noise, above)


def _dealt(F: np.ndarray, track: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    dealt = np.empty_like(F)
    for number in np.unique(track):
        rows = track == number
        dealt[rows] = rng.permuted(F[rows], axis=0)
    return dealt


def _spectrum(F: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues of FᵀF / row, and their unit vectors (pixel, component)."""
    from scipy.linalg import eigh

    N, P = F.shape
    gram = (F @ F.T if N <= P else F.T @ F) / N
    n = min(most, len(gram))
    value, vector = eigh(gram, subset_by_index=[len(gram) - n, len(gram) - 1])
    value, vector = value[::-1], vector[:, ::-1]
    if N <= P:
        vector = F.T @ vector
        vector /= np.linalg.norm(vector, axis=0).clip(1e-300)
    return np.maximum(value, 0), vector


def differences_of(movie: xarray.Dataset) -> tuple[Differences, np.ndarray]:
    """Differences of a movie's crops, replica after replica, and the molecule (row,) of each."""
    image, track = movie["image"].values, movie["track"].values.reshape(-1)
    _, track = np.unique(track, return_inverse=True)
    height = movie.attrs["height_nm"] if movie.attrs["followed"] == "molecules" else 0.0
    return differences(image.reshape(-1, *image.shape[2:]), track, height), track


def run(work: Work) -> None:
    """One task: components and posteriors; then the store."""
    found = work.folder / "crops.npz"
    task = partial(embed_crops, work.recipe, work.run, found)
    work.run_chains("components of crops", [[("crops", task)]])
    movie, arrays = work.read("movie"), files.load_arrays(found)
    noise, above = float(arrays.pop("variance")), int(arrays.pop("n_above_noise"))
    R, T = movie["track"].shape
    n, D = len(arrays["mode_image"]), arrays["used"].shape[0]
    latents = work.create_store(
        "crop_latents",
        {"replica": R, "time": T, "mode": n, "mode_other": n, "y": D, "x": D, "number": len(arrays["mean_image"])},
        chunks={"replica": 1, "time": 100},
        attributes={"noise_variance": noise, "n_above_noise": above},
    )
    store.write(latents, {"replica": movie["replica"].values, "time": movie["time"].values} | arrays)
    work.progress.say(f"embed: {above} components stand out of the noise; {n} are kept")


def embed_crops(recipe: Recipe, run: Path, out: Path) -> None:
    """Components of a run's crops, and the posterior of their amplitudes in each row."""
    from tempica.runs.reading import read

    movie = read(run, "embed", "movie")
    different, track = differences_of(movie)
    R, T = movie["track"].shape
    about = recipe.embed
    least = recipe.train.n_components if about.n_modes == "auto" else about.most_modes
    rng = seeds.generator(recipe.seed, "parallel analysis")
    model = components(different.F, track, least, about.most_modes, rng)
    mean, covariance, left = model.posterior(different.F)
    shape = np.zeros((model.W.shape[1], *different.used.shape))
    shape[:, different.used] = model.W.T
    n = mean.shape[1]
    files.save_arrays(
        out,
        latent=mean.reshape(R, T, n),
        latent_covariance=covariance.reshape(R, T, n, n),
        residual_variance=left.reshape(R, T),
        mode_image=shape,
        mean_image=different.mean,
        used=different.used.astype(np.uint8),
        variance=np.array(model.variance),
        n_above_noise=np.array(model.n_above_noise),
    )

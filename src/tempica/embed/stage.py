"""Learns modes and noise variance, then embeds every frame, block by block."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica import imaging
from tempica.embed.atomic import estimate_noise, posterior
from tempica.errors import RecipeError
from tempica.imaging.linearise import Images, Scatterers
from tempica.imaging.modes import Modes, principal_modes
from tempica.recipe.analysis import EmbedRecipe
from tempica.runs.reading import read
from tempica.runs.work import blocks
from tempica.stores import files, store

if TYPE_CHECKING:
    import xarray

    from tempica.runs.work import Work

BLOCK_FRAMES = 50
CALIBRATION_FRAMES = 300  # frames from which the noise variance is learned


def run(work: Work) -> None:
    """Learn modes and noise variance, then embed every frame."""
    movie = read(work.run, "embed", "movie")
    if movie.attrs["pose"] == "hidden":
        raise RecipeError(
            "The movie hides its poses (render.poses.knowledge = 'hidden'), and this version embeds images whose poses"
            " are known or approximate. Use one of those, or end the run with --until render."
        )
    n_replicas, n_frames = movie["image"].shape[:2]
    recipe, modes_file = work.recipe.embed, work.folder / "modes.npz"
    work.run_chains("modes", [[("modes", partial(learn_modes, recipe, work.run, modes_file))]])
    modes = files.load_arrays(modes_file)
    n_modes, n_atoms, _ = modes["shape"].shape
    latents = work.create_store(
        "latents",
        {
            "replica": n_replicas,
            "time": n_frames,
            "mode": n_modes,
            "mode_other": n_modes,
            "atom": n_atoms,
            "space": 3,
            "quaternion": 4,
            "plane": 2,
            "pose": 5,
            "pose_other": 5,
            "component": n_modes,
        },
        chunks={"replica": 1, "time": BLOCK_FRAMES},
        attributes={"noise_variance": float(modes["noise_variance"]), "pose_source": "stated"},
    )
    store.write(latents, {"replica": movie["replica"].values, "time": movie["time"].values})
    store.write(latents, {"mode_shape": modes["shape"], "mean_structure": modes["mean"]})
    store.write(latents, {name: movie[name].values for name in ("pose_quaternion", "pose_shift_A")})
    store.write(latents, {"pose_covariance": 0.0, "state_space_source": np.nan, "state_space_variance": np.nan})
    chains = [
        [(f"latents-{r}-{a}", partial(embed_block, recipe, work.run, modes_file, latents, r, a, b))]
        for r in range(n_replicas)
        for a, b in blocks(n_frames, BLOCK_FRAMES)
    ]
    work.run_chains(f"blocks of {BLOCK_FRAMES} frames", chains)


def learn_modes(recipe: EmbedRecipe, run: Path, out: Path) -> None:
    """Displacement modes from the separate simulation, and the noise variance from frames spread over the movie."""
    modes = principal_modes(read(run, "embed", "ensemble")["position"].values, recipe.n_modes)
    movie = read(run, "embed", "movie")
    n_replicas, n_frames = movie["image"].shape[:2]
    frames = np.unique(np.linspace(0, n_frames - 1, max(1, CALIBRATION_FRAMES // n_replicas)).astype(int))
    images = _images(movie.isel(time=frames))
    variance = estimate_noise(images, modes, *_optics(movie), recipe.n_iterations)
    files.save_arrays(out, shape=modes.shape, mean=modes.mean, noise_variance=variance)


def embed_block(
    recipe: EmbedRecipe, run: Path, modes_file: Path, latents: Path, replica: int, first: int, last: int
) -> None:
    """Posteriors of a block of frames into the latents store."""
    movie = read(run, "embed", "movie")
    learned = files.load_arrays(modes_file)
    modes = Modes(learned["mean"], learned["shape"])
    images = _images(movie.isel(replica=[replica], time=slice(first, last)))
    found = posterior(images, modes, *_optics(movie), float(learned["noise_variance"]), recipe.n_iterations)
    store.write(
        latents,
        {
            "latent": found.mean,
            "latent_covariance": found.covariance,
            "residual_variance": found.residual_variance,
        },
        replica=replica,
        time=slice(first, last),
    )


def _images(movie: xarray.Dataset) -> Images:
    """Frames of all replicas of a movie, one after the other."""
    camera = imaging.camera_of(movie)
    flat = {
        name: movie[name].values.reshape(-1, *movie[name].shape[2:])
        for name in ("image", "pose_quaternion", "pose_shift_A", *imaging.FOCUS)
    }
    return Images(
        image=flat["image"].astype(np.float32),
        rotation=imaging.rotation_matrix(flat["pose_quaternion"]),
        shift_A=flat["pose_shift_A"],
        transfer=camera.transfer(*(flat[name] for name in imaging.FOCUS)),
        power=camera.power(),
    )


def _optics(movie: xarray.Dataset) -> tuple[Scatterers, float]:
    camera = imaging.camera_of(movie)
    return Scatterers(camera.scatterer_amplitude_A, camera.scatterer_width_A), camera.optics.pixel_size_A

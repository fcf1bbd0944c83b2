"""Frames of a trajectory to images of a movie, block by block."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempica import imaging
from tempica.errors import DataError
from tempica.imaging.recording import VIEW, Recorder
from tempica.recipe.electron import RenderRecipe
from tempica.recipe.experiment import Recipe
from tempica.render.electron.poses import Views, movie_views, stated_poses
from tempica.runs.reading import read
from tempica.stores import files, store

EDGE = 3.0  # standard deviations of a Gaussian that count as part of the molecule


def optics_of(recipe: RenderRecipe) -> imaging.Optics:
    """The part of the recipe that is the same for all images."""
    names = [name for name in imaging.Optics.__dataclass_fields__ if name != "phase_shift"]
    return imaging.Optics(
        **{name: getattr(recipe, name) for name in names}, phase_shift=float(np.radians(recipe.phase_shift_deg))
    )


def camera_of(recipe: RenderRecipe, amplitude: np.ndarray, width_A: np.ndarray) -> imaging.Camera:
    """The recipe's camera, for these scatterers (atom, gaussian)."""
    flat = ((0.0, 1.0),)
    power = recipe.noise.spectrum if recipe.noise.kind == "coloured" else flat
    dqe = recipe.noise.dqe if recipe.noise.kind == "poisson" else flat
    nodes = np.unique([k for table in (power, dqe) for k, _ in table])
    tables = (np.interp(nodes, *np.array(table).T) for table in (power, dqe))
    return imaging.Camera(optics_of(recipe), amplitude, width_A, nodes, *tables)


def write_views(
    recipe: Recipe, run: Path, out: Path, interval_s: np.ndarray, diffusion_per_s: float, replica: int
) -> None:
    """True views of a replica, and the poses that the movie states, into a file."""
    molecule = read(run, "render", "trajectory")["molecule"].isel(replica=replica).values
    views = movie_views(recipe.microscope, recipe.seed, replica, molecule, interval_s, diffusion_per_s)
    stated = stated_poses(recipe.microscope, recipe.seed, replica, molecule, views)
    files.save_arrays(out, **vars(views), **{f"stated_{name}": value for name, value in stated.items()})


def measure_block(
    camera: imaging.Camera, run: Path, views: Path, out: Path, replica: int, first: int, last: int, device: str
) -> None:
    """Per frame: variance, mean and extremes of the clean image, and the molecule's reach from the box's centre in Å.

    Noise and scale of the movie are set from them.
    """
    position, view = _block(run, views, replica, first, last)
    image = camera.clean_images(position, *(view[name] for name in VIEW), device=device)
    optics = camera.optics
    rotation = imaging.rotation_matrix(view["pose_quaternion"])
    xy = imaging.to_pixels(position, rotation, view["pose_shift_A"], optics.n_pixels, optics.pixel_size_A)
    reach_A = np.abs(xy - optics.n_pixels // 2) * optics.pixel_size_A + EDGE * camera.scatterer_width_A.max(1)[:, None]
    files.save_arrays(
        out,
        variance=image.var((1, 2), dtype=np.float64),
        mean=image.mean((1, 2), dtype=np.float64),
        low=image.min((1, 2)).astype(np.float64),
        high=image.max((1, 2)).astype(np.float64),
        reach_A=reach_A.max((1, 2)),
    )


def write_block(
    recorder: Recorder, run: Path, views: Path, movie: Path, replica: int, first: int, last: int, device: str
) -> None:
    """Noisy, digitised images of a block into the movie store, with what the movie states of their views."""
    position, view = _block(run, views, replica, first, last)
    image = recorder.levels(replica, np.arange(first, last), position, view, device)
    store.write(movie, {"image": image, **_stated(view)}, replica=replica, time=slice(first, last))


def write_views_of_replica(views: Path, store_path: Path, replica: int, *, true: bool) -> None:
    """Views of a whole replica into a lazy movie's store, or true poses into theirs."""
    view = files.load_arrays(views)
    values = {name: view[name] for name in ("pose_quaternion", "pose_shift_A")} if true else _stated(view)
    store.write(store_path, values, replica=replica)


def _stated(view: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: view.get(f"stated_{name}", view[name]) for name in Views.__dataclass_fields__}


def _block(run: Path, views: Path, replica: int, first: int, last: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Positions and views of frames. Raises DataError where a position is not a number."""
    trajectory = read(run, "render", "trajectory")
    position = trajectory["position"].isel(replica=replica, time=slice(first, last)).values
    bad = np.argwhere(~np.isfinite(position))
    if len(bad):
        frame, atom, _ = bad[0].tolist()
        raise DataError(
            f"The trajectory has no numbers for the position of atom {atom} in frame {first + frame} of replica"
            f" {replica}: {position[frame, atom]} nm. The simulation broke down at or before that frame; make it again."
        )
    return position, {name: value[first:last] for name, value in files.load_arrays(views).items()}

"""The movie of an electron microscope: every frame of the trajectory, block by block."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica import imaging
from tempica.errors import RecipeError
from tempica.imaging import Camera, Detector, Scale
from tempica.imaging.detector import noise_deviation
from tempica.imaging.recording import Recorder
from tempica.recipe.electron import RenderRecipe
from tempica.render.electron.blocks import camera_of, measure_block, write_block, write_views, write_views_of_replica
from tempica.render.electron.poses import diffusion_of
from tempica.render.electron.scatterers import remarks, scatterers
from tempica.runs.reading import read
from tempica.runs.work import blocks
from tempica.stores import files, store

if TYPE_CHECKING:
    from pathlib import Path

    import xarray

    from tempica.runs.work import Work

BLOCK_FRAMES = 100
LAZY_BLOCK_FRAMES = 10_000  # of a store without images


def run(work: Work) -> None:
    """Render every frame twice: to learn how strong the signal is, and to write it with noise."""
    recipe = work.recipe.microscope
    trajectory = read(work.run, "render", "trajectory")
    camera = camera_of(recipe, *scatterers(recipe, trajectory))
    interval_s = _intervals_s(recipe, trajectory["time"].values)
    diffusion = diffusion_of(recipe, trajectory["position"][0, 0].values, trajectory["scattering_length_A"].values)
    turn = {}
    if diffusion:
        turn_deg = math.degrees(math.sqrt(2 * diffusion * interval_s[1])) if len(interval_s) > 1 else 0.0
        work.progress.say(f"render: the molecule turns by {turn_deg:.3g}° about each axis from frame to frame")
        turn["turn_deg"] = turn_deg
    views = _draw_views(work, trajectory, interval_s, diffusion)
    signal = _measure(work, trajectory, camera, views)
    _look_at_box(work, signal["reach_A"])
    for remark in remarks(recipe, trajectory["formula"].values.tolist()):
        work.remark(remark)
    variance = float(signal["variance"].mean())
    if variance == 0:
        raise _empty(recipe, camera, views[0])
    recorder = Recorder(camera, *_detector(recipe, camera, signal), work.recipe.seed)
    about = {"signal_std": math.sqrt(variance)} | _pose_errors(recipe) | turn
    movie = _create_movie(work, trajectory, recorder, about)
    if recipe.poses.knowledge != "known":
        _write_true_poses(work, trajectory, views)
    if recipe.lazy:
        _write_replicas(work, "views of a movie", partial(write_views_of_replica, true=False), views, movie)
    else:
        _write_images(work, trajectory, recorder, views, movie)


def _draw_views(work: Work, trajectory: xarray.Dataset, interval_s: np.ndarray, diffusion: float) -> list[Path]:
    """Files with the views of each replica."""
    views = [work.folder / "views" / f"{r}.npz" for r in range(trajectory.sizes["replica"])]
    chains = [
        [(f"views-{r}", partial(write_views, work.recipe, work.run, path, interval_s, diffusion, r))]
        for r, path in enumerate(views)
    ]
    work.run_chains("views", chains)
    return views


def _measure(work: Work, trajectory: xarray.Dataset, camera: Camera, views: list[Path]) -> dict[str, np.ndarray]:
    """What `measure_block` finds, of all frames one after the other."""
    chains, paths = [], []
    for r, a, b in _blocks(trajectory):
        path = work.folder / "signal" / f"{r}-{a}.npz"
        task = partial(measure_block, camera, work.run, views[r], path, r, a, b, work.device)
        chains.append([(f"signal-{r}-{a}", task)])
        paths.append(path)
    work.run_chains("signal strength", chains)
    parts = [files.load_arrays(path) for path in paths]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _create_movie(work: Work, trajectory: xarray.Dataset, recorder: Recorder, about: dict[str, Any]) -> Path:
    """The movie's store, with everything but images and views."""
    recipe = work.recipe.microscope
    camera, detector, scale = recorder.camera, recorder.detector, recorder.scale
    attributes = {name: value for name, value in vars(camera.optics).items() if name != "n_pixels"}
    attributes |= {"pose": recipe.poses.knowledge, "noise": detector.noise, "noise_std": detector.deviation}
    attributes |= {"electrons_per_pixel": detector.electrons} | about
    if recipe.lazy:
        attributes["lazy"] = {
            "scale_factor": scale.factor,
            "add_offset": scale.offset,
            "levels": scale.levels,
            "n_pixels": recipe.n_pixels,
            "trajectory": trajectory.attrs["fingerprint"],
        }
    movie = work.create_store(
        "movie",
        _sizes(trajectory)
        | {"y": recipe.n_pixels, "x": recipe.n_pixels, "atom": trajectory.sizes["atom"]}
        | {"gaussian": camera.scatterer_width_A.shape[1], "node": len(camera.frequency)},
        chunks={"replica": 1, "time": LAZY_BLOCK_FRAMES if recipe.lazy else BLOCK_FRAMES},
        scale={"image": (scale.factor, scale.offset)},
        dtypes={"image": scale.dtype},
        without=["image"] if recipe.lazy else [],
        attributes=attributes,
    )
    store.write(movie, {name: trajectory[name].values for name in ("replica", "time", "label", "molecule")})
    store.write(movie, {name: getattr(camera, name) for name in imaging.PARTS})
    return movie


def _write_true_poses(work: Work, trajectory: xarray.Dataset, views: list[Path]) -> None:
    poses = work.create_store("poses", _sizes(trajectory), chunks={"replica": 1, "time": LAZY_BLOCK_FRAMES})
    store.write(poses, {name: trajectory[name].values for name in ("replica", "time")})
    _write_replicas(work, "true poses", partial(write_views_of_replica, true=True), views, poses)


def _write_replicas(work: Work, label: str, task: Any, views: list[Path], into: Path) -> None:
    chains = [[(f"{label}-{r}", partial(task, path, into, r))] for r, path in enumerate(views)]
    work.run_chains(label, chains)


def _write_images(work: Work, trajectory: xarray.Dataset, recorder: Recorder, views: list[Path], movie: Path) -> None:
    chains = [
        [(f"movie-{r}-{a}", partial(write_block, recorder, work.run, views[r], movie, r, a, b, work.device))]
        for r, a, b in _blocks(trajectory)
    ]
    work.run_chains(f"blocks of {BLOCK_FRAMES} frames", chains)


def _sizes(trajectory: xarray.Dataset) -> dict[str, int]:
    return {name: trajectory.sizes[name] for name in ("replica", "time")} | {"quaternion": 4, "plane": 2}


def _blocks(trajectory: xarray.Dataset) -> list[tuple[int, int, int]]:
    """Replica, first frame and the first after it, of every block."""
    n_replicas, n_frames = trajectory.sizes["replica"], trajectory.sizes["time"]
    return [(r, a, b) for r in range(n_replicas) for a, b in blocks(n_frames, BLOCK_FRAMES)]


def _intervals_s(recipe: RenderRecipe, time_ps: np.ndarray) -> np.ndarray:
    """Time (frame,) in s since the frame before, by the camera's clock if the recipe states one; 0 for the first."""
    stated = getattr(recipe.poses, "frame_interval_s", None)
    passed = np.diff(time_ps, prepend=time_ps[:1]) * 1e-12
    if stated is not None:
        passed[1:] = stated
    return passed


def _pose_errors(recipe: RenderRecipe) -> dict[str, float]:
    poses = recipe.poses
    if poses.knowledge != "approximate":
        return {}
    return {"pose_error_deg": poses.error_deg, "pose_error_A": poses.error_A}


def _detector(recipe: RenderRecipe, camera: Camera, signal: dict[str, np.ndarray]) -> tuple[Detector, Scale]:
    """Noise as strong as the recipe says, and levels that hold it."""
    low, high = float(signal["low"].min()), float(signal["high"].max())
    contrast_A = 2 * imaging.interaction_A(recipe.voltage_kV)
    if recipe.noise.kind != "poisson":
        deviation = noise_deviation(float(signal["variance"].mean()), recipe.snr)
        noise = recipe.noise.kind if deviation else "none"
        power = camera.power() if noise == "coloured" else None
        return Detector(noise, deviation, power, 0.0, contrast_A), Scale.covering(low, high, deviation)
    assert recipe.dose_per_frame_e_A2 is not None
    electrons = recipe.dose_per_frame_e_A2 * recipe.pixel_size_A**2
    if electrons * recipe.n_pixels**2 < 1:
        raise RecipeError(
            f"render.dose_per_frame_e_A2 = {recipe.dose_per_frame_e_A2:g} sends {electrons * recipe.n_pixels**2:.2g}"
            " electrons through a whole image; an image needs at least one. Use a larger dose."
        )
    if contrast_A * high >= 1:
        raise RecipeError(
            f"The molecule is too thick for the linear model of contrast that counted electrons need: it would remove"
            f" {100 * contrast_A * high:.0f} % of them. Use render.noise.kind = 'white', or a higher voltage_kV."
        )
    deviation = math.sqrt((1 - contrast_A * float(signal["mean"].mean())) / electrons) / contrast_A
    return Detector("poisson", deviation, None, electrons, contrast_A), Scale.counting(low, high, electrons, contrast_A)


def _look_at_box(work: Work, reach_A: np.ndarray) -> None:
    """Warn where molecules extend beyond the box, and name the box that would hold them."""
    recipe = work.recipe.microscope
    held = (recipe.n_pixels / 2 - 1) * recipe.pixel_size_A
    out = float((reach_A > held).mean())
    if out:
        needed = 2 * (math.ceil(float(reach_A.max()) / recipe.pixel_size_A) + 1)
        work.warn(
            f"the molecule is larger than the box of {recipe.n_pixels} pixels in {100 * out:.2g} % of"
            f" frames. It reaches {reach_A.max():.0f} Å from the centre, shifts included: render.n_pixels = {needed}"
            " would hold it."
        )


def _empty(recipe: RenderRecipe, camera: Camera, views: Path) -> RecipeError:
    """Why there is nothing in the images."""
    view = files.load_arrays(views)
    passed = camera.transfer(*(view[name][:1] for name in imaging.FOCUS))[0]
    if np.abs(passed.ravel()[1:]).max() < 1e-6:
        return RecipeError(
            "The images are empty: nothing passes the optics. Without defocus, phase plate and amplitude contrast"
            " there is no contrast, and a large render.pre_exposure_e_A2 leaves none."
        )
    return RecipeError(
        f"The images are empty: no bead falls into a box of {recipe.n_pixels} pixels of {recipe.pixel_size_A} Å."
        " Use a larger render.n_pixels, or a smaller render.shift_deviation_A."
    )

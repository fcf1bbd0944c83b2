"""Renders every frame, block by block."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica.errors import RecipeError
from tempica.recipe.xfel import XfelRecipe
from tempica.runs.reading import read
from tempica.stores import files, store

if TYPE_CHECKING:
    from pathlib import Path

    from tempica.imaging import Detector, Scale
    from tempica.recipe.electron import RenderRecipe
    from tempica.runs.work import Work

BLOCK_FRAMES = 100
LAZY_BLOCK_FRAMES = 10_000  # of a store without images


def run(work: Work) -> None:
    """Render every frame twice: to learn how strong the signal is, and to write it with noise; or as diffraction."""
    if isinstance(work.recipe.render, XfelRecipe):
        from tempica.render.xfel import stage as xfel

        return xfel.run(work)
    if work.recipe.particles is not None:
        from tempica.render.particles import stage as particles

        return particles.run(work)
    from tempica import imaging
    from tempica.render.electron.blocks import (
        camera_of,
        measure_block,
        write_block,
        write_views,
        write_views_of_replica,
    )
    from tempica.render.electron.poses import diffusion_of
    from tempica.render.electron.scatterers import remarks, scatterers

    recipe, poses = work.recipe.microscope, work.recipe.microscope.poses
    trajectory = read(work.run, "render", "trajectory")
    n_replicas, n_frames, n_atoms, _ = trajectory["position"].shape
    camera = camera_of(recipe, *scatterers(recipe, trajectory))
    interval_s = _intervals_s(recipe, trajectory["time"].values)
    diffusion = diffusion_of(recipe, trajectory["position"][0, 0].values, trajectory["scattering_length_A"].values)
    turn_deg = math.degrees(math.sqrt(2 * diffusion * interval_s[1])) if n_frames > 1 else 0.0
    if diffusion:
        work.progress.say(f"render: the molecule turns by {turn_deg:.3g}° about each axis from frame to frame")
    views = [work.folder / "views" / f"{r}.npz" for r in range(n_replicas)]
    work.run_chains(
        "views",
        [
            [(f"views-{r}", partial(write_views, work.recipe, work.run, path, interval_s, diffusion, r))]
            for r, path in enumerate(views)
        ],
    )
    edges = [*range(0, n_frames, BLOCK_FRAMES), n_frames]
    blocks = [(r, a, b) for r in range(n_replicas) for a, b in pairwise(edges)]
    measured = {block: work.folder / "signal" / f"{block[0]}-{block[1]}.npz" for block in blocks}
    work.run_chains(
        "signal strength",
        [
            [(f"signal-{r}-{a}", partial(measure_block, camera, work.run, views[r], path, r, a, b, work.device))]
            for (r, a, b), path in measured.items()
        ],
    )
    loaded = [files.load_arrays(path) for path in measured.values()]
    signal = {name: np.concatenate([part[name] for part in loaded]) for name in loaded[0]}
    _look_at_box(work, signal["reach_A"])
    for told in remarks(recipe, trajectory["formula"].values.tolist()):
        work.progress.say(f"render: {told}")
    variance = float(signal["variance"].mean())
    if variance == 0:
        view = files.load_arrays(views[0])
        passed = camera.transfer(*(view[name][:1] for name in imaging.FOCUS))[0]
        if np.abs(passed.ravel()[1:]).max() < 1e-6:
            raise RecipeError(
                "The images are empty: nothing passes the optics. Without defocus, phase plate and amplitude contrast"
                " there is no contrast, and a large render.pre_exposure_e_A2 leaves none."
            )
        raise RecipeError(
            f"The images are empty: no bead falls into a box of {recipe.n_pixels} pixels of {recipe.pixel_size_A} Å."
            " Take a larger render.n_pixels, or a smaller render.shift_deviation_A."
        )
    detector, scale = _detector(recipe, camera, signal)

    about: dict[str, Any] = {k: v for k, v in vars(camera.optics).items() if k != "n_pixels"}
    about |= {"pose": poses.knowledge, "noise": detector.noise, "noise_std": detector.deviation}
    about |= {"electrons_per_pixel": detector.electrons, "signal_std": math.sqrt(variance)}
    if poses.knowledge == "approximate":
        about |= {"pose_error_deg": poses.error_deg, "pose_error_A": poses.error_A}
    if diffusion:
        about["turn_deg"] = turn_deg
    if recipe.lazy:
        about["lazy"] = {
            "scale_factor": scale.factor,
            "add_offset": scale.offset,
            "levels": scale.levels,
            "n_pixels": recipe.n_pixels,
            "trajectory": trajectory.attrs["fingerprint"],
        }
    sizes = {"replica": n_replicas, "time": n_frames, "quaternion": 4, "plane": 2}
    movie = work.create_store(
        "movie",
        sizes
        | {"y": recipe.n_pixels, "x": recipe.n_pixels, "atom": n_atoms}
        | {"gaussian": camera.scatterer_width_A.shape[1], "node": len(camera.frequency)},
        chunks={"replica": 1, "time": LAZY_BLOCK_FRAMES if recipe.lazy else BLOCK_FRAMES},
        scale={"image": (scale.factor, scale.offset)},
        dtypes={"image": scale.dtype},
        without=["image"] if recipe.lazy else [],
        attributes=about,
    )
    frames = {name: trajectory[name].values for name in ("replica", "time")}
    store.write(movie, frames | {name: trajectory[name].values for name in ("label", "molecule")})
    store.write(movie, {name: getattr(camera, name) for name in imaging.PARTS})
    if poses.knowledge != "known":
        true = work.create_store("poses", sizes, chunks={"replica": 1, "time": LAZY_BLOCK_FRAMES})
        store.write(true, frames)
        _write_replicas(work, "true poses", partial(write_views_of_replica, true=True), views, true)
    if recipe.lazy:
        return _write_replicas(work, "views of a movie", partial(write_views_of_replica, true=False), views, movie)
    made_with = camera, detector, scale, work.recipe.seed, work.run
    work.run_chains(
        f"blocks of {BLOCK_FRAMES} frames",
        [
            [(f"movie-{r}-{a}", partial(write_block, *made_with, views[r], movie, r, a, b, work.device))]
            for r, a, b in blocks
        ],
    )


def _write_replicas(work: Work, label: str, task: Any, views: list[Path], into: Path) -> None:
    chains = [[(f"{label}-{r}", partial(task, path, into, r))] for r, path in enumerate(views)]
    work.run_chains(label, chains)


def _intervals_s(recipe: RenderRecipe, time_ps: np.ndarray) -> np.ndarray:
    """Time (frame,) since the frame before, in s, as the camera's clock has it; 0 for the first."""
    stated = getattr(recipe.poses, "frame_interval_s", None)
    passed = np.diff(time_ps, prepend=time_ps[:1]) * 1e-12
    if stated is not None:
        passed[1:] = stated
    return passed


def _detector(recipe: RenderRecipe, camera: Any, signal: dict[str, np.ndarray]) -> tuple[Detector, Scale]:
    """Noise as strong as the recipe says, and levels that hold it."""
    from tempica.imaging import Detector, Scale, interaction_A
    from tempica.imaging.detector import noise_deviation

    low, high = float(signal["low"].min()), float(signal["high"].max())
    contrast_A = 2 * interaction_A(recipe.voltage_kV)
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
            " electrons through a whole image, and it takes one to see anything. Take a larger dose."
        )
    if contrast_A * high >= 1:
        raise RecipeError(
            f"The molecule is too thick for the linear model of contrast that electrons are counted by: it would take"
            f" away {100 * contrast_A * high:.0f} % of them. Take render.noise.kind = 'white', or a higher voltage_kV."
        )
    deviation = math.sqrt((1 - contrast_A * float(signal["mean"].mean())) / electrons) / contrast_A
    return Detector("poisson", deviation, None, electrons, contrast_A), Scale.counting(low, high, electrons, contrast_A)


def _look_at_box(work: Work, reach_A: np.ndarray) -> None:
    """Warn where molecules stick out, and say which box would hold them."""
    recipe = work.recipe.microscope
    held = (recipe.n_pixels / 2 - 1) * recipe.pixel_size_A
    out = float((reach_A > held).mean())
    if out:
        needed = 2 * (math.ceil(float(reach_A.max()) / recipe.pixel_size_A) + 1)
        work.progress.say(
            f"render: warning: the molecule is larger than the box of {recipe.n_pixels} pixels in {100 * out:.2g} % of"
            f" frames. It reaches {reach_A.max():.0f} Å from the middle, shifts included: render.n_pixels = {needed}"
            " would hold it."
        )

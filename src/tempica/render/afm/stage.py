"""Frames of a trajectory to images of heights, block by block."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica import seeds
from tempica.errors import DataError
from tempica.imaging.afm import Probe, attributes_of, radii_nm
from tempica.recipe.afm import AfmRecipe, ConeTip
from tempica.recipe.experiment import Recipe
from tempica.render.afm.poses import Lying, lie, quaternions, scanned
from tempica.runs.reading import read
from tempica.runs.work import blocks
from tempica.stores import files, store

if TYPE_CHECKING:
    from tempica.runs.work import Work

BLOCK_FRAMES = 100


def run(work: Work) -> None:
    """Scan every frame of every replica."""
    recipe = work.recipe.render
    assert isinstance(recipe, AfmRecipe)
    trajectory = read(work.run, "render", "trajectory")
    n_replicas, n_frames, n_atoms, _ = trajectory["position"].shape
    formula = trajectory["formula"].values
    check(recipe, trajectory["position"][0, 0].values, formula)
    radius = bead_radii(recipe, formula)
    for remark in remarks(recipe):
        work.progress.say(f"render: {remark}")
    lying = [work.folder / "lying" / f"{r}.npz" for r in range(n_replicas)]
    tasks = [[(f"lying-{r}", partial(write_poses, work.recipe, work.run, path, r))] for r, path in enumerate(lying)]
    work.run_chains("poses", tasks)
    sizes = {"replica": n_replicas, "time": n_frames, "quaternion": 4, "plane": 2}
    movie = work.create_store(
        "heights",
        sizes | {"y": recipe.n_pixels, "x": recipe.n_pixels, "atom": n_atoms},
        chunks={"replica": 1, "time": BLOCK_FRAMES},
        attributes=attributes_of(probe_of(recipe))
        | {name: getattr(recipe, name) for name in ("frame_interval_s", "line_time_s", "noise_nm", "line_offset_nm")}
        | {"pose": recipe.poses.knowledge, "lying": recipe.poses.lying, "faces": json.dumps(recipe.poses.faces)},
    )
    about = {name: trajectory[name].values for name in ("replica", "time", "label", "molecule")}
    store.write(movie, about | {"bead_radius": radius})
    known = recipe.poses.knowledge == "known"
    poses = None if known else work.create_store("poses", sizes, chunks={"replica": 1, "time": n_frames})
    for r, path in enumerate(lying):
        true = _poses(Lying(**files.load_arrays(path)))
        stated = true if known else {name: np.full_like(value, np.nan) for name, value in true.items()}
        store.write(movie, stated, replica=r)
        if poses is not None:
            store.write(poses, true, replica=r)
    if poses is not None:
        store.write(poses, {name: about[name] for name in ("replica", "time")})
    tasks = [
        [(f"heights-{r}-{a}", partial(write_block, work.recipe, work.run, lying[r], movie, r, a, b, work.device))]
        for r in range(n_replicas)
        for a, b in blocks(n_frames, BLOCK_FRAMES)
    ]
    work.run_chains(f"blocks of {BLOCK_FRAMES} frames", tasks)


def check(recipe: AfmRecipe, position: np.ndarray, formula: np.ndarray) -> None:
    """Raise DataError where a molecule (atom, space) in nm, of beads with formulas (atom,), cannot be seen whole."""
    radius = bead_radii(recipe, formula)
    reach = float((np.linalg.norm(position - position.mean(0), axis=-1) + radius).max())
    edge = recipe.n_pixels * recipe.pixel_size_nm
    if 2 * reach > edge:
        needed = math.ceil(2 * reach / recipe.pixel_size_nm)
        raise DataError(
            f"The molecule is {2 * reach:.3g} nm across, and frames of render.n_pixels = {recipe.n_pixels} pixels of"
            f" {recipe.pixel_size_nm:g} nm show {edge:.3g} nm. Give render.n_pixels = {needed} at least, or larger"
            " pixels."
        )


def probe_of(recipe: AfmRecipe) -> Probe:
    """The part of the recipe that is the same for all images."""
    tip = recipe.tip
    cone = tip if isinstance(tip, ConeTip) else ConeTip(radius_nm=0.0, half_angle_deg=0.0)
    return Probe(
        radius_nm=cone.radius_nm,
        half_angle=math.radians(cone.half_angle_deg),
        n_pixels=recipe.n_pixels,
        pixel_nm=recipe.pixel_size_nm,
        fall_nm=recipe.fall_nm,
        fast_axis=recipe.fast_axis,
        sharpness_per_nm=recipe.sharpness_per_nm,
        tip=None if isinstance(tip, ConeTip) else tip.height_nm,
    )


def bead_radii(recipe: AfmRecipe, formula: np.ndarray) -> np.ndarray:
    """Radii (atom,) in nm of beads with such formulas."""
    if recipe.bead_radius_nm is not None:
        return np.full(len(formula), recipe.bead_radius_nm)
    return radii_nm(formula)


def clean_heights(
    recipe: AfmRecipe,
    lying: Lying,
    position: np.ndarray,
    after: np.ndarray,
    radius: np.ndarray,
    device: str = "cpu",
) -> np.ndarray:
    """Heights (frame, y, x) in nm without noise, float32; see `poses.scanned` for the arguments."""
    image = probe_of(recipe).images(scanned(recipe, lying, position, after, radius), radius, device)
    if lying.slope.any():
        along = recipe.pixel_size_nm * (np.arange(recipe.n_pixels) - recipe.n_pixels // 2)
        image = image + lying.slope[:, 1, None, None] * along[:, None] + lying.slope[:, 0, None, None] * along
    return image.astype(np.float32)


def noisy(recipe: AfmRecipe, clean: np.ndarray, seed: int, replica: int, frame: int) -> np.ndarray:
    """An image (y, x) with white noise and offsets of lines, a function of seed, replica and frame."""
    rng = seeds.generator(seed, "height noise", replica, frame)
    noise = recipe.noise_nm * rng.standard_normal(clean.shape)
    offset = recipe.line_offset_nm * rng.standard_normal(len(clean))
    return clean + noise + (offset[:, None] if recipe.fast_axis == "x" else offset)


def write_poses(recipe: Recipe, run: Path, out: Path, replica: int) -> None:
    """How the molecules of a replica lie, into a file."""
    assert isinstance(recipe.render, AfmRecipe)
    trajectory = read(run, "render", "trajectory")
    molecule, first = trajectory["molecule"].values[replica], trajectory["position"][0, 0].values
    files.save_arrays(out, **vars(lie(recipe.render, recipe.seed, replica, molecule, first)))


def write_block(
    recipe: Recipe, run: Path, poses: Path, movie: Path, replica: int, first: int, last: int, device: str
) -> None:
    """Images of a block into their store."""
    camera = recipe.render
    assert isinstance(camera, AfmRecipe)
    trajectory = read(run, "render", "trajectory")
    part = trajectory.isel(replica=replica, time=slice(first, last + 1))
    position, molecule = part["position"].values, part["molecule"].values
    if not np.isfinite(position).all():
        raise DataError(
            f"A frame from {first} to {last} of replica {replica} holds positions that are not numbers. Simulate or"
            " import the trajectory again."
        )
    n = last - first
    following = np.append(position[1:], position[-1:], 0)
    same = np.append(molecule[1:] == molecule[:-1], False)
    after = np.where(same[:, None, None], following, position)[:n]
    lying = Lying(**{name: value[first:last] for name, value in files.load_arrays(poses).items()})
    radius = bead_radii(camera, trajectory["formula"].values)
    clean = clean_heights(camera, lying, position[:n], after, radius, device)
    image = np.stack([noisy(camera, one, recipe.seed, replica, k) for k, one in enumerate(clean, first)])
    store.write(movie, {"image": image.astype(np.float32)}, replica=replica, time=slice(first, last))


def remarks(recipe: AfmRecipe) -> list[str]:
    """What to know of a frame's timing."""
    if not recipe.line_time_s:
        return ["frames are taken at once"]
    scan = recipe.n_pixels * recipe.line_time_s
    share, turn = scan / recipe.frame_interval_s, recipe.poses.turn_deg
    return [
        f"a frame is scanned in {scan:.3g} s, {100 * share:.0f} % of the time to the next, in which molecules turn by"
        f" {share * turn:.2g}°"
    ]


def _poses(lying: Lying) -> dict[str, np.ndarray]:
    return {"pose_quaternion": quaternions(lying), "pose_shift_A": 10 * lying.shift_nm}

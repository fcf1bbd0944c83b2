"""Frames of a trajectory to diffraction patterns, block by block."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica import imaging
from tempica.errors import DataError
from tempica.imaging.diffraction import Beamline, diffract
from tempica.imaging.xray import Scatterers, scatterers_of
from tempica.recipe.experiment import Recipe
from tempica.recipe.xfel import XfelRecipe
from tempica.render.xfel.shots import count_dtype, counted, orientations, pulses, stated
from tempica.runs.reading import read
from tempica.runs.work import blocks
from tempica.stores import store
from tempica.stores.attributes import BEAMLINE

if TYPE_CHECKING:
    import xarray

    from tempica.runs.work import Work

BLOCK_FRAMES = 100
AT_ONCE = 2**20  # pixels that are expected together
BEAD_RESOLUTION_A = 8.0  # beyond which a residue is more than a Gaussian


def run(work: Work) -> None:
    """Expose every frame to one pulse, and count the photons."""
    recipe = work.recipe.render
    assert isinstance(recipe, XfelRecipe)
    trajectory = read(work.run, "render", "trajectory")
    n_replicas, n_frames, n_atoms, _ = trajectory["position"].shape
    beamline, scatterers = beamline_of(recipe), _scatterers(trajectory)
    strongest = max(pulses(recipe, work.recipe.seed, r, 0, n_frames).max() for r in range(n_replicas))
    dtype = count_dtype(_most(beamline, scatterers) * strongest + recipe.background_photons)
    for remark in remarks(recipe, scatterers, _position(trajectory, 0, 0, 1)[0]):
        work.remark(remark)
    patterns = work.create_store(
        "diffraction",
        {"replica": n_replicas, "time": n_frames, "y": recipe.n_pixels, "x": recipe.n_pixels}
        | {"quaternion": 4, "atom": n_atoms},
        chunks={"replica": 1, "time": BLOCK_FRAMES},
        dtypes={"image": dtype},
        attributes={
            "pose": recipe.poses.knowledge,
            "polarisation": recipe.polarisation,
            "wavelength_A": beamline.wavelength_A,
        }
        | ({"pose_error_deg": recipe.poses.error_deg, "pose_error_A": 0.0} if recipe.poses.error_deg else {})
        | {name: getattr(recipe, name) for name in BEAMLINE if name != "wavelength_A"},
    )
    about = {name: trajectory[name].values for name in ("replica", "time", "label", "molecule", "bead_width")}
    about |= {"formula": trajectory["formula"].values.tolist(), "mask": beamline.mask}
    store.write(patterns, about)
    poses = None
    if work.recipe.hides_poses:
        sizes = {"replica": n_replicas, "time": n_frames, "quaternion": 4, "plane": 2}
        poses = work.create_store("poses", sizes, chunks={"replica": 1, "time": BLOCK_FRAMES})
        store.write(poses, {name: trajectory[name].values for name in ("replica", "time")})
    work.run_chains(
        f"blocks of {BLOCK_FRAMES} patterns",
        [
            [(f"pattern-{r}-{a}", partial(write_block, work.recipe, work.run, patterns, poses, dtype, r, a, b))]
            for r in range(n_replicas)
            for a, b in blocks(n_frames, BLOCK_FRAMES)
        ],
    )


def beamline_of(recipe: XfelRecipe) -> Beamline:
    """The part of the recipe that is the same for all patterns."""
    return Beamline(**{name: getattr(recipe, name) for name in Beamline.__dataclass_fields__})


def expected_photons(
    recipe: XfelRecipe, quaternion: np.ndarray, pulse: np.ndarray, position: np.ndarray, scatterers: Scatterers
) -> np.ndarray:
    """Mean number of photons (frame, y, x), float32: J r_e² P ΔΩ |F|² + background, none in the beam stop's shadow.

    J are the photons per µm² of each `pulse`, and the background does not depend on it.
    """
    beamline = beamline_of(recipe)
    intensity = diffract(position, imaging.rotation_matrix(quaternion), scatterers, beamline)
    intensity *= (beamline.photons_per_intensity * beamline.mask * pulse[:, None, None]).astype(np.float32)
    intensity += np.float32(recipe.background_photons) * beamline.mask
    return intensity


def write_block(
    recipe: Recipe, run: Path, patterns: Path, poses: Path | None, dtype: str, replica: int, first: int, last: int
) -> None:
    """Patterns of a block, with their orientations and pulses; the true orientations into a store of theirs, if any."""
    camera = recipe.render
    assert isinstance(camera, XfelRecipe)
    trajectory = read(run, "render", "trajectory")
    position = _position(trajectory, replica, first, last)
    molecule = trajectory["molecule"].isel(replica=replica, time=slice(first, last)).values
    quaternion = orientations(camera, recipe.seed, replica, first, molecule)
    pulse = pulses(camera, recipe.seed, replica, first, last)
    image = np.empty((last - first, camera.n_pixels, camera.n_pixels), dtype)
    step = max(1, AT_ONCE // camera.n_pixels**2)
    for row in range(0, last - first, step):
        part = slice(row, row + step)
        expected = expected_photons(camera, quaternion[part], pulse[part], position[part], _scatterers(trajectory))
        for number, mean in enumerate(expected, row):
            image[number] = counted(mean, recipe.seed, replica, first + number)
    told = stated(camera, recipe.seed, replica, first, quaternion)
    time = slice(first, last)
    store.write(patterns, {"image": image, "pose_quaternion": told, "fluence": pulse}, replica=replica, time=time)
    if poses is not None:
        nowhere = np.zeros((last - first, 2))
        store.write(poses, {"pose_quaternion": quaternion, "pose_shift_A": nowhere}, replica=replica, time=time)


def remarks(recipe: XfelRecipe, scatterers: Scatterers, position: np.ndarray) -> list[str]:
    """Remarks on sampling and resolution for a molecule with positions (atom, space) in nm."""
    beamline = beamline_of(recipe)
    size_nm = 2 * float(np.linalg.norm(position - position.mean(0), axis=1).max())
    sampled_nm = 0.1 * beamline.wavelength_A * 500 * beamline.detector_distance_mm / beamline.pixel_size_um
    middle = recipe.n_pixels // 2
    edge_A = 1 / float(np.linalg.norm(beamline.q[middle, -1]))
    pulse = np.array([recipe.photons_per_um2])
    photons = expected_photons(recipe, np.array([[0.0, 0.0, 0.0, 1.0]]), pulse, position[None], scatterers).sum()
    lines = [f"about {photons:.3g} photons a pattern, resolution {edge_A:.2g} Å at the detector's edge"]
    if size_nm > sampled_nm:
        lines.append(
            f"warning: the molecule is {size_nm:.2g} nm across, and pixels of {recipe.pixel_size_um:g} µm sample the"
            f" fringes of {sampled_nm:.2g} nm; take pixels of {recipe.pixel_size_um * sampled_nm / size_nm:.0f} µm, or"
            f" a detector_distance_mm of {recipe.detector_distance_mm * size_nm / sampled_nm:.0f}"
        )
    if scatterers.width_A.any() and edge_A < BEAD_RESOLUTION_A:
        lines.append(
            f"warning: beads of whole residues describe a molecule to about {BEAD_RESOLUTION_A:g} Å, and the detector"
            f" reaches {edge_A:.2g} Å; take trajectories of atoms, or a longer detector_distance_mm"
        )
    return lines


def _most(beamline: Beamline, scatterers: Scatterers) -> float:
    """A bound of the photons in any pixel per photon/µm²: as if all beads scattered in phase."""
    mask = beamline.mask
    q = np.unique(np.linalg.norm(beamline.q[mask], axis=-1))
    sample = np.concatenate([q[:1], q[:: max(1, len(q) // 200)]])  # factors fall with q, so the first is the largest
    together = np.bincount(scatterers.kind) @ np.abs(scatterers.factors(sample, beamline.b_factor_A2))
    return float(beamline.photons_per_intensity[mask].max() * together.max() ** 2)


def _position(trajectory: xarray.Dataset, replica: int, first: int, last: int) -> np.ndarray:
    position = trajectory["position"].isel(replica=replica, time=slice(first, last)).values
    if not np.isfinite(position).all():
        frame = first + int(np.flatnonzero(~np.isfinite(position).all((1, 2)))[0])
        raise DataError(
            f"Frame {frame} of replica {replica} holds positions that are not finite numbers. Simulate or import the"
            " trajectory again."
        )
    return position


def _scatterers(trajectory: xarray.Dataset) -> Scatterers:
    return _kinds(tuple(trajectory["formula"].values.tolist()), tuple(trajectory["bead_width"].values.tolist()))


@lru_cache(maxsize=2)
def _kinds(formula: tuple[str, ...], width: tuple[float, ...]) -> Scatterers:
    return scatterers_of(formula, np.array(width))

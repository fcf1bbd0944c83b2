"""Embeds crops of a scanning probe's movie by a structure: forms, poses and distances of domains, frame by frame."""

from __future__ import annotations

import math
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from tempica.embed.heights.foreign import Fitted, fit
from tempica.embed.heights.setting import N_FREE, directions
from tempica.embed.heights.tasks import FIRST_NOISE_NM, FIRST_TIPS_NM
from tempica.embed.modes.elastic import elastic_modes
from tempica.embed.poses.grids import rotation_grid
from tempica.imaging.afm import Probe, flat_faces
from tempica.imaging.heights import Heights
from tempica.recipe.experiment import Recipe
from tempica.runs.reading import read
from tempica.stores import files, store

if TYPE_CHECKING:
    from tempica.runs.work import Work

LIFT_NM, OFFSET_NM = 1.0, 0.3  # of molecules over the support, and of the support, in frames that were flattened


def run(work: Work) -> None:
    """One task: tip, hand, poses and amplitudes; then the store."""
    found = work.folder / "form.npz"
    task = partial(embed_crops, work.recipe, work.run, found)
    work.run_chains("poses and forms of crops", [[("form", task)]])
    movie, arrays = work.read("movie"), files.load_arrays(found)
    structure = work.read("structure")
    about = {name: float(arrays.pop(name)) for name in ("tip_radius_nm", "noise_nm", "other_hand_nm")}
    mirrored = bool(arrays.pop("mirrored"))
    whole = {name: arrays.pop(name) for name in ("mean_structure", "mode_shape")}
    R, T = movie["track"].shape
    n, n_atoms = whole["mode_shape"].shape[:2]
    pairs = [" – ".join(pair) for pair in combinations(structure.attrs["domains"], 2)]
    latents = work.create_store(
        "form_latents",
        {"replica": R, "time": T, "mode": n, "mode_other": n, "atom": n_atoms, "space": 3}
        | {"quaternion": 4, "plane": 2, "pair": len(pairs)},
        chunks={"replica": 1, "time": 100},
        attributes=about | {"mirrored": mirrored, "pairs": pairs, "bead_radius_nm": structure.attrs["bead_radius_nm"]},
    )
    per_frame = {name: each.reshape(R, T, *each.shape[1:]) for name, each in arrays.items()}
    store.write(latents, {"replica": movie["replica"].values, "time": movie["time"].values} | per_frame | whole)
    work.progress.say(
        f"embed: the tip's radius is {about['tip_radius_nm']:.2g} nm; {about['noise_nm']:.2g} nm are left unexplained"
        f" in a pixel, {about['other_hand_nm']:.2g} nm the other way round"
        + ("; frames are taken upside down" if mirrored else "")
    )


def embed_crops(recipe: Recipe, run: Path, out: Path) -> None:
    """Posteriors of forms and poses of a run's crops, and what follows of distances."""
    movie, structure = (read(run, "embed", kind) for kind in ("movie", "structure"))
    about, position = recipe.film, structure["position"].values
    assert about is not None
    image = movie["cut"].values.reshape(-1, *movie["cut"].shape[2:])
    tip = FIRST_TIPS_NM[0] if about.tip_radius_nm is None else about.tip_radius_nm
    probe = Probe(tip, math.radians(about.half_angle_deg), image.shape[1], movie.attrs["pixel_size_nm"])
    radius = np.array(structure.attrs["bead_radius_nm"])
    seen = Heights(image, radius, probe, FIRST_NOISE_NM, lift_nm=LIFT_NM, offset_nm=OFFSET_NM)
    faces = flat_faces(position) if about.lying == "flat" else directions(rotation_grid(N_FREE).rotation)
    alone = np.arange(len(image))
    molecule = alone if about.lying == "tumbling" else movie["track"].values.reshape(-1)
    fitted = fit(
        seen,
        elastic_modes(position, recipe.embed.most_modes),
        faces,
        molecule,
        tip_known=about.tip_radius_nm is not None,
    )
    found = fitted.found
    domains = [np.array(beads) for beads in structure.attrs["domains"].values()]
    distance, deviation = distances(fitted, domains)
    files.save_arrays(
        out,
        latent=found.mean,
        latent_covariance=found.covariance,
        residual_variance=found.residual_variance,
        pose_quaternion=Rotation.from_matrix(found.rotation).as_quat(),
        pose_shift_A=found.shift_A,
        distance=distance,
        distance_deviation=deviation,
        mean_structure=fitted.modes.mean,
        mode_shape=fitted.modes.shape,
        tip_radius_nm=np.array(fitted.heights.probe.radius_nm),
        noise_nm=np.array(fitted.heights.noise_nm),
        other_hand_nm=np.array(fitted.other_hand_nm),
        mirrored=np.array(fitted.mirrored),
    )


def distances(fitted: Fitted, domains: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Distances (F, pair) in nm between centroids of domains, given as beads, and their posterior deviations.

    At amplitudes a the centroids of two domains are apart by d = d₀ + Σ_k a_k d_k: |d| and, with n = d / |d| and the
    posterior covariance C, √(n·D C D·n), D the columns d_k.
    """
    modes, found = fitted.modes, fitted.found
    values, deviations = [], []
    for one, other in combinations(domains, 2):
        apart = modes.mean[one].mean(0) - modes.mean[other].mean(0)
        change = modes.shape[:, one].mean(1) - modes.shape[:, other].mean(1)  # (K, 3)
        vector = apart + found.mean @ change
        length = np.linalg.norm(vector, axis=1)
        slope = vector @ change.T / np.maximum(length, 1e-9)[:, None]
        values.append(length)
        deviations.append(np.sqrt(np.einsum("fk,fkl,fl->f", slope, found.covariance, slope)))
    return np.stack(values, 1), np.stack(deviations, 1)

"""What embed found against the truth: poses, structures, latents and their posteriors, for scores.json.

Calibration counts the frames whose pose is not lost: the others are told by their share, and no posterior around a
wrong maximum can be right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica import imaging, seeds
from tempica.evaluate import metrics, poses
from tempica.evaluate.calibration import Calibration, calibrate, leak, spread_of_angle
from tempica.imaging.heights import Heights, heights_in
from tempica.imaging.linearise import Images, Scatterers
from tempica.imaging.modes import Modes
from tempica.imaging.photons import patterns_in
from tempica.recipe.experiment import Recipe
from tempica.recipe.residues import residues
from tempica.runs.reading import read, true_poses
from tempica.runs.work import blocks
from tempica.stores import files

if TYPE_CHECKING:
    import xarray

BLOCK_FRAMES = 200
N_SHUFFLES = 50
LEAST_FRAMES = 30  # below which 14 regressors explain errors by chance alone
QUANTILES = np.linspace(0, 1, 101)


def compare_replica(recipe: Recipe, run: Path, out: Path, replica: int, bound_frames: np.ndarray) -> None:
    """Errors of all frames of a replica, and the bound of some of them, into an npz file; nothing where none can be."""
    trajectory, movie, latents = (read(run, "evaluate", kind) for kind in ("trajectory", "movie", "latents"))
    truth, known = true_poses(run, "evaluate", movie), poses_are_known(movie, latents)
    found: dict[str, np.ndarray] = {}
    # pseudo-atoms of the images' map are not the beads of the truth, whatever their number
    if latents.sizes["atom"] == trajectory.sizes["atom"] and recipe.embed.modes_from != "images":
        modes, weight = modes_of(latents), body(recipe, trajectory)[1]
        parts = []
        for first, last in blocks(movie.sizes["time"], BLOCK_FRAMES):
            at = {"replica": replica, "time": slice(first, last)}
            seen = _placed(truth.isel(at), trajectory["position"].isel(at).values)
            parts.append(_compared(seen, latents.isel(at), modes, weight, known))
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if not known:
            at = {"replica": replica, "time": bound_frames}
            seen = _placed(truth.isel(at), trajectory["position"].isel(at).values)
            found["bound"] = _bound(run, movie.isel(at), seen, latents.isel(at), modes, weight)
    files.save_arrays(out, **found)


def poses_are_known(movie: xarray.Dataset, latents: xarray.Dataset) -> bool:
    """Whether embed was given the true poses, and kept them."""
    return bool(latents.attrs["pose_source"] == "stated" and movie.attrs["pose"] == "known")


def modes_of(latents: xarray.Dataset) -> Modes:
    return Modes(latents["mean_structure"].values, latents["mode_shape"].values)


def body(recipe: Recipe, trajectory: xarray.Dataset) -> tuple[str, np.ndarray]:
    """Name of what poses refer to, and weights (atom,) of it: the recipe's body, else all beads."""
    molecule = recipe.simulate.molecule
    name, domains = getattr(molecule, "body", None), getattr(molecule, "domains", {})
    text = domains.get(name) if domains else name
    everything = "all beads", np.ones(trajectory.sizes["atom"])
    if name is None or text is None:
        return everything
    weight = beads_of(text, trajectory)
    return (str(name), weight) if weight.sum() >= 3 else everything


def beads_of(text: str, trajectory: xarray.Dataset) -> np.ndarray:
    """1 for beads (atom,) of the residues that a recipe's text names, 0 for others."""
    wanted, weight = set(residues(text)), np.zeros(trajectory.sizes["atom"])
    for number, chain in enumerate(json.loads(trajectory.attrs["topology"])["chains"]):
        names = {"", str(chain.get("chain_id", "")), chr(ord("A") + number)}
        for residue in chain["residues"]:
            if any((each, residue["resSeq"]) in wanted for each in names):
                weight[[atom["index"] for atom in residue["atoms"]]] = 1.0
    return weight


def _placed(posed: xarray.Dataset, position: np.ndarray) -> poses.Placed:
    rotation = imaging.rotation_matrix(posed["pose_quaternion"].values)
    return poses.Placed(position.astype(np.float64), rotation, posed["pose_shift_A"].values)


def _compared(
    truth: poses.Placed, latents: xarray.Dataset, modes: Modes, weight: np.ndarray, known: bool
) -> dict[str, np.ndarray]:
    amplitude = latents["latent"].values
    estimate = _placed(latents, modes.mean + np.tensordot(amplitude, modes.shape, 1))
    errors = poses.pose_errors(truth, estimate, weight)
    found = {name: getattr(errors, name) for name in ("turn", "shift_A", "structure_A", "mirrored")}
    if known:
        return found | {"latent": poses.project_on_modes(truth.position, modes) - amplitude}
    true = poses.coordinates(truth, modes, estimate, amplitude)
    return found | {"latent": true.amplitude - amplitude, "pose": true.pose}


def heights_under(run: Path, movie: xarray.Dataset, image: np.ndarray) -> Heights:
    """Heights (F, D, D) as the movie was taken; of a tip that is a table, with the radius that embed has found."""
    radius = read(run, "evaluate", "latents").attrs["tip_radius_nm"] if movie.attrs["tip"] else None
    return heights_in(movie, image, radius)


def _bound(
    run: Path, movie: xarray.Dataset, truth: poses.Placed, latents: xarray.Dataset, modes: Modes, weight: np.ndarray
) -> np.ndarray:
    """Covariances (frame, 3, 3) of the rotation of the body, at the true structures in the frame of the modes."""
    amplitude = latents["latent"].values
    estimate = _placed(latents, modes.mean + np.tensordot(amplitude, modes.shape, 1))
    true = poses.coordinates(truth, modes, estimate, amplitude).placed
    if (kind := movie.attrs["kind"]) in ("diffraction", "heights"):
        place, image = (true.position, true.rotation, true.shift_A), movie["image"].values
        frames_seen = patterns_in(movie, image) if kind == "diffraction" else heights_under(run, movie, image)
        seen = frames_seen.expand(*place, modes.shape, pose=True)
        return poses.turn_of_body(poses.covariance_of(seen.information, len(modes.shape)), true, modes, weight)
    camera = imaging.camera_of(movie)
    transfer = camera.transfer(*(movie[name].values for name in imaging.FOCUS))
    images = Images(movie["image"].values, true.rotation, true.shift_A, transfer, camera.power())
    scatterers = Scatterers(camera.scatterer_amplitude_A, camera.scatterer_width_A)
    covariance = poses.bound(
        images, true.position, modes, scatterers, camera.optics.pixel_size_A, noise_variance(movie)
    )
    return poses.turn_of_body(covariance, true, modes, weight)


def noise_variance(movie: xarray.Dataset) -> float:
    """Of a pixel: the camera's, and that of digitisation."""
    step = float(movie["image"].encoding.get("scale_factor", 0.0))
    return float(movie.attrs["noise_std"]) ** 2 + step**2 / 12


def summarise(recipe: Recipe, run: Path, paths: list[Path]) -> dict[str, Any]:
    """`poses` and `latents` of scores.json, from the files of all replicas."""
    trajectory, movie, latents = (read(run, "evaluate", kind) for kind in ("trajectory", "movie", "latents"))
    truth, known = true_poses(run, "evaluate", movie), poses_are_known(movie, latents)
    parts = [files.load_arrays(path) for path in paths]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rotation, true_rotation = (
        imaging.rotation_matrix(each["pose_quaternion"].values).reshape(-1, 3, 3) for each in (latents, truth)
    )
    if not found:
        shift_A, true_shift_A = (each["pose_shift_A"].values.reshape(-1, 2) for each in (latents, truth))
        errors = poses.without_structures(rotation, shift_A, true_rotation, true_shift_A)
    else:
        errors = poses.PoseErrors(*(found[name] for name in ("turn", "shift_A", "structure_A", "mirrored")))
    lost = errors.angle > poses.LOST
    shape = latents["latent"].shape[:2]
    held_out = np.repeat(np.array(recipe.splits) == "held_out", shape[1])
    bound_held_out = np.repeat(np.array(recipe.splits) == "held_out", len(parts[0].get("bound", ())))
    rng = np.random.default_rng(seeds.integer(recipe.seed, "poses"))
    of_poses, of_latents = [], []
    for split, chosen in (("all", np.ones(len(lost), dtype=bool)), ("held_out", held_out)):
        covariance, coordinate = latents["pose_covariance"].values.reshape(-1, 5, 5), found.get("pose")
        if movie.attrs["kind"] == "diffraction":  # which does not tell where a molecule is
            covariance, coordinate = covariance[:, :3, :3], None if coordinate is None else coordinate[:, :3]
        of_bound = found["bound"][bound_held_out | (split == "all")] if "bound" in found else None
        if not known:
            of_poses.append({"split": split} | _of_poses(errors, lost, chosen, covariance, coordinate, of_bound, rng))
        if "latent" in found:
            kept = chosen & ~lost
            covariance = latents["latent_covariance"].values.reshape(len(lost), *latents["latent_covariance"].shape[2:])
            numbers = _calibration(calibrate(found["latent"][kept], covariance[kept]))
            of_latents.append(
                {"split": split, "n_frames": int(kept.sum())}
                | numbers
                | _leak(found["latent"], true_rotation, kept, shape, rng)
            )
    about = {"source": str(latents.attrs["pose_source"]), "known": known, "superposed_on": body(recipe, trajectory)[0]}
    about["lost_beyond_deg"] = float(np.degrees(poses.LOST))
    return {"poses": about | {"splits": of_poses}, "latents": of_latents}


def _of_poses(
    errors: poses.PoseErrors,
    lost: np.ndarray,
    chosen: np.ndarray,
    covariance: np.ndarray,
    coordinate: np.ndarray | None,
    of_bound: np.ndarray | None,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Of the chosen frames: quantiles of the error and of the bound; calibration."""
    angle, shift = np.degrees(errors.angle[chosen]), np.linalg.norm(errors.shift_A[chosen], axis=1)
    kept = chosen & ~lost
    has_posterior = bool((np.einsum("fpp->fp", covariance) > 0).all())
    said = calibrate(coordinate[kept], covariance[kept]) if coordinate is not None and has_posterior else None
    bound = None if of_bound is None else spread_of_angle(of_bound, rng)
    return {
        "n_frames": int(chosen.sum()),
        "lost": float(lost[chosen].mean()),
        "mirrored": float(errors.mirrored[chosen].mean()),
        "shift_median_A": float(np.median(shift)),
        "shift_95_A": float(np.quantile(shift, 0.95)),
        "structure_A": _number(np.median(errors.structure_A[chosen])),
        "angle_deg": _quantiles(angle),
        "bound_deg": None if bound is None else _quantiles(np.degrees(bound)),
        **_calibration(said),
    }


def _leak(
    error: np.ndarray, rotation: np.ndarray, kept: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator
) -> dict[str, Any]:
    """R² of errors on poses; in the null they meet poses of other replicas, moved in time. None for too few frames."""
    names = ("leak", "leak_null", "leak_null_95")
    if kept.sum() < LEAST_FRAMES:
        return dict.fromkeys(names)
    labels = np.repeat(np.arange(shape[0]), shape[1])[kept]
    length = np.bincount(labels, minlength=shape[0])
    length = length[length > 0]
    start = np.r_[0, length.cumsum()[:-1]]
    time = metrics.correlation_time(rotation[kept].reshape(-1, 9), start, length)
    shuffles = list(metrics.null_frames(start, length, time, N_SHUFFLES, rng))
    return dict(zip(names, leak(error[kept], rotation[kept], shuffles), strict=True))


def _calibration(said: Calibration | None) -> dict[str, Any]:
    if said is None:
        return {"squared_error": None, "squared_error_interval": None, "within_95": None, "level": None}
    return {
        "squared_error": said.squared_error,
        "squared_error_interval": list(said.interval),
        "within_95": said.within_95,
        "level": said.level.round(6).tolist(),
    }


def _quantiles(value: np.ndarray) -> list[float]:
    return [round(float(x), 6) for x in np.quantile(value, QUANTILES)]


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None

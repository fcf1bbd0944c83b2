"""What a run's truth and images could give at best: ceilings of Bayes estimates, and bounds of supervised networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempica import imaging, seeds
from tempica.evaluate import ceilings, embedding, metrics, supervised, temporal
from tempica.imaging.photons import patterns_in
from tempica.recipe.electron import RenderRecipe
from tempica.recipe.experiment import Recipe
from tempica.runs.reading import read, true_poses
from tempica.series import number_molecules
from tempica.stores import files

FEWEST_MEMBERS = 3  # of the prior's library that a frame must leave, or the mean over them is no estimate
KINDS: tuple[metrics.Kind, ...] = ("spearman", "pearson")


def learn_prior(recipe: Recipe, run: Path, out: Path, dynamics: Path) -> None:
    """What training replicas show of structures and collective variables, and of their memory."""
    trajectory = read(run, "evaluate", "trajectory")
    train = np.flatnonzero(np.array(recipe.splits) == "train")
    position = trajectory["position"].values[train]
    variable = trajectory["collective_variable"].values[train].astype(np.float64)
    flat = variable.reshape(-1, variable.shape[-1])
    files.save_arrays(out, **vars(ceilings.learn_prior(position.reshape(-1, *position.shape[2:]), flat)))
    molecule = number_molecules(trajectory["molecule"].values[train])
    files.save_arrays(dynamics, **vars(temporal.learn_dynamics(flat, molecule.reshape(-1))))


def ceiling_block(run: Path, prior: Path, dynamics: Path, out: Path, replica: int, frames: np.ndarray) -> None:
    """Likelihoods of the collective variables of frames of a held-out replica, beside the truth."""
    at = {"replica": replica, "time": frames}
    movie, trajectory = read(run, "evaluate", "movie"), read(run, "evaluate", "trajectory")
    view, poses, true = movie.isel(at), true_poses(run, "evaluate", movie).isel(at), trajectory.isel(at)
    variable = true["collective_variable"].values.astype(np.float64)
    known, law = ceilings.Prior(**files.load_arrays(prior)), temporal.Dynamics(**files.load_arrays(dynamics))
    nodes, molecule = law.coarse_values(), number_molecules(trajectory["molecule"].values)[replica, frames]
    if (kind := movie.attrs["kind"]) in ("diffraction", "heights"):
        position = true["position"].values.astype(np.float64)
        pose = imaging.rotation_matrix(poses["pose_quaternion"].values), poses["pose_shift_A"].values
        image = view["image"].values
        frames_seen = patterns_in(movie, image) if kind == "diffraction" else embedding.heights_under(run, movie, image)
        found = ceilings.likelihoods_by(known, frames_seen, pose, position, nodes)
        files.save_arrays(out, truth=variable, molecule=molecule, **vars(found))
        return
    seen = ceilings.Frames(
        view["image"].values,
        poses["pose_quaternion"].values,
        poses["pose_shift_A"].values,
        [view[name].values for name in imaging.FOCUS],
        true["position"].values.astype(np.float64),
        variable,
    )
    found = ceilings.likelihoods(
        known,
        imaging.camera_of(movie),
        embedding.noise_variance(movie),
        seen,
        nodes,
    )
    files.save_arrays(out, truth=variable, molecule=molecule, **vars(found))


def score_ceilings(recipe: Recipe, prior_path: Path, dynamics_path: Path, paths: list[Path], out: Path) -> None:
    """What Bayes estimates reach from single frames and whole movies: `single` and `temporal` by metric, or why not."""
    prior = ceilings.Prior(**files.load_arrays(prior_path))
    dynamics = temporal.Dynamics(**files.load_arrays(dynamics_path))
    parts = [files.load_arrays(path) for path in paths]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    truth, molecule = found.pop("truth"), found.pop("molecule")
    frames = ceilings.Likelihoods(**found)
    alone, effective = ceilings.bayes_estimate(prior, frames, dynamics.interpolation(dynamics.score(prior.library)))
    together: np.ndarray | str = "each molecule is seen once"
    if recipe.frames_per_molecule != 1:
        together = temporal.smoothed_estimate(prior, dynamics, frames, truth, molecule)
    members = float(np.median(effective))
    sparse = members < FEWEST_MEMBERS
    told = {
        "single": _agreement(None if sparse else alone, truth),
        "temporal": _agreement(None if isinstance(together, str) else together, truth),
        "single_why": (
            f"of {len(prior.library)} training conformations a frame leaves {members:.2g}, and {FEWEST_MEMBERS} are"
            " needed: more simulate.n_frames or simulate.n_replicas give more"
            if sparse
            else None
        ),
        "temporal_why": together if isinstance(together, str) else None,
    }
    files.write_json(out, told)


def _agreement(estimate: np.ndarray | None, truth: np.ndarray) -> dict[str, float | None]:
    """Mean absolute correlation of each variable's estimate with its truth, by metric."""
    if estimate is None:
        return {f"mcc_{kind}": None for kind in KINDS}
    matrices = {f"mcc_{kind}": metrics.correlation_matrix(estimate, truth, kind=kind) for kind in KINDS}
    return {name: float(np.abs(np.diagonal(matrix)).mean()) for name, matrix in matrices.items()}


def supervised_bound(recipe: Recipe, run: Path, inputs: str, out: Path) -> None:
    """What a network reaches that is told the truth of training replicas: `scores` by metric, or `why` there are none.

    `inputs` are the latents, or the images: of molecules that are all seen from one side, since a network of pixels
    would first have to learn projection.
    """
    truth = read(run, "evaluate", "trajectory")["collective_variable"].values.astype(np.float64)
    split = np.array(recipe.splits)
    rows = np.repeat(split, truth.shape[1])
    why = None
    if inputs == "latents":
        x = read(run, "evaluate", "latents")["latent"].values.astype(np.float64)
        x = x.reshape(len(rows), -1)
        if not np.isfinite(x).all():
            why = "some latents are not finite"
    elif (why := _hides_from_pixels(recipe)) is None:
        image = read(run, "evaluate", "movie")["image"].values
        x = supervised.image_components(image.reshape(-1, *image.shape[2:]), rows == "train")
    if why is not None:
        files.write_json(out, {"scores": _agreement(None, truth[0]), "why": why})
        return
    flat = truth.reshape(len(rows), -1)
    train, validation, held_out = (rows == name for name in ("train", "validation", "held_out"))
    seed = seeds.integer(recipe.seed, "supervised")
    told = supervised.predict(x[train], flat[train], x[validation], flat[validation], x[held_out], random_state=seed)
    files.write_json(out, {"scores": _agreement(told, flat[held_out]), "why": None})


def _hides_from_pixels(recipe: Recipe) -> str | None:
    """Why there is no bound on images; None where there is."""
    camera, simulate = recipe.render, recipe.simulate
    if not isinstance(camera, RenderRecipe):
        return f"a network of pixels would first have to learn how the camera '{camera.kind}' sees a molecule turned"
    n_values = simulate.n_replicas * simulate.n_frames * camera.n_pixels**2
    if getattr(camera.poses, "orientation", None) is None:
        return "molecules are seen from many sides"
    if n_values > supervised.MOST_VALUES:
        return f"the movies have {n_values:.2g} pixels, above {supervised.MOST_VALUES:.2g}"
    return None

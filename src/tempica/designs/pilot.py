"""A short run of the recipe's molecule and camera, and what it says of every frame to come.

Structures are x = x̄ + Σ_k a_k m_k along principal modes, with a = g(c) + r, g quadratic in the collective variables c.
An image with noise of variance σ² has the information Λ = JᵀJ/σ² on its amplitudes, J the whitened Jacobian at the true
structure; poses and further modes that the embedding does not learn are marginalised.

Shape legend: F frame, V collective variable, D driven variable, K mode that is embedded, M mode looked at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tempica import imaging, pipeline
from tempica.errors import RecipeError
from tempica.imaging.linearise import Images, Scatterers, Whitened
from tempica.imaging.modes import principal_modes
from tempica.imaging.poses import POSE
from tempica.progress import Progress
from tempica.recipe.electron import RenderRecipe
from tempica.recipe.experiment import Recipe
from tempica.recipe.molecule import MapRecipe, TrajectoryRecipe
from tempica.runs.folder import Run
from tempica.runs.reading import read, true_poses
from tempica.series import number_molecules, pairs, quadratic

N_REPLICAS, N_FRAMES = 4, 120
N_INFORMATION = 160  # frames at which the camera is linearised
N_MODES = 16  # looked at; beyond, modes of a coarse-grained protein move less than a tenth of a pixel
BLOCK = 16  # images whose Jacobians are made together
MOST_MEMORY = 0.995  # of what is left over, from one frame to the next


@dataclass(frozen=True)
class Pilot:
    """What was learned of the molecule and of its images."""

    variable: np.ndarray  # (F, V) rad or nm
    target: np.ndarray  # (F, D) rad or nm
    replica: np.ndarray  # (F,) labels
    molecule: np.ndarray  # (F,) labels of contiguous frames of one molecule
    weight: np.ndarray  # (1 + V + V(V + 1)/2, K) of g, of standardised variables
    left: np.ndarray  # (F, K) amplitudes that g does not explain
    information: np.ndarray  # (I, K, K) Λ of single frames, poses and other modes marginalised, at the recipe's SNR
    snr: float  # at which it was computed
    names: tuple[str, ...]  # of the variables

    @property
    def centre(self) -> np.ndarray:
        return self.variable.mean(0)

    @property
    def spread(self) -> np.ndarray:
        deviation = self.variable.std(0)
        return np.where(deviation > 0, deviation, 1.0)

    def amplitude(self, variable: np.ndarray) -> np.ndarray:
        """g(c) (F, K) of variables (F, V)."""
        return quadratic((variable - self.centre) / self.spread) @ self.weight


def check(recipe: Recipe) -> None:
    """Raise RecipeError for a recipe whose experiment cannot be foreseen."""
    molecule = recipe.simulate.molecule
    if isinstance(molecule, TrajectoryRecipe | MapRecipe) or recipe.particles is not None:
        raise RecipeError(
            "design foresees an experiment that can be simulated; this recipe reads its molecule or its images from"
            " files of another program. Give a recipe with a molecule of its own and a camera (render)."
        )
    if not isinstance(recipe.render, RenderRecipe):
        raise RecipeError(
            f"render.kind = '{recipe.render.kind}': design needs the information of an image about the molecule, which"
            " is known for the electron microscope alone. Give render.kind = 'electron'."
        )
    if len(recipe.simulate.variables) > recipe.embed.most_modes:
        raise RecipeError(
            f"The recipe has {len(recipe.simulate.variables)} collective variables, and embed.n_modes ="
            f" {recipe.embed.most_modes} modes cannot hold them. Raise embed.n_modes."
        )


def run_pilot(recipe: Recipe, source: Path, folder: Path, *, jobs: int, progress: Progress) -> Pilot:
    """Simulate and image a few hundred frames in a run folder of their own, unless they are there, and read them."""
    short = shortened(recipe)
    run = Run(folder, short, recipe_text(short), source)
    pipeline.execute(run, ("simulate", "render"), jobs=jobs, scheduler=None, progress=progress)
    return read_pilot(recipe, folder)


def shortened(recipe: Recipe) -> Recipe:
    """The same experiment with few frames, whose images are not stored."""
    segment = recipe.simulate.segment_frames or 1
    simulate = recipe.simulate.model_copy(
        update={
            "n_replicas": N_REPLICAS,
            "n_frames": max(2, -(-N_FRAMES // (2 * segment)) * 2 * segment),
            "ensemble_frames": 10,
        }
    )
    train = recipe.train.model_copy(
        update={"validation_replicas": 1, "held_out_replicas": 1, "methods": None, "method": [], "lag": 1}
    )
    render = recipe.microscope.model_copy(update={"lazy": True})
    return recipe.model_copy(update={"simulate": simulate, "train": train, "render": render})


def read_pilot(recipe: Recipe, folder: Path) -> Pilot:
    """What a finished pilot says."""
    trajectory, movie = (read(folder, "evaluate", kind) for kind in ("trajectory", "movie"))
    poses = true_poses(folder, "evaluate", movie)
    position = trajectory["position"].values.astype(np.float64)
    flat = position.reshape(-1, *position.shape[2:])
    variable = trajectory["collective_variable"].values.astype(np.float64).reshape(len(flat), -1)
    target = trajectory["source"].values.astype(np.float64).reshape(len(flat), -1)
    n_modes = recipe.embed.most_modes
    most = max(n_modes, min(N_MODES, len(flat) - 1, flat[0].size))
    modes = principal_modes(flat, most)
    shape = modes.shape.reshape(most, -1)
    amplitude = (flat - modes.mean).reshape(len(flat), -1) @ shape.T / (shape**2).sum(1)
    deviation = variable.std(0)
    terms = quadratic((variable - variable.mean(0)) / np.where(deviation > 0, deviation, 1.0))
    weight, *_ = np.linalg.lstsq(terms, amplitude[:, :n_modes], rcond=None)
    some = np.unique(np.linspace(0, len(flat) - 1, N_INFORMATION).astype(int))
    return Pilot(
        variable,
        target,
        np.repeat(np.arange(len(position)), position.shape[1]),
        number_molecules(trajectory["molecule"].values).reshape(-1),
        weight,
        amplitude[:, :n_modes] - terms @ weight,
        _information(recipe, movie, poses, flat, modes.shape, some, n_modes),
        _snr(movie),
        tuple(str(name) for name in trajectory["cv"].values),
    )


def _snr(movie: Any) -> float:
    """Variance of the noise-free image over that of the noise."""
    noise = _noise_variance(movie)
    return float(movie.attrs["signal_std"]) ** 2 / noise


def _noise_variance(movie: Any) -> float:
    """Of a pixel: the camera's, and that of digitisation."""
    step = float(movie.attrs.get("lazy", {}).get("scale_factor", 0.0))
    return float(movie.attrs["noise_std"]) ** 2 + step**2 / 12


def _information(
    recipe: Recipe, movie: Any, poses: Any, position: np.ndarray, shape: np.ndarray, some: np.ndarray, n_modes: int
) -> np.ndarray:
    """Λ (I, K, K) of the first modes in some frames, with everything else marginalised."""
    camera, known = imaging.camera_of(movie), recipe.microscope.poses.knowledge == "known"
    scatterers = Scatterers(camera.scatterer_amplitude_A, camera.scatterer_width_A)
    views = {name: movie[name].values.reshape(-1) for name in imaging.FOCUS}
    rotation = imaging.rotation_matrix(poses["pose_quaternion"].values.reshape(-1, 4))
    shift_A = poses["pose_shift_A"].values.reshape(-1, 2)
    pixels, found = camera.optics.n_pixels, []
    for first in range(0, len(some), BLOCK):
        at = some[first : first + BLOCK]
        transfer = camera.transfer(*(views[name][at] for name in imaging.FOCUS))
        images = Images(np.zeros((len(at), pixels, pixels)), rotation[at], shift_A[at], transfer, camera.power())
        whitened = Whitened(
            images, shape, scatterers, camera.optics.pixel_size_A, _noise_variance(movie), np.float64, pose=not known
        )
        _, columns = whitened.linearise(position[at], slice(None))
        jacobian = np.ascontiguousarray(columns.reshape(*columns.shape[:2], -1)).view(np.float64)
        found.append(jacobian @ jacobian.swapaxes(1, 2))
    return marginal(np.concatenate(found), n_modes, np.append(np.ones(len(shape)), pose_precision(recipe)))


def pose_precision(recipe: Recipe) -> np.ndarray:
    """Prior precision (5,) of what is not known of a pose, 1/rad² and 1/Å²; (0,) where it is known."""
    poses = recipe.microscope.poses
    if poses.knowledge == "known":
        return np.empty(0)
    if poses.knowledge == "hidden":
        return np.full(POSE, 1e-6)
    deviation = np.repeat([np.radians(poses.error_deg), poses.error_A], [3, 2])
    return 1 / np.maximum(deviation, 1e-6) ** 2


def marginal(information: np.ndarray, n: int, precision: np.ndarray) -> np.ndarray:
    """Information (F, n, n) on the first n parameters of (F, P, P); the others have a normal prior of `precision` (P,).

    A − B (C + diag π)⁻¹ Bᵀ, the Schur complement.
    """
    if information.shape[1] == n:
        return information
    cross, other = information[:, :n, n:], information[:, n:, n:] + np.diag(precision[n:])
    return information[:, :n, :n] - cross @ np.linalg.solve(other, cross.swapaxes(1, 2))


def memory(series: np.ndarray, molecule: np.ndarray) -> np.ndarray:
    """Autocorrelation (column,) of series (F, column) from one frame of a molecule to the next; 0 for snapshots."""
    if len(np.unique(molecule)) == len(molecule):
        return np.zeros(series.shape[1])
    first = pairs(molecule, 1)
    centred = series - series.mean(0)
    power = np.maximum((centred**2).mean(0), 1e-300)
    return np.clip((centred[first] * centred[first + 1]).mean(0) / power, 0.0, MOST_MEMORY)


def recipe_text(recipe: Recipe) -> str:
    """A recipe as TOML, a line a section."""
    content = recipe.model_dump(mode="json", exclude_none=True)
    return "".join(f"{key} = {_toml(value)}\n" for key, value in content.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float) and not np.isfinite(value):
        return "inf" if value > 0 else "-inf"
    return json.dumps(value, ensure_ascii=False)

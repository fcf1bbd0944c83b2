"""Worlds of the benchmark: sources with a known truth, behind a known mixing, behind the camera, or of another program.

A world is named by its parts: dynamics/mixing for sources alone (`laplace/L2`), recipe/snr/poses for molecules behind
the camera (`arms_jump/0.3/known`), and latents/view for files that a path leads to.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray
from esper import N_FRAMES, N_LEARNED, movie, views
from scipy.signal import lfilter

from tempica.ica.synthetic import modulated, random_mixing

RECIPES = Path(__file__).parents[2] / "simulations"
WARM = 300
NONE = np.full(2, np.nan)
DYNAMICS: dict[str, str] = {
    "laplace": "AR(1), coefficient 0.7, Laplace innovations: the problem of PCL",
    "jumps": "AR(1), coefficient 0.9, a normal jump in one frame of ten: sparse transitions",
    "wells": "overdamped motion in equal double wells of 3 kT",
    "gaussian": "Ornstein-Uhlenbeck processes of different rates",
    "equal": "negative control: Ornstein-Uhlenbeck processes of equal rates",
    "modulated": "Laplace sources, independent in time, deviations drawn for each labelled segment: the problem of TCL",
}


@dataclass(frozen=True)
class World:
    """Frames with what is known of them, and the truth; replicas to learn from, to validate with, to score on."""

    X: np.ndarray  # (frame, feature)
    truth: np.ndarray  # (frame, n)
    replica: np.ndarray  # (frame,)
    split: np.ndarray  # (frame,) train, validation or held_out
    labels: np.ndarray  # (frame,), or (0,) where there are none
    covariance: np.ndarray  # (frame, feature, feature) of each frame's error, or (0,) where it is not known
    embedded: np.ndarray  # (frame, source) sources that embed itself has smoothed, or (0,)
    series: np.ndarray  # whether frames of a replica follow each other: 2 many, 1 in pairs, 0 not at all
    absolute: np.ndarray  # whether sources are known up to |s| alone
    ceiling: np.ndarray  # (2,) best score of single frames, and of whole movies; NaN where not known

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, **vars(self))
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> World:
        with np.load(path) as file:
            return cls(**{name: file[name] for name in cls.__dataclass_fields__})


def alone(dynamics: str, n_layers: int, n: int, n_frames: int, seed: int) -> World:
    """Sources of one law, mixed by the literature's network of so many layers; the last fifth is scored."""
    if dynamics == "modulated":
        n_points = 200
        problem = modulated(n, n_frames // n_points, n_points, n_layers=n_layers, seed=seed)
        X, S, labels = problem.X, problem.S, problem.labels
        assert labels is not None
        scored, series = np.arange(len(X)) % n_points >= 0.8 * n_points, 0
        S = np.abs(S)  # what TCL identifies
    else:
        rng = np.random.default_rng([seed, list(DYNAMICS).index(dynamics)])
        S = SOURCES[dynamics](rng, n_frames, n)
        X = random_mixing(n, n_layers, seed=seed)(S)
        scored, series, labels = np.arange(n_frames) >= 0.8 * n_frames, 2, np.empty(0)
    split = np.where(scored, "held_out", "train")
    replica = scored.astype(int) if series else np.zeros(len(X), dtype=int)
    nothing = np.empty(0)
    return World(X, S, replica, split, labels, nothing, nothing, np.array(series), np.array(series == 0), NONE)


def _autoregressive(innovations: np.ndarray, rho: np.ndarray) -> np.ndarray:
    columns = [lfilter([1], [1, -r], np.sqrt(1 - r * r) * e) for r, e in zip(rho, innovations.T, strict=True)]
    return np.stack(columns, axis=1)[WARM:]


def _laplace(rng: np.random.Generator, n_frames: int, n: int) -> np.ndarray:
    return _autoregressive(rng.laplace(size=(n_frames + WARM, n)) / np.sqrt(2), np.full(n, 0.7))


def _jumps(rng: np.random.Generator, n_frames: int, n: int) -> np.ndarray:
    happens = rng.random((n_frames + WARM, n)) < 0.1
    return _autoregressive(happens * rng.normal(size=happens.shape) / np.sqrt(0.1), np.full(n, 0.9))


def _wells(rng: np.random.Generator, n_frames: int, n: int, barrier: float = 3.0) -> np.ndarray:
    """V(s) = barrier (s² − 1)² in kT; ten steps of 0.01 a frame, diffusion 1."""
    s, found = rng.choice([-1.0, 1.0], size=n), np.empty((n_frames, n))
    for t in range(-WARM, n_frames):
        for noise in np.sqrt(2 * 0.01) * rng.normal(size=(10, n)):
            s = s - 0.01 * 4 * barrier * s * (s * s - 1) + noise
        if t >= 0:
            found[t] = s
    return found


def _gaussian(rng: np.random.Generator, n_frames: int, n: int) -> np.ndarray:
    return _autoregressive(rng.normal(size=(n_frames + WARM, n)), np.linspace(0.9, 0.5, n))


def _equal(rng: np.random.Generator, n_frames: int, n: int) -> np.ndarray:
    return _autoregressive(rng.normal(size=(n_frames + WARM, n)), np.full(n, 0.8))


SOURCES: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "laplace": _laplace, "jumps": _jumps, "wells": _wells, "gaussian": _gaussian, "equal": _equal,
}  # fmt: skip


def of_latents(path: Path, view: str, seed: int) -> World:
    """A Laplace walk through the latents of one ESPER view (esper.py)."""
    ((_, latents),) = views(path, [view])
    X, truth = movie(latents, "laplace", seed)
    held_out = np.arange(N_FRAMES) >= N_LEARNED
    split, nothing = np.where(held_out, "held_out", "train"), np.empty(0)
    return World(X, truth, held_out.astype(int), split, nothing, nothing, nothing, np.array(2), np.array(False), NONE)


def behind_camera(recipe: str, snr: str, poses: str, seed: int, run: Path, quick: bool = False) -> World:
    """A committed recipe with this seed, SNR and knowledge of poses, carried out until its ceilings are known."""
    text = (RECIPES / f"{recipe}.toml").read_text().replace('"structures/', f'"{RECIPES}/structures/')
    text = re.sub(r"^seed = .*", f"seed = {seed}", text, flags=re.M)
    text = re.sub(r"^snr = .*", f"snr = {snr}", text, flags=re.M)
    text = re.sub(r"^poses = .*\n", "", text, flags=re.M)
    if poses != "known":
        text = re.sub(r"^snr = (.*)", f'snr = \\1\nposes = {{ knowledge = "{poses}" }}', text, flags=re.M)
    n = re.search(r"^n_components = (\d+)", text, flags=re.M)
    # the methods are fitted cell by cell; one of them here, since a run needs some
    text = re.sub(r"\[train\](.*?)(?=\n\[|\Z)", _first_of, text, flags=re.S)
    if quick:
        for name, value in (("n_replicas", 4), ("n_frames", 60), ("ensemble_frames", 60), ("steps_per_frame", 100)):
            text = re.sub(rf"^{name} = .*", f"{name} = {value}", text, flags=re.M)
        for name in ("validation_replicas", "held_out_replicas"):
            text = re.sub(rf"^{name} = .*", f"{name} = 1", text, flags=re.M)
    run.parent.mkdir(parents=True, exist_ok=True)
    asked = run.parent / f"{run.name}.toml"
    asked.write_text(text)
    command = [sys.executable, "-m", "tempica.cli", "run", asked, "--out", run, "--until", "evaluate", "--jobs", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{recipe} did not run: {done.stderr.strip().splitlines()[-1:]}")
    return _of_run(run, int(n[1]) if n else 2)


def _first_of(section: re.Match[str]) -> str:
    """[train] with one cheap method that its data allow."""
    named = re.search(r"^methods = \[(.*)\]", section[1], flags=re.M)
    cheap = [m for m in ("tica", "nonstationary", "tcl") if named is None or f'"{m}"' in named[1]]
    body = re.sub(r"^methods = .*\n?", "", section[1], flags=re.M)
    return f'[train]\nmethods = ["{cheap[0] if cheap else "fastica"}"]{body}'


def _of_run(run: Path, n: int) -> World:
    from tempica.recipe.experiment import load_recipe

    recipe, _ = load_recipe(run / "recipe.toml")
    latents, movie, trajectory = (_open(run / f"{name}.zarr") for name in ("latents", "movie", "trajectory"))
    X, truth = latents["latent"].values, trajectory["collective_variable"].values
    each = recipe.frames_per_molecule or X.shape[1]
    molecule = movie["molecule"].values
    begins = np.ones(molecule.shape, dtype=bool)
    begins[:, 1:] = molecule[:, 1:] != molecule[:, :-1]
    labels = movie["label"].values.reshape(-1) if recipe.labelled else np.empty(0)
    smoothed = latents["state_space_source"].values if "state_space_source" in latents else np.full((1, 1, 1), np.nan)
    kept = np.isfinite(smoothed).all((0, 1))
    embedded = smoothed[..., kept].reshape(truth[..., 0].size, -1)[:, :n] if kept.any() else np.empty(0)
    rows = json.loads((run / "scores.json").read_text())["rows"]
    row = next(r for r in rows if (r["split"], r["metric"]) == ("held_out", "mcc_spearman"))
    ceiling = np.array([np.nan if row[k] is None else row[k] for k in ("ceiling", "ceiling_temporal")], dtype=float)
    covariance = latents["latent_covariance"].values
    return World(
        X.reshape(-1, X.shape[-1]),
        truth.reshape(-1, truth.shape[-1]),
        np.cumsum(begins),
        np.repeat(recipe.splits, X.shape[1]),
        labels,
        covariance.reshape(-1, *covariance.shape[-2:]),
        embedded,
        np.array(0 if each == 1 else 1 if each == 2 else 2),
        np.array(False),
        ceiling,
    )


def _open(path: Path) -> xarray.Dataset:
    return xarray.open_zarr(path, consolidated=False, chunks=None)

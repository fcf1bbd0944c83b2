"""Stores and scores of a run that never happened, in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray
from scipy.signal import lfilter

from tempica.evaluate.judging import bands, flat, verdict
from tempica.evaluate.metrics import mcc
from tempica.recipe.experiment import Recipe
from tempica.stores import schema

STAGES = ("unmixed", "smoothed")
NO_ROTATION = {"rotation_null": None, "rotation_null_95": None}


def recipe_of(
    *,
    variables: tuple[str, ...] = ("NMP", "LID"),
    methods: tuple[str, ...] = ("tica", "pcl"),
    n_replicas: int = 5,
    n_frames: int = 60,
    n_examples: int = 3,
) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "made_up",
            "seed": 7,
            "simulate": {
                "molecule": {"structure": "x.pdb"},
                "collective_variables": [{"name": name, "residues": ["1-5", "6-9", "10-12"]} for name in variables],
                "n_replicas": n_replicas,
                "n_frames": n_frames,
            },
            "render": {"n_pixels": 32, "pixel_size_A": 3.0},
            "embed": {"n_modes": 4},
            "train": {"methods": list(methods), "n_components": len(variables), "held_out_replicas": 2},
            "evaluate": {"n_null": 40},
            "report": {"n_examples": n_examples, "n_trace_frames": 300},
        }
    )


def stores_of(
    recipe: Recipe, *, position: np.ndarray | None = None, seed: int = 0
) -> tuple[xarray.Dataset, xarray.Dataset, xarray.Dataset, dict[str, Any]]:
    """Trajectory, movie, sources and scores; slow truths, recovered with noise, sign and scale of their own."""
    rng = np.random.default_rng(seed)
    simulate, D = recipe.simulate, recipe.render.n_pixels
    R, T, V = simulate.n_replicas, simulate.n_frames, len(simulate.collective_variables)
    position = rng.normal(0, 1.2, (40, 3)) if position is None else position
    N = len(position)
    rho = np.linspace(0.8, 0.95, V)
    unit = np.stack(
        [lfilter([np.sqrt(1 - p * p)], [1, -p], rng.normal(size=(R, T + 100)), axis=1)[:, 100:] for p in rho], -1
    )
    beads = {"scattering_length_A": ("atom", np.full(N, 12.0)), "bead_width": ("atom", np.full(N, 0.19))}
    frames = {"replica": np.arange(R), "time": 12.0 * np.arange(T)}
    moved = np.broadcast_to(position, (R, T, N, 3)) + 0.02 * rng.normal(size=(R, T, 1, 3))
    trajectory = xarray.Dataset(
        {
            "position": (("replica", "time", "atom", "space"), moved.astype(np.float32)),
            "collective_variable": (
                ("replica", "time", "cv"),
                np.radians(60 + 40 * np.arange(V) + 8 * unit).astype(np.float32),
                {"units": "rad"},
            ),
            "cv_units": ("cv", ["rad"] * V),
            **beads,
        },
        coords={**frames, "cv": [cv.name for cv in simulate.collective_variables]},
        attrs={"fingerprint": "aaaa1111"},
    )
    pose = rng.normal(size=(R, T, 4))
    movie = xarray.Dataset(
        {
            "image": (("replica", "time", "y", "x"), rng.normal(0, 1, (R, T, D, D)).astype(np.float32)),
            "pose_quaternion": (
                ("replica", "time", "quaternion"),
                pose / np.linalg.norm(pose, axis=-1, keepdims=True),
            ),
            "pose_shift_A": (("replica", "time", "plane"), rng.normal(0, 3, (R, T, 2))),
            "defocus_u_A": (("replica", "time"), rng.uniform(8e3, 1.5e4, (R, T))),
            "defocus_v_A": (("replica", "time"), rng.uniform(8e3, 1.5e4, (R, T))),
            "defocus_angle": (("replica", "time"), rng.uniform(0, 3, (R, T))),
            "damage_dose": (("replica", "time"), np.zeros((R, T))),
            "scatterer_amplitude_A": (("atom", "gaussian"), beads["scattering_length_A"][1][:, None]),
            "scatterer_width_A": (("atom", "gaussian"), 10 * beads["bead_width"][1][:, None]),
            **{name: ("node", [value]) for name, value in (("frequency", 0.0), ("noise_power", 1.0), ("dqe", 1.0))},
        },
        coords=frames,
        attrs={
            "kind": "movie",
            "fingerprint": "bbbb2222",
            "noise_std": 1.0,
            "signal_std": 0.3,
            "noise": "white",
            "electrons_per_pixel": 0.0,
            "pixel_size_A": recipe.render.pixel_size_A,
            "voltage_kV": 300.0,
            "spherical_aberration_mm": 2.7,
            "amplitude_contrast": 0.1,
            "b_factor_A2": 40.0,
            "bead_b_factor_A2": 20.0,
            "phase_shift": 0.0,
        },
    )
    methods = ["pca_pixels", "latents", *recipe.train.methods]
    source = np.full((len(methods), 2, R, T, 4), np.nan)
    variance = source.copy()
    scale = rng.choice([-1, 1], V) * rng.uniform(0.5, 3, V)
    for m, method in enumerate(methods):
        for s in range(2 if method in recipe.train.methods else 1):
            wide = 4 if method == "latents" else V
            spread = (5.0, 1.5, 0.7, 0.6, 0.5)[m] * (0.5 if s else 1)
            series = rng.normal(size=(R, T, wide))
            series[..., :V] = spread * series[..., :V] + unit[..., ::-1] * scale + 0.2 * unit
            source[m, s, ..., :wide] = series
            if method != "pca_pixels":
                variance[m, s, ..., :wide] = spread**2
    sources = xarray.Dataset(
        {
            "source": (("estimator", "stage", "replica", "time", "component"), source),
            "source_variance": (("estimator", "stage", "replica", "time", "component"), variance),
        },
        coords={**frames, "estimator": methods, "stage": list(STAGES), "split": ("replica", recipe.splits)},
        attrs={"fingerprint": "cccc3333"},
    )
    scores = scores_of(trajectory, sources)
    scores["verdict"] = verdict_of(recipe, trajectory, sources, scores["rows"])
    scores["bands"] = bands(sources, trajectory["collective_variable"])
    return trajectory, movie, sources, scores


def verdict_of(
    recipe: Recipe, trajectory: xarray.Dataset, sources: xarray.Dataset, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """The verdict on these sources."""
    truth, split, scored = trajectory["collective_variable"], sources["split"].values, {}
    for method, of_method in zip(map(str, sources["estimator"].values), sources["source"].values, strict=True):
        for stage, series in zip(STAGES, of_method, strict=True):
            there = series[..., ~np.isnan(series).all((0, 1))]
            if there.shape[-1]:
                S, T, replicas, train = flat(there, truth.values.astype(np.float64), split)
                scored[method, stage] = mcc(S, T, replicas=replicas, train=train, n_null=recipe.evaluate.n_null)
    methods = [about(method) for method in map(str, sources["estimator"].values)]
    return verdict(recipe, sources, truth, methods, rows, scored, None)


def about(name: str) -> dict[str, Any]:
    """What scores say of a method."""
    baseline = name in ("pca_pixels", "latents")
    title = name.upper() if len(name) <= 5 and not baseline else name.replace("_", " ")
    return {"name": name, "title": title, "identifies": "", "theorem": "", "baseline": baseline, "warnings": []}


def poses_of(*, known: bool = False) -> dict[str, Any]:
    """What scores say of poses that were searched, with a few lost and a posterior that is a little too narrow."""
    share = np.linspace(0, 1, 101)
    angle = 1.8 * np.sqrt(-2 * np.log(1 - 0.9999 * share)) / 1.18
    found = np.where(share > 0.985, 15 + 165 * (share - 0.985) / 0.015, angle)
    split = {
        "n_frames": 600,
        "lost": 0.015,
        "mirrored": 0.002,
        "shift_median_A": 0.25,
        "shift_95_A": 0.6,
        "structure_A": 1.1,
        "angle_deg": found.tolist(),
        "bound_deg": (0.8 * angle).tolist(),
    }
    splits = [{"split": name, **split, **calibration_of()} for name in ("all", "held_out")]
    return {
        "source": "stated" if known else "searched",
        "known": known,
        "superposed_on": "CORE & co",
        "lost_beyond_deg": 15.0,
        "splits": [] if known else splits,
    }


def calibration_of() -> dict[str, Any]:
    level = np.linspace(0, 1, 101) ** 0.8
    return {
        "squared_error": 1.21,
        "squared_error_interval": [1.08, 1.34],
        "within_95": 0.91,
        "level": level.tolist(),
    }


def latents_of(split: str) -> dict[str, Any]:
    leak = {"leak": 0.012, "leak_null": 0.009, "leak_null_95": 0.011}
    return {"split": split, "n_frames": 590, **calibration_of(), **leak}


def scores_of(trajectory: xarray.Dataset, sources: xarray.Dataset) -> dict[str, Any]:
    """Scores with true correlations and assignments; null, interval and ceiling are made up."""
    truth = trajectory["collective_variable"].values
    V = truth.shape[-1]
    rows, matrices = [], []
    for m, method in enumerate(map(str, sources["estimator"].values)):
        for s, stage in enumerate(STAGES):
            series = sources["source"].values[m, s]
            series = series[..., ~np.isnan(series).all((0, 1))]
            if not series.shape[-1]:
                continue
            for split in ("train", "held_out"):
                chosen = sources["split"].values == split
                pairs = np.concatenate([series[chosen], truth[chosen]], -1).reshape(-1, series.shape[-1] + V)
                for metric in ("spearman", "pearson"):
                    values = pairs.argsort(0).argsort(0) if metric == "spearman" else pairs
                    matrix = np.corrcoef(values.T)[:-V, -V:]
                    assignment = list(range(V))[::-1]
                    value = float(np.mean([abs(matrix[i, j]) for j, i in enumerate(assignment)]))
                    where = {"method": method, "stage": stage, "split": split}
                    row = {"metric": f"mcc_{metric}", "value": value, "null": 0.12, "null_95": 0.21}
                    row |= {"rotation_null": 0.62, "rotation_null_95": 0.71} if V > 1 else NO_ROTATION
                    row |= {"r2": value**2, "aligned": min(1.0, value + 0.01)}
                    interval = [max(0.0, value - 0.06), min(1.0, value + 0.04)]
                    ceiling = 0.93 if split == "held_out" else None
                    bounds = {"ceiling": ceiling, "ceiling_temporal": 0.96 if split == "held_out" else None}
                    bounds |= {"supervised_latents": 0.97 if split == "held_out" else None, "supervised_images": None}
                    rows.append({**where, **row, "interval": interval, **bounds})
                    names = [str(name) for name in trajectory["cv"].values]
                    entry = {"matrix": matrix.tolist(), "collective_variables": names, "assignment": assignment}
                    matrices.append({**where, "metric": metric, **entry})
    return {
        "recipe": "made_up",
        "schema_version": schema.SCHEMA_VERSION,
        "fingerprint": "dddd4444",
        "ceiling_why": None,
        "ceiling_temporal_why": None,
        "supervised_latents_why": None,
        "supervised_images_why": "molecules are seen from many sides",
        "warnings": [{"stage": "simulate", "text": "an <undeclared> motion outlives NMP"}],
        "poses": poses_of(),
        "distances": [
            {"split": split, "domains": ["BODY", "<LID>"], "error_nm": 0.042, "null_nm": 0.118, "correlation": r}
            for split, r in (("train", 0.5), ("held_out", 0.937))
        ],
        "latents": [latents_of(split) for split in ("all", "held_out")],
        "methods": [about(name) for name in map(str, sources["estimator"].values)],
        "rows": rows,
        "matrices": matrices,
    }

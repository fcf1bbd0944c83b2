"""Computes the ceiling on held-out frames and scores every method and stage: scores.json."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica import imaging, seeds
from tempica.evaluate import ceilings, metrics
from tempica.recipe.experiment import Recipe
from tempica.runs.reading import read, true_poses
from tempica.runs.work import blocks
from tempica.stores import files, schema

if TYPE_CHECKING:
    from tempica.runs.work import Work

SPLITS = ("train", "held_out")
KINDS: tuple[metrics.Kind, ...] = ("spearman", "pearson")
BLOCK_FRAMES = 50


def run(work: Work) -> None:
    """Ceiling block by block, then one task that scores."""
    recipe = work.recipe
    held_out = np.flatnonzero(np.array(recipe.splits) == "held_out")
    n_frames = recipe.simulate.n_frames
    each = min(n_frames, -(-recipe.evaluate.n_ceiling_frames // len(held_out)))
    frames = np.unique(np.linspace(0, n_frames - 1, each).astype(int))
    prior = work.folder / "prior.npz"
    work.run_chains("prior", [[("prior", partial(learn_prior, recipe, work.run, prior))]])
    parts = [(r, frames[a:b]) for r in held_out.tolist() for a, b in blocks(len(frames), BLOCK_FRAMES)]
    paths = [work.folder / "ceiling" / f"{number}.npz" for number in range(len(parts))]
    chains = [
        [(f"ceiling-{number}", partial(ceiling_block, work.run, prior, path, r, which))]
        for number, (path, (r, which)) in enumerate(zip(paths, parts, strict=True))
    ]
    work.run_chains("ceiling", chains)
    result = work.folder / "scores.json"
    work.run_chains("scores", [[("scores", partial(score, recipe, work.run, work.fingerprint, paths, result))]])


def learn_prior(recipe: Recipe, run: Path, out: Path) -> None:
    """What training replicas show of structures and collective variables."""
    trajectory = read(run, "evaluate", "trajectory")
    train = np.flatnonzero(np.array(recipe.splits) == "train")
    position = trajectory["position"].values[train]
    variable = trajectory["collective_variable"].values[train]
    prior = ceilings.learn_prior(
        position.reshape(-1, *position.shape[2:]), variable.reshape(-1, variable.shape[-1]).astype(np.float64)
    )
    files.save_arrays(out, **vars(prior))


def ceiling_block(run: Path, prior: Path, out: Path, replica: int, frames: np.ndarray) -> None:
    """Bayes estimates of the collective variables from single frames of a held-out replica, beside the truth."""
    at = {"replica": replica, "time": frames}
    movie = read(run, "evaluate", "movie")
    trajectory = read(run, "evaluate", "trajectory").isel(at)
    step = float(movie["image"].encoding["scale_factor"])
    view, poses = movie.isel(at), true_poses(run, "evaluate", movie).isel(at)
    estimate, effective = ceilings.bayes_estimate(
        ceilings.Prior(**files.load_arrays(prior)),
        imaging.camera_of(movie),
        float(movie.attrs["noise_std"]) ** 2 + step**2 / 12,  # digitisation is noise too
        view["image"].values,
        trajectory["position"].values.astype(np.float64),
        poses["pose_quaternion"].values,
        poses["pose_shift_A"].values,
        [view[name].values for name in imaging.FOCUS],
    )
    files.save_arrays(out, estimate=estimate, truth=trajectory["collective_variable"].values, effective=effective)


def score(recipe: Recipe, run: Path, fingerprint: str, ceiling_paths: list[Path], out: Path) -> None:
    """Every method and stage against the truth, into scores.json."""
    sources = read(run, "evaluate", "sources")
    truth = read(run, "evaluate", "trajectory")["collective_variable"]
    split = np.array([str(name) for name in sources["split"].values])
    ceiling = {("held_out", f"mcc_{kind}"): _ceiling(ceiling_paths, kind) for kind in KINDS}
    rows: list[dict[str, Any]] = []
    matrices: list[dict[str, Any]] = []
    for method, of_method in zip(map(str, sources["method"].values), sources["source"].values, strict=True):
        for stage, series in zip(map(str, sources["stage"].values), of_method, strict=True):
            series = series[..., ~np.isnan(series).all((0, 1))]
            if series.shape[-1] == 0:
                continue
            for name, result in _scored(recipe, series, truth.values, split):
                where = {"method": method, "stage": stage, "split": name}
                metric = f"mcc_{result.kind}"
                rows.append(where | {"metric": metric} | _numbers(result) | {"ceiling": ceiling.get((name, metric))})
                matrices.append(
                    where
                    | {
                        "metric": result.kind,
                        "matrix": result.matrix.round(12).tolist(),
                        "collective_variables": [str(name) for name in truth["cv"].values],
                        "assignment": result.assignment.tolist(),
                    }
                )
    about = {"recipe": recipe.name, "schema_version": schema.SCHEMA_VERSION, "fingerprint": fingerprint}
    methods = [{"name": name, **words} for name, words in sources.attrs["methods"].items()]
    files.write_json(out, about | {"methods": methods, "rows": rows, "matrices": matrices})


def _scored(
    recipe: Recipe, series: np.ndarray, truth: np.ndarray, split: np.ndarray
) -> Iterator[tuple[str, metrics.MCC]]:
    """Split and score of sources (replica, time, component); matching is fitted on training replicas alone."""
    flat = {name: _flat(series, truth, split == name) for name in SPLITS}
    for kind in KINDS:
        matching = metrics.assign(metrics.correlation_matrix(*flat["train"][:2], kind=kind))
        for name, (S, T, replicas) in flat.items():
            yield (
                name,
                metrics.mcc(
                    S,
                    T,
                    kind=kind,
                    replicas=replicas,
                    assignment=matching,
                    n_null=recipe.evaluate.n_null,
                    n_bootstrap=recipe.evaluate.n_bootstrap,
                    random_state=seeds.integer(recipe.seed, "score"),
                ),
            )


def _numbers(result: metrics.MCC) -> dict[str, Any]:
    return {
        "value": result.score,
        "null": result.null,
        "null_95": result.null_95,
        "interval": list(result.interval),
    }


def _flat(series: np.ndarray, truth: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of the chosen replicas one after the other, and their replica labels."""
    S, T = series[chosen], truth[chosen]
    labels = np.repeat(np.flatnonzero(chosen), S.shape[1])
    return S.reshape(-1, S.shape[-1]), T.reshape(-1, T.shape[-1]).astype(np.float64), labels


def _ceiling(paths: list[Path], kind: metrics.Kind) -> float | None:
    """Mean correlation of the Bayes estimates with the truth; None where the prior's library is too sparse."""
    parts = [files.load_arrays(path) for path in paths]
    estimate, truth, effective = (
        np.concatenate([p[name] for p in parts]) for name in ("estimate", "truth", "effective")
    )
    if np.median(effective) < 3:
        return None
    return float(np.abs(np.diagonal(metrics.correlation_matrix(estimate, truth, kind=kind))).mean())

"""Computes ceilings on held-out frames, compares embedding and truth, and scores every method: scores.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica import seeds
from tempica.evaluate import bounds, distances, embedding, judging, metrics
from tempica.recipe.experiment import Recipe
from tempica.runs import notices
from tempica.runs.reading import read
from tempica.runs.work import blocks
from tempica.stores import files, scores

if TYPE_CHECKING:
    from tempica.runs.work import Work

SPLITS = ("train", "held_out")
BLOCK_FRAMES = 50
N_BOUND_FRAMES = 600  # of all replicas, at which the bound of poses is computed


def run(work: Work) -> None:
    """Ceilings block by block, embedding replica by replica, then one task that scores."""
    recipe, folder = work.recipe, work.folder
    held_out = np.flatnonzero(np.array(recipe.splits) == "held_out")
    n_frames, n_replicas = recipe.simulate.n_frames, recipe.simulate.n_replicas
    each = min(n_frames, -(-recipe.evaluate.n_ceiling_frames // len(held_out)))
    # in stretches, where neighbours count; else spread over whatever the labels vary
    frames = np.arange(each) if recipe.frames_per_molecule != 1 else spread(n_frames, each)
    prior, dynamics = folder / "prior.npz", folder / "dynamics.npz"
    work.run_chains("prior", [[("prior", partial(bounds.learn_prior, recipe, work.run, prior, dynamics))]])
    parts = [(r, frames[a:b]) for r in held_out.tolist() for a, b in blocks(len(frames), BLOCK_FRAMES)]
    paths = [folder / "ceiling" / f"{number}.npz" for number in range(len(parts))]
    chains = [
        [(f"ceiling-{number}", partial(bounds.ceiling_block, work.run, prior, dynamics, path, r, which))]
        for number, (path, (r, which)) in enumerate(zip(paths, parts, strict=True))
    ]
    work.run_chains("ceiling", chains)
    some = spread(n_frames, -(-N_BOUND_FRAMES // n_replicas))
    compared = [folder / "embedding" / f"{r}.npz" for r in range(n_replicas)]
    chains = [
        [(f"embedding-{r}", partial(embedding.compare_replica, recipe, work.run, path, r, some))]
        for r, path in enumerate(compared)
    ]
    work.run_chains("embedding", chains)
    ceiling = folder / "ceiling.json"
    work.run_chains(
        "ceilings", [[("ceilings", partial(bounds.score_ceilings, recipe, prior, dynamics, paths, ceiling))]]
    )
    told = {name: folder / f"supervised-{name}.json" for name in ("latents", "images")}
    chains = [
        [(f"supervised-{name}", partial(bounds.supervised_bound, recipe, work.run, name, path))]
        for name, path in told.items()
    ]
    work.run_chains("supervised", chains)
    task = partial(score, recipe, work.run, work.fingerprint, ceiling, told, compared, folder / "scores.json")
    work.run_chains("scores", [[("scores", task)]])


def spread(n_frames: int, n: int) -> np.ndarray:
    """At most n frames spread evenly."""
    return np.unique(np.linspace(0, n_frames - 1, n).astype(int))


def score(
    recipe: Recipe,
    run: Path,
    fingerprint: str,
    ceiling_path: Path,
    told: dict[str, Path],
    compared: list[Path],
    out: Path,
) -> None:
    """Embedding and every method and stage against the truth, into scores.json."""
    sources = read(run, "evaluate", "sources")
    truth = read(run, "evaluate", "trajectory")["collective_variable"]
    split = np.array([str(name) for name in sources["split"].values])
    ceiling = json.loads(ceiling_path.read_text(encoding="utf-8"))
    told_truth = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in told.items()}
    rows: list[dict[str, Any]] = []
    matrices: list[dict[str, Any]] = []
    scored: dict[tuple[str, str], metrics.MCC] = {}
    for method, of_method in zip(map(str, sources["estimator"].values), sources["source"].values, strict=True):
        for stage, series in zip(map(str, sources["stage"].values), of_method, strict=True):
            series = series[..., ~np.isnan(series).all((0, 1))]
            if series.shape[-1] == 0:
                continue
            for name, result in _scored(recipe, series, truth.values, split):
                where = {"method": method, "stage": stage, "split": name}
                metric = f"mcc_{result.kind}"
                if (result.kind, name) == ("spearman", "held_out"):
                    scored[method, stage] = result
                reached = {"ceiling": ceiling["single"], "ceiling_temporal": ceiling["temporal"]}
                reached |= {f"supervised_{inputs}": found["scores"] for inputs, found in told_truth.items()}
                best = {key: found[metric] if name == "held_out" else None for key, found in reached.items()}
                rows.append(where | {"metric": metric} | _numbers(result) | best)
                matrices.append(
                    where
                    | {
                        "metric": result.kind,
                        "matrix": result.matrix.round(12).tolist(),
                        "collective_variables": [str(name) for name in truth["cv"].values],
                        "assignment": result.assignment.tolist(),
                    }
                )
    about = {"recipe": recipe.name, "schema_version": scores.SCORES_VERSION, "fingerprint": fingerprint}
    methods = [{"name": name, **words} for name, words in sources.attrs["methods"].items()]
    about |= {f"supervised_{inputs}_why": found["why"] for inputs, found in told_truth.items()}
    about |= {"ceiling_why": ceiling["single_why"], "ceiling_temporal_why": ceiling["temporal_why"]}
    about |= embedding.summarise(recipe, run, compared)
    about |= {"distances": distances.of_domains(recipe, run)}
    audit = judging.audit_of(run, sources.attrs["fingerprint"])
    about |= {"warnings": warnings_of(run, fingerprint)}
    about |= {"verdict": judging.verdict(recipe, sources, truth, methods, rows, scored, audit)}
    about |= {"bands": judging.bands(sources, truth)}
    files.write_json(out, about | {"methods": methods, "rows": rows, "matrices": matrices})


def warnings_of(run: Path, fingerprint: str) -> list[dict[str, str]]:
    """Warnings of the stages that the sources come from, and of this one."""
    kinds = {"simulate": "trajectory", "render": "movie", "embed": "latents", "train": "sources"}
    made = {stage: str(read(run, "evaluate", kind).attrs["fingerprint"]) for stage, kind in kinds.items()}
    return notices.collect(run, made | {"evaluate": fingerprint})


def _scored(
    recipe: Recipe, series: np.ndarray, truth: np.ndarray, split: np.ndarray
) -> Iterator[tuple[str, metrics.MCC]]:
    """Split and score of sources (replica, time, component); matching and affine map are those of training replicas."""
    told = {
        "n_null": recipe.evaluate.n_null,
        "random_state": seeds.integer(recipe.seed, "score"),
    }
    for kind in bounds.KINDS:
        for name in SPLITS:
            S, T, replicas = _flat(series, truth, (split == "train") | (split == name))
            train = (split == "train")[replicas]
            matching = metrics.assign(metrics.correlation_matrix(S[train], T[train], kind=kind))
            fitted_on = None if name == "train" else train
            yield (
                name,
                metrics.mcc(S, T, kind=kind, replicas=replicas, train=fitted_on, assignment=matching, **told),
            )


def _numbers(result: metrics.MCC) -> dict[str, Any]:
    return {
        "value": result.score,
        "null": result.null,
        "null_95": result.null_95,
        "rotation_null": result.rotation_null,
        "rotation_null_95": result.rotation_null_95,
        "interval": list(result.interval),
        "r2": result.r2,
        "aligned": result.aligned,
    }


def _flat(series: np.ndarray, truth: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of the chosen replicas one after the other, and their replica labels."""
    S, T = series[chosen], truth[chosen]
    labels = np.repeat(np.flatnonzero(chosen), S.shape[1])
    return S.reshape(-1, S.shape[-1]), T.reshape(-1, T.shape[-1]).astype(np.float64), labels

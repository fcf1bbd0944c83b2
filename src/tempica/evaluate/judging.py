"""The verdict of a run, from its sources, its truth and its scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica import seeds
from tempica.evaluate import each, metrics, verdicts
from tempica.evaluate.bands import band
from tempica.recipe.experiment import Recipe

if TYPE_CHECKING:
    import xarray

STAGES = ("unmixed", "smoothed")
LATENTS = "latents"  # the baseline that unmixing is compared with


def verdict(
    recipe: Recipe,
    sources: xarray.Dataset,
    truth: xarray.DataArray,
    methods: Sequence[dict[str, Any]],
    rows: Sequence[dict[str, Any]],
    scored: Mapping[tuple[str, str], metrics.MCC],
    audit: dict[str, Any] | None,
) -> dict[str, Any]:
    """Grades and sentences of every learned method, at its last stage, and of the run.

    `scored` has the rank correlation of the held-out frames of each method and stage.
    """
    split = np.array([str(name) for name in sources["split"].values])
    names = [str(name) for name in truth["cv"].values]
    values = truth.values.astype(np.float64)
    judged = []
    baseline = _series(sources, LATENTS).get("unmixed")
    for method in methods:
        series = _series(sources, method["name"])
        if method["baseline"] or not series:
            continue
        stage = list(series)[-1]
        row = next(r for r in rows if _is(r, method["name"], stage))
        S, T, replicas, train = flat(series[stage], values, split)
        told = each.each_variable(
            S,
            T,
            replicas=replicas,
            train=train,
            score=scored[method["name"], stage],
            names=names,
            n_null=recipe.evaluate.n_null,
            random_state=seeds.integer(recipe.seed, "verdict"),
        )
        steps = {
            "unmixing": ("Unmixing", "the raw latents", baseline, series.get("unmixed")),
            "smoothing": ("Smoothing", "unmixing", series.get("unmixed"), series.get("smoothed")),
        }
        effects = {
            name: verdicts.effect(what, on, _gain(recipe, before, after, values, split))
            if before is not None and after is not None
            else None
            for name, (what, on, before, after) in steps.items()
        }
        judged.append(verdicts.judge(method, row, told, audit) | effects)
    return verdicts.judge_run(judged, names)


def bands(sources: xarray.Dataset, truth: xarray.DataArray) -> list[dict[str, Any]]:
    """How often bands of ±2 standard deviations hold each variable, of every method and stage with a variance."""
    split = np.array([str(name) for name in sources["split"].values])
    values, found = truth.values.astype(np.float64), []
    for method in map(str, sources["estimator"].values):
        for stage, (series, variance) in _with_variance(sources, method).items():
            S, T, _, train = flat(series, values, split)
            for j, component in enumerate(matching(S[train], T[train])):
                told = None
                if component >= 0:
                    told = band(series[..., component], variance[..., component], values[..., j], split)
                if told is not None:
                    where = {"method": method, "stage": stage, "variable": str(truth["cv"].values[j])}
                    found.append(where | told)
    return found


def judge_again(scores: dict[str, Any], audit: dict[str, Any] | None) -> dict[str, Any]:
    """Scores whose verdict counts an audit that was made after them; without scores, the verdict is an audit's."""
    if not scores["rows"]:
        return scores
    methods = {method["name"]: method for method in scores["methods"]}
    judged = [
        verdicts.judge(
            methods[one["method"]],
            next(row for row in scores["rows"] if _is(row, one["method"], one["stage"])),
            one["sources"],
            audit,
        )
        | {name: one[name] for name in ("unmixing", "smoothing")}
        for one in scores["verdict"]["methods"]
    ]
    names = [source["variable"] for source in judged[0]["sources"]] if judged else []
    return scores | {"verdict": verdicts.judge_run(judged, names)}


def audit_of(run: Path, fingerprint: str) -> dict[str, Any] | None:
    """The audit of the sources with that fingerprint, if there is one."""
    path = run / "audit.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found if found["audited"] == fingerprint else None


def flat(
    series: np.ndarray, truth: np.ndarray, split: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames of training and held-out replicas one after the other: sources, truth, replica labels, training or not."""
    chosen = (split == "train") | (split == "held_out")
    replicas = np.repeat(np.flatnonzero(chosen), series.shape[1])
    S, T = series[chosen], truth[chosen]
    return S.reshape(-1, S.shape[-1]), T.reshape(-1, T.shape[-1]), replicas, (split == "train")[replicas]


def matching(S: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Component (variable,) of each variable, by rank correlation."""
    return metrics.assign(metrics.correlation_matrix(S, truth, kind="spearman"))


def _gain(
    recipe: Recipe, before: np.ndarray, after: np.ndarray, truth: np.ndarray, split: np.ndarray
) -> dict[str, Any]:
    """What the held-out score gains from one series of sources to another."""
    pairs = []
    for series in (before, after):
        S, T, replicas, train = flat(series, truth, split)
        pairs.append((S[~train], matching(S[train], T[train])))
    seed = seeds.integer(recipe.seed, "gain")
    return each.gain(pairs[0], pairs[1], T[~train], replicas[~train], random_state=seed)


def _series(sources: xarray.Dataset, method: str) -> dict[str, np.ndarray]:
    """Sources (replica, time, component) of a method by stage, components that are there."""
    return {stage: series for stage, (series, _) in _with_variance(sources, method).items()}


def _with_variance(sources: xarray.Dataset, method: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The same with their posterior variances, which may be NaN."""
    names = [str(name) for name in sources["estimator"].values]
    if method not in names:
        return {}
    value, variance = (sources[kind].values[names.index(method)] for kind in ("source", "source_variance"))
    found = {}
    for s, stage in enumerate(map(str, sources["stage"].values)):
        there = ~np.isnan(value[s]).all((0, 1))
        if there.any():
            found[stage] = value[s][..., there], variance[s][..., there]
    return found


def _is(row: dict[str, Any], method: str, stage: str) -> bool:
    where = {"method": method, "stage": stage, "split": "held_out", "metric": "mcc_spearman"}
    return where.items() <= row.items()

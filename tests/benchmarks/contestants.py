"""Methods of the benchmark on one world: every row of the table of methods that applies, baselines, bounds and peers.

What a method's sources score is given stage by stage: `features`, before any second stage; `features_fastica` and
`features_sobi`, after a linear ICA of them; `unmixed`, what the method itself returns; `aligned` (in `unmixed`), after
the best affine map onto the truth; `smoothed` in time. So success is attributed to the stage that earned it.
"""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peers
from cells import figures, supervised, timed
from worlds import World

from tempica.ica import SOBI, FastICA, methods, smooth

BASELINES = ("raw", "supervised")
NEEDED = {"nothing": 0, "pairs": 1, "series": 2}


def names(world: World, with_peers: bool) -> list[str]:
    """Names of what applies to a world: bounds, rows of the table without those of images, and peers."""
    found = [*BASELINES, *(["state_space"] if world.embedded.size else [])]
    found += [row.name for row in methods.trainable() if not row.images and _applies(row, world)]
    if with_peers and world.series == 2:
        found += peers.NAMES
    return found


def _applies(row: methods.Method, world: World) -> bool:
    needs, *other = row.needs.split(" or ")
    if needs == "labels":
        return bool(world.labels.size) or (bool(other) and _has(other[0], world))
    return _has(needs, world)


def _has(needs: str, world: World) -> bool:
    return int(world.series) >= NEEDED[needs]


def judge(
    name: str, world: World, seed: int, peer_python: Path | None = None, max_steps: int | None = None
) -> dict[str, Any]:
    """Scores of one method on one world by stage, its CPU time and memory, and what it says of its own fit.

    `max_steps` cuts trainings short, for tests of the benchmark itself.
    """
    n, learned = world.truth.shape[1], world.split == "train"
    if name == "raw":
        return {"unmixed": scored(world, world.X[:, :n])}
    if name == "supervised":
        S, said = timed(lambda: supervised(world.X, world.truth, learned))
        return {"unmixed": scored(world, S)} | said
    if name == "state_space":
        return {"smoothed": scored(world, world.embedded)}
    if name in peers.NAMES:
        assert peer_python is not None
        S, said = peers.run(name, peer_python, world.X, learned, world.replica, n)
        return {"unmixed": scored(world, S)} | said
    row = methods.find(name)
    model, said = _fitted(row, world, seed, max_steps)
    cell: dict[str, Any] = dict(said)
    absolute = bool(world.absolute)
    options = {} if absolute else row.options
    spread = None
    if hasattr(model, "smooth"):  # a model of the series itself
        S = model.smooth(world.X, np.arange(len(world.X)), _covariance(world)).mean[:, :n]
    else:
        S = model.transform(world.X, **options)[:, :n]
        if world.covariance.size:
            spread = model.transform_covariance(world.X, world.covariance, **options)[:, :n, :n]
    if not hasattr(model, "components_"):
        features = model.transform(world.X, stage="features") if not hasattr(model, "smooth") else S
        cell["features"] = scored(world, features[:, : 2 * n])
        for stage, linear in (("fastica", FastICA(random_state=seed)), ("sobi", SOBI())):
            if stage == "sobi" and world.series < 2:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # convergence: what it finds is scored
                turned = linear.fit(features[learned], replicas=world.replica[learned]).transform(features)
            cell[f"features_{stage}"] = scored(world, turned)
    cell["unmixed"] = scored(world, S, name == "tcl")
    if world.series:
        again = hasattr(model, "smooth")
        smoothed = (
            model.smooth(world.X, world.replica, _covariance(world)).mean[:, :n]
            if again
            else smooth(S, spread, world.replica, learned).mean
        )
        cell["smoothed"] = scored(world, smoothed)
    for key in ("model", "second_stage", "ambiguity"):
        if hasattr(model, f"{key}_"):
            cell[key] = getattr(model, f"{key}_")
    return cell


def scored(world: World, S: np.ndarray, already: bool = False) -> dict[str, Any]:
    """Figures of sources on the replicas that no fit has seen."""
    if world.absolute and not already:
        S = np.abs(S - np.median(S, axis=0))
    return figures(S, world.truth, world.split == "train", world.split == "held_out", world.replica)


def _fitted(row: methods.Method, world: World, seed: int, max_steps: int | None) -> tuple[Any, dict[str, Any]]:
    """The estimator at its own defaults, told how many sources there are; fitted as a run fits it."""
    assert row.estimator is not None
    known = inspect.signature(row.estimator()).parameters
    given: dict[str, Any] = {"random_state": seed}
    if not row.whole:
        given["n_components"] = world.truth.shape[1]
    if max_steps is not None:
        given["max_steps"] = max_steps
    model = row.estimator()(**{key: value for key, value in given.items() if key in known})
    takes = inspect.signature(model.fit).parameters
    seen = np.isin(world.split, ["train", "validation"] if "validation" in takes else ["train"])
    extra: dict[str, Any] = {"replicas": world.replica[seen]}
    if (world.split == "validation").any():
        extra["validation"] = (world.split == "validation")[seen]
    if world.covariance.size:
        extra["covariance"] = world.covariance[seen]
    labels = world.labels[seen] if world.labels.size and row.needs.startswith("labels") else None
    extra = {key: value for key, value in extra.items() if key in takes}
    return timed(lambda: model.fit(world.X[seen], labels, **extra))


def _covariance(world: World) -> np.ndarray | None:
    return world.covariance if world.covariance.size else None

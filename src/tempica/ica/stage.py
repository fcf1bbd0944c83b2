"""Trains every method of the recipe, and the baselines, on the latents; smooths what was unmixed."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica import seeds
from tempica.recipe.experiment import Recipe
from tempica.runs.reading import read
from tempica.stores import files, store

if TYPE_CHECKING:
    import xarray

    from tempica.ica.smoothing.smoothing import Smoothed
    from tempica.runs.work import Work

BASELINES = ("pca_pixels", "latents")


def run(work: Work) -> None:
    """One task a method, then all sources into one store."""
    recipe = work.recipe
    methods = [*BASELINES, *recipe.train.methods]
    results = {method: work.folder / "results" / f"{method}.npz" for method in methods}
    # the longest task first, so that the others run beside it
    order = sorted(methods, key=lambda method: method not in ("pcl", "snica"))
    work.run_chains("methods", [[(m, partial(train_method, recipe, work.run, m, results[m]))] for m in order])

    found = {method: files.load_arrays(path) for method, path in results.items()}
    latents = work.read("latents")
    n_replicas, n_frames, n_modes = latents["latent"].shape
    shape = (len(methods), 2, n_replicas, n_frames, max(n_modes, recipe.train.n_components))
    source, variance = np.full(shape, np.nan), np.full(shape, np.nan)
    for m, method in enumerate(methods):
        for s, stage in enumerate(("unmixed", "smoothed")):
            for name, target in ((stage, source), (f"{stage}_variance", variance)):
                if name in found[method]:
                    values = found[method][name]
                    target[m, s, ..., : values.shape[-1]] = values.reshape(n_replicas, n_frames, -1)
    sources = work.create_store(
        "sources",
        dict(zip(("method", "stage", "replica", "time", "component"), shape, strict=True)),
        chunks={"method": 1, "stage": 1},
    )
    store.write(
        sources,
        {
            "replica": latents["replica"].values,
            "time": latents["time"].values,
            "method": methods,
            "stage": ["unmixed", "smoothed"],
            "split": recipe.splits,
            "source": source,
            "source_variance": variance,
        },
    )


def train_method(recipe: Recipe, run: Path, method: str, out: Path) -> None:
    """Sources of one method for all frames, learned from training replicas (early stop: validation replicas)."""
    split = np.array(recipe.splits)
    if method in OF_IMAGES:
        files.save_arrays(out, unmixed=OF_IMAGES[method](recipe, run, split))
        return
    latents = read(run, "train", "latents")
    mean, covariance = latents["latent"].values, latents["latent_covariance"].values
    n_frames, n_modes = mean.shape[1:]
    X, covariance = mean.reshape(-1, n_modes), covariance.reshape(-1, n_modes, n_modes)
    if method == "latents":
        files.save_arrays(out, unmixed=X, unmixed_variance=np.diagonal(covariance, axis1=1, axis2=2))
        return
    role, replicas = np.repeat(split, n_frames), _molecules(run)
    train, seen = role == "train", role != "held_out"
    if method == "snica":
        from tempica.ica.generative.state_space import SNICA

        # all components, as with TICA
        model = SNICA(random_state=seeds.integer(recipe.seed, "snica"))
        model.fit(X[train], replicas=replicas[train], covariance=covariance[train])
        alone, whole = (model.smooth(X, each, covariance) for each in (np.arange(len(X)), replicas))
        files.save_arrays(out, **_arrays(alone.mean, alone.covariance, whole, slice(recipe.train.n_components)))
        return
    if method == "tica":
        from tempica.ica.linear.linear import TICA

        # all components go through the smoother, so that the evidence about the kept ones is used whole
        model = TICA(lag=recipe.train.lag).fit(X[train], replicas=replicas[train])
    elif method == "pcl":
        from tempica.ica.contrastive.pcl import PCL

        model = PCL(recipe.train.n_components, lag=recipe.train.lag, random_state=seeds.integer(recipe.seed, "pcl"))
        model.fit(X[seen], replicas=replicas[seen], validation=~train[seen], log=partial(_tell, run, method))
    else:
        from tempica.ica.contrastive.tcl import TCL

        labels = read(run, "train", "movie")["label"].values.reshape(-1)
        model = TCL(recipe.train.n_components, random_state=seeds.integer(recipe.seed, "tcl"))
        model.fit(X[seen], labels[seen], validation=~train[seen], log=partial(_tell, run, method))
    from tempica.ica.smoothing.smoothing import smooth

    # the variables of a molecule have signs, and are scored with them
    stage = {"stage": "signed"} if method == "tcl" else {}
    sources, spread = model.transform(X, **stage), model.transform_covariance(X, covariance, **stage)
    smoothed = smooth(sources, spread, replicas, train)
    files.save_arrays(out, **_arrays(sources, spread, smoothed, slice(recipe.train.n_components)))


def _molecules(run: Path) -> np.ndarray:
    """Number (frame,) of each frame's molecule: to the estimators a replica, since frames of two are no pair."""
    molecule = read(run, "train", "movie")["molecule"].values
    begins = np.ones(molecule.shape, dtype=bool)
    begins[:, 1:] = molecule[:, 1:] != molecule[:, :-1]
    return np.cumsum(begins)


def _tell(run: Path, method: str, **line: object) -> None:
    """A check of a training, as a line of the run's log.jsonl, written whole, since workers write at once."""
    told = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "stage": "train", "event": "check", "method": method, **line}
    with (run / "log.jsonl").open("ab", buffering=0) as file:
        file.write((json.dumps(told) + "\n").encode())


def _arrays(sources: np.ndarray, spread: np.ndarray, smoothed: Smoothed, kept: slice) -> dict[str, np.ndarray]:
    return {
        "unmixed": sources[:, kept],
        "unmixed_variance": np.diagonal(spread, axis1=1, axis2=2)[:, kept],
        "smoothed": smoothed.mean[:, kept],
        "smoothed_variance": np.diagonal(smoothed.covariance, axis1=1, axis2=2)[:, kept],
    }


def _pca_of_pixels(recipe: Recipe, run: Path, split: np.ndarray) -> np.ndarray:
    """Principal components (frame, n_components) of the images themselves: what ignoring the pose gives."""
    from sklearn.decomposition import IncrementalPCA

    images = read(run, "train", "movie")["image"]
    n = recipe.train.n_components
    rank = min(4 * n + 16, images.shape[1])
    pca = IncrementalPCA(rank)
    for replica in np.flatnonzero(split == "train").tolist():
        pca.partial_fit(_pixels(images, replica))
    return np.concatenate([pca.transform(_pixels(images, r))[:, :n] for r in range(len(split))])


def _pcl_of_images(recipe: Recipe, run: Path, split: np.ndarray) -> np.ndarray:
    """Sources (frame, n_components) that PCL finds in the images themselves."""
    from tempica.ica.contrastive.pcl import PCL

    images = read(run, "train", "movie")["image"]
    n_frames = images.shape[1]
    role, replicas = np.repeat(split, n_frames), _molecules(run)
    seen = role != "held_out"
    model = PCL(recipe.train.n_components, lag=recipe.train.lag, random_state=seeds.integer(recipe.seed, "pcl_images"))
    stack = np.concatenate([images[r].values.astype(np.float32) for r in np.flatnonzero(split != "held_out")])
    validation = (role == "validation")[seen]
    model.fit(stack, replicas=replicas[seen], validation=validation, log=partial(_tell, run, "pcl_images"))
    return np.concatenate([model.transform(images[r].values.astype(np.float32)) for r in range(len(split))])


def _pixels(images: xarray.DataArray, replica: int) -> np.ndarray:
    return images[replica].values.reshape(images.shape[1], -1).astype(np.float32)


OF_IMAGES = {"pca_pixels": _pca_of_pixels, "pcl_images": _pcl_of_images}

"""Trains every method of the recipe, and the baselines; smooths in time what was unmixed."""

from __future__ import annotations

import inspect
import json
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica import seeds
from tempica.ica import methods
from tempica.ica.methods import Method
from tempica.recipe.experiment import Recipe
from tempica.runs.reading import read
from tempica.series import number_molecules
from tempica.stores import files, store

if TYPE_CHECKING:
    import xarray

    from tempica.runs.work import Work

LEAST_PAIRS = 1000  # of frames: fewer leave a standard error above 0.03 nat in a held-out contrast
STAGES = ("unmixed", "smoothed")
OUTCOMES = ("model", "ambiguity", "ambiguity_why", "second_stage")  # what estimators may say of what they found
OF_THE_FIT = (  # and of how they found it
    "candidates",
    "second_stage_loss",
    "validation_loss",
    "loss_curve",
    "n_iter",
    "stability",
    "subspaces",
    "autocorrelation",
    "timescales",
)


def run(work: Work) -> None:
    """One task a method, then all sources into one store."""
    recipe, folder = work.recipe, work.folder / "results"
    folder.mkdir(exist_ok=True)
    rows = [*methods.baselines(), *map(methods.find, methods.chosen(recipe))]
    if recipe.film is not None:
        rows = _with_enough_pairs(work, rows)
    if _embedded(work.run):
        rows += methods.embedded()
    # the longest tasks first, so that the others run beside them
    order = sorted(rows, key=lambda row: row.estimator is None or row.whole)
    task = partial(train_method, recipe, work.run, folder, work.device)
    with work.progress.watch(work.stage, partial(_last_check, work.run)):
        work.run_chains("methods", [[(row.name, partial(task, row.name))] for row in order])
    about = {row.name: json.loads((folder / f"{row.name}.json").read_text(encoding="utf-8")) for row in rows}
    for row in rows:
        for warning in about[row.name].get("warnings", ()):
            work.warn(f"{row.title}: {warning}")
    _write_sources(work, about, folder)


def _with_enough_pairs(work: Work, rows: list[Method]) -> list[Method]:
    """Methods for a movie of crops, whose pairs of frames no recipe can count beforehand."""
    number = number_molecules(work.read("movie")["molecule"].values).reshape(-1)
    n = int((number[work.recipe.train.lag :] == number[: -work.recipe.train.lag]).sum())
    if n >= LEAST_PAIRS or work.recipe.train.methods is not None:
        return rows
    work.progress.say(
        f"train: {n} pairs of frames are too few for a contrast of networks (PCL: {LEAST_PAIRS}), and do for TICA and"
        " SOBI"
    )
    return [row for row in rows if row.name != "pcl"]


def _write_sources(work: Work, about: dict[str, Any], folder: Path) -> None:
    names = list(about)
    found = {name: files.load_arrays(folder / f"{name}.npz") for name in names}
    latents = work.read("latents")
    n_replicas, n_frames, n_modes = latents["latent"].shape
    wide = [each[stage].shape[-1] for each in found.values() for stage in STAGES if stage in each]
    widest = max(n_modes, work.recipe.train.n_components, *wide)
    shape = (len(names), len(STAGES), n_replicas, n_frames, widest)
    source, variance = np.full(shape, np.nan), np.full(shape, np.nan)
    for m, name in enumerate(names):
        for s, stage in enumerate(STAGES):
            for key, target in ((stage, source), (f"{stage}_variance", variance)):
                if key in found[name]:
                    values = found[name][key]
                    target[m, s, ..., : values.shape[-1]] = values.reshape(n_replicas, n_frames, -1)
    sources = work.create_store(
        "sources",
        dict(zip(("estimator", "stage", "replica", "time", "component"), shape, strict=True)),
        attributes={"methods": about},
        chunks={"estimator": 1, "stage": 1},
    )
    store.write(
        sources,
        {
            "replica": latents["replica"].values,
            "time": latents["time"].values,
            "estimator": names,
            "stage": list(STAGES),
            "split": work.recipe.splits,
            "source": source,
            "source_variance": variance,
        },
    )


@dataclass(frozen=True)
class Frames:
    """What is known of each frame beside its latents, all of shape (frame,)."""

    split: np.ndarray  # train, validation or held_out
    molecule: np.ndarray  # number of the molecule: to the estimators a replica, since frames of two are no pair
    labels: np.ndarray | None  # segments, conditions or delays
    n_replicas: int

    @classmethod
    def of(cls, recipe: Recipe, run: Path) -> Frames:
        movie = read(run, "train", "movie")
        molecule = movie["molecule"].values
        labels = movie["label"].values.reshape(-1) if recipe.labelled else None
        split = np.repeat(recipe.splits, molecule.shape[1])
        return cls(split, number_molecules(molecule).reshape(-1), labels, len(molecule))


def train_method(recipe: Recipe, run: Path, folder: Path, device: str, name: str) -> None:
    """Sources of one method for all frames, learned from training replicas (early stop: validation replicas).

    Writes NAME.npz, the sources, and NAME.json, what the method says of itself and of them; a fit that was killed
    goes on from NAME.state.
    """
    row, data = methods.find(name), Frames.of(recipe, run)
    about: dict[str, Any] = {"title": row.title, "identifies": row.identifies, "theorem": row.theorem}
    about |= {"baseline": row.estimator is None and not row.embedded, "warnings": []}
    if row.embedded:
        arrays = _embedded(run)
    elif row.estimator is None:
        arrays = {"unmixed": _pca_of_pixels(recipe, run, data)} if row.images else _of_latents(run)
    else:
        model = _make(row, recipe, device)
        with warnings.catch_warnings(record=True) as caught:
            _fit(model, row, recipe, run, data, folder / f"{name}.state")
        about["warnings"] = list(dict.fromkeys(str(one.message) for one in caught))
        about |= {key: getattr(model, f"{key}_") for key in OUTCOMES if hasattr(model, f"{key}_")}
        about["fit"] = {key: _plain(getattr(model, f"{key}_")) for key in OF_THE_FIT if hasattr(model, f"{key}_")}
        arrays = _of_images(model, row, run, data) if row.images else _unmixed(model, row, recipe, run, data)
    files.save_arrays(folder / f"{name}.npz", **arrays)
    files.write_json(folder / f"{name}.json", about)


def _plain(value: Any) -> Any:
    """Numbers, arrays and tables as JSON has them; what is no number is None."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(each) for each in value]
    if isinstance(value, str) or value is None:
        return value
    number = float(value)
    return None if not np.isfinite(number) else int(number) if number == int(number) else number


def _make(row: Method, recipe: Recipe, device: str) -> Any:
    """The method's estimator, with the recipe's parameters, the run's seed and device."""
    assert row.estimator is not None
    known = inspect.signature(row.estimator()).parameters
    given: dict[str, Any] = {"device": device, "random_state": seeds.integer(recipe.seed, row.name)}
    if not row.whole:
        given["n_components"] = recipe.train.n_components
    if "lag" in known and known["lag"].default is not None:  # where it is, the estimator chooses lags itself
        given["lag"] = recipe.train.lag
    given = {key: value for key, value in given.items() if key in known}
    return row.estimator()(**given | methods.chosen(recipe)[row.name])


def _fit(model: Any, row: Method, recipe: Recipe, run: Path, data: Frames, state: Path) -> None:
    """Fit to training replicas, and to those for validation where the estimator can tell them apart."""
    takes = inspect.signature(model.fit).parameters
    train, seen = data.split == "train", data.split != "held_out"
    chosen = seen if "validation" in takes else train
    given: dict[str, Any] = {
        "replicas": data.molecule[chosen],
        "validation": ~train[chosen],
        "checkpoint": state,
        "log": partial(_tell, run, row.name),
    }
    if not row.images:
        X, covariance = _latents(run)
        X, given["covariance"] = X[chosen], covariance[chosen]
    else:
        images = read(run, "train", "movie")["image"]
        some = np.flatnonzero(chosen.reshape(data.n_replicas, -1)[:, 0])
        X = np.concatenate([_images(images, r) for r in some.tolist()])
    labels = data.labels[chosen] if data.labels is not None and row.needs.startswith("labels") else None
    model.fit(X, labels, **{key: value for key, value in given.items() if key in takes})


def _unmixed(model: Any, row: Method, recipe: Recipe, run: Path, data: Frames) -> dict[str, np.ndarray]:
    """Sources of all latents, frame by frame, and smoothed in time where molecules have one."""
    from tempica.ica.smoothing.smoothing import smooth

    X, covariance = _latents(run)
    if hasattr(model, "smooth"):  # a model of the series itself
        alone = model.smooth(X, np.arange(len(X)), covariance)
        sources, spread = alone.mean, alone.covariance
    else:
        sources = model.transform(X, **row.options)
        spread = model.transform_covariance(X, covariance, **row.options)
    asked = model.get_params()["n_components"]
    n = recipe.train.n_components if asked is None else asked if isinstance(asked, int) else sources.shape[1]
    arrays = {"unmixed": sources[:, :n], "unmixed_variance": np.diagonal(spread, axis1=1, axis2=2)[:, :n]}
    if recipe.frames_per_molecule == 1:
        return arrays
    if hasattr(model, "smooth"):
        smoothed = model.smooth(X, data.molecule, covariance)
    else:
        smoothed = smooth(sources, spread, data.molecule, data.split == "train")
    variance = np.diagonal(smoothed.covariance, axis1=1, axis2=2)
    return arrays | {"smoothed": smoothed.mean[:, :n], "smoothed_variance": variance[:, :n]}


def _latents(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means (frame, mode) and covariances (frame, mode, mode) of all frames."""
    latents = read(run, "train", "latents")
    mean, covariance = latents["latent"].values, latents["latent_covariance"].values
    n = mean.shape[-1]
    return mean.reshape(-1, n), covariance.reshape(-1, n, n)


def _of_latents(run: Path) -> dict[str, np.ndarray]:
    """Latents as they are."""
    X, covariance = _latents(run)
    return {"unmixed": X, "unmixed_variance": np.diagonal(covariance, axis1=1, axis2=2)}


def _embedded(run: Path) -> dict[str, np.ndarray]:
    """Sources of embed's own model of the motion in time, which are smoothed; nothing where it has none."""
    latents = read(run, "train", "latents")
    if "state_space_source" not in latents:
        return {}
    mean, variance = (latents[f"state_space_{part}"].values for part in ("source", "variance"))
    kept = np.isfinite(mean).all((0, 1))
    if not kept.any():
        return {}
    return {
        "smoothed": mean[..., kept].reshape(-1, kept.sum()),
        "smoothed_variance": variance[..., kept].reshape(-1, kept.sum()),
    }


def _of_images(model: Any, row: Method, run: Path, data: Frames) -> dict[str, np.ndarray]:
    """Sources of all images, a replica at a time."""
    images = read(run, "train", "movie")["image"]
    sources = [model.transform(_images(images, r), **row.options) for r in range(data.n_replicas)]
    return {"unmixed": np.concatenate(sources)}


def _pca_of_pixels(recipe: Recipe, run: Path, data: Frames) -> np.ndarray:
    """Principal components (frame, n_components) of the images themselves: what ignoring the pose gives."""
    from sklearn.decomposition import IncrementalPCA

    images = read(run, "train", "movie")["image"]
    n = recipe.train.n_components
    rank = min(4 * n + 16, images.shape[1])
    pca = IncrementalPCA(rank)
    train = np.array(recipe.splits) == "train"
    for replica in np.flatnonzero(train).tolist():
        pca.partial_fit(_images(images, replica).reshape(images.shape[1], -1))
    every = range(data.n_replicas)
    return np.concatenate([pca.transform(_images(images, r).reshape(images.shape[1], -1))[:, :n] for r in every])


def _images(images: xarray.DataArray, replica: int) -> np.ndarray:
    return images[replica].values.astype(np.float32)


def _last_check(run: Path) -> str | None:
    """Where the training stands that wrote last to the run's log; None where none did."""
    with (run / "log.jsonl").open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 4096))
        lines = file.read().split(b"\n")[1:-1]
    for line in reversed(lines):
        told = json.loads(line)
        if told.get("event") == "check":
            loss = f"{told['held_out']:.4g} held out, best {told['best']:.4g}"
            return f"{told['method']}, {told['training']}: step {told['step']}, loss {loss}"
    return None


def _tell(run: Path, method: str, **line: object) -> None:
    """A check of a training, as a line of the run's log.jsonl, written whole, since workers write at once."""
    told = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "stage": "train", "event": "check", "method": method, **line}
    with (run / "log.jsonl").open("ab", buffering=0) as file:
        file.write((json.dumps(told) + "\n").encode())

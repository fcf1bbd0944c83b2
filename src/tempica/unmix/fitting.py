"""Fits methods to frames, and says what their sources can be taken for."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.ica.methods import Method, find
from tempica.progress import Progress
from tempica.unmix.choosing import WITHOUT_TIME
from tempica.unmix.frames import Frames
from tempica.unmix.rotations import UNFIXED, are_fixed, negentropy_null

LEARNED, STRETCH = 100_000, 5_000  # rows from which dynamics are learned, at most, and of a stretch of them
STABLE = 0.9  # correlation of a source with that of another restart
QUOTED = ("model", "ambiguity", "ambiguity_why", "second_stage", "stability", "rank", "timescales", "autocorrelation")


@dataclass(frozen=True)
class Fitted:
    """A method and its sources.

    Attributes:
        name: of the method.
        call: the estimator with its parameters, as Python.
        model: the fitted estimator.
        sources: (frame, component).
        verdict: identifiable, linear, subspace, all (nothing is identified), or assumed where no test was made.
        why: the same in words.
        about: what the estimator says of its fit.
    """

    name: str
    call: str
    model: Any
    sources: np.ndarray
    verdict: str
    why: str
    about: dict[str, Any]


def parameters_of(name: str, n_components: int | None, lag: int, random_state: int) -> dict[str, Any]:
    """Parameters of the estimator of a method, those that it has."""
    row = find(name)
    assert row.estimator is not None
    known = inspect.signature(row.estimator()).parameters
    given: dict[str, Any] = {"n_components": n_components, "lag": lag, "random_state": random_state}
    if "lag" in known and known["lag"].default is None:  # SOBI chooses its lags itself
        del given["lag"]
    return {key: value for key, value in given.items() if key in known and value is not None}


def data_of(name: str, frames: Frames) -> dict[str, str]:
    """What of the frames goes to `fit`, by keyword: the attribute of `Frames`."""
    row = find(name)
    assert row.estimator is not None
    estimator: Any = row.estimator()
    takes = inspect.signature(estimator.fit).parameters
    given = {}
    if row.needs.startswith("labels") and frames.labels is not None:
        given["labels"] = "labels"
    elif "replicas" in takes and frames.replicas is not None:
        given["replicas"] = "replicas"
    return given


def call_of(name: str, parameters: Mapping[str, Any]) -> str:
    """The estimator as Python, as PCL(n_components=2, lag=1)."""
    row = find(name)
    assert row.estimator is not None
    return f"{row.estimator().__name__}({', '.join(f'{key}={value!r}' for key, value in parameters.items())})"


def fit(name: str, frames: Frames, parameters: Mapping[str, Any], state: Path | None = None) -> Fitted:
    """Fit a method to frames; `state` is a file from which an interrupted fit goes on."""
    row = find(name)
    assert row.estimator is not None
    model = row.estimator()(**parameters)
    given = {key: getattr(frames, attribute) for key, attribute in data_of(name, frames).items()}
    if state is not None and "checkpoint" in inspect.signature(model.fit).parameters:
        given["checkpoint"] = state
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(frames.X, **given)
        sources = np.asarray(model.transform(frames.X, **row.options), dtype=np.float64)
    about = {key: _json(getattr(model, f"{key}_")) for key in QUOTED if hasattr(model, f"{key}_")}
    about |= {"title": row.title, "identifies": row.identifies, "theorem": row.theorem}
    about["warnings"] = list(dict.fromkeys(str(one.message) for one in caught))
    verdict, why = judge(row, model, frames, sources, about)
    why += unstable(np.asarray(getattr(model, "stability_", []), dtype=np.float64))
    return Fitted(name, call_of(name, parameters), model, sources, verdict, why, about)


def smoothed(
    frames: Frames, sources: np.ndarray, progress: Progress
) -> tuple[np.ndarray | None, dict[str, list[float]] | None]:
    """Sources (frame, component) given all frames of their series, and what was found of each: memory, share of noise.

    Each source by itself, as an autoregression in white noise (`tempica.ica.smooth`). None for rows without an order,
    and for series that do not tell noise from sources, of fewer than three frames.
    """
    from tempica.ica import smooth

    if frames.replicas is None or np.bincount(frames.replicas).max() < 3:
        return None, None
    rows = np.arange(len(sources))
    learned = rows // STRETCH % -(-len(rows) // LEARNED) == 0  # dynamics are fitted to stretches, spread evenly
    found = []
    with progress.task("unmix", "sources smoothed", sources.shape[1], 0) as advance:
        for column in sources.T:  # one at a time: less memory
            try:
                found.append(smooth(column[:, None], replicas=frames.replicas, train=learned))
            except DataError:  # a source that is constant, or no stretch of three frames
                return None, None
            advance()
    noise = [float(1 - one.variance[0] / column.var()) for one, column in zip(found, sources.T, strict=True)]
    memory = [float(one.autocorrelation[0]) for one in found]
    about = {"autocorrelation": memory, "noise": np.clip(noise, 0, 1).tolist()}
    return np.concatenate([one.mean for one in found], axis=1), about


def judge(row: Method, model: Any, frames: Frames, sources: np.ndarray, about: dict[str, Any]) -> tuple[str, str]:
    """What the sources can be taken for, and why."""
    n = sources.shape[1]
    if row.name == "fastica":
        null = negentropy_null(len(sources), frames.X.shape[1])
        clear = [i + 1 for i, value in enumerate(model.negentropy_) if value > null]
        about |= {"negentropy": model.negentropy_.tolist(), "negentropy_null_95": null}
        told = f"Axes {_listed(clear)} are" if len(clear) > 1 else f"Axis {clear[0]} is" if clear else "No axis is"
        said = f"{told} less Gaussian than those that FastICA finds in normal noise (negentropy above {null:.2g})"
        rest = "" if len(clear) >= n - 1 else "; a rotation among the others would fit as well"
        return "assumed", f"{said}{rest}. {WITHOUT_TIME if frames.replicas is None and frames.labels is None else ''}"
    if "ambiguity" in about:
        verdict = {"none": "identifiable"}.get(about["ambiguity"], about["ambiguity"])
        why = about["ambiguity_why"]
        if "ources 0, " in why:
            why += " (Sources are counted from 0 here: source_1 is source 0.)"
        if frames.labels is not None and row.needs.startswith("labels"):
            if verdict == "identifiable" and are_fixed(sources, frames.labels) is None:
                verdict, why = "linear", UNFIXED.format(n=n)
            return labelled(verdict, why, n, len(np.unique(frames.labels)))
        return verdict, why
    slow = ", ".join(f"{value:.3g}" for value in getattr(model, "timescales_", np.empty(0))[:8])
    told = f" Timescales, from the autocorrelation at the lag: {slow} frames." if slow else ""
    return "assumed", f"{row.title} identifies {row.identifies}. That this holds here was not tested.{told}"


def unstable(stability: np.ndarray) -> str:
    """What to add of axes (component,) that another restart found otherwise; nothing where there are none."""
    weak = [f"source_{i + 1} (|ρ| = {value:.2f})" for i, value in enumerate(stability) if value < STABLE]
    return f" Another restart of the training found otherwise: {', '.join(weak)}. Do not rely on these." if weak else ""


def labelled(verdict: str, why: str, n: int, n_labels: int) -> tuple[str, str]:
    """The verdict on sources from labels, with the number of labels that the theorems ask for."""
    if verdict == "identifiable" and n > 1 and n_labels < 2 * n + 1:
        why = (
            f"{n_labels} labels are fewer than 2 n + 1 = {2 * n + 1}, which {n} sources ask for (Hyvärinen, Sasaki &"
            " Turner 2019, theorem 1): what is given out spans what the labels move, and its axes need not be sources."
            f" Rows of {2 * n + 1} or more conditions or delays would do."
        )
        return "subspace", why
    if verdict == "subspace":
        why += f" From n + 1 = {n + 1} labels on that move the sources independently they could be told apart."
    return verdict, why


def refuse_few_labels(frames: Frames, n: int | None, names: list[str]) -> None:
    """Raise DataError where labels are fewer than any theorem asks for; linear unmixing by variances needs two."""
    if frames.labels is None or n is None or not {"tcl", "gcl", "ivae"} & set(names):
        return
    n_labels = len(np.unique(frames.labels))
    if n_labels < n + 1:
        raise DataError(
            f"{n_labels} labels have modulations of rank {n_labels - 1} at most, and {n} directions of the latents"
            f" depend on the label: {n} sources need {n + 1} labels at least, and {2 * n + 1} where more than one"
            f" statistic changes. Give rows of more conditions or delays, --components {n_labels - 1} for their"
            " subspace, or --method nonstationary, which finds linearly mixed sources."
        )


def _listed(numbers: list[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [None if each != each else each for each in value.ravel().tolist()]
    return value.item() if isinstance(value, np.generic) else value

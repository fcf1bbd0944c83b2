"""The table of methods: what a recipe can name, what it needs of the data, and what it identifies.

A method is a row here and a class in this room. Recipes, training, scores, report and `tempica methods` read the table.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from tempica import ica
from tempica.errors import DataError
from tempica.recipe.experiment import Recipe

NEEDS = {
    "nothing": "frames in any order",
    "pairs": "two frames of a molecule, a lag apart",
    "series": "a movie: many successive frames of a molecule",
    "labels": "labels of the frames: segments, conditions or delays",
    "labels or pairs": "labels of the frames, or else two frames of a molecule",
    "labels or series": "labels of the frames, or else a movie",
}
OF_THE_RUN = ("random_state", "device")  # parameters that the run gives


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    name: str  # in recipes, sources.zarr and scores.json
    title: str  # for readers
    estimator: Callable[[], type] | None  # None: a baseline, always there and without unmixing, unless `embedded`
    needs: str  # a key of NEEDS
    identifies: str  # what, and when
    theorem: str  # who showed it
    images: bool = False  # fitted to the images themselves, not to latents
    whole: bool = False  # all components are fitted and the first kept, so that smoothing has the evidence whole
    options: Mapping[str, Any] = field(default_factory=dict)  # for transform and transform_covariance
    embedded: bool = False  # no estimator, since embed has fitted it: there where the latents store has its sources


METHODS = (
    Method(
        "pca_pixels", "PCA of the pixels", None, "nothing", "nothing; what ignoring pose and noise gives", "baseline",
        images=True,
    ),
    Method(
        "latents", "Latents, not unmixed", None, "nothing", "nothing; embed's displacement modes as they are",
        "baseline",
    ),
    Method(
        "state_space", "State-space model of embed", None, "series",
        "linearly mixed sources whose autocorrelations differ, learned with the modes from the images' likelihood",
        "Shumway & Stoffer 1982; Molgedey & Schuster 1994", embedded=True,
    ),
    Method(
        "fastica", "FastICA", lambda: ica.FastICA, "nothing",
        "linearly mixed sources, at most one of them Gaussian", "Comon 1994; Hyvärinen 1999", whole=True,
    ),
    Method(
        "tica", "TICA", lambda: ica.TICA, "pairs",
        "linearly mixed sources whose autocorrelations at the lag differ",
        "Molgedey & Schuster 1994; Pérez-Hernández et al. 2013", whole=True,
    ),
    Method(
        "sobi", "SOBI", lambda: ica.SOBI, "series",
        "linearly mixed sources, no two with the same autocorrelation at every lag", "Belouchrani et al. 1997",
        whole=True,
    ),
    Method(
        "nonstationary", "Nonstationary ICA", lambda: ica.NonstationaryICA, "labels or series",
        "linearly mixed sources, no two with the same ratio of variances in all segments", "Pham & Cardoso 2001",
        whole=True,
    ),
    Method(
        "pcl", "PCL", lambda: ica.PCL, "pairs",
        "each source up to a function of its own, if none is quasi-Gaussian; else a linear mixture, resolved by a"
        " second stage", "Hyvärinen & Morioka 2017, theorems 1 and 2",
    ),
    Method(
        "tcl", "TCL", lambda: ica.TCL, "labels",
        "|s| of each source, if the labels modulate the sources with full rank", "Hyvärinen & Morioka 2016, theorem 1",
        # the variables of a molecule have signs, and are scored with them
        options={"stage": "signed"},
    ),
    Method(
        "gcl", "GCL", lambda: ica.GCL, "labels or pairs",
        "each source up to a function of its own, if 2n + 1 labels act on it independently",
        "Hyvärinen, Sasaki & Turner 2019, theorems 1 and 3",
    ),
    Method(
        "ivae", "iVAE", lambda: ica.IVAE, "labels or series",
        "each source up to a function of its own, if nk + 1 labels change the k statistics of its law",
        "Khemakhem et al. 2020, theorems 1 to 3",
    ),
    Method(
        "slowvae", "SlowVAE", lambda: ica.SlowVAE, "pairs",
        "each source up to sign and scale, if transitions are sparser than Gaussian", "Klindt et al. 2021, theorem 1",
    ),
    Method(
        "snica", "SNICA", lambda: ica.SNICA, "series",
        "each source up to a function of its own behind noise of any law, if its dynamics are not Gaussian of a rate"
        " shared with another", "Hälvä et al. 2021, theorems 1 and 2", whole=True,
    ),
    Method(
        "hmnlica", "HM-NLICA", lambda: ica.HMNLICA, "series",
        "each source up to a function of its own, if 2n + 1 hidden states change its law",
        "Hälvä & Hyvärinen 2020, theorem 1",
    ),
    Method(
        "pcl_images", "PCL on images", lambda: ica.PCL, "pairs",
        "as pcl, for molecules that are all seen from one side, with little noise",
        "Hyvärinen & Morioka 2017, theorems 1 and 2", images=True,
    ),
    Method(
        "tcl_images", "TCL on images", lambda: ica.TCL, "labels",
        "as tcl, for molecules that are all seen from one side, with little noise",
        "Hyvärinen & Morioka 2016, theorem 1", images=True, options={"stage": "signed"},
    ),
)  # fmt: skip


def find(name: str) -> Method:
    """The row of a name."""
    return next(row for row in METHODS if row.name == name)


def baselines() -> list[Method]:
    """Methods that every run has."""
    return [row for row in METHODS if row.estimator is None and not row.embedded]


def embedded() -> list[Method]:
    """Methods that embed has fitted, where it had a use for them."""
    return [row for row in METHODS if row.embedded]


def trainable() -> list[Method]:
    """Methods that a recipe can name."""
    return [row for row in METHODS if row.estimator is not None]


def chosen(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Methods that the recipe names, in its order, with the parameters it gives them.

    Where it names none at all: TICA, SOBI and PCL for a scanning probe's movie, TICA and PCL for other data with pairs,
    TCL for labels alone, FastICA for neither.
    """
    train = recipe.train
    if train.methods is None and not train.method and recipe.film is not None:
        return {name: {} for name in ("tica", "sobi", "pcl")}
    if train.methods is None and not train.method:
        names = (
            ["tica", "pcl"] if not _lacks("pairs", recipe, train.lag) else ["tcl"] if recipe.labelled else ["fastica"]
        )
        return {name: {} for name in names}
    return {name: {} for name in train.methods or ()} | {one.name: dict(one.model_extra or {}) for one in train.method}


def mistakes(recipe: Recipe) -> list[str]:
    """What is wrong with the methods that a recipe names, a line each."""
    known, train = {row.name for row in trainable()}, recipe.train
    named = [(f"train.methods.{i}", name) for i, name in enumerate(train.methods or ())]
    named += [(f"train.method.{i}.name", one.name) for i, one in enumerate(train.method)]
    listed = ", ".join(sorted(known))
    wrong = [f"{where} = {name!r}: must be one of {listed}." for where, name in named if name not in known]
    lacking: dict[str, list[str]] = {}
    for name, given in chosen(recipe).items():
        if name in known and (why := _lacks(find(name).needs, recipe, _longest(given.get("lag"), recipe.train.lag))):
            lacking.setdefault(why, []).append(name)
    could = ", ".join(row.name for row in trainable() if not _lacks(row.needs, recipe, train.lag))
    wrong += [f"{_refused(names, why)} Methods that can run here: {could}." for why, names in lacking.items()]
    for i, one in enumerate(train.method):
        if one.name in known:
            found = _parameter_mistakes(find(one.name), one.model_extra or {}, recipe)
            wrong += [f"train.method.{i}.{line}" for line in found]
    return wrong


def lacks(name: str, recipe: Recipe) -> str | None:
    """What the recipe's data lack of what a method needs, with a remedy; None where they have it."""
    return _lacks(find(name).needs, recipe, recipe.train.lag)


def takes_lag(name: str) -> bool:
    """Whether the run gives a method its lag: those that choose lags themselves take none."""
    lag = parameters(find(name)).get("lag")
    return lag is not None and lag.default is not None


def _longest(lag: Any, default: int) -> int:
    """The longest of a method's lags; what is no lag at all is another mistake."""
    lags = [each for each in (lag if isinstance(lag, list) else [lag]) if type(each) is int]
    return max(lags, default=default)


def _refused(names: list[str], why: str) -> str:
    if len(names) == 1:
        return f"train.methods has {names[0]}, which needs {why}"
    return f"train.methods = {', '.join(names)} need {why}"


def _lacks(needs: str, recipe: Recipe, lag: int) -> str | None:
    """What the recipe's data lack of what a method with this lag needs, with a remedy; None where they have it."""
    each, mode = recipe.frames_per_molecule, recipe.observed_as
    if needs.startswith("labels") and recipe.labelled:
        return None
    if needs == "labels":
        return (
            "labelled segments, and simulate.segment_frames is not given. Leave it out, or give dynamics that change by"
            " segment (modulated, relaxation, temperature_jump)."
        )
    if needs.endswith("pairs") and each is not None and lag >= each:
        has = "one" if each == 1 else f"{each} a molecule"
        return (
            f"two frames of a molecule {lag} frame{'s' * (lag > 1)} apart, and {mode} has {has}. Give no methods,"
            " another lag, or images that are a movie."
        )
    if needs.endswith("series") and each is not None:
        return f"a movie of each molecule, and {mode} has {each} frame{'s' * (each > 1)} of one. Give no such methods."
    return None


def parameters(row: Method) -> dict[str, inspect.Parameter]:
    """Parameters of a method that a recipe can give, by name."""
    assert row.estimator is not None
    known = inspect.signature(row.estimator()).parameters
    return {name: parameter for name, parameter in known.items() if name not in OF_THE_RUN}


def _parameter_mistakes(row: Method, given: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """What is wrong with a method's parameters: names, types, then values, a line each."""
    if not given:
        return []
    known, found = parameters(row), []
    for name, value in given.items():
        if name in OF_THE_RUN:
            found.append(f"{name}: is the run's to give (seed in the recipe, --device). Leave it out.")
        elif name not in known:
            found.append(f"{name}: {row.title} has no such parameter. It has: {', '.join(known)}.")
        elif name != "training" and (why := _wrong_type(row, name, value)):
            found.append(f"{name} = {value!r}: {why}.")
    return found or _wrong_values(row, given, recipe)


def _wrong_type(row: Method, name: str, value: Any) -> str | None:
    """Why a value is not of the type that the estimator declares for a parameter; None if it is."""
    from pydantic import TypeAdapter, ValidationError

    hint = get_type_hints(row.estimator().__init__).get(name, Any)  # type: ignore[misc]
    try:
        # strict and as JSON, as the rest of the recipe: "2" is no number, and a list may become a tuple
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config={"arbitrary_types_allowed": True})
        adapter.validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        reasons = dict.fromkeys(one["msg"].removeprefix("Input should be ") for one in error.errors())
        return f"must be {' or '.join(reasons)}".replace("a valid array", "a list")
    return None


def _wrong_values(row: Method, given: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """What is out of range: components, lags, and what the estimator checks itself before a fit."""
    assert row.estimator is not None
    found, n, lag = [], given.get("n_components"), given.get("lag")
    if isinstance(n, int) and n < 1:
        found.append(f"n_components = {n} must be at least 1.")
    if isinstance(n, int) and n > recipe.embed.most_modes and not row.images:
        found.append(f"n_components = {n} must not exceed embed.n_modes = {recipe.embed.most_modes}.")
    lags: list[Any] = lag if isinstance(lag, list) else [lag]
    half = recipe.simulate.n_frames // 2
    if lag is not None and not (lags and all(1 <= each < half for each in lags)):
        found.append(f"lag = {lag} must be from 1 to {half - 1}, below half of simulate.n_frames, or a list of such.")
    model = row.estimator()(**given)
    if hasattr(model, "_options"):  # of networks
        try:
            model._options()
        except DataError as error:
            found.append(str(error))
    return found

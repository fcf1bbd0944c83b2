"""Recovered components beside the truth: matched by the scores, scaled on training replicas alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False)
class Truth:
    """One collective variable in the unit shown to readers: `value` (replica, time)."""

    name: str
    value: np.ndarray
    unit: str


@dataclass(frozen=True, eq=False)
class Recovery:
    """One collective variable as one method and stage recovered it, in the unit of the truth.

    `value` and `deviation` (replica, time); `deviation` is NaN where the posterior is unknown; both are NaN
    throughout where no component was matched. `deviation` is widened by the factor of `band`, an entry of scores.json,
    where there is one. `correlation` is that of held-out replicas, absolute.
    """

    method: str
    stage: str
    variable: int
    value: np.ndarray
    deviation: np.ndarray
    correlation: float
    name: str = ""  # of the variable
    band: dict[str, Any] | None = None

    @property
    def found(self) -> bool:
        return bool(np.isfinite(self.value).any())


def truths(trajectory: xarray.Dataset) -> list[Truth]:
    """Every collective variable of a trajectory; radians become degrees."""
    variable = trajectory["collective_variable"]
    values = variable.transpose("replica", "time", "cv").values.astype(np.float64)
    found = []
    for j, (name, unit) in enumerate(zip(trajectory["cv"].values, trajectory["cv_units"].values, strict=True)):
        angle = unit == "rad"
        found.append(Truth(str(name), np.degrees(values[..., j]) if angle else values[..., j], "°" if angle else unit))
    return found


def recoveries(
    sources: xarray.Dataset,
    truth: list[Truth],
    matrices: list[dict[str, Any]],
    methods: list[str],
    bands: Sequence[dict[str, Any]] = (),
) -> list[Recovery]:
    """Every collective variable for each of the `matrices` (one a method and stage) of the methods, in order.

    `bands` are those of scores.json, by the names that sources and methods have here.
    """
    train = splits(sources) == "train"
    names = [str(name) for name in sources["estimator"].values]
    result = []
    for entry in sorted((m for m in matrices if m["method"] in methods), key=lambda m: methods.index(m["method"])):
        if entry["method"] not in names:
            continue
        at = {"estimator": names.index(entry["method"]), "stage": _stages(sources).index(entry["stage"])}
        order = ("replica", "time", "component")
        value = sources["source"].isel(at).transpose(*order).values.astype(np.float64)
        variance = sources["source_variance"].isel(at).transpose(*order).values.astype(np.float64)
        column = _columns(value, len(entry["matrix"]))
        matrix = as_matrix(entry)
        for j, component in enumerate(entry["assignment"]):
            if component < 0:
                nothing = np.full(truth[j].value.shape, np.nan)
                name = truth[j].name
                result.append(Recovery(entry["method"], entry["stage"], j, nothing, nothing, np.nan, name))
                continue
            k = column[component]
            slope, offset = fit_line(value[train, :, k], truth[j].value[train])
            where = {"method": entry["method"], "stage": entry["stage"], "variable": truth[j].name}
            band = next((one for one in bands if where.items() <= one.items()), None)
            widened = 1.0 if band is None else band["factor"]
            spread = np.where(variance[..., k] >= 0, variance[..., k], np.nan)
            result.append(
                Recovery(
                    entry["method"],
                    entry["stage"],
                    j,
                    slope * value[..., k] + offset,
                    widened * np.abs(slope) * np.sqrt(spread),
                    abs(float(matrix[component, j])),
                    truth[j].name,
                    band,
                )
            )
    return result


def fit_line(source: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Slope a and offset b of the least squares of truth = a · source + b, over finite pairs; NaN without any."""
    both = np.isfinite(source) & np.isfinite(truth)
    if not both.any():
        return np.nan, np.nan
    x, y = source[both], truth[both]
    mean = x.mean()
    spread = float(np.square(x - mean).sum())
    slope = float(((x - mean) * (y - y.mean())).sum()) / spread if spread > 0 else 0.0
    return slope, float(y.mean() - slope * mean)


def splits(sources: xarray.Dataset) -> np.ndarray:
    """What each replica was for, (replica,) of str."""
    return np.array([str(name) for name in sources["split"].values])


def as_matrix(entry: dict[str, Any]) -> np.ndarray:
    """Correlations (component, collective variable) of an entry of the scores; what is no number is NaN."""
    rows = [[np.nan if number is None else number for number in row] for row in entry["matrix"]]
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def _stages(sources: xarray.Dataset) -> list[str]:
    return [str(name) for name in sources["stage"].values]


def _columns(value: np.ndarray, n_rows: int) -> np.ndarray:
    """Where the rows of a correlation matrix lie among the components: those that are NaN throughout have none."""
    kept = np.flatnonzero(np.isfinite(value).any((0, 1)))
    return kept if len(kept) == n_rows else np.arange(value.shape[-1])

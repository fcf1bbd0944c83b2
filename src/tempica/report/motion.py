"""Axes as motion: the structure as one source, or one true variable, changes while the others stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from tempica.report.recovered import Truth, fit_line, splits

if TYPE_CHECKING:
    import xarray

N_POINTS = 11  # structures along an axis; the page interpolates between them
LOW, HIGH = 5, 95  # percentiles of training frames between which an axis is shown
MOST_FRAMES = 4000  # training frames of a regression
LEAST_FRAMES = 10  # a coefficient


@dataclass(frozen=True, eq=False)
class Motion:
    """One axis: its name, `value` (point,) with its unit, and `path` (point, atom, space) in nm."""

    name: str
    value: np.ndarray
    unit: str
    path: np.ndarray

    @property
    def displacement(self) -> np.ndarray:
        """Distance of each bead (atom,) between both ends of the path, in nm."""
        return np.linalg.norm(self.path[-1] - self.path[0], axis=-1)


@dataclass(frozen=True, eq=False)
class Axis:
    """A recovered axis, and the true motion that it was matched with, if there is one.

    `method` and `stage` as readers know them. `component` counts from 0; it is None where a true variable has no
    component, and then `recovered` is None too.
    """

    method: str
    stage: str
    component: int | None
    recovered: Motion | None
    true: Motion | None

    @property
    def name(self) -> str:
        return (self.true or self.recovered).name  # type: ignore[union-attr]

    @property
    def agreement(self) -> float | None:
        """Cosine of the angle between both displacement fields (all beads, end to end); None without both."""
        if self.recovered is None or self.true is None:
            return None
        one, other = (motion.path[-1] - motion.path[0] for motion in (self.recovered, self.true))
        size = float(np.linalg.norm(one) * np.linalg.norm(other))
        return float((one * other).sum() / size) if size > 0 else None


@dataclass(frozen=True, eq=False)
class Expectation:
    """E[y | x] = b + Σ_j Σ_d c_jd ((x_j − m_j) / s_j)^d, fitted by least squares; others are held where they are."""

    middle: np.ndarray  # (driver,)
    scale: np.ndarray  # (driver,)
    degree: int
    coefficient: np.ndarray  # (1 + driver · degree, response)

    @classmethod
    def fit(cls, driver: np.ndarray, response: np.ndarray) -> Expectation:
        """From frames (frame, driver) and (frame, response), all finite; straight lines where frames are few."""
        middle, scale = np.median(driver, axis=0), driver.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        degree = 3 if len(driver) >= LEAST_FRAMES * (1 + 3 * driver.shape[1]) else 1
        design = _powers((driver - middle) / scale, degree)
        return cls(middle, scale, degree, np.linalg.lstsq(design, response, rcond=None)[0])

    def __call__(self, driver: np.ndarray) -> np.ndarray:
        """Expected response (frame, response) to drivers (frame, driver)."""
        return _powers((driver - self.middle) / self.scale, self.degree) @ self.coefficient

    def along(self, j: int, value: np.ndarray) -> np.ndarray:
        """Expected response (point, response) where driver `j` has these values and the others their medians."""
        driver = np.repeat(self.middle[None], len(value), 0)
        driver[:, j] = value
        return self(driver)


@dataclass(frozen=True, eq=False)
class Learned:
    """E[structure | sources] of one method by its last stage, from training replicas: mean + Σ_k mode_k · E[latent_k].

    `series` (replica, time, component), `columns` the components that the method has, `driver` (frame, column) the
    training frames of these; `mean` (atom, space) and `shape` (mode, atom · space) in nm, `body` (atom,) the beads on
    which paths are superposed.
    """

    method: str
    stage: str
    series: np.ndarray
    columns: np.ndarray
    driver: np.ndarray
    model: Expectation
    mean: np.ndarray
    shape: np.ndarray
    body: np.ndarray

    @classmethod
    def of(
        cls, latents: xarray.Dataset, sources: xarray.Dataset, method: str, body: np.ndarray | None = None
    ) -> Learned | None:
        """None where the method has no source, or too few frames to learn from; `method` as `sources` names it."""
        names = [str(name) for name in sources["estimator"].values]
        series, stage = _last_stage(sources, names.index(method))
        columns = np.flatnonzero(np.isfinite(series).any((0, 1)))
        train = splits(sources) == "train"
        latent = latents["latent"].transpose("replica", "time", "mode").values
        driver, response = _training(series[..., columns], train), _training(latent, train)
        both = np.isfinite(driver).all(1) & np.isfinite(response).all(1)
        if not len(columns) or both.sum() < 2:
            return None
        mean = latents["mean_structure"].values.astype(np.float64)
        return cls(
            method,
            stage,
            series,
            columns,
            driver[both],
            Expectation.fit(driver[both], response[both]),
            mean,
            latents["mode_shape"].values.reshape(latents.sizes["mode"], -1),
            np.arange(len(mean)) if body is None or len(body) < 3 else body,
        )

    def structures(self, replica: int, frames: slice) -> np.ndarray:
        """Expected structures (frame, atom, space) of frames of a replica; NaN where a frame has no sources."""
        latent = self.model(self.series[replica, frames][:, self.columns])
        return self.mean + (latent @ self.shape).reshape(-1, *self.mean.shape)

    def motion(self, column: int, name: str, line: tuple[float, float], unit: str) -> Motion:
        """The path along one of the columns, in the direction in which slope · source + offset, its value, rises."""
        low, high = np.percentile(self.driver[:, column], [LOW, HIGH] if line[0] >= 0 else [HIGH, LOW])
        value = np.linspace(low, high, N_POINTS)
        path = self.mean + (self.model.along(column, value) @ self.shape).reshape(N_POINTS, *self.mean.shape)
        return Motion(name, line[0] * value + line[1], unit, superposed(path, self.mean, self.body))


def axes_of(
    learned: Learned,
    truth: Sequence[Truth] = (),
    true: Sequence[Motion] = (),
    train: np.ndarray | None = None,
    entry: dict[str, Any] | None = None,
) -> list[Axis]:
    """Every axis of a method, those that are matched with a true variable first, in the order of these.

    Parameters:
        learned: The method.
        truth: True variables, if known.
        true: Their motions.
        train: (replica,) of bool; training replicas, on which components are scaled to the truth.
        entry: The entry of scores.json that says what is matched with what.
    """
    found = []
    rows = learned.columns
    if entry is not None and len(rows) != len(entry["matrix"]):
        rows = np.arange(learned.series.shape[-1])
    for j, i in enumerate(entry["assignment"] if entry is not None and true else ()):
        component, motion = int(rows[i]) if i >= 0 else None, None
        if component is not None:
            slope, offset = fit_line(learned.series[train][..., component], truth[j].value[train])
            column = int(np.flatnonzero(learned.columns == component)[0])
            motion = learned.motion(column, true[j].name, (slope, offset), true[j].unit)
        found.append(Axis(learned.method, learned.stage, component, motion, true[j]))
    matched = {axis.component for axis in found}
    for column, component in enumerate(learned.columns.tolist()):
        if component not in matched:
            slope = 1 / float(learned.driver[:, column].std() or 1.0)
            line = (slope, -slope * float(learned.driver[:, column].mean()))
            motion = learned.motion(column, f"component {component + 1}", line, "deviations")
            found.append(Axis(learned.method, learned.stage, component, motion, None))
    return found


def true_motions(
    trajectory: xarray.Dataset, variables: Sequence[Truth], train: np.ndarray, reference: np.ndarray, body: np.ndarray
) -> list[Motion]:
    """E[positions | variable] for each true variable, the others at their medians, superposed on a reference.

    Empty where the trajectory's beads are not those of the reference.
    """
    if trajectory.sizes["atom"] != len(reference) or not variables or not train.any():
        return []
    replicas = np.flatnonzero(train)
    step = -(-len(replicas) * trajectory.sizes["time"] // MOST_FRAMES)
    view = trajectory["position"].isel(replica=replicas, time=slice(None, None, step))
    position = view.transpose("replica", "time", "atom", "space").values.astype(np.float64)
    driver = np.stack([variable.value[replicas, ::step].ravel() for variable in variables], -1)
    response = position.reshape(len(driver), -1)
    kept = np.isfinite(driver).all(1) & np.isfinite(response).all(1)
    if kept.sum() < 2:
        return []
    model = Expectation.fit(driver[kept], response[kept])
    result = []
    for j, variable in enumerate(variables):
        low, high = np.percentile(driver[kept][:, j], [LOW, HIGH])
        value = np.linspace(low, high, N_POINTS)
        path = superposed(model.along(j, value).reshape(N_POINTS, *reference.shape), reference, body)
        result.append(Motion(variable.name, value, str(variable.unit), path))
    return result


def superposed(path: np.ndarray, reference: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Structures (point, atom, space), each turned and moved onto a reference by the beads of the body."""
    to = reference[body].mean(0)
    result = np.empty_like(path)
    for i, structure in enumerate(path):
        of = structure[body].mean(0)
        turn = Rotation.align_vectors(reference[body] - to, structure[body] - of)[0].as_matrix()
        result[i] = (structure - of) @ turn.T + to
    return result


def _last_stage(sources: xarray.Dataset, method: int) -> tuple[np.ndarray, str]:
    """Sources (replica, time, component) of the last stage that a method has, and its name."""
    order = ("stage", "replica", "time", "component")
    series = sources["source"].isel(estimator=method).transpose(*order).values.astype(np.float64)
    stage = int(np.flatnonzero(np.isfinite(series).any((1, 2, 3)))[-1:].sum())
    return series[stage], str(sources["stage"].values[stage])


def _training(series: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Training frames (frame, column) of a series (replica, time, column), evenly thinned."""
    flat = series[train].reshape(-1, series.shape[-1])
    return flat[:: -(-len(flat) // MOST_FRAMES) or 1]


def _powers(x: np.ndarray, degree: int) -> np.ndarray:
    """1, x, x², … of each driver: (frame, 1 + driver · degree)."""
    return np.concatenate([np.ones((len(x), 1)), *(x**d for d in range(1, degree + 1))], axis=1)

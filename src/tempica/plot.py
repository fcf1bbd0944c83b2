"""Figures of fitted estimators and of their sources, with Matplotlib: each function returns the Axes it drew on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica.errors import DataError
from tempica.evaluate.metrics.matching import assign

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes

BLUE, BLACK, GREY = "#0072B2", "#222222", "#8a8a8a"


def loss(estimator: Any, *, ax: Axes | None = None) -> Axes:
    """Loss of a fit against its steps, in nats: in training and held out, at each check.

    Parameters:
        estimator: fitted; one that trains a network (`loss_curve_`).
        ax: Axes to draw on; new ones if none.

    Raises DataError for an estimator without a loss curve: linear ones have a closed solution.
    """
    curve = getattr(estimator, "loss_curve_", None)
    if not curve:
        raise DataError(
            f"{type(estimator).__name__} has no loss_curve_: only estimators that train a network have one, after fit."
        )
    ax = _axes(ax)
    steps, *training, held_out = np.array(curve, dtype=float).T
    for values in training:
        ax.plot(steps, values, color=GREY, label="training")
    ax.plot(steps, held_out, color=BLUE, label="held out")
    ax.set(xlabel="step", ylabel="loss (nats)", title=type(estimator).__name__)
    ax.legend(frameon=False)
    return ax


def sources(
    S: Any,
    X: Any = None,
    *,
    truth: Any = None,
    names: Sequence[str] | None = None,
    n_frames: int = 400,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Sources over time, one above the other, each in units of its standard deviation.

    Parameters:
        S: sources (frame, component), or a fitted estimator, whose sources of X are drawn.
        X: frames (frame, feature), with an estimator.
        truth: known variables (frame, variable), drawn in black, each over the source that is matched to it, turned
            to its sign.
        names: of the variables.
        n_frames: how many frames are drawn, from the first on.
        title: of the figure.
        ax: Axes to draw on; new ones if none.

    Example:
        >>> from tempica import plot
        >>> from tempica.ica.synthetic import autoregressive
        >>> problem = autoregressive(2, 200)
        >>> ax = plot.sources(problem.S)
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['source 1', 'source 2']
    """
    if title is None and hasattr(S, "transform"):
        title = type(S).__name__
    S = _standard(_of(S, X))
    ax, of_truth = _axes(ax), {}
    if truth is not None:
        T = _standard(truth)
        found = _correlations(S, T)
        of_truth = {int(i): j for j, i in enumerate(assign(np.abs(found))) if i >= 0}
    ticks = []
    for i, values in enumerate(S.T):
        j, label = of_truth.get(i), f"source {i + 1}"
        if j is not None:
            values = values * (np.sign(found[i, j]) or 1.0)
            ax.plot(T[:n_frames, j] - 6 * i, color=BLACK, lw=0.8)
            label += f"\n{names[j] if names is not None else f'variable {j + 1}'} {abs(found[i, j]):.2f}"
        ax.plot(values[:n_frames] - 6 * i, color=BLUE, lw=0.8)
        ticks.append(label)
    ax.set_yticks([-6 * i for i in range(len(ticks))], ticks)
    ax.set(xlabel="frame", title=title or "")
    return ax


def matrix(
    S: Any, X: Any = None, *, truth: Any = None, names: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Correlation (Pearson) of each source with each known variable, or else with each feature.

    Parameters:
        S: sources (frame, component), or a fitted estimator, whose sources of X are meant.
        X: frames (frame, feature).
        truth: known variables (frame, variable); the features X if none.
        names: of the columns.
        ax: Axes to draw on; new ones if none.

    Raises DataError where there is nothing to compare sources with.
    """
    columns = X if truth is None else truth
    if columns is None:
        raise DataError("plot.matrix needs what sources are compared with: truth=(frame, variable), or X.")
    found = _correlations(_standard(_of(S, X)), _standard(columns))
    ax = _axes(ax)
    ax.imshow(found, vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
    for (i, j), value in np.ndenumerate(found):
        if found.size <= 100:
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if abs(value) > 0.6 else BLACK)
    kind = "variable" if truth is not None else "feature"
    ax.set_xticks(range(found.shape[1]), names or [f"{kind} {j + 1}" for j in range(found.shape[1])])
    ax.set_yticks(range(len(found)), [f"source {i + 1}" for i in range(len(found))])
    return ax


def scores(rows: Sequence[Mapping[str, Any]], *, ax: Axes | None = None) -> Axes:
    """Score, 95 % interval and chance (grey, to its 95th percentile) of rows of scores.json."""
    ax = _axes(ax)
    for y, row in enumerate(rows):
        ax.barh(y, row["null_95"], color="#e6e6e6")
        ax.plot(row["interval"], [y, y], color=BLUE, lw=2)
        ax.plot(row["value"], y, "o", color=BLUE, mfc=BLUE if row["stage"] == "smoothed" else "white")
    ax.set_yticks(range(len(rows)), [f"{row['method']}, {row['stage']}" for row in rows])
    ax.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6), xlabel="mean absolute correlation with the truth")
    return ax


def movie(images: Any, *, interval_ms: float = 80.0) -> FuncAnimation:
    """Images (frame, y, x) as a Matplotlib animation; grey from the 1st to the 99th percentile."""
    import matplotlib.pyplot as plt
    from matplotlib.animation import FuncAnimation

    images = np.asarray(images)
    if images.ndim != 3 or not len(images):
        raise DataError(f"images have shape {images.shape}; they must be (frame, y, x), one frame at least.")
    low, high = np.percentile(images, (1, 99))
    figure, ax = plt.subplots(figsize=(3.2, 3.2), layout="constrained")
    ax.set_axis_off()
    shown = ax.imshow(images[0], cmap="gray", vmin=low, vmax=high)

    def draw(frame: int) -> tuple[Any, ...]:
        shown.set_data(images[frame])
        return (shown,)

    return FuncAnimation(figure, draw, frames=len(images), interval=interval_ms, blit=True)


def _axes(ax: Axes | None) -> Axes:
    """New Axes on pyplot's next figure, so that notebooks and `plt.show()` see it, if none are given."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.4, 3.6), layout="constrained")[1]


def _of(S: Any, X: Any) -> np.ndarray:
    """Sources (frame, component) themselves, or those that an estimator finds in X."""
    if not hasattr(S, "transform"):
        return np.asarray(S)
    if X is None:
        raise DataError(f"{type(S).__name__} needs the frames whose sources are to be drawn: give X.")
    return np.asarray(S.transform(X))


def _standard(values: Any) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 2:
        raise DataError(f"An array has shape {values.shape}; it must be (frame, column).")
    deviation = values.std(0)
    return (values - values.mean(0)) / np.where(deviation > 0, deviation, 1.0)


def _correlations(S: np.ndarray, T: np.ndarray) -> np.ndarray:
    if len(S) != len(T):
        raise DataError(f"Sources have {len(S)} frames, and what they are compared with {len(T)}: give as many.")
    return S.T @ T / len(S)

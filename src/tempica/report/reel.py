"""What plays in the player: frames, structures and traces of a held-out replica."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tempica.recipe.experiment import Recipe
from tempica.report import sprites
from tempica.report.beads import Beads, beads_of
from tempica.report.frames import clean_frames, recorded_frames
from tempica.report.molecule import upright
from tempica.report.motion import Learned, superposed
from tempica.report.recovered import Recovery, Truth, splits
from tempica.report.words import number

if TYPE_CHECKING:
    import xarray

MOST_BYTES = 250_000  # of the structures of one kind, before they become text
MOST_TRACES = 8


@dataclass(frozen=True, eq=False)
class Trace:
    """One curve over the frames shown: `found` with its deviation, `true` where known; (frame,), in `unit`."""

    name: str
    unit: str
    found: np.ndarray
    deviation: np.ndarray
    true: np.ndarray | None
    note: str = ""

    @property
    def limits(self) -> tuple[float, float]:
        """Lower and upper end of its axis."""
        values = np.concatenate([self.found, self.true if self.true is not None else []])
        values = values[np.isfinite(values)]
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        room = 0.12 * ((high - low) or 1.0)
        return low - room, high + room


@dataclass(frozen=True, eq=False)
class Reel:
    """What plays: images (frame, y, x) in 8 bits, structures (frame, atom, space) in nm, traces; a frame of each kind.

    `clean` and `true` are None without a truth, `structure` where no axis moves one. `time` (frame,) in `unit`.
    """

    method: str
    stage: str
    replica: int
    held_out: bool
    time: np.ndarray
    recorded: np.ndarray
    clean: np.ndarray | None
    structure: np.ndarray | None
    true: np.ndarray | None
    beads: Beads | None
    traces: tuple[Trace, ...]
    unit: str = "ps"
    of: str = "replica"  # what `replica` is the number of

    @property
    def where(self) -> str:
        """What the frames are of."""
        return f"{'held-out ' if self.held_out else ''}{self.of} {self.replica}"


def reel_of(
    recipe: Recipe,
    movie: xarray.Dataset,
    sources: xarray.Dataset,
    methods: Sequence[str],
    *,
    latents: xarray.Dataset | None = None,
    trajectory: xarray.Dataset | None = None,
    truth: Sequence[Truth] = (),
    found: Sequence[Recovery] = (),
    topology: str | None = None,
    n_frames: int | None = None,
) -> Reel | None:
    """The first frames of the first held-out replica; None without a method.

    Parameters:
        recipe: For domains.
        movie: With the true poses, where a trajectory is given; only the frames shown are read.
        sources: Its coordinate `estimator` holds the names that `methods` uses.
        methods: Names of methods; the first is shown.
        latents: Store of embed; without it, no structure is shown.
        trajectory: Store of simulate, if the truth is known, with its variables in `truth`.
        truth: See `trajectory`.
        found: Recovered variables on the scale of the truth.
        topology: JSON of the beads' topology; that of the trajectory if None.
        n_frames: At most so many frames; as many as fit the page if None.
    """
    if not len(methods) or not movie.sizes["time"]:
        return None
    method = methods[0]
    held_out = np.flatnonzero(splits(sources) == "held_out")
    replica = int(held_out[0]) if len(held_out) else movie.sizes["replica"] - 1
    kinds = 2 if trajectory is not None else 1
    n = min(movie.sizes["time"], n_frames or sprites.n_shown(movie.sizes["time"], movie.sizes["x"], kinds))
    recorded = recorded_frames(movie, replica, list(range(n)))
    clean = None
    if trajectory is not None:
        clean = sprites.to_gray(sprites.binned(clean_frames(trajectory, movie, replica, list(range(n)))), 0.05)
    beads, structure, true = _structures(recipe, sources, method, latents, trajectory, topology, replica, n)
    traces = _scaled(truth, found, method, replica, n) or _unscaled(sources, method, replica, n)
    return Reel(
        method=method,
        stage=next((r.stage for r in reversed(found) if r.method == method), ""),
        replica=int(movie["replica"].values[replica]),
        held_out=bool(len(held_out)),
        time=movie["time"].values[:n] - movie["time"].values[0],
        recorded=sprites.to_gray(sprites.binned(recorded), 0.5),
        clean=clean,
        structure=structure,
        true=true,
        beads=beads,
        traces=tuple(traces[:MOST_TRACES]),
    )


def _structures(
    recipe: Recipe,
    sources: xarray.Dataset,
    method: str,
    latents: xarray.Dataset | None,
    trajectory: xarray.Dataset | None,
    topology: str | None,
    replica: int,
    n: int,
) -> tuple[Beads | None, np.ndarray | None, np.ndarray | None]:
    """Beads, recovered and true structures, thinned to what fits the page and turned to the view of the page."""
    if latents is None or "mode_shape" not in latents:
        return None, None, None
    if topology is None and trajectory is not None:
        topology = trajectory.attrs.get("topology")
    mean = latents["mean_structure"].values.astype(np.float64)
    beads = beads_of(recipe, topology, mean)
    learned = Learned.of(latents, sources, method, beads.body)
    if learned is None:
        return None, None, None
    thin = -(-len(mean) * 6 * min(n, sprites.MOST) // MOST_BYTES)
    turn, middle = upright(mean), mean.mean(0)

    def shown(structure: np.ndarray) -> np.ndarray:
        whole = np.isfinite(structure).all((1, 2))
        result = np.repeat(mean[None], len(structure), 0)
        result[whole] = superposed(structure[whole], mean, learned.body)
        return (result[:, ::thin] - middle) @ turn.T

    true = None
    if trajectory is not None and trajectory.sizes["atom"] == len(mean):
        true = shown(trajectory["position"].isel(replica=replica, time=slice(0, n)).values.astype(np.float64))
    return beads.thinned(thin), shown(learned.structures(replica, slice(0, n))), true


def _scaled(truth: Sequence[Truth], found: Sequence[Recovery], method: str, replica: int, n: int) -> list[Trace]:
    """Traces of true variables beside what the method's last stage recovered of them."""
    traces = []
    for j, variable in enumerate(truth):
        own = [r for r in found if (r.method, r.variable) == (method, j)]
        if own:
            last = own[-1]
            note = f"|ρ| = {number(last.correlation, 2)}" if last.found else "no component matched"
            value, spread = last.value[replica, :n], last.deviation[replica, :n]
            traces.append(Trace(variable.name, str(variable.unit), value, spread, variable.value[replica, :n], note))
    return traces


def _unscaled(sources: xarray.Dataset, method: str, replica: int, n: int) -> list[Trace]:
    """Traces of a method's components by its last stage, in standard deviations of all frames."""
    m = [str(name) for name in sources["estimator"].values].index(method)
    order = ("stage", "replica", "time", "component")
    series = sources["source"].isel(estimator=m).transpose(*order).values
    variance = sources["source_variance"].isel(estimator=m).transpose(*order).values
    stage = int(np.flatnonzero(np.isfinite(series).any((1, 2, 3)))[-1:].sum())
    traces = []
    for k in np.flatnonzero(np.isfinite(series[stage]).any((0, 1))).tolist():
        middle, size = np.nanmean(series[stage, ..., k]), np.nanstd(series[stage, ..., k]) or 1.0
        spread = np.sqrt(np.maximum(variance[stage, replica, :n, k], 0)) / size
        value = (series[stage, replica, :n, k] - middle) / size
        traces.append(Trace(f"component {k + 1}", "deviations", value, spread, None))
    return traces

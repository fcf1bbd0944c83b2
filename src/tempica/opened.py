"""Open what tempica has made: `tempica.open` gives a run's folder, or one of `tempica unmix`, as one object."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica.errors import DataError, StoreError
from tempica.ica.methods import trainable
from tempica.stores import schema
from tempica.stores.reading import open_store
from tempica.stores.store import file_name

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes

STORES = ("trajectory", "movie", "latents", "sources")
HEADLINE = ("held_out", "mcc_spearman")  # the split and the metric that a run is judged by


def open(path: str | Path) -> Opened:
    """What a folder holds that `tempica run`, `tempica import` or `tempica unmix` has made.

    Parameters:
        path: the folder, as runs/NAME.

    Raises StoreError where there is no such folder, or nothing of tempica in it.

    Example:
        >>> import tempica
        >>> tempica.open("simulations")
        Traceback (most recent call last):
            ...
        tempica.errors.StoreError: simulations is no folder of a run and none of tempica unmix. ...
    """
    path = Path(path)
    if not any((path / name).exists() for name in ("recipe.toml", "unmix.json")):
        there = "is no folder of a run and none of tempica unmix" if path.exists() else "does not exist"
        raise StoreError(f"{path} {there}. A run is made with `tempica run RECIPE`, in runs/NAME.")
    return Opened(path)


@dataclass(frozen=True)
class Opened:
    """A finished or unfinished folder; `print` tells what there is.

    Attributes:
        path: the folder.
        trajectory: store of positions and of the truth.
        movie: store of images; one of an X-ray laser has photons.
        latents: store of latents; of `tempica unmix`, the table of them.
        sources: store of sources, with the dimension `estimator`: `sources["source"].sel(estimator="pcl")`.
        scores: one row a method, stage, split and metric, as a pandas DataFrame.
        record: scores.json, or unmix.json, as it is.
        verdict: the sentence on the whole result; None where none was written.

    Stores are xarray Datasets, read as needed. Each raises StoreError where it has not been made.
    """

    path: Path

    @property
    def trajectory(self) -> xarray.Dataset:
        return self._store("trajectory")

    @property
    def movie(self) -> xarray.Dataset:
        return self._store("movie")

    @property
    def latents(self) -> xarray.Dataset:
        return self._store("latents")

    @property
    def sources(self) -> xarray.Dataset:
        return self._store("sources")

    @cached_property
    def record(self) -> dict[str, Any]:
        name = "scores.json" if self._is_run else "unmix.json"
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StoreError(
                f"There is no {name} in {self.path}. Make it with: tempica run {self.path}, where the truth is known."
            ) from None

    @property
    def scores(self) -> pandas.DataFrame:
        import pandas

        if not self._is_run:
            raise StoreError(f"{self.path} is of tempica unmix: without a truth there are no scores. See `verdict`.")
        return pandas.DataFrame(self.record["rows"])

    @property
    def verdict(self) -> str | None:
        if not self._is_run:
            return f"{self.record['verdict']}: {self.record['why']}"
        found = self.record.get("verdict")
        return found.get("sentence") if isinstance(found, dict) else found

    def plot_sources(self, estimator: str | None = None, replica: int = -1, ax: Axes | None = None) -> Axes:
        """Sources over time, and the truth where it is known; of the last method and replica if none are named."""
        from tempica import plot

        name, S = self._sources(estimator, replica)
        truth, names = None, None
        if self._is_run and self._has("trajectory"):
            known = self.trajectory["collective_variable"]
            truth, names = known.values[replica], [str(cv) for cv in known["cv"].values]
        return plot.sources(S, truth=truth, names=names, title=name, ax=ax)

    def plot_scores(self, ax: Axes | None = None) -> Axes:
        """Held-out correlation with the truth, with its interval and what chance reaches."""
        from tempica import plot

        return plot.scores(self._headline(), ax=ax)

    def play(self, replica: int = -1, n_frames: int = 100) -> FuncAnimation:
        """The first frames of a replica's movie, moving: `.to_jshtml()` in a notebook, `.save("movie.gif")`."""
        from tempica import plot

        return plot.movie(self.movie["image"].isel(replica=replica, time=slice(0, n_frames)).values)

    def __repr__(self) -> str:
        kind = "Run" if self._is_run else "Result of tempica unmix"
        lines = [f"{kind} {self.path}"]
        for name in STORES if self._is_run else STORES[2:]:
            lines.append(f"  {name:<11} {self._told(name)}")
        if not self._is_run or (self.path / "scores.json").exists():
            lines += [f"  {name:<11} {text}" for name, text in self._found()]
        if (self.path / "report.html").exists():
            lines.append(f"  {'report':<11} {self.path / 'report.html'}")
        return "\n".join(lines)

    @property
    def _is_run(self) -> bool:
        return not (self.path / "unmix.json").exists()

    def _has(self, name: str) -> bool:
        return (self.path / file_name(name)).exists()

    def _store(self, name: str) -> xarray.Dataset:
        if not self._is_run and name in STORES[:2]:
            raise StoreError(f"{self.path} is of tempica unmix, which makes no {name}. It has latents and sources.")
        kind = name if self._is_run else {"latents": "latent_table", "sources": "source_table"}[name]
        return open_store(self.path / file_name(name), kind, *schema.IN_A_RUN.get(kind, ()))

    def _told(self, name: str) -> str:
        """Sizes of a store in words."""
        if not self._has(name):
            return "not there"
        data = self._store(name)
        if not self._is_run:
            frames = f"{data.sizes['row']} rows"
        else:
            frames = f"{data.sizes['replica']} replicas of {data.sizes['time']} frames"
        match name:
            case "trajectory":
                known = ", ".join(map(str, data["cv"].values))
                return f"{frames}, {data.sizes['atom']} beads or atoms; known: {known or 'nothing'}"
            case "movie":
                poses = f", poses {data.attrs['pose']}" if "pose" in data.attrs else ""  # crops are aligned
                return f"{frames}, {data.sizes['y']} × {data.sizes['x']} pixels{poses}"
            case "latents":
                return f"{frames}, {data.sizes['mode' if self._is_run else 'feature']} latents"
            case _:
                return (
                    f"{frames}, {data.sizes['component']} components; {', '.join(map(str, data['estimator'].values))}"
                )

    def _found(self) -> list[tuple[str, str]]:
        """Scores and verdict in words."""
        told = []
        if self._is_run:
            rows = [f"{row['method']} {row['value']:.2f}" for row in self._headline() if row["stage"] == "unmixed"]
            if rows:  # none where the truth is not known
                told.append(("scores", f"held-out correlation with the truth, unsmoothed: {', '.join(rows)}"))
        if self.verdict is not None:
            told.append(("verdict", self.verdict))
        return told

    def _headline(self) -> list[dict[str, Any]]:
        self.scores  # noqa: B018  # says what is wrong where there are none
        return [row for row in self.record["rows"] if (row["split"], row["metric"]) == HEADLINE]

    def _sources(self, estimator: str | None, replica: int) -> tuple[str, np.ndarray]:
        """Name of a method and its sources (frame, component), smoothed where they are."""
        data = self.sources
        names = [str(name) for name in data["estimator"].values]
        trained = [row.name for row in trainable() if row.name in names]
        name = (trained or names)[-1] if estimator is None else estimator
        if name not in names:
            raise DataError(f"estimator = {name!r}: {self.path} has sources of {', '.join(names)}.")
        of_method = data["source"].isel(estimator=names.index(name))
        if self._is_run:
            stages = of_method.isel(replica=replica).values[::-1]
            values = next(each for each in stages if np.isfinite(each).any())
        else:
            smoothed = data["smoothed_source"].values  # of the method given out, the last
            values = smoothed if name == names[-1] and np.isfinite(smoothed).any() else of_method.values
        return name, values[:, np.isfinite(values).any(0)]

"""What the tasks of the stage share: the camera's model of a frame, which frames there are, and their images.

Everything that tasks hand on lies in npz files of the stage's folder, so that a run that was killed goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica import imaging
from tempica.embed.micrographs import Micrographs, concatenated
from tempica.embed.quadratic import Observed, observe
from tempica.imaging.likelihood import Likelihood
from tempica.imaging.linearise import Scatterers
from tempica.imaging.photons import Patterns, patterns_in
from tempica.imaging.photons import joined as joined_patterns
from tempica.runs.reading import read
from tempica.stores import files, store

if TYPE_CHECKING:
    import xarray

EXACT = np.repeat([1e-4, 1e-3], [3, 2])  # rad and Å: deviation of a stated rotation or shift that has no error


@dataclass(frozen=True)
class Setting:
    """How images of a run are modelled, apart from the molecule's motion."""

    # of the electron microscope; others state theirs in the movie, and leave these empty
    amplitude_A: np.ndarray  # (N, gaussian)
    width_A: np.ndarray  # (N, gaussian)
    noise_variance: np.ndarray  # () of a pixel, 1/Å²; 1 of other cameras, whose misfits are relative to their noise
    noise_power: np.ndarray  # (D, D//2 + 1) relative to white noise
    radius: np.ndarray  # () of the disc of Fourier coefficients
    # of every camera
    shift_deviation_A: np.ndarray  # () of hidden shifts
    signal: np.ndarray  # () what a frame says of the molecule's brightness: |model|² over the noise's variance, photons
    rest: np.ndarray  # (L, N, 3) nm, motion that the modes leave out, of amplitudes ~ N(0, 1)
    place_variance: np.ndarray  # (N,) nm² of beads along an axis; of electrons' it is in their width already

    @property
    def scatterers(self) -> Scatterers:
        return Scatterers(self.amplitude_A, self.width_A)

    def save(self, path: Path) -> None:
        files.save_arrays(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Setting:
        return cls(**files.load_arrays(path))


@dataclass(frozen=True, order=True)
class Span:
    """Frames first … last − 1 of a replica."""

    replica: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def __str__(self) -> str:
        return f"{self.replica}-{self.first}"

    def of(self, dataset: xarray.Dataset) -> xarray.Dataset:
        return dataset.isel(replica=self.replica, time=slice(self.first, self.last))


def movie_of(run: Path) -> xarray.Dataset:
    """The run's movie, opened once by each worker: to open it takes as long as some dozen frames."""
    root = run / store.file_name("movie") / "zarr.json"
    if not root.exists():
        return read(run, "embed", "movie")  # which says what is wrong
    about = root.stat()
    return _opened(run, about.st_mtime_ns, about.st_ino)


@lru_cache(maxsize=1)
def _opened(run: Path, changed: int, file: int) -> xarray.Dataset:
    return read(run, "embed", "movie")


def likelihood_of(run: Path, setting: Setting, span: Span) -> Likelihood:
    """Frames of a span, whichever camera took them."""
    return likelihood_of_all(run, setting, [span])


def likelihood_of_all(run: Path, setting: Setting, spans: list[Span]) -> Micrographs | Patterns:
    """Frames of spans, one after the other."""
    movie = movie_of(run)
    if movie.attrs["kind"] == "diffraction":
        patterns = joined_patterns([patterns_in(movie, span.of(movie)["image"].values) for span in spans])
        return patterns.widened(setting.place_variance)
    return concatenated([Micrographs(observed_of(movie, setting, span), setting.scatterers) for span in spans])


def observed_of(movie: xarray.Dataset, setting: Setting, span: Span) -> Observed:
    """Whitened images of a span, of the electron microscope."""
    camera, part = imaging.camera_of(movie), span.of(movie)
    return observe(
        camera,
        part["image"].values.astype(np.float32),
        [part[name].values for name in imaging.FOCUS],
        float(setting.noise_variance),
        int(setting.radius),
        setting.noise_power,
    )


def stated_precision(movie: xarray.Dataset) -> np.ndarray:
    """Precision (5,) of the poses that a movie states, 1/rad² and 1/Å²; 0 where they are known, or hidden.

    Where a rotation or a shift alone has an error, the other is exact: it may be off by `EXACT`.
    """
    about = movie.attrs
    if about["pose"] != "approximate":
        return np.zeros(5)
    deviation = np.repeat([np.radians(about["pose_error_deg"]), about["pose_error_A"]], [3, 2])
    return np.asarray(np.maximum(deviation, EXACT) ** -2.0)


def molecules(movie: xarray.Dataset, spans: Iterable[Span]) -> np.ndarray:
    """Labels (F,) of the molecules of spans one after the other; frames that do not follow each other differ."""
    number = movie["molecule"].values
    labels, before = [], None
    count = -1
    for span in spans:
        own = number[span.replica, span.first : span.last]
        for frame, molecule in enumerate(own.tolist(), span.first):
            here = (span.replica, frame, molecule)
            if before is None or here != (before[0], before[1] + 1, before[2]):
                count += 1
            labels.append(count)
            before = here
    return np.array(labels)


def labels_of(movie: xarray.Dataset, spans: Iterable[Span]) -> np.ndarray | None:
    """Labels (F,) of the frames of spans one after the other; none where all have the same."""
    label = movie["label"].values
    found = np.concatenate([label[span.replica, span.first : span.last] for span in spans])
    return found if np.ptp(found) else None


def joined(parts: Iterable[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Arrays over frames of several files, one after the other."""
    parts = list(parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

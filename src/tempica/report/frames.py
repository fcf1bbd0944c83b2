"""Example frames: what the camera recorded, and the same frames without noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tempica import imaging
from tempica.imaging.afm import probe_of
from tempica.imaging.heights import heights_in
from tempica.imaging.photons import patterns_in

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False)
class Example:
    """`clean` and `noisy` (y, x) in 1/Å, roots of photons, or nm; `replica` by name, `frame` by its place."""

    replica: int
    frame: int
    clean: np.ndarray
    noisy: np.ndarray


def examples(trajectory: xarray.Dataset, movie: xarray.Dataset, replicas: np.ndarray, n: int) -> list[Example]:
    """At most `n` frames spread evenly over the replicas (by position); nothing else of the movie is read.

    The movie's poses must be the true ones.
    """
    n_frames = movie.sizes["time"]
    total = len(replicas) * n_frames
    flat = np.unique(((np.arange(n if total else 0) + 0.5) * total / n).astype(int)).tolist()
    return [_example(trajectory, movie, int(replicas[i // n_frames]), i % n_frames) for i in flat]


def clean_frames(trajectory: xarray.Dataset, movie: xarray.Dataset, replica: int, frames: list[int]) -> np.ndarray:
    """Frames of a replica without noise (frame, y, x) in 1/Å, roots of photons, or nm.

    The movie's poses must be the true ones.
    """
    at = {"replica": replica, "time": frames}
    view = movie.isel(at)
    if movie.attrs.get("kind") == "diffraction":
        return _patterns(trajectory, movie, view, replica, frames)
    if movie.attrs["kind"] == "heights":
        return _heights(trajectory, movie, view, replica, frames)
    return imaging.camera_of(movie).clean_images(
        trajectory["position"].isel(at).values.astype(np.float64),
        *(view[name].values for name in ("pose_quaternion", "pose_shift_A", *imaging.FOCUS)),
    )


def recorded_frames(movie: xarray.Dataset, replica: int, frames: list[int]) -> np.ndarray:
    """Frames of a replica as recorded (frame, y, x), in units of `clean_frames`."""
    image = movie["image"].isel(replica=replica, time=frames).values.astype(np.float64)
    return np.sqrt(image) if movie.attrs.get("kind") == "diffraction" else image


def _example(trajectory: xarray.Dataset, movie: xarray.Dataset, replica: int, frame: int) -> Example:
    return Example(
        replica=int(movie["replica"].values[replica]),
        frame=frame,
        clean=clean_frames(trajectory, movie, replica, [frame])[0],
        noisy=recorded_frames(movie, replica, [frame])[0],
    )


def _heights(
    trajectory: xarray.Dataset, movie: xarray.Dataset, view: xarray.Dataset, replica: int, frames: list[int]
) -> np.ndarray:
    """What the tip finds of the molecule at the start of each frame, in nm."""
    image = view["image"].values
    position = trajectory["position"].isel({"replica": replica, "time": frames}).values.astype(np.float64)
    seen = replace(heights_in(movie, image), probe=probe_of(movie.attrs, image.shape[-1]))
    rotation = imaging.rotation_matrix(view["pose_quaternion"].values)
    return seen.model(position, rotation, view["pose_shift_A"].values).astype(np.float64)


def _patterns(
    trajectory: xarray.Dataset, movie: xarray.Dataset, view: xarray.Dataset, replica: int, frames: list[int]
) -> np.ndarray:
    """Roots of the photons that are expected of shots: the noise of a root is the same everywhere."""
    image = view["image"].values
    position = trajectory["position"].isel({"replica": replica, "time": frames}).values.astype(np.float64)
    patterns = patterns_in(movie, image)
    rotation = imaging.rotation_matrix(view["pose_quaternion"].values)
    _, fluence = patterns.expand_with_fluence(position, rotation, np.zeros((0, *position.shape[1:])), pose=False)
    clean = np.zeros(image.shape)
    light = patterns.expected(position, rotation) - patterns.background
    clean[:, movie["mask"].values > 0] = fluence[:, None] * light + patterns.background
    return np.sqrt(clean)

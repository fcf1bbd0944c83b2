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
    """`clean` and `noisy` (y, x) in 1/Å, roots of photons, or nm; `replica` by name, `frame` by its place in time."""

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


def _example(trajectory: xarray.Dataset, movie: xarray.Dataset, replica: int, frame: int) -> Example:
    at = {"replica": replica, "time": [frame]}
    view = movie.isel(at)
    if movie.attrs["kind"] == "diffraction":
        return _pattern(trajectory, movie, view, replica, frame)
    if movie.attrs["kind"] == "heights":
        return _heights(trajectory, movie, view, replica, frame)
    clean = imaging.camera_of(movie).clean_images(
        trajectory["position"].isel(at).values.astype(np.float64),
        *(view[name].values for name in ("pose_quaternion", "pose_shift_A", *imaging.FOCUS)),
    )
    return Example(
        replica=int(movie["replica"].values[replica]),
        frame=frame,
        clean=clean[0],
        noisy=view["image"].values[0].astype(np.float64),
    )


def _heights(
    trajectory: xarray.Dataset, movie: xarray.Dataset, view: xarray.Dataset, replica: int, frame: int
) -> Example:
    """What the tip finds of the molecule at the start of a frame, and what it recorded."""
    image = view["image"].values
    position = trajectory["position"].isel({"replica": replica, "time": [frame]}).values.astype(np.float64)
    seen = replace(heights_in(movie, image), probe=probe_of(movie.attrs, image.shape[-1]))
    clean = seen.model(position, imaging.rotation_matrix(view["pose_quaternion"].values), view["pose_shift_A"].values)
    return Example(
        int(movie["replica"].values[replica]), frame, clean[0].astype(np.float64), image[0].astype(np.float64)
    )


def _pattern(
    trajectory: xarray.Dataset, movie: xarray.Dataset, view: xarray.Dataset, replica: int, frame: int
) -> Example:
    """Photons that are expected of a shot, and those that were counted, as square roots, whose noise is the same."""
    image = view["image"].values
    position = trajectory["position"].isel({"replica": replica, "time": [frame]}).values.astype(np.float64)
    patterns = patterns_in(movie, image)
    rotation = imaging.rotation_matrix(view["pose_quaternion"].values)
    _, fluence = patterns.expand_with_fluence(position, rotation, np.zeros((0, *position.shape[1:])), pose=False)
    clean = np.zeros(image[0].shape)
    light = patterns.expected(position, rotation)[0] - patterns.background
    clean[movie["mask"].values > 0] = fluence[0] * light + patterns.background
    name = int(movie["replica"].values[replica])
    return Example(name, frame, np.sqrt(clean), np.sqrt(image[0].astype(np.float64)))

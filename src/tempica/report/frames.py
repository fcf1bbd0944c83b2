"""Example frames: what the camera recorded, and the same frames without noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tempica import imaging

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False)
class Example:
    """One frame: `clean` and `noisy` (y, x) in 1/Å; `replica` by its name, `frame` by its place in time."""

    replica: int
    frame: int
    clean: np.ndarray
    noisy: np.ndarray


def examples(trajectory: xarray.Dataset, movie: xarray.Dataset, replicas: np.ndarray, n: int) -> list[Example]:
    """At most `n` frames spread evenly over the replicas (by position); nothing else of the movie is read."""
    n_frames = movie.sizes["time"]
    total = len(replicas) * n_frames
    flat = np.unique(((np.arange(n if total else 0) + 0.5) * total / n).astype(int)).tolist()
    return [_example(trajectory, movie, int(replicas[i // n_frames]), i % n_frames) for i in flat]


def _example(trajectory: xarray.Dataset, movie: xarray.Dataset, replica: int, frame: int) -> Example:
    view = movie.isel(replica=replica, time=frame)
    position = trajectory["position"].isel(replica=replica, time=frame).values.astype(np.float64)
    optics = imaging.optics_of(movie)
    xy = imaging.to_pixels(
        position[None],
        imaging.rotation_matrix(view["pose_quaternion"].values[None]),
        view["pose_shift"].values[None],
        optics.n_pixels,
        optics.pixel_size_A,
    )
    potential = imaging.project(
        xy,
        trajectory["scattering_length"].values,
        optics.width_A(trajectory["bead_width"].values),
        optics.n_pixels,
        optics.pixel_size_A,
    )
    defocus = [np.atleast_1d(view[name].values) for name in ("defocus_u", "defocus_v", "defocus_angle")]
    return Example(
        replica=int(movie["replica"].values[replica]),
        frame=frame,
        clean=imaging.through_optics(potential, optics.transfer(*defocus))[0],
        noisy=view["image"].values.astype(np.float64),
    )

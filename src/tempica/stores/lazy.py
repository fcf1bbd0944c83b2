"""Images of a lazy movie: made when they are read, bit for bit those of a stored movie.

A lazy movie keeps pose, focus and dose of each frame, and the camera, the scale and the seed of all. Positions come
from the trajectory, and true poses from poses.zarr if the movie does not state them. This module reads both and hands
out images only, so that a stage that may read the movie still sees no truth. Other programs (`xarray.open_zarr`) see a
lazy movie without the variable `image`.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing

from tempica import imaging
from tempica.errors import StoreError
from tempica.imaging.recording import VIEW, Recorder
from tempica.stores import schema, store
from tempica.stores.opening import open_stored

BLOCK_FRAMES = 100  # made at a time


def with_images(movie: xarray.Dataset, run: Path) -> xarray.Dataset:
    """A lazy movie with its variable `image`; `run` is the folder that holds the movie and what it is made from."""
    rule = schema.STORES["movie"]["image"]
    array = _Images(movie, run)
    about = {"units": rule.units, "long_name": rule.description}
    about |= {name: movie.attrs["lazy"][name] for name in ("scale_factor", "add_offset")}
    image = xarray.Variable(rule.dims, indexing.LazilyIndexedArray(array), about)
    return movie.assign(xarray.decode_cf(xarray.Dataset({"image": image}), decode_times=False).data_vars)


def scale_of(movie: xarray.Dataset) -> dict[str, Any]:
    """Digital levels of a lazy movie: the arguments of `imaging.Scale`."""
    about = movie.attrs["lazy"]
    return {"factor": about["scale_factor"], "offset": about["add_offset"], "levels": about.get("levels", 255)}


class _Images(BackendArray):
    """The array that xarray indexes; other stores are opened when the first image is read."""

    def __init__(self, movie: xarray.Dataset, run: Path) -> None:
        self._movie, self._run = movie, run
        n_pixels = movie.attrs["lazy"]["n_pixels"]
        self.shape = (movie.sizes["replica"], movie.sizes["time"], n_pixels, n_pixels)
        self.dtype = np.dtype(imaging.Scale(**scale_of(movie)).dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._make)

    def _make(self, key: tuple[int | slice | np.ndarray, ...]) -> np.ndarray:
        replicas, frames = (
            np.atleast_1d(np.arange(size)[part]) for size, part in zip(self.shape[:2], key[:2], strict=True)
        )
        image = np.empty((len(replicas), len(frames), *self.shape[2:]), self.dtype)
        for row, replica in enumerate(replicas.tolist()):
            for first in range(0, len(frames), BLOCK_FRAMES):
                part = slice(first, first + BLOCK_FRAMES)
                image[row, part] = self._block(replica, frames[part])
        image = image[:, :, key[2]][..., key[3]]
        return image[tuple(0 if isinstance(part, int | np.integer) else slice(None) for part in key[:2])]

    def _block(self, replica: int, frames: np.ndarray) -> np.ndarray:
        at = {"replica": replica, "time": frames}
        poses, trajectory = self._poses, self._trajectory
        try:
            view = {name: self._movie[name].isel(at).values for name in imaging.FOCUS}
            view |= {name: poses[name].isel(at).values for name in VIEW[:2]}
            position = trajectory["position"].isel(at).values
        except Exception:
            for kind in ("trajectory", "poses"):  # which of them is damaged
                if kind == "trajectory" or poses is not self._movie:
                    store.read_all(self._run / f"{kind}.zarr")
            raise
        return self._recorder.levels(replica, frames, position, view)

    @cached_property
    def _recorder(self) -> Recorder:
        movie, camera = self._movie, imaging.camera_of(self._movie)
        scale = imaging.Scale(**scale_of(movie))
        return Recorder(camera, imaging.detector_of(movie, camera), scale, int(movie.attrs["seed"]))

    @cached_property
    def _trajectory(self) -> xarray.Dataset:
        path = self._run / "trajectory.zarr"
        trajectory = open_stored(path, "trajectory")
        if trajectory.attrs["fingerprint"] != self._movie.attrs["lazy"]["trajectory"]:
            raise StoreError(
                f"The lazy movie in {self._run} was made from another trajectory than {path}, so that its images cannot"
                f" be made. Render again: tempica render {self._run}"
            )
        return trajectory

    @cached_property
    def _poses(self) -> xarray.Dataset:
        if self._movie.attrs["pose"] == "known":
            return self._movie
        poses = open_stored(self._run / "poses.zarr", "poses")
        if poses.attrs["fingerprint"] != self._movie.attrs["fingerprint"]:
            raise StoreError(
                f"{self._run / 'poses.zarr'} is of another movie than the lazy one beside it. Render again:"
                f" tempica render {self._run}"
            )
        return poses

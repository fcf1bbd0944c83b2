"""Who may read which store of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tempica.errors import TruthError
from tempica.stores.reading import open_store
from tempica.stores.store import file_name

if TYPE_CHECKING:
    import xarray


# Who may read what. The truth lies in trajectory.zarr and poses.zarr alone: embed and ica must do without it.
READS = {
    "simulate": (),
    "render": ("trajectory", "ensemble"),
    "embed": ("movie", "ensemble"),
    "ica": ("movie", "latents"),
    "evaluate": ("trajectory", "poses", "movie", "ensemble", "latents", "sources"),
    "report": ("trajectory", "poses", "movie", "sources"),
}


def read(run: Path, room: str, kind: str) -> xarray.Dataset:
    """A completed store of a run, opened for a room.

    Raises TruthError when the room must not see it and StoreError when it is missing, incomplete or damaged.
    """
    if kind not in READS[room]:
        raise TruthError(f"The room '{room}' may read {' and '.join(READS[room]) or 'no store'}, not '{kind}'.")
    return open_store(Path(run) / file_name(kind), kind)


def true_poses(run: Path, room: str, movie: xarray.Dataset) -> xarray.Dataset:
    """The dataset with a movie's true `pose_quaternion` and `pose_shift_A`: the movie itself if it knows them."""
    return movie if movie.attrs["pose"] == "known" else read(run, room, "poses")

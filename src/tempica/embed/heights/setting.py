"""What tasks of the stage share about heights: tip and noise as they are estimated, and frames with both."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray
from scipy.spatial.transform import Rotation

from tempica.embed.poses.grids import rotation_grid
from tempica.embed.setting import Span, movie_of
from tempica.imaging.afm import flat_faces
from tempica.imaging.heights import Heights, heights_in
from tempica.stores import files

N_FREE = 500  # rotations over SO(3) whose directions stand for all, where any side may be up


@dataclass(frozen=True)
class Setting:
    """How heights of a run are modelled, apart from the molecule's motion."""

    tip_radius_nm: np.ndarray  # ()
    noise_nm: np.ndarray  # () of a pixel, with what the model cannot say
    line_offset_nm: np.ndarray  # ()
    rest: np.ndarray  # (L, N, 3) nm, motion that the modes leave out, of amplitudes ~ N(0, 1)

    def save(self, path: Path) -> None:
        files.save_arrays(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Setting:
        return cls(**files.load_arrays(path))


def heights_of(run: Path, setting: Setting, spans: Iterable[Span], every: int = 1) -> Heights:
    """Frames of spans, one after the other, or every so many of them."""
    movie = movie_of(run)
    image = np.concatenate([span.of(movie)["image"].values[::every] for span in spans])
    found = float(setting.tip_radius_nm), float(setting.noise_nm), float(setting.line_offset_nm)
    return heights_in(movie, image, *found)


def faces_of(movie: xarray.Dataset, position: np.ndarray) -> np.ndarray:
    """Rotations (G, 3, 3) in which a structure (N, 3) may lie, up to turns in the plane."""
    declared = json.loads(movie.attrs["faces"])
    if declared:
        return Rotation.from_quat(declared).as_matrix()
    if movie.attrs["lying"] == "flat":
        return flat_faces(position)
    return directions(rotation_grid(N_FREE).rotation)


def directions(rotation: np.ndarray) -> np.ndarray:
    """One rotation of each group whose upward directions are within 10°."""
    kept: list[int] = []
    up = rotation[:, 2]
    for n in range(len(rotation)):
        if not kept or (up[kept] @ up[n]).max() < math.cos(math.radians(10.0)):
            kept.append(n)
    return rotation[kept]

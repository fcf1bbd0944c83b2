"""MRC maps: a density on a grid, read whole.

Source: Cheng et al., J. Struct. Biol. 192, 146 (2015). The axes of a file may come in any order (mapc, mapr, maps);
here they are always [z, y, x]. Programs of single-particle analysis ignore where the header puts the map, and so does
what reads the grid as centred: voxel i of D lies at (i − D//2) · pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tempica.errors import FormatError
from tempica.exchange.mrc import HEADER, check_size, read_header

CUBIC = 1e-3  # relative difference of a voxel's edges below which they are equal
MOST_EDGE = 1024  # voxels, 4 GiB in single precision


@dataclass(frozen=True)
class Volume:
    """A density on a grid."""

    density: np.ndarray  # (z, y, x) float32
    pixel_A: float  # edge of a voxel
    origin_A: np.ndarray  # (3,) x y z of the first voxel, as the header has it


def read_volume(path: Path) -> Volume:
    """A map of modes 0, 1, 2, 6 or 12, of either byte order and any order of axes.

    Raises FormatError when it is missing, no MRC file, of another mode, cut off, without a size of voxels, of voxels
    that are no cubes, a single image, larger than 1,024 voxels along an edge, not finite, or the same everywhere.
    """
    header, dtype, first = read_header(path, "map")
    n = [int(size) for size in header["n"]]  # along columns, rows, sections
    if min(n) < 2 or max(n) > MOST_EDGE or header["m"][2] == 1:  # one section a cell marks a stack
        raise FormatError(
            f"{path} is no map, which has 2 to {MOST_EDGE} voxels along each edge, but a stack: its header says"
            f" {n[2]} sections of {n[0]} × {n[1]} pixels. Give the map, and no images."
        )
    check_size(path, "map", first + n[0] * n[1] * n[2] * dtype.itemsize, f"{n[0]} × {n[1]} × {n[2]} voxels")
    axes = [int(axis) for axis in header["axes"]]
    if axes == [0, 0, 0]:  # what old programs leave unset
        axes = [1, 2, 3]
    if sorted(axes) != [1, 2, 3]:
        raise FormatError(f"The map {path} has axes {axes} (mapc, mapr, maps); they must be 1, 2, 3 in some order.")
    with path.open("rb") as file:
        file.seek(first)
        values = np.fromfile(file, dtype, n[0] * n[1] * n[2]).reshape(n[::-1])  # [section, row, column]
    of_file = [axes[2], axes[1], axes[0]]  # which of x y z each dimension is
    density = np.ascontiguousarray(values.transpose([of_file.index(axis) for axis in (3, 2, 1)]), dtype=np.float32)
    pixel_A = _pixel(path, header)
    if not np.isfinite(density).all():
        raise FormatError(f"The map {path} has voxels that are not finite. Make it again.")
    if density.min() == density.max():
        raise FormatError(f"The map {path} is {density.flat[0]:g} in every voxel: it shows nothing. Give another map.")
    start = np.empty(3)
    start[np.array(axes) - 1] = header["start"]
    origin = np.asarray(header["origin"], dtype=np.float64)
    return Volume(density, pixel_A, origin if origin.any() and np.isfinite(origin).all() else start * pixel_A)


def _pixel(path: Path, header: np.void) -> float:
    """Edge of a voxel in Å."""
    cell, sampling = np.asarray(header["cell_A"], dtype=np.float64), np.asarray(header["m"], dtype=np.float64)
    edge = np.where(sampling > 0, cell / np.maximum(sampling, 1), 0.0)
    if not (np.isfinite(edge).all() and (edge > 0).all()):
        raise FormatError(f"The map {path} does not say how large a voxel is. Set it, as with relion_image_handler.")
    if np.ptp(edge) > CUBIC * edge[0]:
        raise FormatError(
            f"The voxels of {path} are {edge[0]:.4g} × {edge[1]:.4g} × {edge[2]:.4g} Å; they must be cubes. Resample it"
            " onto cubes."
        )
    return float(edge.mean())


def write_volume(path: Path, density: np.ndarray, pixel_A: float) -> None:
    """A density (z, y, x) as an MRC map of 32-bit floats (mode 2), its first voxel at the origin."""
    density = np.ascontiguousarray(density, dtype="<f4")
    header = np.zeros((), HEADER)
    header["n"] = header["m"] = density.shape[::-1]
    header["mode"] = 2
    header["cell_A"] = np.array(density.shape[::-1]) * pixel_A
    header["angles"] = 90.0
    header["axes"] = 1, 2, 3
    header["least"], header["most"], header["mean"] = density.min(), density.max(), density.mean(dtype=np.float64)
    header["deviation"] = density.std(dtype=np.float64)
    header["space_group"], header["version"] = 1, 20140
    header["map"], header["machine"] = b"MAP ", (0x44, 0x44, 0, 0)
    header["n_labels"] = 1
    header["labels"][0] = b"tempica: map"
    path.write_bytes(header.tobytes() + density.tobytes())

"""A start without any structure: the map of a movie's own images at their stated poses, as pseudo-atoms.

Tasks of the stage add up spans of frames (`add_spans`), each group of spans into a file; `start_from_images` makes the
map and the pseudo-atoms. Poses may be off by a few degrees: the map is then as blurred as its motions make it anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tempica import imaging
from tempica.embed.maps.backprojection import Reconstruction, Sums, add_images, no_sums, reconstruct
from tempica.embed.quadratic import Disc, observe
from tempica.embed.setting import Span
from tempica.errors import DataError
from tempica.imaging.fits import check_box
from tempica.imaging.linearise import Scatterers
from tempica.imaging.pseudo_atoms import pseudo_atoms
from tempica.runs.reading import read
from tempica.stores import files

FINEST_A = 4.0  # detail beyond which a map of moving molecules shows nothing that pseudo-atoms could use


@dataclass(frozen=True)
class Start:
    """What takes the place of a structure."""

    position: np.ndarray  # (N, 3) nm, where poses refer to
    scatterers: Scatterers  # on the scale of the images
    correlation: float  # of map and pseudo-atoms
    map: Reconstruction

    @property
    def sentence(self) -> str:
        """What was made, in words."""
        return (
            f"a map at {self.map.resolution_A:.1f} Å from the images at their stated poses, as {len(self.position)}"
            f" pseudo-atoms (correlation {self.correlation:.3f})"
        )


def map_radius(n_pixels: int, pixel_A: float) -> int:
    """Radius of the disc of Fourier coefficients that go into the map, in steps of 1 / box."""
    return min(n_pixels // 2 - 1, round(n_pixels * pixel_A / FINEST_A))


def add_spans(run: Path, spans: Sequence[Span], out: Path) -> None:
    """Sums of some spans of a movie with stated poses, into `out`."""
    movie = read(run, "embed", "movie")
    camera = imaging.camera_of(movie)
    optics = camera.optics
    disc = Disc(optics.n_pixels, optics.pixel_size_A, map_radius(optics.n_pixels, optics.pixel_size_A))
    sums = no_sums(disc)
    for span in spans:
        part = span.of(movie)
        image = part["image"].values.astype(np.float32)
        focus = [part[name].values for name in imaging.FOCUS]
        # the map weights images by their transfer alone, so that any variance will do that all spans share
        seen = observe(camera, image, focus, 1.0, disc.radius)
        rotation = imaging.rotation_matrix(part["pose_quaternion"].values)
        half = (span.first + np.arange(len(span))) % 2
        add_images(sums, seen, rotation, part["pose_shift_A"].values, half)
    files.save_arrays(out, value=sums.value, weight=sums.weight, n_images=np.array(sums.n_images))


def start_from_images(run: Path, parts: Sequence[Path], n_points: int | None = None) -> Start:
    """The start that the sums in files of `add_spans` make.

    Raises DataError where poses are hidden, where halves of the images do not agree, where the map shows no molecule,
    and where the molecule does not fit into the box.
    """
    movie = read(run, "embed", "movie")
    if movie.attrs["pose"] == "hidden":
        raise DataError(
            "A map of the images needs poses, known or approximate, and those of this movie are hidden. Give a"
            " structure, or a consensus map."
        )
    optics = imaging.camera_of(movie).optics
    disc = Disc(optics.n_pixels, optics.pixel_size_A, map_radius(optics.n_pixels, optics.pixel_size_A))
    sums = no_sums(disc)
    for path in parts:
        found = files.load_arrays(path)
        sums = sums + Sums(disc, found["value"], found["weight"], int(found["n_images"]))
    return start_from_map(reconstruct(sums), n_points)


def start_from_map(made: Reconstruction, n_points: int | None = None) -> Start:
    """The start that a reconstruction makes."""
    found = pseudo_atoms(made.density, made.pixel_A, n_points)
    check_box(found.position, found.scatterers, len(made.density), made.pixel_A, "The molecule of the images' map")
    return Start(found.position, found.scatterers, found.correlation, made)

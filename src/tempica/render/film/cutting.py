"""Crops around molecules, before they are aligned, with what else the frame shows taken away."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from tempica.render.film.aligning import CUT, Cut
from tempica.render.film.finding import SMOOTH, Sizes, pieces
from tempica.render.film.tracking import Track, touches_edge
from tempica.stores import files

LARGEST = 64  # pixels along an edge: larger molecules are binned
MARGIN = 4  # pixels of support around a molecule
OWN = 3  # pixels around a molecule's mask that are its own
N_SHOTS = 12  # frames of the contact sheet


@dataclass(frozen=True)
class Molecule:
    """What is cut out: frames (frame,), centres (frame, 2) y x, and the pixels that are its own, by frame.

    `n_in_view` counts frames in which it lies within the frame, whole or not, between its first and its last.
    """

    number: int
    frames: np.ndarray
    centres: np.ndarray
    pixels: dict[int, np.ndarray]
    n_in_view: int
    reach: float  # pixels from the centre to the farthest of its own

    @classmethod
    def of_track(cls, number: int, track: Track, steady: np.ndarray, shape: tuple[int, int]) -> Molecule:
        """The frames of a track in which it is whole."""
        frames = [frame for frame in track.whole(shape) if steady[frame]]
        centres = np.stack([track.pixels[frame].mean(0) for frame in frames])
        far = [
            np.linalg.norm(track.pixels[frame] - centre, axis=1).max()
            for frame, centre in zip(frames, centres, strict=True)
        ]
        between = steady[frames[0] : frames[-1] + 1].sum()
        out = sum(
            touches_edge(pixels, shape) for frame, pixels in track.pixels.items() if frames[0] < frame < frames[-1]
        )
        return cls(number, np.array(frames), centres, track.pixels, int(between - out), float(np.quantile(far, 0.95)))


@dataclass(frozen=True)
class Cuts:
    """Cuts of all molecules, row after row.

    Attributes:
        image: (row, y, x) heights around the molecule, nm.
        middle: (row, 2) y x of the centre in the image; centre: the same in the frame, pixels.
        track, frame, stretch: (row,) of the molecule, of the movie, and of frames that follow each other.
        size, pitch: pixels of an aligned crop, and pixels of the movie in each.
        about: what else is known of the movie.
    """

    image: np.ndarray
    middle: np.ndarray
    centre: np.ndarray
    track: np.ndarray
    frame: np.ndarray
    stretch: np.ndarray
    in_view: np.ndarray  # (molecule,)
    size: int
    pitch: float
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def tracks(self) -> list[int]:
        return np.unique(self.track).tolist()

    def of(self, track: int) -> list[Cut]:
        """Cuts of one molecule, in order of time."""
        rows = np.flatnonzero(self.track == track)
        follows = np.r_[False, np.diff(self.frame[rows]) == 1]
        return [Cut(self.image[row], self.middle[row], bool(yes)) for row, yes in zip(rows, follows, strict=True)]

    def table(self) -> list[dict[str, int]]:
        """Of each molecule: its frames, from the first to the last, and in how many it was in view."""
        told = []
        for number in self.tracks:
            frames = self.frame[self.track == number]
            told.append(
                {"track": number, "first": int(frames.min()), "last": int(frames.max()), "n_frames": len(frames)}
                | {"n_in_view": int(self.in_view[number])}
            )
        return told

    def save(self, path: Path, **about: Any) -> None:
        files.save_arrays(path, **vars(self) | {"about": np.array([])} | {f"about_{k}": v for k, v in about.items()})

    @classmethod
    def load(cls, path: Path) -> Cuts:
        kept = files.load_arrays(path)
        about = {name.removeprefix("about_"): kept.pop(name) for name in list(kept) if name.startswith("about_")}
        kept.pop("about")
        size, pitch = int(kept.pop("size")), float(kept.pop("pitch"))
        return cls(**kept, size=size, pitch=pitch, about={k: v[()] if v.ndim == 0 else v for k, v in about.items()})


def windows(shape: tuple[int, int], steady: np.ndarray, drift: np.ndarray) -> list[Molecule]:
    """Windows that go with the stage's drift, three by three, with a fifth of the frame around them to drift over."""
    frames, edge = np.flatnonzero(steady), min(min(shape) // 5, LARGEST)
    found: list[Molecule] = []
    for row in range(3):
        for column in range(3):
            start = np.array([(0.3 + 0.2 * row) * shape[0], (0.3 + 0.2 * column) * shape[1]])
            centres = start + drift[frames] - np.median(drift[frames], axis=0)
            inside = ((centres >= edge / 2) & (centres <= np.array(shape) - edge / 2)).all(1)
            if inside.sum() >= frames.size / 2:
                own = {int(f): _square(c, edge, shape) for f, c in zip(frames[inside], centres[inside], strict=True)}
                number = len(found)
                found.append(
                    Molecule(number, frames[inside], centres[inside], own, int(inside.sum()), edge / 2 - MARGIN)
                )
    return found


def _square(centre: np.ndarray, edge: int, shape: tuple[int, int]) -> np.ndarray:
    """Pixels (pixel, 2) of a window within a frame."""
    low = np.maximum(np.round(centre - edge / 2).astype(int), 0)
    high = np.minimum(low + edge, shape)
    return np.argwhere(np.ones(high - low, bool)) + low


def cut_all(flat: np.ndarray, molecules: list[Molecule], sizes: Sizes | None, box: float | None) -> Cuts:
    """Cut every molecule out of its frames.

    Parameters:
        flat: (frame, y, x) heights above the support.
        molecules: at least one.
        sizes: what molecules are like; None where windows are cut, which keep all that they show.
        box: edge of a crop in pixels of the movie; as large as molecules need if none.
    """
    shape = flat.shape[1:]
    need = 2 * (max(molecule.reach for molecule in molecules) + MARGIN) if box is None else box
    need = min(need, *shape)
    pitch = max(1.0, need / LARGEST)
    size = max(16, 2 * round(need / pitch / 2))
    half = int(np.ceil(size * pitch / 2 * np.sqrt(2))) + CUT
    sharp = flat
    if pitch > 1:  # or finer noise than the crop can show would be folded into it
        flat = ndimage.gaussian_filter(flat, (0, *[np.sqrt(pitch**2 - 1) / 2] * 2))
    padded = np.pad(flat, ((0, 0), (half, half), (half, half)))
    rows: dict[str, list[Any]] = {name: [] for name in ("image", "middle", "centre", "track", "frame", "stretch")}
    stretch = -1
    for molecule in molecules:
        for n, (frame, centre) in enumerate(zip(molecule.frames.tolist(), molecule.centres, strict=True)):
            stretch += n == 0 or molecule.frames[n - 1] != frame - 1
            y, x = (int(np.floor(c)) for c in centre)
            image = padded[frame, y : y + 2 * half + 1, x : x + 2 * half + 1].copy()
            if sizes is not None:
                image[_others(sharp[frame], molecule.pixels[frame], sizes.height, half, y, x)] = 0
            rows["image"].append(image)
            rows["middle"].append(centre - [y, x] + half)
            for name, value in (("centre", centre), ("track", molecule.number), ("frame", frame), ("stretch", stretch)):
                rows[name].append(value)
    in_view = np.array([molecule.n_in_view for molecule in molecules])
    arrays: dict[str, Any] = {name: np.array(values) for name, values in rows.items()}
    return Cuts(**arrays, in_view=in_view, size=size, pitch=pitch)


def _others(flat: np.ndarray, own: np.ndarray, height: float, half: int, y: int, x: int) -> np.ndarray:
    """Pixels of a cut that belong to other molecules (y, x)."""
    labels = np.pad(pieces(ndimage.gaussian_filter(flat, SMOOTH), height) > 0, half)
    mine = np.zeros_like(labels)
    mine[tuple((own + half).T)] = True
    there = slice(y, y + 2 * half + 1), slice(x, x + 2 * half + 1)
    labels, mine = labels[there], mine[there]
    others = ndimage.binary_dilation(labels & ~ndimage.binary_dilation(mine, iterations=OWN), iterations=1)
    found: np.ndarray = others & ~mine
    return found


def sheet_of(flat: np.ndarray, molecules: list[Molecule], steady: np.ndarray) -> dict[str, np.ndarray]:
    """Frames spread over the movie, and which molecule each of their pixels belongs to (−1: none)."""
    frames = np.flatnonzero(steady)
    shots = frames[np.unique(np.linspace(0, len(frames) - 1, N_SHOTS).round().astype(int))]
    owner = np.full((len(shots), *flat.shape[1:]), -1, np.int64)
    for number, shot in enumerate(shots.tolist()):
        for molecule in molecules:
            if shot in molecule.frames:
                owner[number][tuple(molecule.pixels[shot].T)] = molecule.number
    return {"sheet": flat[shots], "sheet_owner": owner, "sheet_frame": shots}

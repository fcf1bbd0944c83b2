"""Which frames of which foreign files make which replica, and how far apart they are in time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tempica.errors import RecipeError, StructureError
from tempica.recipe.molecule import TrajectoryRecipe
from tempica.recipe.simulate import SimulateRecipe
from tempica.runs.layout import trajectory_path
from tempica.simulate.foreign import files

UNEVEN = 1e-3  # relative difference of two frame intervals beyond the rounding of single precision

Piece = tuple[Path, np.ndarray]  # a file and the numbers of its frames


@dataclass(frozen=True)
class Layout:
    """Which frames of which files make which replica."""

    stretches: tuple[tuple[tuple[Path, int], ...], ...]  # glued files and their numbers of frames
    starts: tuple[tuple[int, int], ...]  # of each replica: its stretch, and its first frame counted in used frames
    stride: int

    def pieces(self, replica: int, first: int, last: int) -> list[Piece]:
        """Where frames first … last − 1 of a replica are found."""
        which, start = self.starts[replica]
        return _dealt(self.stretches[which], self.stride * (start + np.arange(first, last)))


def _dealt(stretch: tuple[tuple[Path, int], ...], frames: np.ndarray) -> list[Piece]:
    found = []
    for path, length in stretch:
        here = frames[(frames >= 0) & (frames < length)]
        if len(here):
            found.append((path, here))
        frames = frames - length
    return found


def library(recipe: SimulateRecipe, folder: Path) -> list[Piece]:
    """The ensemble's frames, spread evenly over all files, where images of another program are to be explained.

    Raises RecipeError when the files have fewer.
    """
    molecule, n = molecule_of(recipe), recipe.ensemble_frames
    paths = [trajectory_path(folder, name) for name in molecule.files]
    stretch = tuple((path, files.count(path)) for path in paths)
    used = -(-sum(length for _, length in stretch) // molecule.stride)
    if used < n:
        every = f" at a stride of {molecule.stride}" if molecule.stride > 1 else ""
        raise RecipeError(
            f"The trajectory has {used} frames{every}, and"
            f" simulate.ensemble_frames = {n} are to be taken from it. Lower it, or give more files."
        )
    return _dealt(stretch, molecule.stride * np.linspace(0, used - 1, n).round().astype(int))


def layout(recipe: SimulateRecipe, folder: Path) -> Layout:
    """Assign frames to replicas. Raises RecipeError when the files have too few."""
    molecule, n = molecule_of(recipe), recipe.n_frames
    paths = [trajectory_path(folder, name) for name in molecule.files]
    glued = [paths[i : i + molecule.files_per_replica] for i in range(0, len(paths), molecule.files_per_replica)]
    stretches = tuple(tuple((path, files.count(path)) for path in group) for group in glued)
    for path, length in (entry for stretch in stretches for entry in stretch):
        if length == 0:
            raise StructureError(f"The trajectory file {path} holds no frames. Copy it again or take it off `files`.")
    if len(stretches) > recipe.n_replicas:
        raise RecipeError(
            f"The {len(paths)} trajectory files make {len(stretches)} replicas of {molecule.files_per_replica} files"
            f" each, and simulate.n_replicas = {recipe.n_replicas} would leave some unused. Set it to"
            f" {len(stretches)}, raise files_per_replica, or list fewer files."
        )
    used = [-(-sum(length for _, length in stretch) // molecule.stride) for stretch in stretches]
    cut = len(stretches) < recipe.n_replicas
    starts = [(i, k * n) for i, found in enumerate(used) for k in range(found // n if cut else 1)][: recipe.n_replicas]
    short = [i for i, found in enumerate(used) if found < n]
    if len(starts) < recipe.n_replicas or (short and not cut):
        shown = short[:3] if short and not cut else range(min(3, len(used)))
        found = "; ".join(f"{_names(stretches[i], molecule.stride)}: {used[i]} frames" for i in shown)
        raise RecipeError(
            f"Too few frames. Found in {found}{'; …' if len(used) > 3 and cut else ''}. Needed are"
            f" {n} frames (simulate.n_frames) {'for each replica' if not cut else f'× {recipe.n_replicas} replicas'}"
            f" = {n if not cut else n * recipe.n_replicas}{_broken_off(stretches)}. Lower n_frames, n_replicas or the"
            " stride, or give more files."
        )
    return Layout(stretches, tuple(starts), molecule.stride)


def frame_interval(recipe: SimulateRecipe, folder: Path) -> float:
    """Time (ps) between two frames of a replica: the stride times that of the files.

    Files keep times in single precision, near 1e8 ps to 8 ps. The first two frames of a file tell the interval where
    they tell it within 0.1 %; otherwise the mean over the whole file does, rounded to what it is good for.

    Raises RecipeError when neither recipe nor files tell within 0.1 %, or when the files contradict each other.
    """
    molecule = molecule_of(recipe)
    if molecule.frame_interval is not None:
        return molecule.stride * molecule.frame_interval
    found: float | None = None
    for path in (trajectory_path(folder, name) for name in molecule.files):
        if files.count(path) < 2:
            continue
        time = _times(path, np.array([0, 1]))
        step = float(time[1] - time[0])
        if found is not None and abs(step - found) > rounding(found, float(np.abs(time).max())):
            raise RecipeError(f"The frames of {path} are {step:g} ps apart, those before {found:g} ps. {_REMEDY}")
        if found is None:
            found = _interval(path, step, time)
    if found is None:
        raise RecipeError(f"No trajectory file has two frames, whose times would tell their interval. {_REMEDY}")
    return molecule.stride * found


_REMEDY = "Say in simulate.molecule.frame_interval how many ps there are between two frames of the files."


def _interval(path: Path, step: float, time: np.ndarray) -> float:
    """The interval of a file's frames, whose first two are `step` apart, at `time`."""
    grain = float(np.spacing(np.float32(np.abs(time).max())))
    if step > 0 and grain <= UNEVEN * step:
        return float(f"{step:.6g}")
    n = files.count(path) - 1
    last = float(_times(path, np.array([n]))[0])
    mean, grain = (last - float(time[0])) / n, float(np.spacing(np.float32(max(abs(last), np.abs(time).max()))))
    if not (mean > 0 and abs(mean - step) <= rounding(mean, abs(last))):
        raise RecipeError(
            f"The first two frames of {path} are at {time[0]:.9g} and {time[1]:.9g} ps, and all are {mean:g} ps apart"
            f" on average. {_REMEDY}"
        )
    if grain > UNEVEN * mean * n:
        raise RecipeError(
            f"The {n + 1} frames of {path} are {mean:g} ps apart, give or take {grain / n:.2g}: times near {last:.3g}"
            f" ps are kept to {grain:g} ps in single precision. {_REMEDY}"
        )
    return round(mean, -math.ceil(math.log10(grain / n)))


def _times(path: Path, frames: np.ndarray) -> np.ndarray:
    time = files.read(path, frames, np.array([0])).time
    if time is None:
        raise RecipeError(f"The trajectory file {path} does not tell the time of its frames. {_REMEDY}")
    return time.astype(np.float64)


def molecule_of(recipe: SimulateRecipe) -> TrajectoryRecipe:
    """The foreign molecule of a recipe that has one."""
    assert isinstance(recipe.molecule, TrajectoryRecipe)
    return recipe.molecule


def rounding(step: float, largest: float) -> float:
    """How much a frame interval (ps) may be off when times are single precision."""
    return UNEVEN * step + 4 * float(np.finfo(np.float32).eps) * largest


def _names(stretch: tuple[tuple[Path, int], ...], stride: int) -> str:
    every = f" at a stride of {stride}" if stride > 1 else ""
    more = f" and {len(stretch) - 1} more" if len(stretch) > 1 else ""
    return f"{stretch[0][0]}{more}{every}"


def _broken_off(stretches: tuple[tuple[tuple[Path, int], ...], ...]) -> str:
    for path, length in (entry for stretch in stretches for entry in stretch):
        told = files.promised(path)
        if told is not None and told > length:
            return f". The header of {path} promises {told} frames, so it may be truncated"
    return ""

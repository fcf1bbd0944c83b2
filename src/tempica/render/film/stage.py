"""A movie of aligned crops: molecules of a scanning probe's movie, found, followed, cut out and turned onto each other.

Rows are frames of one molecule after another. A stretch of frames that follow each other directly has a number
(`molecule`) of its own, so that frames before and after a gap are never taken for neighbours; `track` says which
stretches are of one molecule, `frame` and `frame_time` when.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica.errors import DataError, FormatError
from tempica.exchange.film_file import Film, read_film
from tempica.recipe.experiment import Recipe
from tempica.recipe.film import FilmRecipe
from tempica.render.film.aligning import Pose, align, aligned, as_it_was, turned_onto
from tempica.render.film.cutting import Cuts, Molecule, cut_all, sheet_of, windows
from tempica.render.film.flattening import flatten, usable
from tempica.render.film.tracking import follow
from tempica.runs.layout import trajectory_path
from tempica.runs.work import blocks
from tempica.stores import files, store

if TYPE_CHECKING:
    from tempica.runs.work import Work

BLOCK_FRAMES = 25


def check(recipe: Recipe, folder: Path) -> None:
    """Raise whatever is wrong with the files of the movie before anything is written."""
    film = film_of(recipe, folder)
    finite = np.isfinite(film.height).all((1, 2))
    shown = finite & (np.ptp(np.where(np.isfinite(film.height), film.height, 0), axis=(1, 2)) > 0)
    least = about_film(recipe).least_frames
    if shown.sum() < least:
        raise FormatError(
            f"Of {len(shown)} frames of {_told(recipe)}, {int((~finite).sum())} have pixels that are no numbers, and"
            f" {int((finite & ~shown).sum())} are blank: {int(shown.sum())} are left, and at least {least}"
            " (film.least_frames) are needed."
        )


def about_film(recipe: Recipe) -> FilmRecipe:
    """The recipe's section, which is there."""
    assert recipe.film is not None
    return recipe.film


def film_of(recipe: Recipe, folder: Path) -> Film:
    """The recipe's movie, read from its files."""
    about = about_film(recipe)
    return read_film(
        [trajectory_path(folder, name) for name in about.files],
        channel=about.channel,
        pixel_nm=about.pixel_size_nm,
        interval_s=about.interval_s,
    )


def run(work: Work) -> None:
    """Flatten frames, follow molecules, align their crops, and write them."""
    n_frames = len(film_of(work.recipe, work.run).height)
    spans = list(blocks(n_frames, BLOCK_FRAMES))
    parts = [work.folder / f"flat-{a}.npz" for a, _ in spans]
    task = partial(flatten_block, work.recipe, work.run)
    chains = [[(f"flat-{a}", partial(task, path, a, b))] for (a, b), path in zip(spans, parts, strict=True)]
    work.run_chains(f"flattening blocks of {BLOCK_FRAMES} frames", chains)
    cuts, sheet = work.folder / "cuts.npz", work.folder / "sheet.npz"
    follow_task = partial(follow_molecules, work.recipe, work.run, parts, cuts, sheet)
    work.run_chains("following molecules", [[("follow", follow_task)]])
    numbers = Cuts.load(cuts).tracks
    found = [work.folder / f"aligned-{number}.npz" for number in numbers]
    chains = [
        [(f"align-{number}", partial(align_molecule, cuts, number, path))]
        for number, path in zip(numbers, found, strict=True)
    ]
    work.run_chains("aligning molecules", chains)
    write_movie(work, cuts, sheet, found)


def flatten_block(recipe: Recipe, folder: Path, out: Path, first: int, last: int) -> None:
    """Heights above the support of some frames; 0 where a frame has pixels that are no numbers."""
    height = film_of(recipe, folder).height[first:last].astype(np.float64)
    flat = np.zeros(height.shape, np.float32)
    for number, frame in enumerate(height):
        if np.isfinite(frame).all() and np.ptp(frame) > 0:
            flat[number] = flatten(frame)
    files.save_arrays(out, flat=flat)


def follow_molecules(recipe: Recipe, folder: Path, parts: list[Path], out: Path, sheet: Path) -> None:
    """Cuts of all molecules of the movie, or of windows where there are none alone; and frames for a contact sheet."""
    film, about = film_of(recipe, folder), about_film(recipe)
    flat = np.concatenate([files.load_arrays(path)["flat"] for path in parts])
    shape = flat.shape[1:]
    used = usable(film.height, flat)
    if used.sum() < about.least_frames:
        raise FormatError(
            f"{int(used.sum())} of {len(used)} frames of {_told(recipe)} are whole and as rough as the others, and at"
            f" least {about.least_frames} (film.least_frames) are needed."
        )
    followed = follow(flat, used, gap=about.longest_gap, least_frames=about.least_frames)
    molecules = [Molecule.of_track(n, track, followed.steady, shape) for n, track in enumerate(followed.tracks)]
    of_windows = not molecules
    if of_windows:
        molecules = windows(shape, followed.steady, followed.drift)
    box = None if about.box_nm is None else about.box_nm / film.pixel_nm
    cuts = cut_all(flat, molecules, None if of_windows else followed.sizes, box)
    cuts.save(
        out,
        of_windows=of_windows,
        pixel_nm=film.pixel_nm,
        interval_s=film.interval_s,
        n_frames=len(flat),
        left_out=np.flatnonzero(~used),
        moved=np.flatnonzero(used & ~followed.steady),
        channel=film.channel,
        height_nm=followed.sizes.height if followed.sizes is not None else 0.0,
    )
    files.save_arrays(sheet, **sheet_of(flat, molecules, followed.steady))


def align_molecule(cuts_file: Path, track: int, out: Path) -> None:
    """Poses of one molecule's frames, and their mean."""
    cuts = Cuts.load(cuts_file)
    poses, mean = align(cuts.of(track), cuts.size, cuts.pitch, turns=not cuts.about["of_windows"])
    files.save_arrays(
        out, turn=np.array([pose.turn for pose in poses]), shift=np.stack([pose.shift for pose in poses]), mean=mean
    )


def write_movie(work: Work, cuts_file: Path, sheet_file: Path, found: list[Path]) -> None:
    """Aligned crops, molecule after molecule, each turned onto the one seen longest, into the store."""
    cuts, parts = Cuts.load(cuts_file), [files.load_arrays(path) for path in found]
    R = work.recipe.simulate.n_replicas
    images, turns, places, whole = [], [], [], []
    for track, part in zip(cuts.tracks, parts, strict=True):
        onto = 0.0 if cuts.about["of_windows"] else turned_onto(part["mean"], parts[0]["mean"])
        for cut, turn, shift in zip(cuts.of(track), part["turn"], part["shift"], strict=True):
            images.append(aligned(cut, Pose(turn + onto, shift), cuts.size, cuts.pitch))
            whole.append(aligned(cut, as_it_was(cut), cuts.size, cuts.pitch))
            turns.append(np.radians(turn + onto))
            places.append(shift)
    _check_size(work, cuts)
    T = len(images) // R
    if T < 2:
        raise FormatError(f"{len(images)} crops of molecules are too few for {R} replicas (simulate.n_replicas).")
    kept = slice(0, R * T)
    rows = {name: getattr(cuts, name)[kept].reshape(R, T) for name in ("track", "frame", "stretch")}
    place = (cuts.centre[kept] + np.array(places)[kept])[:, ::-1] * cuts.about["pixel_nm"]
    sheet = files.load_arrays(sheet_file)
    n_shots, film_y, film_x = sheet["sheet"].shape
    step = float(cuts.about["interval_s"])
    movie = work.create_store(
        "crops",
        {"replica": R, "time": T, "y": cuts.size, "x": cuts.size, "plane": 2}
        | {"shot": n_shots, "film_y": film_y, "film_x": film_x},
        chunks={"replica": 1, "time": 100},
        attributes=_attributes(work, cuts, len(images) - R * T),
    )
    store.write(
        movie,
        {
            "replica": np.arange(R),
            "time": step * np.arange(T),
            "label": 0,
            "molecule": rows["stretch"],
            "track": rows["track"],
            "frame": rows["frame"],
            "frame_time": step * rows["frame"],
            "image": np.stack(images[kept]).reshape(R, T, cuts.size, cuts.size),
            "cut": np.stack(whole[kept]).reshape(R, T, cuts.size, cuts.size),
            "turn": np.array(turns)[kept].reshape(R, T),
            "place": place.reshape(R, T, 2),
        }
        | sheet,
    )


def _check_size(work: Work, cuts: Cuts) -> None:
    """Raise DataError for a structure that no crop can hold, whichever way it lies."""
    if not work.recipe.simulate.molecule.structure_files:
        return
    structure = work.read("structure")
    position = structure["position"].values
    length = 2 * np.linalg.norm(position - position.mean(0), axis=1).max()
    if work.recipe.film is not None and work.recipe.film.lying == "tumbling":
        axes = np.linalg.svd(position - position.mean(0), full_matrices=False)[2]
        length = float(np.ptp(position @ axes[1]))  # of the molecule that stands on its end
    edge = cuts.size * cuts.pitch * float(cuts.about["pixel_nm"])
    if length > edge:
        raise DataError(
            f"The structure is {length:.1f} nm wide and crops around molecules are {edge:.1f} nm: it is larger than"
            " what the movie shows. Check the size of a pixel (--pixel-nm), or give the structure of what was filmed."
        )


def _attributes(work: Work, cuts: Cuts, n_dropped: int) -> dict[str, Any]:
    about = cuts.about
    lost = {"left_out": "are blank or broken", "moved": "were scanned while the stage moved"}
    for name, why in lost.items():
        if len(about[name]):
            work.progress.say(f"render: {len(about[name])} of {int(about['n_frames'])} frames {why}, and are left out")
    if about["of_windows"]:
        work.progress.say("render: no molecule is seen alone; windows of the frame are followed instead")
    return {
        "pixel_size_nm": float(about["pixel_nm"]) * cuts.pitch,
        "frame_interval_s": float(about["interval_s"]),
        "height_nm": float(about["height_nm"]),
        "channel": str(about["channel"]),
        "followed": "windows" if about["of_windows"] else "molecules",
        "n_film_frames": int(about["n_frames"]),
        "left_out": np.asarray(about["left_out"]).tolist(),
        "moved": np.asarray(about["moved"]).tolist(),
        "n_dropped": n_dropped,
        "tracks": cuts.table(),
    }


def _told(recipe: Recipe) -> str:
    names = about_film(recipe).files
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"

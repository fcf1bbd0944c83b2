"""What is to be unmixed: latents in a file or in memory, or trajectories of molecular dynamics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempica.errors import DataError
from tempica.exchange.plain_paths import ending
from tempica.unmix.frames import Frames, read

TRAJECTORIES = (".dcd", ".xtc", ".trr", ".h5", ".hdf5", ".nc", ".ncdf", ".netcdf")
OF_FILES = ("star", "ind", "topology")  # options that name files
OF_TRAJECTORIES = ("topology", "stride", "coordinates")


@dataclass(frozen=True)
class Input:
    """What is to be read, and how.

    Attributes:
        name: for the folder of the result.
        reader: function of tempica.unmix that reads it.
        arguments: of that function, the data first, as they are written in Python.
        files: what the result depends on.
        load: reads it.
    """

    name: str
    reader: str
    arguments: dict[str, Any]
    files: list[Path]
    load: Callable[[], Frames]


def take(data: Any, options: Mapping[str, Any], lag: int) -> Input:
    """The input that `data` is: a path, several, or an object; `options` are those of its reader.

    Raises DataError for options of another kind of input.
    """
    given = {key: value for key, value in options.items() if value not in (None, False, (), [])}
    several = isinstance(data, list | tuple) and all(isinstance(each, str | Path) for each in data)
    paths = [Path(each) for each in data] if several else [Path(data)] if isinstance(data, str | Path) else []
    moving = [path for path in paths if ending(path) in TRAJECTORIES]
    if moving and len(moving) == len(paths):
        from tempica.unmix.trajectories import read_trajectory

        _refuse(given, [key for key in given if key not in OF_TRAJECTORIES], "trajectories")
        texts = {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
        known = {"trajectories": [str(path) for path in paths], **texts, "lag": lag}
        return Input(
            paths[0].stem,
            "read_trajectory",
            known,
            _files(paths, given),
            lambda: read_trajectory(paths, lag=lag, **given),
        )
    if len(paths) > 1:
        raise DataError(f"{len(paths)} files are given; of latents there is one. Several can be trajectories only.")
    _refuse(given, [key for key in given if key in OF_TRAJECTORIES], "latents")
    known = {"data": str(paths[0]) if paths else "…"}
    known |= {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
    name = "data" if not paths else paths[0].resolve().name if paths[0].is_dir() else paths[0].stem
    source = paths[0] if paths else data
    return Input(name, "read", known, _files(paths, given), lambda: read(source, **given))


def _files(paths: list[Path], given: Mapping[str, Any]) -> list[Path]:
    others = [Path(given[key]) for key in OF_FILES if key in given]
    return [path for path in (*paths, *others) if path.exists()]


def _refuse(given: Mapping[str, Any], wrong: list[str], kind: str) -> None:
    if wrong:
        raise DataError(f"--{wrong[0].replace('_', '-')} {given[wrong[0]]} is no option for {kind}. Leave it out.")

"""Movies of a scanning probe: files of instruments through `afmreader`, TIFF stacks, and NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tempica.errors import FormatError

INSTRUMENTS = (".asd", ".h5-jpk", ".spm", ".ibw", ".gwy")  # suffixes that afmreader reads
SUFFIXES = (*INSTRUMENTS, ".tif", ".tiff", ".npy")
HEIGHTS = {
    ".asd": ("TP",),
    ".h5-jpk": ("height_trace", "measuredHeight_trace", "height_retrace"),
    ".spm": ("Height", "Height Sensor", "ZSensor"),
    ".ibw": ("HeightTracee", "HeightTrace", "HeightRetrace"),
    ".gwy": ("Topography", "Height", "ZSensor", "Topo"),
}
"""Names that instruments give to heights, in the order in which they are tried where no channel is given."""
INSTALL = "pip install 'tempica[afm]'"
MOST_IN_METRES = 1e-5  # heights in nm that differ by less differ by no more than an atom's nucleus
LEAST_PIXELS = 16  # along an edge: no molecule can be told from its support in less


@dataclass(frozen=True)
class Film:
    """Frames of a scanning probe as they were recorded.

    Attributes:
        height: (frame, y, x), nm.
        pixel_nm: edge of a pixel, nm.
        interval_s: time from one frame to the next, s.
        channel: name of the channel in the file; "" where files have none.
    """

    height: np.ndarray
    pixel_nm: float
    interval_s: float
    channel: str


def is_film(path: Path) -> bool:
    """Whether a file's name ends as one of a scanning probe's movies does."""
    return path.name.lower().endswith(SUFFIXES)


def read_film(
    paths: Sequence[Path],
    *,
    channel: str | None = None,
    pixel_nm: float | None = None,
    interval_s: float | None = None,
) -> Film:
    """Read a movie: one file of many frames, or files of one frame each, in order.

    Parameters:
        paths: .asd, .h5-jpk, .spm, .ibw, .gwy, .tif or .npy (frame, y, x) in nm; or in m, as is plain from their size.
        channel: of the file; the heights if none.
        pixel_nm: edge of a pixel, nm; that of the file if none.
        interval_s: time from one frame to the next, s; that of the file if none.

    Raises FormatError, in one message, for files that are missing, damaged, of one frame, or of sizes that differ; for
    a channel that is not there; and for pixel size or interval that nobody states, or file and caller state
    differently.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "movie.npy"
        >>> np.save(path, np.zeros((5, 32, 32)))
        >>> read_film([path], pixel_nm=1.0, interval_s=0.5).height.shape
        (5, 32, 32)
    """
    parts = [_read(path, channel) for path in paths]
    if len({part.height.shape[1:] for part in parts}) > 1:
        sizes = ", ".join(f"{path.name} {part.height.shape[1:]}" for path, part in zip(paths, parts, strict=True))
        raise FormatError(f"Frames of one movie must be of one size (y, x), and here are {sizes}. Import them apart.")
    height = np.concatenate([part.height for part in parts])
    told = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    if len(height) < 2:
        raise FormatError(
            f"{told} holds a single frame, and what moves shows only in a movie. Give all frames of it, in order."
        )
    if min(height.shape[1:]) < LEAST_PIXELS:
        raise FormatError(f"Frames of {told} have {height.shape[1:]} pixels; at least {LEAST_PIXELS} × {LEAST_PIXELS}.")
    pixel = _one("pixel size", "--pixel-nm", "nm", [part.pixel_nm for part in parts], pixel_nm, (1e-3, 1e3), told)
    step = _one("interval", "--interval", "s", [part.interval_s for part in parts], interval_s, (1e-6, 1e5), told)
    return Film(height, pixel, step, parts[0].channel)


def _one(
    what: str, option: str, unit: str, stated: list[float], given: float | None, limits: tuple[float, float], told: Any
) -> float:
    """A number that files state, or else the caller. Raises FormatError where neither does, or they differ."""
    known = sorted({value for value in stated if math.isfinite(value)})
    if known and known[-1] > 1.01 * known[0]:
        raise FormatError(
            f"Files of {told} state {what}s from {known[0]:g} to {known[-1]:g} {unit}. Import them apart."
        )
    if given is None and not known:
        raise FormatError(f"{told} does not state its {what}. Give it: {option} ({unit}).")
    if given is not None and known and not known[0] / 1.01 <= given <= known[0] * 1.01:
        raise FormatError(f"{option} {given:g} contradicts {told}, which states {known[0]:g} {unit}. Leave it out.")
    value = known[0] if given is None else given
    if not limits[0] <= value <= limits[1]:
        raise FormatError(f"The {what} {value:g} {unit} of {told} must be from {limits[0]:g} to {limits[1]:g} {unit}.")
    return value


def _read(path: Path, channel: str | None) -> Film:
    """One file; NaN where it does not state pixel size or interval."""
    suffix = next((known for known in SUFFIXES if path.name.lower().endswith(known)), "")
    if not suffix:
        raise FormatError(f"{path} is no movie of a scanning probe that can be read: {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise FormatError(f"There is no file {path}.")
    if suffix not in INSTRUMENTS and channel is not None:
        raise FormatError(f"--channel {channel}: {path} has no channels. Leave it out.")
    try:
        if suffix == ".npy":
            film = Film(np.load(path, allow_pickle=False), math.nan, math.nan, "")
        elif suffix in INSTRUMENTS:
            film = _of_instrument(path, suffix, channel)
        else:
            film = Film(_optional("tifffile", path).imread(path), math.nan, math.nan, "")
    except (FormatError, MemoryError):
        raise
    except ImportError as error:
        raise FormatError(f"{path} needs {error.name}, which is not installed. Install it: {INSTALL}") from None
    except Exception as error:  # readers raise errors of every kind for a file that ends too early
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise FormatError(
            f"{path} cannot be read as a {suffix} file; it may be cut off or damaged: {reason}."
        ) from None
    height = film.height[None] if film.height.ndim == 2 and suffix != ".npy" else film.height
    if height.ndim != 3 or not (np.issubdtype(height.dtype, np.number) and np.isrealobj(height)):
        raise FormatError(
            f"{path} holds an array of shape {height.shape} and type {height.dtype}; a movie is real heights in nm,"
            " (frame, y, x)."
        )
    return Film(_in_nm(height.astype(np.float64)), film.pixel_nm, film.interval_s, film.channel)


def _in_nm(height: np.ndarray) -> np.ndarray:
    """Heights in nm, as float32, of those in nm or in m, which nothing in a file without units tells but their size."""
    finite = height[np.isfinite(height)]
    in_metres = finite.size and 0 < np.ptp(finite) < MOST_IN_METRES
    return np.asarray((1e9 if in_metres else 1.0) * height, dtype=np.float32)


def _optional(package: str, path: Path) -> Any:
    """A package of the extra `afm`. Raises FormatError with the line that installs it."""
    try:
        if package == "tifffile":
            import tifffile

            return tifffile
        import AFMReader
        from loguru import logger
    except ImportError:
        raise FormatError(f"{path} is read by {package}, which is not installed. Install it: {INSTALL}") from None
    logger.disable("AFMReader")
    return AFMReader


def _of_instrument(path: Path, suffix: str, channel: str | None) -> Film:
    """A file that afmreader reads, by the channel asked for, or the first name of heights that it has."""
    _optional("afmreader", path)
    load = _loader(suffix)
    problem = ""
    for name in [channel] if channel is not None else HEIGHTS[suffix]:
        try:
            height, pixel_nm, about = load(path, name if suffix != ".h5-jpk" or "_" in name else f"{name}_trace")
        except ValueError as error:
            if "not" not in str(error) or "channel" not in str(error).lower():
                raise
            problem = str(error)
            continue
        return _square(np.asarray(height), float(pixel_nm), about, name)
    asked = f"--channel {channel}" if channel is not None else f"No channel of heights ({', '.join(HEIGHTS[suffix])})"
    raise FormatError(f"{asked}: {path}: {problem} Give one of those: --channel NAME.")


def _loader(suffix: str) -> Callable[[Path, str], tuple[Any, float, dict[str, Any]]]:
    """The function of afmreader for a suffix, which gives heights, pixel size and what else the file says."""
    from loguru import logger

    if suffix == ".asd":
        from AFMReader.asd import load_asd as load
    elif suffix == ".h5-jpk":
        from AFMReader.h5_jpk import load_h5jpk as load
    elif suffix == ".spm":
        from AFMReader.spm import load_spm as load
    elif suffix == ".ibw":
        from AFMReader.ibw import load_ibw as load
    else:
        from AFMReader.gwy import load_gwy as load
    logger.disable("AFMReader")  # its modules switch it on when they are imported

    def loaded(path: Path, channel: str) -> tuple[Any, float, dict[str, Any]]:
        height, pixel_nm, *about = load(path, channel)
        return height, pixel_nm, about[0] if about else {}

    return loaded


def _square(height: np.ndarray, pixel_nm: float, about: dict[str, Any], channel: str) -> Film:
    """Frames on square pixels: the coarser axis is interpolated to the pitch of the finer one."""
    height = height[None] if height.ndim == 2 else height
    interval = float(about["frame_time"]) / 1000 if "frame_time" in about else math.nan  # ms, of .asd
    times = [float(time) for name, time in about.items() if name.startswith("frame ")]  # s, of .h5-jpk
    if len(times) > 1:
        interval = float(np.diff(times).mean())
    if "y_nm" in about and "y_pixels" in about:
        from scipy.ndimage import zoom

        other_nm = about["y_nm"] / about["y_pixels"]
        if not 0.99 < other_nm / pixel_nm < 1.01:
            finer = min(other_nm, pixel_nm)
            height = zoom(height, (1, other_nm / finer, pixel_nm / finer), order=1)
            pixel_nm = finer
    return Film(height, pixel_nm, interval, channel)

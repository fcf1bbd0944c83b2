"""Particle stacks of other programs, or our own: what a RELION STAR file says of each particle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tempica.errors import FormatError
from tempica.exchange.relion import KEPT, KEPT_TABLES, quaternions
from tempica.exchange.star import Table, read_star

MOST_IMAGES = 2**31 - 1  # of an MRC stack
_TEXT = ("rlnImageName", "tempicaPose", "tempicaNoise", *KEPT_TABLES.values())
_OPTICS = ("rlnImagePixelSize", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
_DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_ORIGINS_A, _ORIGINS_PIXEL = ("rlnOriginXAngst", "rlnOriginYAngst"), ("rlnOriginX", "rlnOriginY")
_PLACE = ("tempicaReplica", "tempicaFrame", "tempicaTime", "tempicaLabel", "tempicaMolecule", "tempicaDamageDose")
_STORE = ("tempicaImageScale", "tempicaImageOffset", "tempicaImageLevels", "tempicaScattering", *KEPT.values())
_NUMBERS = (
    *_OPTICS, *_DEFOCUS, *_ANGLES, *_ORIGINS_A, *_ORIGINS_PIXEL, *_PLACE, *_STORE, "rlnOpticsGroup", "rlnPhaseShift",
    "rlnCtfBfactor", "rlnCtfScalefactor", "rlnImageSize", "rlnImageDimensionality", "rlnCtfDataAreCtfPremultiplied",
    "rlnDetectorPixelSize", "rlnMagnification",
)  # fmt: skip
_PASSED_OVER = ("rlnBeamTiltX", "rlnBeamTiltY", "rlnOddZernike", "rlnEvenZernike", "rlnMagMat00", "rlnMtfFileName")


@dataclass(frozen=True)
class Particles:
    """What a STAR file says; arrays over particle, in the order of the file."""

    stacks: list[str]  # absolute paths
    stack: np.ndarray  # (particle,) number among those
    image: np.ndarray  # (particle,) number within the stack, from 0
    optics: dict[str, float]  # pixel_size_A, voltage_kV, spherical_aberration_mm, amplitude_contrast
    defocus_u_A: np.ndarray  # Å
    defocus_v_A: np.ndarray
    defocus_angle: np.ndarray  # rad
    phase_shift: np.ndarray  # rad
    b_factor_A2: np.ndarray
    image_size: int | None  # pixels along an edge, if the file says
    pose: str  # known, approximate or hidden
    quaternion: np.ndarray | None  # (particle, 4), none where hidden
    shift_A: np.ndarray | None  # (particle, 2)
    place: dict[str, np.ndarray]  # tempicaReplica …, if it is an export of ours
    store: dict[str, float]  # tempicaImageScale …, likewise
    tables: dict[str, np.ndarray]  # noise_power … over node, likewise
    noise: str  # white where the file does not say
    passed_over: list[str]  # labels that say something of the images which is not used


def read_particles(star: Path) -> Particles:
    """Read and check a STAR file of RELION 3.0 (one table), 3.1 or 5.

    Raises FormatError for whatever is missing, contradictory or not finite; stacks are not opened.
    """
    blocks = read_star(star, dict.fromkeys(_TEXT, str) | dict.fromkeys(_NUMBERS, float))
    table = _particle_table(star, blocks)
    optics = blocks.get("optics")
    per_group = _per_particle(star, table, optics)
    columns = table.columns | {k: v for k, v in per_group.items() if k not in table.columns}
    names = _column(star, columns, "rlnImageName")
    numbers, stack, stacks = _image_names(star, names)
    if "rlnImageDimensionality" in columns and (columns["rlnImageDimensionality"] != 2).any():
        raise FormatError(f"{star} is of subtomograms (rlnImageDimensionality 3). Only images can be imported.")
    if "rlnCtfDataAreCtfPremultiplied" in columns and columns["rlnCtfDataAreCtfPremultiplied"].any():
        raise FormatError(
            f"The images of {star} are multiplied by their CTF (rlnCtfDataAreCtfPremultiplied). Extract them without."
        )
    pixel = _pixel_size(star, columns)
    same = {
        "pixel_size_A": _same(star, "rlnImagePixelSize", pixel),
        **{
            name: _same(star, label, _column(star, columns, label))
            for name, label in zip(
                ("voltage_kV", "spherical_aberration_mm", "amplitude_contrast"), _OPTICS[1:], strict=True
            )
        },
    }
    u, v, angle = (_column(star, columns, label) for label in _DEFOCUS)
    pose, quaternion, shift = _poses(star, columns, same["pixel_size_A"])
    n = table.n_rows
    _check_optics(star, same)
    _check_sizes(star, columns)
    labels = [*table.labels, *(optics.labels if optics else [])]
    return Particles(
        stacks=stacks,
        stack=stack,
        image=numbers,
        optics=same,
        defocus_u_A=u,
        defocus_v_A=v,
        defocus_angle=np.radians(angle),
        phase_shift=np.radians(columns.get("rlnPhaseShift", np.zeros(n))),
        b_factor_A2=columns.get("rlnCtfBfactor", np.zeros(n)),
        image_size=int(columns["rlnImageSize"][0]) if "rlnImageSize" in columns else None,
        pose=pose,
        quaternion=quaternion,
        shift_A=shift,
        place={name: columns[name] for name in _PLACE if name in columns},
        store={name: float(columns[name][0]) for name in _STORE if name in columns and n},
        tables=_tables(star, columns),
        noise=str(columns["tempicaNoise"][0]) if "tempicaNoise" in columns else "white",
        passed_over=[label for label in _PASSED_OVER if label in labels]
        + (["rlnCtfScalefactor"] if (columns.get("rlnCtfScalefactor", np.ones(n)) != 1).any() else []),
    )


def _particle_table(star: Path, blocks: dict[str, Table]) -> Table:
    for name in ("particles", "", "images"):
        if name in blocks:
            if blocks[name].n_rows == 0:
                raise FormatError(f"The table data_{name} of {star} has no particles.")
            return blocks[name]
    there = ", ".join(f"data_{name}" for name in blocks) or "nothing"
    raise FormatError(f"{star} has no table data_particles; it has {there}. Give the STAR file of the particles.")


def _per_particle(star: Path, table: Table, optics: Table | None) -> dict[str, np.ndarray]:
    """Columns of the optics table, dealt out to particles by their group."""
    if optics is None:
        absent = [label for label in _OPTICS[1:] if label not in table.columns]
        if absent:
            raise FormatError(
                f"{star} has no table data_optics, and its particles no column _{absent[0]} either (as RELION 3.0"
                " wrote). Export it again, with its optics."
            )
        return {}
    known = _column(star, optics.columns, "rlnOpticsGroup", "data_optics")
    if len(np.unique(known)) < len(known):
        raise FormatError(f"The table data_optics of {star} has an rlnOpticsGroup twice.")
    asked = _column(star, table.columns, "rlnOpticsGroup")
    absent_groups = np.setdiff1d(asked, known)
    if len(absent_groups):
        raise FormatError(f"{star} has particles of optics group {absent_groups[0]:g}, which data_optics lacks.")
    order = np.argsort(known)
    row = order[np.searchsorted(known[order], asked)]
    return {label: values[row] for label, values in optics.columns.items()}


def _column(star: Path, columns: dict[str, np.ndarray], label: str, table: str = "data_particles") -> np.ndarray:
    if label not in columns:
        raise FormatError(f"{star} lacks the column _{label} in {table}. Export it again, with that column.")
    return columns[label]


def _image_names(star: Path, names: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Image number from 0, number of the stack, and paths of the stacks."""
    number, stack = np.empty(len(names), np.int64), np.empty(len(names), np.int64)
    order: dict[str, int] = {}
    for i, name in enumerate(names.tolist()):
        left, at, path = name.partition("@")
        if not (at and path and left.isascii() and left.isdigit() and 0 < int(left[:20]) <= MOST_IMAGES):
            raise FormatError(
                f"{star}: particle {i + 1} has rlnImageName '{name}'; it must be like 000001@particles.mrcs, counted"
                " from 1."
            )
        number[i], stack[i] = int(left) - 1, order.setdefault(path, len(order))
    return number, stack, [str(_find(star, path)) for path in order]


def _find(star: Path, name: str) -> Path:
    """A stack, named relative to the STAR file's folder or, as RELION does, to the project's folder above it."""
    folder = star.resolve().parent
    for place in (folder, *folder.parents):
        if (place / name).is_file():
            return place / name
    raise FormatError(
        f"The image stack {name}, which {star} names, is neither in {folder} nor in a folder above it. Put the STAR"
        " file where its names lead to the stacks."
    )


def _tables(star: Path, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tables over spatial frequency that an export of ours keeps as numbers with commas between; trivial if none."""
    if not set(KEPT_TABLES.values()) <= columns.keys():
        return {"frequency": np.zeros(1), "noise_power": np.ones(1), "dqe": np.ones(1)}
    try:
        found = {
            name: np.array([float(number) for number in str(columns[label][0]).split(",")])
            for name, label in KEPT_TABLES.items()
        }
    except ValueError as error:
        raise FormatError(f"A table of {star} ({', '.join(KEPT_TABLES.values())}) is damaged: {error}.") from None
    if len({len(table) for table in found.values()}) > 1 or not all(np.isfinite(t).all() for t in found.values()):
        raise FormatError(f"The tables {', '.join(KEPT_TABLES.values())} of {star} differ in length or are not finite.")
    return found


def _pixel_size(star: Path, columns: dict[str, np.ndarray]) -> np.ndarray:
    if "rlnImagePixelSize" not in columns and {"rlnDetectorPixelSize", "rlnMagnification"} <= columns.keys():
        with np.errstate(divide="ignore"):
            return 1e4 * columns["rlnDetectorPixelSize"] / columns["rlnMagnification"]  # µm on the detector
    return _column(star, columns, "rlnImagePixelSize", "data_optics")


def _same(star: Path, label: str, values: np.ndarray) -> float:
    if np.ptp(values) > 1e-6 * abs(float(values[0])):
        raise FormatError(
            f"The particles of {star} differ in {label} ({values.min():g} to {values.max():g}); a movie has one."
            " Import them apart."
        )
    return float(values[0])


def _check_optics(star: Path, optics: dict[str, float]) -> None:
    ranges = {
        "pixel_size_A": ("rlnImagePixelSize", 0.2, 20),
        "voltage_kV": ("rlnVoltage", 60, 1000),
        "spherical_aberration_mm": ("rlnSphericalAberration", 0, 10),
        "amplitude_contrast": ("rlnAmplitudeContrast", 0, 1),
    }
    for name, (label, low, high) in ranges.items():
        if not low <= optics[name] <= high:
            raise FormatError(f"{star} has {label} = {optics[name]:g}; it must be {low} to {high}.")


def _check_sizes(star: Path, columns: dict[str, np.ndarray]) -> None:
    """Raise FormatError for a number that no microscope gives, as damaged files hold them."""
    most = dict.fromkeys((*_DEFOCUS[:2], *_ORIGINS_A, *_ORIGINS_PIXEL), 1e6)
    most |= dict.fromkeys((*_ANGLES, _DEFOCUS[2], "rlnPhaseShift"), 1e5)
    for label, limit in most.items():
        if label in columns and (np.abs(columns[label]) > limit).any():
            row = int(np.abs(columns[label]).argmax())
            raise FormatError(
                f"{star}: particle {row + 1} has {label} = {columns[label][row]:g}; it must be {-limit:g} to {limit:g}."
            )


def _poses(
    star: Path, columns: dict[str, np.ndarray], pixel_A: float
) -> tuple[str, np.ndarray | None, np.ndarray | None]:
    origins = _ORIGINS_A if _ORIGINS_A[0] in columns or _ORIGINS_PIXEL[0] not in columns else _ORIGINS_PIXEL
    if not any(label in columns for label in (*_ANGLES, *origins)):
        return "hidden", None, None
    kind = str(columns["tempicaPose"][0]) if "tempicaPose" in columns else "known"
    if kind == "hidden":
        return kind, None, None
    euler = np.stack([_column(star, columns, label) for label in _ANGLES], -1)
    origin = np.stack([_column(star, columns, label) for label in origins], -1)
    return kind, quaternions(euler), -origin * (pixel_A if origins is _ORIGINS_PIXEL else 1.0)

"""Particle stacks of other programs, or our own: what a RELION STAR file says of each particle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tempica.errors import FormatError
from tempica.exchange.particle_columns import Columns, find_images, read_columns
from tempica.exchange.particle_optics import LABELS, stated_optics
from tempica.exchange.relion import EXACT, KEPT_TABLES, OF_POSES, UNIFORM, exact_number, quaternions
from tempica.recipe.particles import ParticlesRecipe

_TEXT = ("rlnImageName", "tempicaPose", "tempicaNoise", *EXACT, *KEPT_TABLES.values())
_DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_ORIGINS_A, _ORIGINS_PIXEL = ("rlnOriginXAngst", "rlnOriginYAngst"), ("rlnOriginX", "rlnOriginY")
_PLACE = ("tempicaReplica", "tempicaFrame", "tempicaTime", "tempicaLabel", "tempicaMolecule", "tempicaDamageDose")
_EXACT_POSES = {"pose_error_deg": 0.0, "pose_error_A": 0.0}
_CHANGED = {
    "rlnCtfDataAreCtfPremultiplied": "multiplied by their CTF",
    "rlnCtfDataArePhaseFlipped": "phase-flipped",
}
_NUMBERS = (
    *LABELS, *_DEFOCUS, *_ANGLES, *_ORIGINS_A, *_ORIGINS_PIXEL, *_PLACE, *_CHANGED, "rlnOpticsGroup", "rlnPhaseShift",
    "rlnCtfBfactor", "rlnCtfScalefactor", "rlnImageSize", "rlnImageDimensionality",
)  # fmt: skip
_PASSED_OVER = ("rlnBeamTiltX", "rlnBeamTiltY", "rlnOddZernike", "rlnEvenZernike", "rlnMagMat00", "rlnMtfFileName")


@dataclass(frozen=True)
class Particles:
    """What a STAR file says; arrays over particle, in the order of the file."""

    stacks: list[str]  # absolute paths
    stack: np.ndarray  # (particle,) number among those
    image: np.ndarray  # (particle,) number within the stack, from 0
    optics: dict[str, float]  # pixel_size_A, voltage_kV, spherical_aberration_mm, amplitude_contrast
    pixel_label: str  # who says so of the pixel's size: a column, or the recipe
    defocus_u_A: np.ndarray  # Å
    defocus_v_A: np.ndarray
    defocus_angle: np.ndarray  # rad
    phase_shift: np.ndarray  # rad
    b_factor_A2: np.ndarray
    image_size: int | None  # pixels along an edge, if the file says
    pose: str  # known, approximate or hidden
    pose_attributes: dict[str, float]  # of a movie: pose_error_deg, pose_error_A, turn_deg
    quaternion: np.ndarray | None  # (particle, 4), none where hidden
    shift_A: np.ndarray | None  # (particle, 2)
    place: dict[str, np.ndarray]  # tempicaReplica …, if it is an export of ours
    store: dict[str, float]  # tempicaImageScale …, likewise
    tables: dict[str, np.ndarray]  # noise_power … over node, likewise
    noise: str  # white where the file does not say
    passed_over: list[str]  # labels that say something of the images which is not used
    assumed: list[str]  # sentences: what the file does not say, or the recipe says otherwise


def read_particles(star: Path, about: ParticlesRecipe | None = None) -> Particles:
    """Read and check a STAR file of RELION 3.0 (one table), 3.1 or 5, completed by what a recipe says of it.

    Raises FormatError for whatever is missing, contradictory or not finite; stacks are not opened.
    """
    columns = read_columns(star, dict.fromkeys(_TEXT, str) | dict.fromkeys(_NUMBERS, float))
    image, stack, stacks, moved = find_images(columns, None if about is None else about.folder)
    _check_images(columns)
    stated = stated_optics(columns, about)
    u, v, angle = (columns.need(label) for label in _DEFOCUS)
    pose, quaternion, shift, centred = _poses(columns, stated.origin_pixel_A, about)
    _check_sizes(columns)
    found, n = columns.values, columns.n
    kept = {name: exact_number(star, name, str(found[name][0])) for name in EXACT if name in columns}
    pose, errors = _pose_errors(star, pose, kept, about)
    return Particles(
        stacks=stacks,
        stack=stack,
        image=image,
        optics=stated.optics,
        pixel_label=stated.pixel_label,
        defocus_u_A=u,
        defocus_v_A=v,
        defocus_angle=np.radians(angle),
        phase_shift=np.radians(found.get("rlnPhaseShift", np.zeros(n))),
        b_factor_A2=found.get("rlnCtfBfactor", np.zeros(n)),
        image_size=int(found["rlnImageSize"][0]) if "rlnImageSize" in columns else None,
        pose=pose,
        pose_attributes=errors,
        quaternion=quaternion,
        shift_A=shift,
        place={name: found[name] for name in _PLACE if name in columns},
        store=kept,
        tables=_tables(star, found),
        noise=str(found["tempicaNoise"][0]) if "tempicaNoise" in columns else "white",
        passed_over=[label for label in _PASSED_OVER if label in columns.labels]
        + (["rlnCtfScalefactor"] if (found.get("rlnCtfScalefactor", np.ones(n)) != 1).any() else []),
        assumed=[*columns.assumed, *moved, *stated.assumed, *centred],
    )


def _check_images(columns: Columns) -> None:
    """Raise FormatError for images that a contrast transfer function does not explain."""
    if "rlnImageDimensionality" in columns and (columns.values["rlnImageDimensionality"] != 2).any():
        raise FormatError(f"{columns.star} is of subtomograms (rlnImageDimensionality 3). Only images can be imported.")
    for label, what in _CHANGED.items():
        if label in columns and columns.values[label].any():
            raise FormatError(
                f"The images of {columns.star} are {what} ({label}). Extract them without, or set the column to 0 if"
                " they are not."
            )


def _poses(
    columns: Columns, pixel_A: float, about: ParticlesRecipe | None
) -> tuple[str, np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """Knowledge of the poses, quaternions, shifts (Å), and what was assumed of them."""
    origins = _ORIGINS_A if _ORIGINS_A[0] in columns or _ORIGINS_PIXEL[0] not in columns else _ORIGINS_PIXEL
    told = any(label in columns for label in (*_ORIGINS_A, *_ORIGINS_PIXEL))
    if not (told or any(label in columns for label in _ANGLES)):
        return "hidden", None, None, ()
    kind = str(columns.values["tempicaPose"][0]) if "tempicaPose" in columns else "known"
    if kind == "hidden" or (about is not None and about.poses == "hidden"):
        return "hidden", None, None, ()
    absent = [label for label in _ANGLES if label not in columns]
    if absent:
        raise FormatError(
            f"{columns.star} has poses in part: it lacks _{absent[0]} in {columns.table}. Export it again, with that"
            " column, or write particles.poses = 'hidden' to have poses found from the images."
        )
    quaternion = quaternions(np.stack([columns.need(label) for label in _ANGLES], -1))
    if not told:
        what = f"{columns.star} has angles and no origins ({', '.join(_ORIGINS_A)}): shifts of 0 are taken"
        return kind, quaternion, np.zeros((columns.n, 2)), (what,)
    origin = np.stack([columns.need(label) for label in origins], -1)
    return kind, quaternion, -origin * (pixel_A if origins is _ORIGINS_PIXEL else 1.0), ()


def _pose_errors(
    star: Path, pose: str, kept: dict[str, float], about: ParticlesRecipe | None
) -> tuple[str, dict[str, float]]:
    """Knowledge of the poses, and a movie's attributes of them: what an export of ours says, or the recipe."""
    errors = {name: kept[label] for name, label in OF_POSES.items() if label in kept}
    said = {name: getattr(about, name, None) for name in _EXACT_POSES}
    stated = {name: float(value) for name, value in said.items() if value is not None}
    if pose == "hidden":
        wrong = next((name for name, value in stated.items() if value), None)
        if wrong is not None:
            raise FormatError(
                f"{star} has no poses, and particles.{wrong} = {stated[wrong]:g} says how exact they are. Leave it out:"
                " poses are found from the images."
            )
        return pose, {name: value for name, value in errors.items() if name not in stated | _EXACT_POSES}
    if not stated:
        return pose, errors
    errors |= _EXACT_POSES | {name: value for name, value in errors.items() if name in _EXACT_POSES} | stated
    if any(errors[name] for name in _EXACT_POSES):
        return "approximate", errors
    return "known", {name: value for name, value in errors.items() if name not in _EXACT_POSES}


def _tables(star: Path, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tables over spatial frequency that an export of ours keeps as numbers with commas between; trivial if none."""
    if not set(KEPT_TABLES.values()) <= columns.keys():
        return UNIFORM
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


def _check_sizes(columns: Columns) -> None:
    """Raise FormatError for a number that no microscope gives, as damaged files hold them."""
    most = dict.fromkeys((*_DEFOCUS[:2], *_ORIGINS_A, *_ORIGINS_PIXEL), 1e6)
    most |= dict.fromkeys((*_ANGLES, _DEFOCUS[2], "rlnPhaseShift"), 1e5)
    for label, limit in most.items():
        if label in columns and (np.abs(columns.values[label]) > limit).any():
            row = int(np.abs(columns.values[label]).argmax())
            raise FormatError(
                f"{columns.star}: particle {row + 1} has {label} = {columns.values[label][row]:g}; it must be"
                f" {-limit:g} to {limit:g}."
            )

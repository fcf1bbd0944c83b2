"""The microscope that particles were recorded with, from the columns of a STAR file or from a recipe in their place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempica.errors import FormatError
from tempica.exchange.particle_columns import Columns
from tempica.recipe.particles import ParticlesRecipe

# what the recipe calls it (`particles.…`) -> label, least, most
FIELDS = {
    "pixel_size_A": ("rlnImagePixelSize", 0.2, 20.0),
    "voltage_kV": ("rlnVoltage", 60.0, 1000.0),
    "spherical_aberration_mm": ("rlnSphericalAberration", 0.0, 10.0),
    "amplitude_contrast": ("rlnAmplitudeContrast", 0.0, 1.0),
}
DETECTOR, MAGNIFICATION = "rlnDetectorPixelSize", "rlnMagnification"
LABELS = (*(label for label, *_ in FIELDS.values()), "rlnPixelSize", DETECTOR, MAGNIFICATION)
AGREES = 0.02  # relative difference of two pixel sizes that calibration explains, and binning does not


@dataclass(frozen=True)
class Stated:
    """A movie's optics and how they are known."""

    optics: dict[str, float]  # as FIELDS
    pixel_label: str  # who says so of the pixel's size
    origin_pixel_A: float  # pixel that the file's own origins are counted in
    assumed: tuple[str, ...]  # where the recipe contradicts the file


def stated_optics(columns: Columns, about: ParticlesRecipe | None) -> Stated:
    """The optics of a STAR file, completed or corrected by the recipe.

    Raises FormatError where neither says, where particles differ, and for a value that no microscope has.
    """
    given = {name: getattr(about, name, None) for name in FIELDS}
    found: dict[str, float] = {}
    assumed = []
    pixel_label, own_pixel = "particles.pixel_size_A", given["pixel_size_A"]
    for name, (label, low, high) in FIELDS.items():
        value = given[name]
        if name == "pixel_size_A":
            label, values = _pixel_size(columns, strict=value is None)
        else:
            values = columns.values.get(label)
        if value is None:
            if values is None:
                raise FormatError(
                    f"{columns.star} lacks the column _{label} in {columns.optics}. Export it again, with that column,"
                    f" or say it in the recipe: particles.{name}."
                )
            value = _same(columns, label, values, name)
            if not low <= value <= high:
                raise FormatError(f"{columns.star} has {label} = {value:g}; it must be {low:g} to {high:g}.")
            if name == "pixel_size_A":
                pixel_label = label
        elif values is not None and np.abs(values - value).max() > 1e-3 * abs(value):
            assumed.append(f"particles.{name} = {value:g} is taken, where {columns.star} has {label} = {values[0]:g}")
        if name == "pixel_size_A":
            own_pixel = value if values is None else float(values[0])
        found[name] = value
    assert own_pixel is not None
    return Stated(found, pixel_label, own_pixel, tuple(assumed))


def _pixel_size(columns: Columns, *, strict: bool) -> tuple[str, np.ndarray | None]:
    """Label and column (particle,) of the pixel size, Å; older files have it by other names.

    Raises FormatError, if `strict`, where two older ones contradict each other.
    """
    label = FIELDS["pixel_size_A"][0]
    if label in columns:
        return label, columns.values[label]
    by_magnification = f"{DETECTOR} / {MAGNIFICATION}"
    found = {}
    if "rlnPixelSize" in columns:
        found["rlnPixelSize"] = columns.values["rlnPixelSize"]
    if DETECTOR in columns and MAGNIFICATION in columns:
        with np.errstate(divide="ignore"):
            detector_A = 1e4 * columns.values[DETECTOR]  # the column has µm
            found[by_magnification] = detector_A / columns.values[MAGNIFICATION]
    if len(found) == 2 and strict:
        one, other = (float(values[0]) for values in found.values())
        if not abs(one - other) <= AGREES * abs(one):
            raise FormatError(
                f"{columns.star} has rlnPixelSize = {one:g} Å, and {by_magnification} make {other:g} Å. Say in the"
                " recipe which is right: particles.pixel_size_A."
            )
    return next(iter(found.items()), (label, None))


def _same(columns: Columns, label: str, values: np.ndarray, name: str) -> float:
    if np.ptp(values) > 1e-6 * abs(float(values[0])):
        raise FormatError(
            f"The particles of {columns.star} differ in {label} ({values.min():g} to {values.max():g}); a movie has"
            f" one. Import them apart, or give one for all: particles.{name}."
        )
    return float(values[0])

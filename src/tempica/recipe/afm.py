"""Recipe of the atomic force microscope: tip, scan, noise, and how molecules lie on the support."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from tempica.recipe.section import Section, in_unit, kind_or


class ConeTip(Section):
    """A cone with a spherical end."""

    kind: Literal["cone"] = "cone"
    radius_nm: float = in_unit("nm", "of the spherical end", default=0.5, ge=0, le=100)
    half_angle_deg: float = in_unit("degree", "of the cone, from its axis; 0: upright walls", default=10.0, ge=0, lt=90)


class ArrayTip(Section):
    """A tip as its heights on the grid of the pixels, such as blind reconstruction gives."""

    kind: Literal["array"]
    height_nm: tuple[tuple[float, ...], ...] = in_unit(
        "nm", "rows of heights: highest at the apex, lower elsewhere; numpy.load(FILE).tolist() of an array"
    )

    @model_validator(mode="after")
    def _a_table(self) -> ArrayTip:
        lengths = {len(row) for row in self.height_nm}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"height_nm must be a table: rows of one length; these have {sorted(lengths)}")
        return self


class LyingPoses(Section):
    """Molecules that lie on one of few faces, turn in the plane and wander about the middle of the frame."""

    knowledge: Literal["known", "hidden"] = Field(
        default="hidden", description="what the movie tells about orientations and places: the truth, or nothing (NaN)"
    )
    lying: Literal["flat", "free"] = Field(
        default="flat",
        description="flat: the molecule's shortest axis points up or down; free: any side may be up; one for each"
        " molecule. Overruled by faces",
    )
    faces: tuple[tuple[float, float, float, float], ...] = Field(
        default=(),
        description="rotations in which molecules may lie, as quaternions x y z w of any length; each molecule has one",
    )
    tilt_deg: float = in_unit(
        "degree",
        "standard deviation of a molecule's tilt about each axis in the plane, kept",
        default=0.0,
        ge=0,
        le=90,
    )
    turn_deg: float = in_unit(
        "degree", "standard deviation of the turn in the plane from frame to frame", default=3.0, ge=0, le=180
    )
    step_nm: float = in_unit(
        "nm",
        "standard deviation of the step along each axis from frame to frame; at shift_deviation_nm or above, places of"
        " successive frames are independent",
        default=0.1,
        ge=0,
        le=100,
    )
    shift_deviation_nm: float = in_unit(
        "nm", "standard deviation of the place along each axis, as of tracked molecules", default=0.3, ge=0, le=100
    )

    @model_validator(mode="after")
    def _rotations(self) -> LyingPoses:
        for face in self.faces:
            if math.hypot(*face) < 1e-6:
                raise ValueError("faces holds a rotation without length; a molecule as its file has it is [0, 0, 0, 1]")
        return self


class AfmRecipe(Section):
    """Heights of single molecules on a flat support, line by line, by an atomic force microscope.

    Every imperfection is left out where its number is 0.
    """

    kind: Literal["afm"]
    n_pixels: int = in_unit("pixel", "edge of the square image", default=35, ge=8, le=1024)
    pixel_size_nm: float = in_unit("nm", "edge of a pixel", default=0.3, ge=0.02, le=50)
    tip: Annotated[Annotated[ConeTip, Tag("cone")] | Annotated[ArrayTip, Tag("array")], kind_or("cone")] = ConeTip()
    bead_radius_nm: float | None = in_unit(
        "nm",
        "of every bead; if not given, van der Waals radii of atoms, and for beads of several the ball of their volume",
        default=None,
        gt=0,
        le=10,
    )
    frame_interval_s: float = in_unit("s", "time between the starts of frames", default=0.1, gt=0, le=1e6)
    line_time_s: float = in_unit(
        "s",
        "time of a line, trace and retrace, while the molecule moves on; 0: frames are taken at once",
        default=0.0,
        ge=0,
        le=1e6,
    )
    fast_axis: Literal["x", "y"] = Field(default="x", description="along which lines run; the first is at the low end")
    noise_nm: float = in_unit("nm", "standard deviation of the white noise of heights", default=0.1, ge=0, le=100)
    line_offset_nm: float = in_unit("nm", "standard deviation of the offset of a line", default=0.0, ge=0, le=100)
    stage_tilt_deg: float = in_unit(
        "degree", "standard deviation of the support's tilt along each axis, one a molecule", default=0.0, ge=0, le=30
    )
    drift_nm_per_s: float = in_unit(
        "nm/s", "drift of the stage, in a random direction for each molecule", default=0.0, ge=0, le=1e6
    )
    fall_nm_per_s: float = in_unit(
        "nm/s",
        "largest rate at which the tip comes down behind steep edges (parachuting); needs line_time_s; 0: at once",
        default=0.0,
        ge=0,
        le=1e12,
    )
    sharpness_per_nm: float = in_unit(
        "1/nm",
        "β of the soft maximum (1/β) ln Σ exp(β h) that stands for the maximum where derivatives are needed",
        default=20.0,
        gt=0,
        le=1e4,
    )
    poses: LyingPoses = LyingPoses()

    @property
    def fall_nm(self) -> float:
        """Height that the tip can lose from one pixel of a line to the next."""
        return self.fall_nm_per_s * self.line_time_s / (2 * self.n_pixels) if self.fall_nm_per_s else math.inf

    @model_validator(mode="after")
    def _in_time(self) -> AfmRecipe:
        if self.n_pixels * self.line_time_s > self.frame_interval_s * (1 + 1e-9):
            raise ValueError(
                f"line_time_s = {self.line_time_s:g} makes {self.n_pixels} lines of a frame take"
                f" {self.n_pixels * self.line_time_s:g} s, and frames begin every frame_interval_s ="
                f" {self.frame_interval_s:g} s. Give lines at most {self.frame_interval_s / self.n_pixels:.4g} s"
            )
        if self.fall_nm_per_s and not self.line_time_s:
            raise ValueError(
                f"fall_nm_per_s = {self.fall_nm_per_s:g} needs the time of a line: give line_time_s, or leave it out"
            )
        return self

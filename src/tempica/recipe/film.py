"""Recipe of a movie that a scanning probe recorded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tempica.recipe.section import MOST, Section, in_unit


class FilmRecipe(Section):
    """A movie of an atomic force microscope, in which molecules are found and followed."""

    files: list[str] = Field(
        min_length=1,
        description="the movie, or its frames in order: .asd, .h5-jpk, .spm, .ibw, .gwy, .tif or .npy (frame, y, x)",
    )
    channel: str | None = Field(default=None, min_length=1, description="of the file; the heights if none")
    pixel_size_nm: float | None = in_unit("nm", "edge of a pixel; that of the file if none", default=None, gt=0)
    interval_s: float | None = in_unit("s", "from frame to frame; that of the file if none", default=None, gt=0)
    longest_gap: int = in_unit(
        "frame", "that a molecule may be missing between two frames in which it is seen", default=20, ge=0, le=MOST
    )
    least_frames: int = in_unit("frame", "in which a molecule must be seen whole", default=20, ge=2, le=MOST)
    lying: Literal["flat", "free", "tumbling"] = Field(
        default="tumbling",
        description="with a structure: flat: its shortest axis points up or down; free: any side may be up; one for"
        " each molecule. tumbling: any side, anew in every frame",
    )
    tip_radius_nm: float | None = in_unit(
        "nm", "with a structure: of the tip's end; found from the movie if none", default=None, gt=0, le=100
    )
    half_angle_deg: float = in_unit(
        "degree", "with a structure: of the tip's cone, from its axis; this is believed", default=10.0, ge=0, lt=90
    )
    box_nm: float | None = in_unit(
        "nm", "edge of the crop around a molecule; as large as molecules need if none", default=None, gt=0
    )

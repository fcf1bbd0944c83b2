"""Recipe of a movie that was recorded, or made, elsewhere: a particle stack with its STAR file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tempica.recipe.section import Section, in_unit


class ParticlesRecipe(Section):
    """Particles of another program in the place of rendered images; simulate then makes structures to explain them.

    An export of ours knows each particle's replica, frame and time, which n_replicas and n_frames must agree with. In
    any other file the particles are dealt out in its order, n_frames to each of n_replicas, the rest unused.
    """

    star: str = Field(min_length=1, description="STAR file of RELION 3.0, 3.1 or 5, relative to the recipe")
    folder: str | None = Field(
        default=None,
        min_length=1,
        description="where the image stacks lie, relative to the STAR file; where that file says if none",
    )
    observation: Literal["movie", "snapshots"] | None = Field(
        default=None,
        description="movie: particles of a replica follow each other in time; snapshots: each is another molecule."
        " Needed where the file is no export of ours",
    )
    frame_interval: float = in_unit(
        "ps", "between neighbouring particles of a replica, where the file tells no times", default=1.0, gt=0
    )
    contrast: Literal["positive", "negative"] = Field(
        default="positive", description="sign of protein in the images; negative ones are turned over"
    )
    structure: Literal["centred", "docked"] = Field(
        default="centred",
        description="where the structure stands in the map that the poses refer to: centred: its beads' centroid in"
        " the middle of the box; docked: the structure file lies in the map, whose first voxel is at the origin",
    )
    b_factor_A2: float | None = in_unit(
        "Å²", "envelope exp(−B k²/4) of the CTF; rlnCtfBfactor of the file if none", default=None, ge=0, le=2000
    )
    bead_b_factor_A2: float | None = in_unit(
        "Å²", "B factor added to each bead's own width; of an export of ours its own, else 20", default=None, ge=0,
        le=1000,
    )  # fmt: skip
    pixel_size_A: float | None = in_unit(
        "Å", "edge of a pixel of the images; what the STAR file says if none", default=None, ge=0.2, le=20
    )
    voltage_kV: float | None = in_unit(
        "kV", "of the microscope; what the STAR file says if none", default=None, ge=60, le=1000
    )
    spherical_aberration_mm: float | None = in_unit(
        "mm", "of the microscope; what the STAR file says if none", default=None, ge=0, le=10
    )
    amplitude_contrast: float | None = in_unit(
        "1", "share of the contrast that is of amplitude; what the STAR file says if none", default=None, ge=0, le=1
    )

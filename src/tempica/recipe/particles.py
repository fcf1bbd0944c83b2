"""Recipe of images from another program: a particle stack with its STAR file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tempica.recipe.section import Section, in_unit


class ParticlesRecipe(Section):
    """Particles of another program instead of rendered images; simulate then makes structures to explain them.

    A file that tempica exported tells each particle's replica, frame and time, and n_replicas and n_frames must agree
    with them. Of any other file the particles are taken in order, n_frames for each of n_replicas, the rest unused.
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
        " Needed unless tempica exported the file",
    )
    frame_interval: float = in_unit(
        "ps", "between neighbouring particles of a replica, where the file has no times", default=1.0, gt=0
    )
    contrast: Literal["positive", "negative"] = Field(
        default="positive", description="sign of protein in the images; negative images are inverted"
    )
    poses: Literal["stated", "hidden"] = Field(
        default="stated",
        description="stated: those of the file, if it has any; hidden: whatever the file says, poses are found from the"
        " images",
    )
    pose_error_deg: float | None = in_unit(
        "°",
        "standard deviation of the file's angles about each axis, if they are not exact; if none, what a file that"
        " tempica exported says, else 0",
        default=None,
        ge=0,
        le=30,
    )
    pose_error_A: float | None = in_unit(
        "Å", "standard deviation of the file's origins along each axis, likewise", default=None, ge=0, le=50
    )
    structure: Literal["centred", "docked"] = Field(
        default="centred",
        description="where the structure is in the map that the poses refer to; centred: its beads' centroid is in the"
        " middle of the box; docked: the structure file fits the map, whose first voxel is at the origin",
    )
    b_factor_A2: float | None = in_unit(
        "Å²", "envelope exp(−B k²/4) of the CTF; rlnCtfBfactor of the file if none", default=None, ge=0, le=2000
    )
    bead_b_factor_A2: float | None = in_unit(
        "Å²",
        "B factor added to each bead's own width; if none, that of a file that tempica exported, else 20",
        default=None,
        ge=0,
        le=1000,
    )
    pixel_size_A: float | None = in_unit(
        "Å", "edge of a pixel of the images; that of the STAR file if none", default=None, ge=0.2, le=20
    )
    voltage_kV: float | None = in_unit(
        "kV", "of the microscope; that of the STAR file if none", default=None, ge=60, le=1000
    )
    spherical_aberration_mm: float | None = in_unit(
        "mm", "of the microscope; that of the STAR file if none", default=None, ge=0, le=10
    )
    amplitude_contrast: float | None = in_unit(
        "1", "amplitude contrast w; that of the STAR file if none", default=None, ge=0, le=1
    )

    @model_validator(mode="after")
    def _poses(self) -> ParticlesRecipe:
        if self.poses == "hidden" and (self.pose_error_deg or self.pose_error_A):
            raise ValueError(
                "poses = 'hidden' leaves no poses whose errors pose_error_deg and pose_error_A could be; leave them"
                " out, or write poses = 'stated'"
            )
        return self

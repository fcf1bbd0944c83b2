"""Recipe of the camera: optics, poses and noise."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tempica.recipe_base import Section, in_unit


class RenderRecipe(Section):
    """An electron camera: random known orientation per frame, contrast transfer function, white noise."""

    kind: Literal["electron"] = "electron"
    n_pixels: int = in_unit("pixel", "edge of the square image, even", default=64, ge=16, le=1024, multiple_of=2)
    pixel_size_A: float = in_unit("Å", "edge of a pixel", default=1.5, ge=0.2, le=20)
    snr: float = Field(
        default=0.1,
        gt=0,
        allow_inf_nan=True,
        description="variance of the noise-free image after the CTF over the whole box, averaged over the"
        " movie, over the variance of the noise; inf for no noise",
        json_schema_extra={"unit": "1"},
    )
    bead_b_factor_A2: float = in_unit("Å²", "B factor added to each bead's own width", default=20.0, ge=0, le=1000)
    shift_deviation_A: float = in_unit(
        "Å", "standard deviation of the in-plane shift, each axis", default=3.0, ge=0, le=50
    )
    voltage_kV: float = in_unit("kV", "accelerating voltage", default=300.0, ge=60, le=1000)
    spherical_aberration_mm: float = in_unit("mm", "Cs", default=2.7, ge=0, le=10)
    amplitude_contrast: float = in_unit("1", "amplitude contrast w", default=0.1, ge=0, le=1)
    b_factor_A2: float = in_unit("Å²", "envelope exp(−B k²/4) of the CTF", default=40.0, ge=0, le=2000)
    defocus_low_A: float = in_unit("Å", "least underfocus", default=8_000.0, ge=0, le=100_000)
    defocus_high_A: float = in_unit("Å", "largest underfocus", default=15_000.0, ge=0, le=100_000)
    astigmatism_A: float = in_unit("Å", "defocus u minus v; its angle is random", default=200.0, ge=0, le=10_000)

    @model_validator(mode="after")
    def _defocus(self) -> RenderRecipe:
        if self.defocus_high_A < self.defocus_low_A:
            raise ValueError(
                f"defocus_high_A = {self.defocus_high_A} must not be below defocus_low_A = {self.defocus_low_A}"
            )
        return self

"""Recipe of the X-ray camera: light source, detector, orientations."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from tempica.recipe.section import Section, in_unit, kind_or


class _Orientations(Section):
    knowledge: Literal["known", "approximate", "hidden"] = Field(
        default="known",
        description="what the movie tells about orientations: the truth, the truth with an error, or nothing (NaN)",
    )
    error_deg: float = in_unit(
        "degree", "standard deviation of an approximate orientation about each axis", default=0.0, ge=0, le=90
    )

    @model_validator(mode="after")
    def _consistent(self) -> _Orientations:
        if (self.knowledge == "approximate") != (self.error_deg > 0):
            raise ValueError(
                f"knowledge = '{self.knowledge}' with error_deg = {self.error_deg:g}: approximate orientations need an"
                " error above 0, and others have none"
            )
        return self


class RandomOrientations(_Orientations):
    """A new orientation for every frame."""

    kind: Literal["random"] = "random"


class FixedOrientations(_Orientations):
    """One orientation for all frames of a molecule: the pulses follow each other before it has turned."""

    kind: Literal["fixed"]


class XfelRecipe(Section):
    """Diffraction patterns of single particles, in photons, from the pulses of an X-ray free-electron laser."""

    kind: Literal["xfel"]
    n_pixels: int = in_unit("pixel", "edge of the square detector, centred on the beam", default=64, ge=16, le=2048)
    pixel_size_um: float = in_unit("µm", "edge of a pixel, after binning", default=600.0, gt=1, le=1e5)
    detector_distance_mm: float = in_unit("mm", "of the detector behind the particle", default=100.0, gt=1, le=1e5)
    photon_energy_eV: float = in_unit("eV", "of each photon", default=6_000.0, ge=200, le=30_000)
    photons_per_pulse: float = in_unit(
        "1", "photons that reach the focus in the average pulse", default=1e12, gt=0, le=1e16
    )
    focus_nm: float = in_unit("nm", "edge of the square focus, which is evenly lit", default=100.0, ge=1, le=1e6)
    pulse_jitter: float = in_unit(
        "1",
        "standard deviation of a pulse's photons over their mean, gamma-distributed as those of self-amplified"
        " emission (Saldin, Schneidmiller & Yurkov 1998)",
        default=0.1,
        ge=0,
        le=1,
    )
    polarisation: Literal["x", "y", "none"] = in_unit(
        "1", "of the light: along the rows, the columns, or neither", default="x"
    )
    beam_stop_radius_mm: float = in_unit(
        "mm", "of the shadow of the round beam stop on the detector", default=1.5, ge=0
    )
    background_photons: float = in_unit("photon", "mean background in a pixel and shot", default=0.0, ge=0, le=1e6)
    b_factor_A2: float = in_unit("Å²", "B factor of every atom", default=20.0, ge=0, le=1000)
    poses: Annotated[
        Annotated[RandomOrientations, Tag("random")] | Annotated[FixedOrientations, Tag("fixed")],
        kind_or("random"),
    ] = RandomOrientations()

    @property
    def photons_per_um2(self) -> float:
        return self.photons_per_pulse / (1e-3 * self.focus_nm) ** 2

    @model_validator(mode="after")
    def _seen(self) -> XfelRecipe:
        corner = math.sqrt(0.5) * 1e-3 * self.pixel_size_um * (self.n_pixels - 1)
        if self.beam_stop_radius_mm >= corner:
            raise ValueError(
                f"beam_stop_radius_mm = {self.beam_stop_radius_mm:g} covers the whole detector, whose corners are"
                f" {corner:.3g} mm from its middle"
            )
        return self

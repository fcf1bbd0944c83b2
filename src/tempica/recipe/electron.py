"""Recipe of the camera: scatterers, optics, poses and noise."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, Tag, field_validator, model_validator

from tempica.recipe.section import Section, in_unit, kind_or

Point = tuple[float, float]  # a node of a table


class BeadScattering(Section):
    """Each bead of the trajectory is one Gaussian that scatters like all the atoms it represents."""

    kind: Literal["beads"] = "beads"
    solvent_contrast: float = in_unit(
        "1",
        "fraction of the scattering that remains against the surrounding water: 1 in vacuum, about 0.4 in ice",
        default=1.0,
        gt=0,
        le=1,
    )


class AtomScattering(Section):
    """Each bead is an atom, with the scattering of Peng et al. (1996); for trajectories of atoms only."""

    kind: Literal["atoms"]
    n_gaussians: Literal[1, 2, 5] = Field(
        default=2, description="Gaussians per atom: 5 as tabulated; 2 or 1 fitted to them over the resolved frequencies"
    )
    b_factor_A2: float = in_unit("Å²", "B factor of every atom", default=20.0, ge=0, le=1000)
    solvent: bool = Field(default=True, description="subtract the water that each atom displaces")


class _Noise(Section):
    @staticmethod
    def _table(value: tuple[Point, ...], name: str, most: float = math.inf) -> tuple[Point, ...]:
        at = [x for x, _ in value]
        if not value or at != sorted(set(at)) or at[0] < 0:
            raise ValueError(f"{name} must hold at least one pair, spatial frequencies (1/Å, from 0) rising")
        for x, y in value:
            if not 0 < y <= most:
                raise ValueError(f"{name} holds {y:g} at {x:g} 1/Å; it must be above 0" + _at_most(most))
        return value


class WhiteNoise(_Noise):
    """The same power at every spatial frequency; `snr` sets the strength."""

    kind: Literal["white"] = "white"


class ColouredNoise(_Noise):
    """Normal noise with a radial power spectrum; `snr` sets the strength."""

    kind: Literal["coloured"]
    spectrum: tuple[Point, ...] = in_unit(
        "1/Å, 1",
        "pairs of spatial frequency and relative power, linear in between and constant beyond",
    )

    @field_validator("spectrum")
    @classmethod
    def _spectrum(cls, value: tuple[Point, ...]) -> tuple[Point, ...]:
        return cls._table(value, "spectrum")


class PoissonNoise(_Noise):
    """Counted electrons: `dose_per_frame_e_A2` sets their number, and `snr` follows."""

    kind: Literal["poisson"]
    dqe: tuple[Point, ...] = in_unit(
        "1/Å, 1",
        "detective quantum efficiency: pairs of spatial frequency and efficiency, linear in between, constant beyond;"
        " the signal is multiplied by its square root before counting",
        default=((0.0, 1.0),),
    )

    @field_validator("dqe")
    @classmethod
    def _dqe(cls, value: tuple[Point, ...]) -> tuple[Point, ...]:
        return cls._table(value, "dqe", 1.0)


class _Poses(Section):
    knowledge: Literal["known", "approximate", "hidden"] = Field(
        default="known", description="what the movie tells about poses: the truth, the truth with an error, or nothing"
    )
    error_deg: float = in_unit(
        "degree", "approximate poses: standard deviation of the rotation, about each axis", default=0.0, ge=0, le=180
    )
    error_A: float = in_unit("Å", "the same of the shift, each axis", default=0.0, ge=0, le=50)
    preferred_axes: tuple[tuple[float, float, float], ...] = Field(
        default=(),
        description="directions of the molecule that tend to point towards the viewer, equally often; all if none."
        " For a diffusing molecule: at its first frame",
    )
    preference: float = in_unit("1", "von Mises–Fisher concentration κ about them", default=10.0, gt=0, le=1e5)

    @model_validator(mode="after")
    def _consistent(self) -> _Poses:
        if (self.knowledge == "approximate") != (self.error_deg > 0 or self.error_A > 0):
            raise ValueError(
                f"knowledge = '{self.knowledge}' with error_deg = {self.error_deg:g} and error_A = {self.error_A:g}:"
                " approximate poses need an error, and others have none"
            )
        if any(math.hypot(*axis) < 1e-6 for axis in self.preferred_axes):
            raise ValueError("preferred_axes holds an axis of no length; give its direction, such as [0, 0, 1]")
        return self


class RandomPoses(_Poses):
    """A new orientation and shift for every frame."""

    kind: Literal["random"] = "random"


class FixedPoses(_Poses):
    """Bound to a surface: one orientation and shift for all frames of a molecule."""

    kind: Literal["fixed"]
    orientation: tuple[float, float, float, float] | None = Field(
        default=None,
        description="rotation of every molecule, as a quaternion x y z w of any length: all lie alike on the surface;"
        " another rotation for each molecule if none",
    )
    drift_A: float = in_unit(
        "Å", "drift per frame along a straight line, in a random direction for each molecule", default=0.0, ge=0, le=100
    )

    @model_validator(mode="after")
    def _one(self) -> FixedPoses:
        if self.orientation is not None and math.hypot(*self.orientation) < 1e-6:
            raise ValueError("orientation has no length; a molecule as its file has it is [0, 0, 0, 1]")
        if self.orientation is not None and self.preferred_axes:
            raise ValueError("orientation and preferred_axes are both given; leave one out")
        return self


class DiffusingPoses(_Poses):
    """Isotropic rotational Brownian motion from a random start of each molecule; D = kT / 8πηa³ unless it is given."""

    kind: Literal["diffusion"]
    frame_interval_s: float | None = in_unit(
        "s", "time between frames of the camera; the simulated one if not given", default=None, gt=0, le=1e6
    )
    rotational_diffusion_per_s: float | None = in_unit(
        "rad²/s", "D about each axis; from radius, temperature and viscosity if not given", default=None, gt=0, le=1e15
    )
    radius_nm: float | None = in_unit(
        "nm",
        "hydrodynamic radius a; if not given, that of a ball with the molecule's radius of gyration, plus 0.3 nm"
        " of water",
        default=None,
        gt=0,
        le=1000,
    )
    temperature_K: float = in_unit("K", "of the liquid", default=298.15, gt=0, le=2000)
    viscosity_mPa_s: float = in_unit("mPa s", "η of the liquid; water has 0.89", default=0.89, gt=0, le=1e12)
    drift_A: float = in_unit(
        "Å", "drift per frame along a straight line, in a random direction for each molecule", default=0.0, ge=0, le=100
    )

    @model_validator(mode="after")
    def _either(self) -> DiffusingPoses:
        blank = type(self).model_fields
        given = [n for n in ("radius_nm", "temperature_K", "viscosity_mPa_s") if getattr(self, n) != blank[n].default]
        if self.rotational_diffusion_per_s is not None and given:
            raise ValueError(f"rotational_diffusion_per_s says it all: leave out {' and '.join(given)}")
        return self


Poses = RandomPoses | FixedPoses | DiffusingPoses


def _at_most(most: float) -> str:
    return "" if math.isinf(most) else f" and at most {most:g}"


class RenderRecipe(Section):
    """An electron camera."""

    kind: Literal["electron"] = "electron"
    lazy: bool = Field(
        default=False, description="store no images; make each one from the stored parameters when it is read"
    )
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
    noise: Annotated[
        Annotated[WhiteNoise, Tag("white")]
        | Annotated[ColouredNoise, Tag("coloured")]
        | Annotated[PoissonNoise, Tag("poisson")],
        kind_or("white"),
    ] = WhiteNoise()
    dose_per_frame_e_A2: float | None = in_unit(
        "e/Å²", "dose of a frame; needed for counting noise and for radiation damage", default=None, gt=0, le=1e5
    )
    radiation_damage: bool = Field(
        default=False,
        description="attenuate each frame by the dose its molecule has received, half of the frame's own included",
    )
    pre_exposure_e_A2: float = in_unit(
        "e/Å²", "dose that a molecule has received before its first frame", default=0.0, ge=0, le=1e6
    )
    scattering: Annotated[
        Annotated[BeadScattering, Tag("beads")] | Annotated[AtomScattering, Tag("atoms")], kind_or("beads")
    ] = BeadScattering()
    bead_b_factor_A2: float = in_unit("Å²", "B factor added to each bead's own width", default=20.0, ge=0, le=1000)
    poses: Annotated[
        Annotated[RandomPoses, Tag("random")]
        | Annotated[FixedPoses, Tag("fixed")]
        | Annotated[DiffusingPoses, Tag("diffusion")],
        kind_or("random"),
    ] = RandomPoses()
    shift_deviation_A: float = in_unit(
        "Å", "standard deviation of the in-plane shift, each axis", default=3.0, ge=0, le=50
    )
    voltage_kV: float = in_unit("kV", "accelerating voltage", default=300.0, ge=60, le=1000)
    spherical_aberration_mm: float = in_unit("mm", "Cs", default=2.7, ge=0, le=10)
    amplitude_contrast: float = in_unit("1", "amplitude contrast w", default=0.1, ge=0, le=1)
    phase_shift_deg: float = in_unit("degree", "of a phase plate", default=0.0, ge=0, le=180)
    b_factor_A2: float = in_unit("Å²", "envelope exp(−B k²/4) of the CTF", default=40.0, ge=0, le=2000)
    defocus_low_A: float = in_unit("Å", "least underfocus", default=8_000.0, ge=0, le=100_000)
    defocus_high_A: float = in_unit("Å", "largest underfocus", default=15_000.0, ge=0, le=100_000)
    astigmatism_A: float = in_unit("Å", "defocus u minus v; its angle is random", default=200.0, ge=0, le=10_000)

    @model_validator(mode="after")
    def _consistent(self) -> RenderRecipe:
        if self.defocus_high_A < self.defocus_low_A:
            raise ValueError(
                f"defocus_high_A = {self.defocus_high_A} must not be below defocus_low_A = {self.defocus_low_A}"
            )
        counted = isinstance(self.noise, PoissonNoise)
        blank = type(self).model_fields
        if counted and self.snr != blank["snr"].default:
            raise ValueError(f"snr = {self.snr:g} follows from the dose when electrons are counted; leave it out")
        if self.dose_per_frame_e_A2 is None and (counted or self.radiation_damage):
            need = "noise of kind 'poisson'" if counted else "radiation_damage"
            raise ValueError(f"dose_per_frame_e_A2 is missing, and {need} needs it")
        if self.radiation_damage and self.voltage_kV not in (200, 300):
            raise ValueError(
                f"radiation_damage is known only at 200 and 300 kV, and voltage_kV is {self.voltage_kV:g}; leave it out"
            )
        if isinstance(self.scattering, AtomScattering) and self.bead_b_factor_A2 != blank["bead_b_factor_A2"].default:
            raise ValueError("bead_b_factor_A2 is for beads; give scattering.b_factor_A2 for atoms")
        return self

"""What moves the sources: one entry of `simulate.dynamics` per collective variable; `process` tells which kind.

A *driven* variable is pulled by a moving restraint along a random series, one value a frame. A *free* one moves by
itself, at equilibrium, in a potential along it. Each docstring says what can be identified, and by which theorem.
Values along a variable are degrees for angles and nm for distances; means and deviations are those of the target.
A mean that is left out is the value in the structure.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from tempica.recipe.section import MOST, Name, Section, in_unit

ALONG = "degree or nm"


class _Dynamics(Section):
    identifiable: ClassVar[str]  # one line for tables: by which method, and what is left
    collective_variable: Name


class _Centred(_Dynamics):
    mean: float | None = None

    @property
    def centre(self) -> float:
        """The mean, which must have been given or measured."""
        if self.mean is None:
            raise TypeError("the mean is known only with the structure")
        return self.mean


class _Driven(_Centred):
    mean: float | None = in_unit(
        ALONG, "mean of the target; the structure's own value if none", default=None, gt=-180, le=1000
    )
    deviation: float = in_unit(ALONG, "standard deviation of the target", gt=0, lt=90)
    stiffness: float = in_unit(
        "kJ/mol/rad² or kJ/mol/nm²", "of the moving restraint", default=20_000.0, gt=0, le=10_000_000
    )

    @property
    def reach(self) -> tuple[float, float]:
        """Interval that the target rarely leaves: three deviations about the mean."""
        return self.centre - 3 * self.deviation, self.centre + 3 * self.deviation


class Ar1(_Driven):
    """First-order autoregression s_t = ρ s_{t−1} + √(1 − ρ²) e_t, with independent innovations e.

    With Laplace, Student or jump innovations the series is uniformly dependent and not quasi-Gaussian: PCL finds
    it pointwise (Hyvärinen & Morioka 2017, theorem 1). With Gaussian ones (an Ornstein–Uhlenbeck process seen
    once a frame) PCL leaves a linear mixture (theorem 2), which TICA or SOBI resolve if the coefficients differ;
    equal coefficients leave a rotation that nothing resolves: a negative control. `jump` means e is zero but for
    a fraction of the frames: sparse innovations, also SlowVAE's case (Klindt et al. 2021).
    `coupled_to` makes s = c u + √(1 − c²) own series, u the other variable's: no longer independent, a negative
    control whose mutual correlation is c.
    """

    identifiable: ClassVar[str] = "PCL pointwise, theorem 1 (Gaussian: a linear mixture, then TICA if rates differ)"
    process: Literal["ar1"] = "ar1"
    innovation: Literal["laplace", "gaussian", "student", "jump"] = "laplace"
    coefficient: float = in_unit("1", "autocorrelation ρ from one frame to the next", ge=0, lt=1)
    degrees_of_freedom: float = in_unit("1", "of Student innovations", default=5.0, gt=2, le=100)
    jump_probability: float = in_unit("1", "fraction of frames with an innovation, for jumps", default=0.1, gt=0, le=1)
    coupled_to: Name | None = Field(default=None, description="collective variable, declared before, to follow")
    coupling: float = in_unit("1", "correlation c with it", default=0.0, gt=-1, lt=1)

    @model_validator(mode="after")
    def _coupled(self) -> Ar1:
        if (self.coupled_to is None) != (self.coupling == 0):
            raise ValueError("coupled_to and coupling (other than 0) must be given together, or neither")
        return self


class Modulated(_Driven):
    """Autoregression whose scale is drawn anew for every segment of frames, independently of the other variables.

    In segment τ: s_t = λ(τ) z_t with z the stationary series of `ar1` and λ uniform in [scale_low, scale_high],
    scaled so that the deviation over all segments is the stated one. The labels identify |s| by TCL if the natural
    parameters of the sources have full rank (Hyvärinen & Morioka 2016, theorem 1). `control = "common"`: one λ(τ)
    for all variables that say so, a single scalar control, whose natural parameters have rank 1: not identifiable,
    a negative control.
    """

    identifiable: ClassVar[str] = "TCL up to |s|, theorem 1 of 2016 (control common: rank 1, not identifiable)"
    process: Literal["modulated"]
    innovation: Literal["laplace", "gaussian"] = "laplace"
    coefficient: float = in_unit("1", "autocorrelation ρ from one frame to the next", default=0.0, ge=0, lt=1)
    scale_low: float = in_unit("1", "least scale of a segment", default=0.0, ge=0)
    scale_high: float = in_unit("1", "largest scale of a segment", default=1.0, gt=0)
    control: Literal["independent", "common"] = "independent"

    @model_validator(mode="after")
    def _scales(self) -> Modulated:
        if self.scale_high <= self.scale_low:
            raise ValueError(f"scale_high = {self.scale_high} must exceed scale_low = {self.scale_low}")
        return self


class Relaxation(_Driven):
    """Pump–probe: at the start of every segment the target jumps by A and decays, m + A exp(−t/τ).

    A is normal, of mean `amplitude` and deviation `amplitude_deviation`, for every molecule, pump and variable anew.
    Around it the target scatters with `deviation`, Gaussian, of autocorrelation ρ. The label is the delay t after the
    pump. Where A scatters, the variance relaxes too, and with a rate of its own for every source TCL and iVAE identify
    the sources by the delay; with equal rates the natural parameters have rank 1. Where A is always the same, only the
    mean of a normal law moves: every rotation of the sources is again normal and independent given the delay, and only
    the subspace is identifiable.
    """

    identifiable: ClassVar[str] = "TCL and iVAE by delay, if every source has its own rate and jumps scatter"
    process: Literal["relaxation"]
    amplitude: float = in_unit(ALONG, "mean jump at the pump", gt=-180, lt=180)
    amplitude_deviation: float = in_unit(
        ALONG, "standard deviation of the jump, from molecule to molecule and pump to pump", default=0.0, ge=0, lt=90
    )
    time_constant: float = in_unit("frame", "τ of the decay", gt=0, le=MOST)
    coefficient: float = in_unit("1", "autocorrelation ρ of the scatter", default=0.0, ge=0, lt=1)

    @property
    def reach(self) -> tuple[float, float]:
        low, high = super().reach
        most = 3 * self.amplitude_deviation
        return low + min(0.0, self.amplitude - most), high + max(0.0, self.amplitude + most)


class Jumps(_Dynamics):
    """Metastable states: a Markov chain that jumps between levels, with Gaussian scatter around each.

    Every frame the state is left with probability 1/dwell for one of the others, drawn evenly. At lags far above
    the time within a state only the discrete state is identifiable (a hidden Markov model); within a state PCL
    has no contrast to learn from.
    """

    identifiable: ClassVar[str] = "the discrete state alone (hidden Markov); not the position within it"
    process: Literal["jumps"]
    levels: list[float] = in_unit(ALONG, "target in each state", min_length=2, max_length=20)
    dwell: float = in_unit("frame", "mean time in a state", gt=1, le=MOST)
    deviation: float = in_unit(ALONG, "scatter of the target within a state", gt=0, lt=90)
    stiffness: float = in_unit(
        "kJ/mol/rad² or kJ/mol/nm²", "of the moving restraint", default=20_000.0, gt=0, le=10_000_000
    )

    @property
    def reach(self) -> tuple[float, float]:
        return min(self.levels) - 3 * self.deviation, max(self.levels) + 3 * self.deviation


class _Free(_Centred):
    mean: float | None = in_unit(
        ALONG, "centre of the potential; the structure's own value if none", default=None, gt=-180, le=1000
    )

    @property
    def reach(self) -> tuple[float, float]:
        return self.centre, self.centre


class Harmonic(_Free):
    """Equilibrium in U(x) = ½ k (x − x₀)²: a Gaussian source, overdamped an Ornstein–Uhlenbeck process.

    Quasi-Gaussian: PCL leaves a linear mixture, FastICA cannot turn it; TICA or SOBI do if the rates differ. Equal
    rates (a symmetric oligomer, degenerate modes) leave the subspace alone: a negative control.
    """

    identifiable: ClassVar[str] = "TICA/SOBI if rates differ; equal rates: the subspace alone"
    process: Literal["harmonic"]
    curvature: float = in_unit("kJ/mol/rad² or kJ/mol/nm²", "k", gt=0, le=1_000_000)


class DoubleWell(_Free):
    """Equilibrium in U(x) = b (((x − x₀)/h)² − 1)²: wells at x₀ ± h, b apart from the top.

    Nearly quasi-Gaussian at every lag (the best such model explains over 99.6 % of the information of pairs), so PCL
    in practice leaves a linear mixture; the marginals are far from Gaussian, and FastICA on its features turns it.
    """

    identifiable: ClassVar[str] = "PCL up to a linear mixture, then FastICA"
    process: Literal["double_well"]
    half_width: float = in_unit(ALONG, "h, from the centre to each well", gt=0, lt=90)
    barrier: float = in_unit("kJ/mol", "b", gt=0, le=1000)


class MultiWell(_Free):
    """Equilibrium in n wells, w/n apart: U(x) = ½ b (1 − cos(2π n (x − x₀)/w + φ)) within w/2 of x₀, φ = 0 for odd n
    and π for even n; beyond, harmonic walls of the wells' curvature, b + ¼ b (2π n/w)² (|x − x₀| − w/2)².

    As `double_well`.
    """

    identifiable: ClassVar[str] = "PCL up to a linear mixture, then FastICA"
    process: Literal["multi_well"]
    n_wells: int = Field(ge=2, le=10, description="number of wells n")
    width: float = in_unit(ALONG, "w, over all wells", gt=0, lt=180)
    barrier: float = in_unit("kJ/mol", "b", gt=0, le=1000)


Driven = Ar1 | Modulated | Relaxation | Jumps
Free = Harmonic | DoubleWell | MultiWell
Dynamics = Annotated[Driven | Free, Field(discriminator="process")]


class TemperatureJump(Section):
    """The bath's temperature in the segments, in turn; it affects free variables, and driven ones hardly.

    A single scalar control: after equilibration the natural parameters of all sources scale by 1/T, of rank 1, and
    TCL cannot tell sources apart: a negative control.
    """

    temperatures: list[float] = in_unit("K", "one per segment, in turn", min_length=2, max_length=1000)

    @model_validator(mode="after")
    def _range(self) -> TemperatureJump:
        for value in self.temperatures:
            if not 0 < value <= 2000:
                raise ValueError(f"temperatures has {value}, which must be above 0 and at most 2000 K")
        return self

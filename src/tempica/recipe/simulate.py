"""The section `simulate` of a recipe: the collective variables of a molecule, what moves them, what is recorded."""

from __future__ import annotations

from itertools import permutations
from typing import Annotated, Literal

from pydantic import Field, Tag, ValidationInfo, field_validator, model_validator

from tempica.recipe.dynamics import Ar1, Driven, Dynamics, Modulated, Relaxation, TemperatureJump
from tempica.recipe.molecule import (
    ArmsRecipe,
    AtomisticRecipe,
    MapRecipe,
    StructureRecipe,
    TrajectoryRecipe,
    UnknownRecipe,
)
from tempica.recipe.residues import residues
from tempica.recipe.section import MOST, Name, Section, in_unit, kind_or

# kind -> how many groups of residues; what the groups are
VARIABLE_KINDS = {"hinge_angle": 3, "dihedral": 4, "rotation": 4, "distance": 2}


class NetworkRecipe(Section):
    """Cα network: rigid domains, flat-bottomed contacts between them that allow both forms."""

    bead_mass: float = in_unit("u", "mass of a bead", default=110.0, gt=0)
    backbone_stiffness: float = in_unit("kJ/mol/nm²", "springs along the backbone", default=50_000.0, gt=0)
    domain_stiffness: float = in_unit("kJ/mol/nm²", "springs within a domain", default=3_000.0, gt=0)
    domain_cutoff: float = in_unit("nm", "longest spring within a domain", default=1.0, gt=0.3, le=5)
    contact_stiffness: float = in_unit("kJ/mol/nm²", "walls of the contacts between domains", default=2_000.0, gt=0)
    contact_cutoff: float = in_unit("nm", "longest contact between domains, in either form", default=1.0, gt=0.3, le=5)
    contact_margin: float = in_unit("nm", "free play of a contact beyond the two forms", default=0.04, ge=0, le=1)
    no_contacts: list[tuple[Name, Name]] = Field(
        default_factory=list, description="pairs of domains without contacts between them"
    )


class CollectiveVariableRecipe(Section):
    """A degree of freedom, measured between centroids of groups of residues; degrees or nm in recipes, rad or nm in
    stores.

    hinge_angle: the angle at the second of three groups. dihedral: of four groups. rotation: of a domain about an
    axis, groups in the order body, one end of the axis, its other end, domain: a dihedral, counted from the structure.
    distance: of two groups.
    """

    name: Name
    kind: Literal["hinge_angle", "dihedral", "rotation", "distance"] = "hinge_angle"
    residues: list[str] = Field(description="residue ranges of the groups", min_length=2, max_length=4)
    atoms: list[str] | None = Field(
        default=None,
        description="names of the groups' atoms in those residues, as in ['C', 'N', 'CA', 'C'] for a φ; all if none",
    )

    @field_validator("residues")
    @classmethod
    def _groups(cls, ranges: list[str], info: ValidationInfo) -> list[str]:
        for text in ranges:
            residues(text)
        kind = info.data.get("kind")
        if kind in VARIABLE_KINDS and len(ranges) != VARIABLE_KINDS[kind]:
            raise ValueError(f"there are {len(ranges)} groups; a {kind} has {VARIABLE_KINDS[kind]}")
        return ranges

    @model_validator(mode="after")
    def _atoms(self) -> CollectiveVariableRecipe:
        names = self.atoms or [""] * len(self.residues)
        if len(names) != len(self.residues):
            raise ValueError(f"atoms has {len(names)} entries for {len(self.residues)} groups of residues")
        groups = [
            {(*residue, name.strip()) for residue in residues(text) for name in called.split(",")}
            for text, called in zip(self.residues, names, strict=True)
        ]
        for (i, one), (j, other) in permutations(enumerate(groups), 2):
            # the ends of an axis may be part of the body that carries it
            if one == other or (one < other and self.kind != "rotation"):
                raise ValueError(
                    f"the groups of {self.name} contradict each other: '{self.residues[i]}' lies within"
                    f" '{self.residues[j]}', so the variable does not measure a motion between them"
                )
        return self

    @property
    def groups(self) -> list[tuple[tuple[tuple[str, int], ...], str]]:
        """Residues and atom names of each group."""
        return [(residues(text), name) for text, name in zip(self.residues, self.atoms or [""] * 4, strict=False)]


class ObservationRecipe(Section):
    """Which frames of a molecule the camera records.

    movie: every frame, as in liquid-phase EM. snapshots: one frame of each molecule, with a label, as in time-resolved
    cryo-EM. pairs: two frames of each molecule, one interval apart, as with two XFEL pulses.
    """

    mode: Literal["movie", "snapshots", "pairs"] = "movie"
    decorrelation_frames: int = in_unit(
        "frame", "simulated but not recorded between two molecules", default=10, ge=1, le=MOST
    )

    @property
    def frames_per_molecule(self) -> int | None:
        """None: all frames of a replica are of one molecule."""
        return {"movie": None, "snapshots": 1, "pairs": 2}[self.mode]


_OF_A_SIMULATION = (
    "network",
    "dynamics",
    "temperature_jump",
    "segment_frames",
    "observation",
    "steps_per_frame",
    "equilibration_frames",
    "time_step",
    "friction",
    "temperature",
)  # fields that have no meaning where frames or a map are read


class SimulateRecipe(Section):
    molecule: Annotated[
        Annotated[StructureRecipe, Tag("structure")]
        | Annotated[ArmsRecipe, Tag("arms")]
        | Annotated[AtomisticRecipe, Tag("atomistic")]
        | Annotated[TrajectoryRecipe, Tag("trajectory")]
        | Annotated[MapRecipe, Tag("map")]
        | Annotated[UnknownRecipe, Tag("unknown")],
        kind_or("structure"),
    ]
    network: NetworkRecipe = NetworkRecipe()
    collective_variables: list[CollectiveVariableRecipe] = Field(
        default_factory=list, description="degrees of freedom to follow; a designed molecule has its own"
    )
    dynamics: list[Dynamics] = Field(default_factory=list, description="what drives them; thermal motion alone if none")
    temperature_jump: TemperatureJump | None = None
    segment_frames: int | None = in_unit(
        "frame",
        "length of a segment (one scale, pump period or temperature)",
        default=None,
        ge=1,
        le=MOST,
    )
    observation: ObservationRecipe = ObservationRecipe()
    n_replicas: int = Field(default=8, ge=1, le=100_000, description="independent movies of the same molecule")
    n_frames: int = Field(default=750, ge=2, le=MOST, description="frames a replica")
    steps_per_frame: int = Field(default=600, ge=1, le=MOST, description="integration steps between frames")
    equilibration_frames: int = Field(
        default=20, ge=0, le=MOST, description="frames simulated and discarded before the first"
    )
    ensemble_frames: int = Field(
        default=400,
        ge=10,
        le=MOST,
        description="frames of the separate replica from which displacement modes are learned; of a foreign trajectory,"
        " a sample of its training replicas",
    )
    time_step: float = in_unit("ps", "integration step", default=0.02, gt=0, le=0.1)
    friction: float = in_unit("1/ps", "Langevin friction", default=1.0, gt=0)
    temperature: float = in_unit("K", "of the bath", default=300.0, gt=0, le=2000)
    platform: Literal["auto", "Reference", "CPU", "OpenCL", "CUDA"] = Field(
        default="auto",
        description="of OpenMM; auto: Reference (double precision), unless another proves twice as fast. Name one to"
        " have the same digits on every machine",
    )

    @property
    def variables(self) -> list[str]:
        """Names of all collective variables."""
        return [cv.name for cv in self.collective_variables] or self.molecule.variables

    @property
    def drives(self) -> list[Driven]:
        """The entries of `dynamics` that pull on their variable."""
        return [entry for entry in self.dynamics if isinstance(entry, Driven)]

    @model_validator(mode="after")
    def _consistent(self) -> SimulateRecipe:
        if isinstance(self.molecule, AtomisticRecipe) and self.time_step > 0.0045:
            raise ValueError(
                f"time_step = {self.time_step} ps is too long for atoms: take 0.002, or 0.004 with hydrogen_mass 3"
            )
        self._check_variables()
        self._check_dynamics()
        self._check_network()
        self._check_segments()
        self._check_foreign()
        return self

    def _check_variables(self) -> None:
        names = self.variables
        if isinstance(self.molecule, ArmsRecipe) and self.collective_variables:
            raise ValueError(f"a molecule of arms has its own collective variables ({', '.join(names)}); give none")
        if isinstance(self.molecule, MapRecipe | UnknownRecipe) and self.collective_variables:
            raise ValueError(
                "a map or an unknown molecule has no residues to measure collective variables between; give none"
            )
        if not names and not isinstance(self.molecule, MapRecipe | UnknownRecipe):
            raise ValueError("collective_variables must hold at least one entry")
        if len(set(names)) < len(names):
            raise ValueError(f"collective variables must have different names; given are {', '.join(names)}")

    def _check_dynamics(self) -> None:
        """Each entry moves a declared variable that no other entry moves, and follows only one declared before."""
        names = self.variables
        moved = [entry.collective_variable for entry in self.dynamics]
        for i, (name, entry) in enumerate(zip(moved, self.dynamics, strict=True)):
            if name not in names:
                raise ValueError(
                    f"dynamics.{i}.collective_variable = '{name}' must be the name of a collective variable;"
                    f" declared are {', '.join(names)}"
                )
            if moved.count(name) > 1:
                raise ValueError(
                    f"the collective_variable '{name}' has {moved.count(name)} entries in dynamics; it may have one"
                )
            if isinstance(entry, Ar1) and entry.coupled_to is not None:
                before = [e.collective_variable for e in self.dynamics[:i] if isinstance(e, Ar1)]
                if entry.coupled_to not in before:
                    raise ValueError(
                        f"dynamics.{i}.coupled_to = '{entry.coupled_to}' must be an ar1 variable declared before it:"
                        f" {', '.join(before) or 'there is none'}"
                    )

    def _check_network(self) -> None:
        if not isinstance(self.molecule, StructureRecipe):
            return
        known = self.molecule.domain_names
        for name in (name for pair in self.network.no_contacts for name in pair):
            if name not in known:
                raise ValueError(f"network.no_contacts names '{name}'; domains are {', '.join(known) or 'none'}")

    def _check_foreign(self) -> None:
        """Raise ValueError for fields of a simulation where frames or a map are read instead."""
        if not isinstance(self.molecule, TrajectoryRecipe | MapRecipe | UnknownRecipe):
            return
        blank = SimulateRecipe.model_fields
        given = [
            name
            for name in _OF_A_SIMULATION
            if getattr(self, name) != blank[name].get_default(call_default_factory=True, validated_data={})
        ]
        if given:
            raise ValueError(
                f"a molecule of kind '{self.molecule.kind}' is read, not simulated, so {', '.join(given)} would have no"
                " effect: leave it out" + (" (the mode is always movie)" if "observation" in given else "")
            )

    def _check_segments(self) -> None:
        labelled = {
            "a temperature_jump": self.temperature_jump is not None,
            "modulated dynamics": any(isinstance(e, Modulated) for e in self.dynamics),
            "relaxation dynamics": any(isinstance(e, Relaxation) for e in self.dynamics),
        }
        used = [name for name, there in labelled.items() if there]
        if len(used) > 1:
            raise ValueError(f"segments can mean one thing only, and the recipe has {' and '.join(used)}")
        if bool(used) != (self.segment_frames is not None):
            if used:
                raise ValueError(f"segment_frames is missing, and {used[0]} need it")
            raise ValueError(
                f"segment_frames = {self.segment_frames}, but nothing in the recipe has segments; leave it out"
            )
        if self.observation.mode == "pairs" and self.n_frames % 2:
            raise ValueError(f"n_frames = {self.n_frames} must be even for pairs")
        if self.observation.mode == "pairs" and (self.segment_frames or 2) % 2:
            raise ValueError(f"segment_frames = {self.segment_frames} must be even for pairs")

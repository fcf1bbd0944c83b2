"""The section `simulate` of a recipe: the molecule, its collective variables, what moves them, what is recorded."""

from __future__ import annotations

from itertools import permutations
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from tempica.recipe_base import MOST, Name, Section, in_unit, residues, told
from tempica.recipe_dynamics import Ar1, Driven, Dynamics, Modulated, Relaxation, TemperatureJump

# kind -> how many groups of residues; what the groups are
VARIABLE_KINDS = {"hinge_angle": 3, "dihedral": 4, "rotation": 4, "distance": 2}


class StructureRecipe(Section):
    """A protein from a structure file, one bead a residue: an elastic network of rigid domains."""

    kind: Literal["structure"] = "structure"
    structure: str = Field(min_length=1, description="PDB or mmCIF file, relative to the recipe")
    second_structure: str | None = Field(
        default=None,
        min_length=1,
        description="second form of the same molecule: the other end of the flat-bottomed basin",
    )
    domains: dict[Name, str] = Field(
        default_factory=dict, description="rigid domains: name to residue ranges, as in '1-29, 68-117'"
    )
    n_domains: int | None = Field(
        default=None,
        ge=2,
        le=20,
        description="instead: so many domains, found by comparing the two forms: domain_1, the largest, is the body;"
        " hinge_1 … are the angles at which the others hang, unless collective variables are declared",
    )
    body: Name | None = Field(
        default=None,
        description="domain on which every frame is superposed, so what a pose refers to; all beads if none",
    )

    @field_validator("domains")
    @classmethod
    def _domains(cls, domains: dict[str, str]) -> dict[str, str]:
        owner: dict[tuple[str, int], str] = {}
        for name, text in domains.items():
            try:
                numbers = residues(text)
            except ValueError as error:
                raise ValueError(f"domain {name}: {error}") from None
            for number in numbers:
                if number in owner:
                    raise ValueError(
                        f"residue {told(number)} is in domains {owner[number]} and {name}; they must be disjoint"
                    )
                owner[number] = name
        return domains

    @model_validator(mode="after")
    def _body(self) -> StructureRecipe:
        if self.n_domains is not None and (self.domains or self.second_structure is None):
            raise ValueError(
                f"n_domains = {self.n_domains} asks for domains to be found from two forms: give a second_structure,"
                " and no domains"
            )
        if self.body is not None and self.body not in self.domain_names:
            raise ValueError(f"body '{self.body}' is no domain; domains are {', '.join(self.domain_names) or 'none'}")
        first, second = PurePath(self.structure), PurePath(self.second_structure or self.structure)
        if first != second and first.name == second.name:  # a run keeps copies under these names
            raise ValueError(
                f"structure '{first}' and second_structure '{second}' are both called {first.name}, and a run keeps"
                " both in one folder. Rename one of the files"
            )
        return self

    @property
    def domain_names(self) -> list[str]:
        return [f"domain_{i + 1}" for i in range(self.n_domains)] if self.n_domains else list(self.domains)

    @property
    def variables(self) -> list[str]:
        """Collective variables that come with the molecule."""
        return [f"hinge_{i}" for i in range(1, self.n_domains or 1)]

    @property
    def structure_files(self) -> list[str]:
        """Small files, of which a run keeps copies."""
        return [name for name in (self.structure, self.second_structure) if name is not None]

    @property
    def trajectory_files(self) -> list[str]:
        """Large files, of which a run keeps place and digest."""
        return []


class AtomisticRecipe(Section):
    """All atoms of a small protein or peptide in implicit solvent (Amber ff14SB, GBn2); its heavy atoms are recorded.

    Bonds with hydrogen are rigid: a time step of 0.002 ps, or 0.004 ps with hydrogens of 3 u.
    """

    kind: Literal["atomistic"]
    structure: str = Field(min_length=1, description="PDB or mmCIF file, relative to the recipe")
    hydrogen_mass: float = in_unit(
        "u", "mass of a hydrogen, taken from the atom it is bound to", default=1.008, ge=1, le=4
    )
    body: str | None = Field(
        default=None, description="residue ranges on which every frame is superposed; all heavy atoms if none"
    )

    @field_validator("body")
    @classmethod
    def _ranges(cls, body: str | None) -> str | None:
        if body is not None:
            residues(body)
        return body

    @property
    def structure_files(self) -> list[str]:
        return [self.structure]

    @property
    def trajectory_files(self) -> list[str]:
        return []

    @property
    def variables(self) -> list[str]:
        return []


class ArmsRecipe(Section):
    """A designed molecule: a rigid hub with arms, each on one joint, so that as many sources exist by construction.

    It declares its collective variables itself: `arm_1` … `arm_n`, the rotation of each arm about its axle, 0° as
    built: where it stands upright on its hinge, or is bent along the hub on its swivel.
    """

    kind: Literal["arms"]
    n_arms: int = Field(ge=1, le=10, description="arms, evenly spread over the hub")
    joint: Literal["hinge", "swivel"] = Field(
        default="hinge", description="hinge: the arm swings in a plane; swivel: a bent arm turns about its own axis"
    )
    identical: bool = Field(
        default=False,
        description="equal arms on a ring: with equal dynamics their sources are degenerate; distinct in length if not",
    )
    bead_spacing: float = in_unit("nm", "distance of neighbouring beads", default=0.5, ge=0.3, le=1)
    hub_radius: float | None = in_unit(
        "nm", "of the ball of beads in the middle; as small as the arms allow if none", default=None, ge=0.8, le=10
    )
    arm_length: float = in_unit("nm", "of the longest arm", default=2.2, ge=1.5, le=10)

    @property
    def structure_files(self) -> list[str]:
        return []

    @property
    def trajectory_files(self) -> list[str]:
        return []

    @property
    def variables(self) -> list[str]:
        return [f"arm_{i + 1}" for i in range(self.n_arms)]


class TrajectoryRecipe(Section):
    """Frames that another program made, read through MDTraj instead of simulated.

    Files are glued in time, `files_per_replica` at a time, and each such stretch is a replica of `n_frames` frames,
    what is left over at its end unused. When there are fewer stretches than replicas, each is cut into as many
    consecutive replicas as it has frames for, until there are `n_replicas`: replicas next to each other in one
    stretch are then not independent, and held-out ones come last. Molecules broken by a periodic box are made whole
    along their bonds, or bead by bead along the chain where the topology has no bonds; several chains are not brought
    together.
    """

    kind: Literal["trajectory"]
    topology: str | None = Field(
        default=None,
        min_length=1,
        description="PDB, mmCIF, GRO, PSF, prmtop, MOL2 or HDF5 file, relative to the recipe; not needed where the"
        " first of `files` is HDF5, which carries its own",
    )
    files: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, description="DCD, XTC, TRR, HDF5 or NetCDF files, in order, relative to the recipe"
    )
    files_per_replica: int = Field(default=1, ge=1, le=MOST, description="consecutive files glued in time")
    stride: int = in_unit("frame", "every so manieth frame is used, counted from the first", default=1, ge=1, le=MOST)
    selection: str = Field(
        default="name CA",
        min_length=1,
        description="atoms that become beads, as MDTraj selects; the heavy atoms of a residue scatter from the nearest",
    )
    body: str | None = Field(
        default=None,
        min_length=1,
        description="beads on which every frame is superposed onto the first, as residue ranges or as MDTraj selects;"
        " all beads if none",
    )
    frame_interval: float | None = in_unit(
        "ps",
        "between neighbouring frames of the files, before any stride; from the times in the files if none",
        default=None,
        gt=0,
    )

    @field_validator("files")
    @classmethod
    def _once(cls, files: list[str]) -> list[str]:
        if len(set(files)) < len(files):
            twice = next(name for name in files if files.count(name) > 1)
            raise ValueError(f"the file '{twice}' is listed more than once; replicas must differ")
        return files

    @model_validator(mode="after")
    def _glued(self) -> TrajectoryRecipe:
        if len(self.files) % self.files_per_replica:
            raise ValueError(
                f"files lists {len(self.files)} files, which is no multiple of files_per_replica ="
                f" {self.files_per_replica}"
            )
        return self

    @property
    def structure_files(self) -> list[str]:
        return [] if self.topology is None or self.topology.lower().endswith((".h5", ".hdf5")) else [self.topology]

    @property
    def trajectory_files(self) -> list[str]:
        own = self.topology is not None and not self.structure_files and self.topology not in self.files
        return [*([str(self.topology)] if own else []), *self.files]

    @property
    def variables(self) -> list[str]:
        return []


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
                    f" '{self.residues[j]}', so the variable does not measure what moves between them"
                )
        return self

    @property
    def groups(self) -> list[tuple[tuple[tuple[str, int], ...], str]]:
        """Residues and atom names of each group."""
        return [(residues(text), name) for text, name in zip(self.residues, self.atoms or [""] * 4, strict=False)]


class ObservationRecipe(Section):
    """What a camera gets to see of a molecule's time.

    movie: every frame of it, as in liquid-phase EM. snapshots: one frame of a molecule, with a label, as in
    time-resolved cryo-EM; never pairs. pairs: two frames of a molecule, one interval apart, as with two XFEL pulses.
    """

    mode: Literal["movie", "snapshots", "pairs"] = "movie"
    decorrelation_frames: int = in_unit(
        "frame", "simulated, not recorded, between two molecules", default=10, ge=1, le=MOST
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
)  # fields without a meaning for a foreign trajectory


def _kind_of_molecule(value: Any) -> str:
    kind = value.get("kind", "structure") if isinstance(value, dict) else getattr(value, "kind", "structure")
    return kind if isinstance(kind, str) else "structure"


class SimulateRecipe(Section):
    molecule: Annotated[
        Annotated[StructureRecipe, Tag("structure")]
        | Annotated[ArmsRecipe, Tag("arms")]
        | Annotated[AtomisticRecipe, Tag("atomistic")]
        | Annotated[TrajectoryRecipe, Tag("trajectory")],
        Discriminator(_kind_of_molecule),
    ]
    network: NetworkRecipe = NetworkRecipe()
    collective_variables: list[CollectiveVariableRecipe] = Field(
        default_factory=list, description="degrees of freedom to be followed; a designed molecule brings its own"
    )
    dynamics: list[Dynamics] = Field(default_factory=list, description="what moves them; nothing but heat if none")
    temperature_jump: TemperatureJump | None = None
    segment_frames: int | None = in_unit(
        "frame", "length of a segment: of a scale, of a pump's period, of a temperature", default=None, ge=1, le=MOST
    )
    observation: ObservationRecipe = ObservationRecipe()
    n_replicas: int = Field(default=8, ge=1, le=100_000, description="independent movies of the same molecule")
    n_frames: int = Field(default=750, ge=2, le=MOST, description="frames a replica")
    steps_per_frame: int = Field(default=600, ge=1, le=MOST, description="integration steps between frames")
    equilibration_frames: int = Field(
        default=20, ge=0, le=MOST, description="frames simulated and thrown away before the first"
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
        description="of OpenMM; auto: Reference, in double precision, unless a short measurement shows another to be"
        " twice as fast: name one to have the same digits on every machine",
    )

    @property
    def variables(self) -> list[str]:
        """Names of all collective variables."""
        return [cv.name for cv in self.collective_variables] or self.molecule.variables

    @property
    def drives(self) -> list[Driven]:
        """The entries of `dynamics` that pull."""
        return [entry for entry in self.dynamics if isinstance(entry, Driven)]

    @model_validator(mode="after")
    def _consistent(self) -> SimulateRecipe:
        names = self.variables
        if isinstance(self.molecule, AtomisticRecipe) and self.time_step > 0.0045:
            raise ValueError(
                f"time_step = {self.time_step} ps is too long for atoms: take 0.002, or 0.004 with hydrogen_mass 3"
            )
        if isinstance(self.molecule, ArmsRecipe) and self.collective_variables:
            raise ValueError(f"a molecule of arms brings its own collective variables: {', '.join(names)}; give none")
        if not names:
            raise ValueError("collective_variables must hold at least one entry")
        if len(set(names)) < len(names):
            raise ValueError(f"collective variables must have different names; given are {', '.join(names)}")
        moved = [entry.collective_variable for entry in self.dynamics]
        for i, (name, entry) in enumerate(zip(moved, self.dynamics, strict=True)):
            if name not in names:
                raise ValueError(
                    f"dynamics.{i}.collective_variable = '{name}' must be the name of a collective variable;"
                    f" declared are {', '.join(names)}"
                )
            if moved.count(name) > 1:
                raise ValueError(
                    f"the collective_variable '{name}' has {moved.count(name)} entries in dynamics; one is the most"
                )
            if isinstance(entry, Ar1) and entry.coupled_to is not None:
                before = [e.collective_variable for e in self.dynamics[:i] if isinstance(e, Ar1)]
                if entry.coupled_to not in before:
                    raise ValueError(
                        f"dynamics.{i}.coupled_to = '{entry.coupled_to}' must be an ar1 variable declared before it:"
                        f" {', '.join(before) or 'there is none'}"
                    )
        if isinstance(self.molecule, StructureRecipe):
            for pair in self.network.no_contacts:
                for name in pair:
                    if name not in self.molecule.domain_names:
                        domains = ", ".join(self.molecule.domain_names) or "none"
                        raise ValueError(f"network.no_contacts names '{name}'; domains are {domains}")
        self._check_segments()
        self._check_foreign()
        return self

    def _check_foreign(self) -> None:
        """What is simulated elsewhere is not simulated here."""
        if not isinstance(self.molecule, TrajectoryRecipe):
            return
        blank = SimulateRecipe.model_fields
        given = [
            name
            for name in _OF_A_SIMULATION
            if getattr(self, name) != blank[name].get_default(call_default_factory=True, validated_data={})
        ]
        if given:
            raise ValueError(
                f"a molecule of kind 'trajectory' is read, not simulated, and {', '.join(given)} would mean nothing:"
                " leave it out" + (" (the mode is always movie)" if "observation" in given else "")
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

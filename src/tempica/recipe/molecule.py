"""What is simulated or read: a structure, a designed molecule, all atoms, another program's trajectory, or a map."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from tempica.recipe.residues import residues, told
from tempica.recipe.section import MOST, Name, Section, in_unit


def _disjoint(domains: dict[str, str]) -> dict[str, str]:
    """Residue ranges of domains. Raises ValueError for ranges that cannot be read, and residues of two domains."""
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


Domains = Annotated[dict[Name, str], AfterValidator(_disjoint)]
"""Parts of a molecule, no residue in two: name to residue ranges."""


class Molecule(Section):
    """What all kinds have: the files that are read, and the names of variables that come with the kind."""

    @property
    def structure_files(self) -> list[str]:
        """Small files, which a run copies."""
        return []

    @property
    def trajectory_files(self) -> list[str]:
        """Large files, of which a run records path and digest."""
        return []

    @property
    def variables(self) -> list[str]:
        """Collective variables that come with the molecule."""
        return []


class StructureRecipe(Molecule):
    """A protein from a structure file, one bead a residue: an elastic network of rigid domains."""

    kind: Literal["structure"] = "structure"
    structure: str = Field(min_length=1, description="PDB or mmCIF file, relative to the recipe")
    second_structure: str | None = Field(
        default=None,
        min_length=1,
        description="second form of the same molecule: the other end of the flat-bottomed basin",
    )
    domains: Domains = Field(
        default_factory=dict, description="rigid domains: name to residue ranges, as in '1-29, 68-117'"
    )
    n_domains: int | None = Field(
        default=None,
        ge=2,
        le=20,
        description="instead of domains: how many to find by comparing the two forms; domain_1, the largest, is the"
        " body; hinge_1 … are the angles between it and the others, unless collective variables are declared",
    )
    body: Name | None = Field(
        default=None,
        description="domain on which every frame is superposed, and to which poses refer; all beads if none",
    )

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
        return [f"hinge_{i}" for i in range(1, self.n_domains or 1)]

    @property
    def structure_files(self) -> list[str]:
        return [name for name in (self.structure, self.second_structure) if name is not None]


class AtomisticRecipe(Molecule):
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


class ArmsRecipe(Molecule):
    """A designed molecule: a rigid hub with arms, each on one joint, so that there are as many sources as arms.

    Its collective variables are `arm_1` … `arm_n`, the rotation of each arm about its axle. They are 0° as built: the
    arm stands upright on its hinge, or is bent along the hub on its swivel.
    """

    kind: Literal["arms"]
    n_arms: int = Field(ge=1, le=10, description="arms, evenly spread over the hub")
    joint: Literal["hinge", "swivel"] = Field(
        default="hinge", description="hinge: the arm swings in a plane; swivel: a bent arm turns about its own axis"
    )
    identical: bool = Field(
        default=False,
        description="equal arms on a ring, degenerate if their dynamics are equal; if not, arms differ in length",
    )
    handle: bool = Field(
        default=False,
        description="one more rod, fixed to the hub and out of the plane of a ring of three or more hinges, so that no"
        " two poses of the molecule look alike: for hidden poses",
    )
    bead_spacing: float = in_unit("nm", "distance of neighbouring beads", default=0.5, ge=0.3, le=1)
    hub_radius: float | None = in_unit(
        "nm",
        "of the ball of beads in the middle; the smallest that arms allow if none",
        default=None,
        ge=0.8,
        le=10,
    )
    arm_length: float = in_unit("nm", "of the longest arm", default=2.2, ge=1.5, le=10)

    @model_validator(mode="after")
    def _has_room_for_a_handle(self) -> ArmsRecipe:
        if self.handle and not (self.identical and self.joint == "hinge" and self.n_arms >= 3):
            raise ValueError(
                "handle = true is for a ring of three or more arms on hinges (identical = true, n_arms from 3 on):"
                " elsewhere it meets an arm, or leaves poses that look alike. Leave it out."
            )
        return self

    @property
    def variables(self) -> list[str]:
        return [f"arm_{i + 1}" for i in range(self.n_arms)]


class TrajectoryRecipe(Molecule):
    """Frames of another program, read through MDTraj instead of simulated.

    Files are concatenated in time, `files_per_replica` at a time, and each such stretch is a replica: its first
    `n_frames` frames are used. When there are fewer stretches than replicas, each is cut into as many consecutive
    replicas as it has frames for, until there are `n_replicas`. Neighbouring replicas of one stretch are then not
    independent; held-out ones come last. Molecules broken by a periodic box are made whole
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
    files_per_replica: int = Field(default=1, ge=1, le=MOST, description="consecutive files concatenated in time")
    stride: int = in_unit("frame", "every N-th frame is used, counted from the first", default=1, ge=1, le=MOST)
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


class UnknownRecipe(Molecule):
    """A molecule whose motions nobody knows: a movie alone, or with one form of it, by which frames are explained."""

    kind: Literal["unknown"]
    structure: str | None = Field(
        default=None, min_length=1, description="PDB or mmCIF file of one form, relative to the recipe"
    )
    domains: Domains = Field(
        default_factory=dict,
        description="two or more, between whose centroids distances are told: name to residue ranges, as in '1-29'",
    )

    @model_validator(mode="after")
    def _together(self) -> UnknownRecipe:
        if self.structure is None and self.domains:
            raise ValueError("domains are parts of a structure: give one, or leave them out")
        if self.structure is not None and len(self.domains) < 2:
            raise ValueError(
                f"a structure needs two domains or more, between which distances are told; {len(self.domains)} given."
                " `tempica import MOVIE --structure FILE` finds some"
            )
        return self

    @property
    def structure_files(self) -> list[str]:
        return [] if self.structure is None else [self.structure]


class MapRecipe(Molecule):
    """A consensus map in place of a structure: pseudo-atoms that add up to it, for particles without an atomic model.

    The map is that of the particles: protein is positive, its box is theirs, and its middle voxel (D // 2 along each
    edge) is where poses say that the particle is. It is read, not simulated.
    """

    kind: Literal["map"]
    map: str = Field(min_length=1, description="MRC file, relative to the recipe")
    n_beads: int | None = Field(
        default=None, ge=10, le=20_000, description="pseudo-atoms; about one a residue of the map's volume if none"
    )
    pixel_size_A: float | None = in_unit(
        "Å", "edge of a voxel; that of the map's header if none", default=None, ge=0.2, le=20
    )

    @property
    def trajectory_files(self) -> list[str]:
        """The map, which may be large."""
        return [self.map]

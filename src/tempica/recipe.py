"""The recipe: one TOML file that describes a whole experiment, checked before anything runs.

Each stage reads its own section. Units are in the field names' schema: nm, ps, kJ/mol, K; degrees for angles;
Å where electron microscopy says Å, and then in the name.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tempica.errors import RecipeError

NAME = r"^[A-Za-z][A-Za-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=60)]
MOST = 100_000_000  # of any count: what is larger is a slip, and would overflow where stores are made


def _unit(unit: str, description: str, **rule: Any) -> Any:
    return Field(description=description, json_schema_extra={"unit": unit}, **rule)


def residues(text: str) -> tuple[int, ...]:
    """Residue numbers of a range such as "1-29, 68-117": sorted, each once. Raises ValueError."""
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(-?\d+)(?:\s*-\s*(-?\d+))?\s*", part)
        if match is None:
            raise ValueError(f"residue range '{part.strip()}' of '{text}' must look like '1-29, 68-117'")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"residue range '{part.strip()}' runs backwards; write the smaller number first")
        if last - first > 100_000:
            raise ValueError(f"residue range '{part.strip()}' spans more than 100,000 residues")
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, ser_json_inf_nan="constants")


def _checked_range(text: str) -> str:
    residues(text)
    return text


class MoleculeRecipe(_Section):
    structure: str = Field(min_length=1, description="PDB or mmCIF file, relative to the recipe")
    second_structure: str | None = Field(
        default=None,
        min_length=1,
        description="second form of the same molecule: the other end of the flat-bottomed basin",
    )
    domains: dict[Name, str] = Field(
        default_factory=dict, description="rigid domains: name to residue ranges, as in '1-29, 68-117'"
    )
    body: Name | None = Field(
        default=None,
        description="domain on which every frame is superposed, so what a pose refers to; all beads if none",
    )

    @field_validator("domains")
    @classmethod
    def _domains(cls, domains: dict[str, str]) -> dict[str, str]:
        owner: dict[int, str] = {}
        for name, text in domains.items():
            try:
                numbers = residues(text)
            except ValueError as error:
                raise ValueError(f"domain {name}: {error}") from None
            for number in numbers:
                if number in owner:
                    raise ValueError(
                        f"residue {number} is in domains {owner[number]} and {name}; they must be disjoint"
                    )
                owner[number] = name
        return domains

    @model_validator(mode="after")
    def _body(self) -> MoleculeRecipe:
        if self.body is not None and self.body not in self.domains:
            raise ValueError(f"body '{self.body}' is no domain; domains are {', '.join(self.domains) or 'none'}")
        return self


class NetworkRecipe(_Section):
    """Cα network: rigid domains, flat-bottomed contacts between them that allow both forms."""

    bead_mass: float = _unit("u", "mass of a bead", default=110.0, gt=0)
    backbone_stiffness: float = _unit("kJ/mol/nm²", "springs along the backbone", default=50_000.0, gt=0)
    domain_stiffness: float = _unit("kJ/mol/nm²", "springs within a domain", default=3_000.0, gt=0)
    domain_cutoff: float = _unit("nm", "longest spring within a domain", default=1.0, gt=0.3, le=5)
    contact_stiffness: float = _unit("kJ/mol/nm²", "walls of the contacts between domains", default=2_000.0, gt=0)
    contact_cutoff: float = _unit("nm", "longest contact between domains, in either form", default=1.0, gt=0.3, le=5)
    contact_margin: float = _unit("nm", "free play of a contact beyond the two forms", default=0.04, ge=0, le=1)
    no_contacts: list[tuple[Name, Name]] = Field(
        default_factory=list, description="pairs of domains without contacts between them"
    )


class CollectiveVariableRecipe(_Section):
    name: Name
    kind: Literal["hinge_angle"] = Field(
        default="hinge_angle",
        description="angle at the second of three groups' centroids; degrees in recipes, radians in stores",
    )
    residues: tuple[str, str, str] = Field(description="residue ranges of the three groups")

    @field_validator("residues")
    @classmethod
    def _ranges(cls, ranges: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked_range(text) for text in ranges)


class DriveRecipe(_Section):
    """A moving restraint along a collective variable that follows a first-order autoregression."""

    collective_variable: Name
    process: Literal["ar1"] = "ar1"
    innovation: Literal["laplace", "gaussian"] = "laplace"
    coefficient: float = _unit("1", "autocorrelation ρ from one frame to the next", ge=0, lt=1)
    mean: float = _unit("degree", "mean of the target", gt=0, lt=180)
    deviation: float = _unit("degree", "standard deviation of the target", gt=0, lt=60)
    stiffness: float = _unit("kJ/mol/rad²", "of the moving restraint", default=20_000.0, gt=0)


class SimulateRecipe(_Section):
    molecule: MoleculeRecipe
    network: NetworkRecipe = NetworkRecipe()
    collective_variables: list[CollectiveVariableRecipe] = Field(min_length=1)
    drives: list[DriveRecipe] = Field(default_factory=list)
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
        description="frames of the separate replica from which displacement modes are learned",
    )
    time_step: float = _unit("ps", "integration step", default=0.02, gt=0, le=0.1)
    friction: float = _unit("1/ps", "Langevin friction", default=1.0, gt=0)
    temperature: float = _unit("K", "of the bath", default=300.0, gt=0, le=2000)

    @model_validator(mode="after")
    def _consistent(self) -> SimulateRecipe:
        names = [cv.name for cv in self.collective_variables]
        if len(set(names)) < len(names):
            raise ValueError(f"collective variables must have different names; given are {', '.join(names)}")
        driven = [drive.collective_variable for drive in self.drives]
        for i, name in enumerate(driven):
            if name not in names:
                raise ValueError(
                    f"drives.{i}.collective_variable = '{name}' must be the name of a collective variable;"
                    f" declared are {', '.join(names)}"
                )
            if driven.count(name) > 1:
                raise ValueError(f"the collective_variable '{name}' has {driven.count(name)} drives; one is the most")
        for pair in self.network.no_contacts:
            for name in pair:
                if name not in self.molecule.domains:
                    domains = ", ".join(self.molecule.domains) or "none"
                    raise ValueError(f"network.no_contacts names '{name}'; domains are {domains}")
        return self


class RenderRecipe(_Section):
    """An electron camera: random known orientation per frame, contrast transfer function, white noise."""

    n_pixels: int = _unit("pixel", "edge of the square image, even", default=64, ge=16, le=1024, multiple_of=2)
    pixel_size_A: float = _unit("Å", "edge of a pixel", default=1.5, ge=0.2, le=20)
    snr: float = Field(
        default=0.1,
        gt=0,
        allow_inf_nan=True,
        description="variance of the noise-free image after the CTF over the whole box, averaged over the"
        " movie, over the variance of the noise; inf for no noise",
        json_schema_extra={"unit": "1"},
    )
    bead_b_factor_A2: float = _unit("Å²", "B factor added to each bead's own width", default=20.0, ge=0, le=1000)
    shift_deviation_A: float = _unit(
        "Å", "standard deviation of the in-plane shift, each axis", default=3.0, ge=0, le=50
    )
    voltage_kV: float = _unit("kV", "accelerating voltage", default=300.0, ge=60, le=1000)
    spherical_aberration_mm: float = _unit("mm", "Cs", default=2.7, ge=0, le=10)
    amplitude_contrast: float = _unit("1", "amplitude contrast w", default=0.1, ge=0, le=1)
    b_factor_A2: float = _unit("Å²", "envelope exp(−B k²/4) of the CTF", default=40.0, ge=0, le=2000)
    defocus_low_A: float = _unit("Å", "least underfocus", default=8_000.0, ge=0, le=100_000)
    defocus_high_A: float = _unit("Å", "largest underfocus", default=15_000.0, ge=0, le=100_000)
    astigmatism_A: float = _unit("Å", "defocus u minus v; its angle is random", default=200.0, ge=0, le=10_000)

    @model_validator(mode="after")
    def _defocus(self) -> RenderRecipe:
        if self.defocus_high_A < self.defocus_low_A:
            raise ValueError(
                f"defocus_high_A = {self.defocus_high_A} must not be below defocus_low_A = {self.defocus_low_A}"
            )
        return self


class EmbedRecipe(_Section):
    """Posterior of displacement-mode amplitudes per frame, by Gauss–Newton through the image formation."""

    n_modes: int = Field(default=4, ge=1, le=100, description="principal displacement modes of the separate replica")
    n_iterations: int = Field(default=8, ge=1, le=100, description="Gauss–Newton iterations at the most")


class TrainRecipe(_Section):
    methods: list[Literal["tica", "pcl"]] = Field(default=["tica", "pcl"], min_length=1)
    n_components: int = Field(default=2, ge=1, le=100, description="sources to recover")
    lag: int = _unit("frame", "lag of the temporal contrast", default=1, ge=1)
    validation_replicas: int = Field(default=1, ge=1, description="for early stop and choices, never for gradients")
    held_out_replicas: int = Field(default=2, ge=1, description="seen by evaluate alone")

    @field_validator("methods")
    @classmethod
    def _once(cls, methods: list[str]) -> list[str]:
        if len(set(methods)) < len(methods):
            raise ValueError(f"methods must not repeat; given are {', '.join(methods)}")
        return methods


class EvaluateRecipe(_Section):
    n_null: int = Field(default=400, ge=20, le=100_000, description="draws of the null distribution")
    n_bootstrap: int = Field(default=400, ge=20, le=100_000, description="draws of the moving-block bootstrap")
    n_ceiling_frames: int = Field(
        default=600, ge=50, le=MOST, description="held-out frames on which the ceiling is computed"
    )


class ReportRecipe(_Section):
    n_examples: int = Field(default=6, ge=1, le=20, description="example frames, clean and noisy")
    n_trace_frames: int = _unit("frame", "length of the traces shown", default=300, ge=10, le=MOST)


class Recipe(_Section):
    """A whole experiment."""

    name: Name = Field(description="names the run folder")
    seed: int = Field(default=0, ge=0, lt=2**63, description="every random number of the run descends from it")
    simulate: SimulateRecipe
    render: RenderRecipe = RenderRecipe()
    embed: EmbedRecipe = EmbedRecipe()
    train: TrainRecipe = TrainRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()
    report: ReportRecipe = ReportRecipe()

    @model_validator(mode="after")
    def _split(self) -> Recipe:
        kept = self.train.validation_replicas + self.train.held_out_replicas
        if kept >= self.simulate.n_replicas:
            raise ValueError(
                f"train keeps {kept} replicas from training (validation_replicas + held_out_replicas), which"
                f" must be fewer than simulate.n_replicas = {self.simulate.n_replicas}"
            )
        if self.train.n_components > self.embed.n_modes:
            raise ValueError(
                f"train.n_components = {self.train.n_components} must not exceed embed.n_modes = {self.embed.n_modes}"
            )
        if self.train.lag >= self.simulate.n_frames // 2:
            raise ValueError(
                f"train.lag = {self.train.lag} must be below half of simulate.n_frames = {self.simulate.n_frames}"
            )
        return self

    @property
    def splits(self) -> list[str]:
        """What each replica is for: train, validation or held_out."""
        kept = ["validation"] * self.train.validation_replicas + ["held_out"] * self.train.held_out_replicas
        return ["train"] * (self.simulate.n_replicas - len(kept)) + kept


def load_recipe(path: Path) -> tuple[Recipe, str]:
    """A checked recipe and its text. Raises RecipeError, in one message, for everything wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"There is no recipe {path}. Recipes are TOML files, as in simulations/.") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"The recipe {path} must be a TOML file, text in UTF-8: {error}.") from None
    except OSError as error:
        raise RecipeError(f"The recipe {path} cannot be read: {error}.") from None
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # beyond its own error, tomllib lets those of int() through
        raise RecipeError(f"The recipe {path} is not valid TOML: {error}.") from None
    try:
        return Recipe.model_validate(content), text
    except ValidationError as error:
        mistakes = [_explain(one) for one in error.errors()]
        raise RecipeError("\n".join([f"The recipe {path} cannot be used:", *mistakes])) from None


def structure_path(folder: Path, name: str) -> Path:
    """Where a recipe's structure file lies: as it says, or among the frozen copies of a run folder."""
    frozen = folder / "structures" / Path(name).name
    return folder / name if (folder / name).exists() or not frozen.exists() else frozen


def fingerprint(*parts: object) -> str:
    """A short digest of plain data, the same on every machine."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_PLAIN = {
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
}  # what pydantic says in words of Python


def _explain(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "recipe"
    if error["type"] == "extra_forbidden":
        known = _known_keys(error["loc"])
        return f"  {where}: unknown key. Known here: {', '.join(known)}."
    if error["type"] == "missing":
        return f"  {where}: is missing and has no default."
    message = _PLAIN.get(error["type"], error["msg"].removeprefix("Value error, "))
    given = error["input"]
    shown = "" if isinstance(given, dict | BaseModel | list) else f" = {given!r}"
    return f"  {where}{shown}: {message[:1].lower()}{message[1:]}."


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Keys of the section that an error's location ends in."""
    section: Any = Recipe
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation
        arguments = getattr(annotation, "__args__", ())
        inner = [a for a in arguments if isinstance(a, type) and issubclass(a, BaseModel)]
        section = inner[0] if inner else annotation
    return sorted(section.model_fields)

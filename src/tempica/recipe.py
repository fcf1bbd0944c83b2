"""The recipe: one TOML file that describes a whole experiment, checked before anything runs.

Each stage reads its own section. Units are in the field names' schema: nm, ps, kJ/mol, K; degrees for angles;
Å where electron microscopy says Å, and then in the name.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from tempica.errors import RecipeError, StoreError
from tempica.recipe_base import MOST, Name, Section, in_unit, residues, told
from tempica.recipe_diffraction import XfelRecipe
from tempica.recipe_dynamics import (
    Ar1,
    DoubleWell,
    Driven,
    Dynamics,
    Free,
    Harmonic,
    Jumps,
    Modulated,
    MultiWell,
    Relaxation,
    TemperatureJump,
)
from tempica.recipe_molecule import ArmsRecipe, AtomisticRecipe, StructureRecipe, TrajectoryRecipe
from tempica.recipe_particles import ParticlesRecipe
from tempica.recipe_render import RenderRecipe
from tempica.recipe_simulate import CollectiveVariableRecipe, NetworkRecipe, ObservationRecipe, SimulateRecipe

__all__ = [
    "Ar1",
    "ArmsRecipe",
    "AtomisticRecipe",
    "CollectiveVariableRecipe",
    "DoubleWell",
    "Driven",
    "Dynamics",
    "EmbedRecipe",
    "EvaluateRecipe",
    "Free",
    "Harmonic",
    "Jumps",
    "Modulated",
    "MultiWell",
    "NetworkRecipe",
    "ObservationRecipe",
    "ParticlesRecipe",
    "Recipe",
    "Relaxation",
    "RenderRecipe",
    "ReportRecipe",
    "SimulateRecipe",
    "StructureRecipe",
    "TemperatureJump",
    "TrainRecipe",
    "TrajectoryRecipe",
    "XfelRecipe",
    "fingerprint",
    "load_recipe",
    "residues",
    "structure_path",
    "told",
]


class EmbedRecipe(Section):
    """Posterior of displacement-mode amplitudes per frame, by Gauss–Newton through the image formation."""

    n_modes: int = Field(default=4, ge=1, le=100, description="principal displacement modes of the separate replica")
    n_iterations: int = Field(default=8, ge=1, le=100, description="Gauss–Newton iterations at the most")


class TrainRecipe(Section):
    methods: list[Literal["tica", "pcl", "tcl", "snica", "pcl_images"]] = Field(
        default=["tica", "pcl"],
        description="estimators beside the baselines; all but tcl need pairs of frames, tcl needs segments; pcl_images"
        " is PCL on the images themselves, for molecules that are all seen from one side",
    )
    n_components: int = Field(default=2, ge=1, le=100, description="sources to recover")
    lag: int = in_unit("frame", "lag of the temporal contrast", default=1, ge=1)
    validation_replicas: int = Field(default=1, ge=1, description="for early stop and choices, never for gradients")
    held_out_replicas: int = Field(default=2, ge=1, description="seen by evaluate alone")

    @field_validator("methods")
    @classmethod
    def _once(cls, methods: list[str]) -> list[str]:
        if len(set(methods)) < len(methods):
            raise ValueError(f"methods must not repeat; given are {', '.join(methods)}")
        return methods


class EvaluateRecipe(Section):
    n_null: int = Field(default=400, ge=20, le=100_000, description="draws of the null distribution")
    n_bootstrap: int = Field(default=400, ge=20, le=100_000, description="draws of the moving-block bootstrap")
    n_ceiling_frames: int = Field(
        default=600, ge=50, le=MOST, description="held-out frames on which the ceiling is computed"
    )


class ReportRecipe(Section):
    n_examples: int = Field(default=6, ge=1, le=20, description="example frames, clean and noisy")
    n_trace_frames: int = in_unit("frame", "length of the traces shown", default=300, ge=10, le=MOST)


def _kind_of_camera(value: Any) -> str:
    kind = value.get("kind", "electron") if isinstance(value, dict) else getattr(value, "kind", "electron")
    return kind if isinstance(kind, str) else "electron"


class Recipe(Section):
    """A whole experiment."""

    name: Name = Field(description="names the run folder")
    seed: int = Field(default=0, ge=0, lt=2**63, description="every random number of the run descends from it")
    simulate: SimulateRecipe
    render: Annotated[
        Annotated[RenderRecipe, Tag("electron")] | Annotated[XfelRecipe, Tag("xfel")], Discriminator(_kind_of_camera)
    ] = RenderRecipe()
    particles: ParticlesRecipe | None = Field(default=None, description="images of another program; no render then")
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
        each = self.simulate.observation.frames_per_molecule
        if each is not None and self.train.methods and self.train.lag >= each:
            raise ValueError(
                f"train.methods = {', '.join(self.train.methods)} need two frames of a molecule {self.train.lag}"
                f" frames apart, and simulate.observation.mode = '{self.simulate.observation.mode}' has {each} a"
                " molecule. Give no methods, a lag of 1, or another mode"
            )
        if "tcl" in self.train.methods and self.simulate.segment_frames is None:
            raise ValueError(
                "train.methods has tcl, which needs labelled segments, and simulate.segment_frames is not given."
                " Leave tcl out, or give dynamics that change by segment (modulated, relaxation, temperature_jump)"
            )
        trained = (self.simulate.n_replicas - kept) * self.simulate.n_frames
        foreign = isinstance(self.simulate.molecule, TrajectoryRecipe) and self.particles is None
        if foreign and self.simulate.ensemble_frames > trained:
            raise ValueError(
                f"simulate.ensemble_frames = {self.simulate.ensemble_frames} must not exceed the {trained} frames of"
                " the training replicas, of which they are a sample"
            )
        if self.train.lag >= self.simulate.n_frames // 2:
            raise ValueError(
                f"train.lag = {self.train.lag} must be below half of simulate.n_frames = {self.simulate.n_frames}"
            )
        return self

    @model_validator(mode="after")
    def _camera(self) -> Recipe:
        if isinstance(self.render, RenderRecipe) and not (
            1e-6 <= self.render.snr <= 1e4 or math.isinf(self.render.snr)
        ):
            raise ValueError(f"render.snr = {self.render.snr:g} must be from 1e-6 to 1e4, or inf for no noise")
        molecule = self.simulate.molecule
        if (
            isinstance(self.render, RenderRecipe)
            and self.render.scattering.kind == "atoms"
            and isinstance(molecule, ArmsRecipe | StructureRecipe)
        ):
            raise ValueError(
                f"render.scattering.kind = 'atoms' needs a trajectory of atoms, and simulate.molecule.kind ="
                f" '{molecule.kind}' moves one bead a residue. Take kind = 'beads', or a molecule of kind 'atomistic'"
                " (or 'trajectory', with a selection of all heavy atoms)"
            )
        if self.particles is not None and self.render != RenderRecipe():
            raise ValueError(
                "particles are images already, with a camera of their own: leave out either particles or render"
            )
        if self.particles is not None and self.particles.observation == "snapshots" and self.train.methods:
            raise ValueError(
                f"train.methods = {', '.join(self.train.methods)} need two frames of a molecule, and"
                " particles.observation = 'snapshots' has one. Give no methods, or 'movie'"
            )
        return self

    @property
    def foreign_files(self) -> list[str]:
        """Files of other programs that the run is made of, as the recipe names them; a STAR file names its stacks."""
        return [*self.simulate.molecule.trajectory_files, *([self.particles.star] if self.particles else [])]

    @property
    def hides_poses(self) -> bool:
        """Whether the movie says less of its poses than the truth."""
        return isinstance(self.render, RenderRecipe) and self.render.poses.knowledge != "known"

    @property
    def microscope(self) -> RenderRecipe:
        """The electron camera. Raises RecipeError where the recipe has another one."""
        if not isinstance(self.render, RenderRecipe):
            raise RecipeError(f"render.kind = '{self.render.kind}': this needs the images of an electron microscope.")
        return self.render

    @property
    def splits(self) -> list[str]:
        """What each replica is for: train, validation or held_out."""
        kept = ["validation"] * self.train.validation_replicas + ["held_out"] * self.train.held_out_replicas
        return ["train"] * (self.simulate.n_replicas - len(kept)) + kept


def load_recipe(path: Path) -> tuple[Recipe, str]:
    """A checked recipe and its text. Raises RecipeError, in one message, for everything wrong with it."""
    text = read_text(path)
    return parse_recipe(text, path), text


def read_text(path: Path) -> str:
    """The text of a recipe, unchecked. Raises RecipeError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"There is no recipe {path}. Recipes are TOML files, as in simulations/.") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"The recipe {path} must be a TOML file, text in UTF-8: {error}.") from None
    except OSError as error:
        raise RecipeError(f"The recipe {path} cannot be read: {error}.") from None


def parse_recipe(text: str, path: Path) -> Recipe:
    """A checked recipe from its text, which errors say to be that of `path`. Raises RecipeError."""
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # beyond its own error, tomllib lets those of int() through
        raise RecipeError(f"The recipe {path} is not valid TOML: {error}.") from None
    try:
        # strict, so that true is no number and "64" none either; of JSON, in which lists may still become tuples
        return Recipe.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        mistakes = [_explain(one) for one in error.errors()]
        raise RecipeError("\n".join([f"The recipe {path} cannot be used:", *mistakes])) from None


def structure_path(folder: Path, name: str) -> Path:
    """Where a recipe's structure file lies: among the frozen copies of a run folder; else as the recipe says."""
    frozen = folder / "structures" / Path(name).name
    own = (folder / ".tempica" / "run.json").exists() or not (folder / name).exists()
    return frozen if own and frozen.exists() else folder / name


def trajectory_path(folder: Path, name: str) -> Path:
    """Where a recipe's trajectory file lies: a run folder has written it down; else as the recipe says."""
    kept = recorded(folder).get(name)
    return Path(kept["path"]) if kept else folder / name


def recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """What a run folder has written down of each trajectory file: `path`, `bytes`, `modified` (ns), `sha256`."""
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(f"The file {folder / RECORD} is damaged: {error}. Import the trajectory anew.") from None


RECORD = "trajectories.json"


def fingerprint(*parts: object) -> str:
    """A short digest of plain data, the same on every machine."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


VARIANT_FIELDS = ("kind", "process")  # tell the variants of a section apart
_PLAIN = {
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "model_attributes_type": "must be a table",
}  # what pydantic says in words of Python


def _explain(error: Any) -> str:
    if error["type"] == "json_invalid":
        return "  recipe: holds lists or tables that lie too deeply in each other."
    path, section, here = _walk(error["loc"])
    where = ".".join(path) or "recipe"
    if error["type"] == "extra_forbidden":
        return f"  {where}: unknown key. Known here: {', '.join(sorted(section.model_fields))}."
    if error["type"] == "missing":
        return f"  {where}: is missing and has no default."
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        field = next(name for name in VARIANT_FIELDS if name in _models(here)[0].model_fields)
        known = ", ".join(sorted(_tag(model) for model in _models(here)))
        if not isinstance(error["input"], dict):
            return f"  {where} = {error['input']!r}: must be a table."
        if field not in error["input"]:
            return f"  {where}.{field}: is missing and has no default. Known are {known}."
        return f"  {where}.{field} = {error['input'][field]!r}: must be one of {known}."
    message = _PLAIN.get(error["type"], error["msg"].removeprefix("Value error, "))
    given = error["input"]
    shown = "" if isinstance(given, dict | BaseModel | list) else f" = {given!r}"
    return f"  {where}{shown}: {message[:1].lower()}{message[1:]}."


def _walk(location: tuple[int | str, ...]) -> tuple[list[str], Any, Any]:
    """Keys of an error's location, without pydantic's names of variants; the section and type of the last one."""
    path: list[str] = []
    section: Any = Recipe
    here: Any = Recipe
    for part in location:
        if isinstance(part, int):
            path.append(str(part))
            continue
        variants = {_tag(model): model for model in _models(here)}
        if len(variants) > 1 and part in variants:
            here = section = variants[part]
            continue
        section = next(iter(variants.values()), section)
        path.append(part)
        field = section.model_fields.get(part)
        here = field.annotation if field is not None else None
    return path, section, here


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that an annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _tag(model: type[BaseModel]) -> str:
    for name in VARIANT_FIELDS:
        if name in model.model_fields:
            return str(get_args(model.model_fields[name].annotation)[0])
    return model.__name__

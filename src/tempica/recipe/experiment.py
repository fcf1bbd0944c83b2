"""The recipe: one TOML file that describes a whole experiment, checked before anything runs.

Each stage reads its own section. Units are in the field names' schema: nm, ps, kJ/mol, K; degrees for angles;
Å where electron microscopy says Å, and then in the name.
"""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, Tag, ValidationError, model_validator

from tempica.errors import RecipeError
from tempica.recipe.afm import AfmRecipe
from tempica.recipe.analysis import EmbedRecipe, EvaluateRecipe, ReportRecipe, TrainRecipe
from tempica.recipe.electron import RenderRecipe
from tempica.recipe.film import FilmRecipe
from tempica.recipe.mistakes import explain
from tempica.recipe.molecule import ArmsRecipe, MapRecipe, StructureRecipe, TrajectoryRecipe, UnknownRecipe
from tempica.recipe.particles import ParticlesRecipe
from tempica.recipe.section import Name, Section, kind_or
from tempica.recipe.simulate import SimulateRecipe
from tempica.recipe.xfel import XfelRecipe


class Recipe(Section):
    """A whole experiment."""

    name: Name = Field(description="names the run folder")
    seed: int = Field(default=0, ge=0, lt=2**63, description="seeds every random number of the run")
    simulate: SimulateRecipe
    render: Annotated[
        Annotated[RenderRecipe, Tag("electron")]
        | Annotated[XfelRecipe, Tag("xfel")]
        | Annotated[AfmRecipe, Tag("afm")],
        kind_or("electron"),
    ] = RenderRecipe()
    particles: ParticlesRecipe | None = Field(default=None, description="images of another program, instead of render")
    film: FilmRecipe | None = Field(default=None, description="a scanning probe's movie, instead of render")
    embed: EmbedRecipe = EmbedRecipe()
    train: TrainRecipe = TrainRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()
    report: ReportRecipe = ReportRecipe()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        for rule in _RULES:
            rule(self)
        return self

    @property
    def foreign_files(self) -> list[str]:
        """Files of other programs that the run is made of, as the recipe names them; a STAR file names its stacks."""
        return [
            *self.simulate.molecule.trajectory_files,
            *([self.particles.star] if self.particles else []),
            *(self.film.files if self.film else []),
        ]

    @property
    def observed_as(self) -> str:
        """How molecules are observed, as the recipe says it."""
        if self.particles is not None and self.particles.observation is not None:
            return f"particles.observation = '{self.particles.observation}'"
        return f"simulate.observation.mode = '{self.simulate.observation.mode}'"

    @property
    def frames_per_molecule(self) -> int | None:
        """Frames that are recorded of one molecule; None: all of a replica."""
        if self.particles is not None and self.particles.observation == "snapshots":
            return 1
        return self.simulate.observation.frames_per_molecule

    @property
    def labelled(self) -> bool:
        """Whether frames have labels: segments, conditions or delays."""
        return self.simulate.segment_frames is not None

    @property
    def hides_poses(self) -> bool:
        """Whether the movie says less of its poses than the truth."""
        return self.render.poses.knowledge != "known"

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


# Rules between sections. Each raises ValueError.


def _replicas_are_left_to_train(recipe: Recipe) -> None:
    kept = recipe.train.validation_replicas + recipe.train.held_out_replicas
    if kept >= recipe.simulate.n_replicas:
        raise ValueError(
            f"train keeps {kept} replicas from training (validation_replicas + held_out_replicas), which"
            f" must be fewer than simulate.n_replicas = {recipe.simulate.n_replicas}"
        )


def _modes_suffice_for_components(recipe: Recipe) -> None:
    if recipe.train.n_components > recipe.embed.most_modes:
        raise ValueError(
            f"train.n_components = {recipe.train.n_components} must not exceed embed.n_modes ="
            f" {recipe.embed.most_modes}"
        )


def _ensemble_fits_into_training_frames(recipe: Recipe) -> None:
    trained = recipe.splits.count("train") * recipe.simulate.n_frames
    foreign = isinstance(recipe.simulate.molecule, TrajectoryRecipe) and recipe.particles is None
    if foreign and recipe.simulate.ensemble_frames > trained:
        raise ValueError(
            f"simulate.ensemble_frames = {recipe.simulate.ensemble_frames} must not exceed the {trained} frames of"
            " the training replicas, of which they are a sample"
        )


def _lag_is_within_a_replica(recipe: Recipe) -> None:
    if recipe.train.lag >= recipe.simulate.n_frames // 2:
        raise ValueError(
            f"train.lag = {recipe.train.lag} must be below half of simulate.n_frames = {recipe.simulate.n_frames}"
        )


def _snr_is_in_range(recipe: Recipe) -> None:
    camera = recipe.render
    if isinstance(camera, RenderRecipe) and not (1e-6 <= camera.snr <= 1e4 or math.isinf(camera.snr)):
        raise ValueError(f"render.snr = {camera.snr:g} must be from 1e-6 to 1e4, or inf for no noise")


def _atoms_scatter_where_atoms_move(recipe: Recipe) -> None:
    camera, molecule = recipe.render, recipe.simulate.molecule
    atoms = isinstance(camera, RenderRecipe) and camera.scattering.kind == "atoms"
    if atoms and isinstance(molecule, ArmsRecipe | StructureRecipe):
        raise ValueError(
            f"render.scattering.kind = 'atoms' needs a trajectory of atoms, and simulate.molecule.kind ="
            f" '{molecule.kind}' moves one bead a residue. Take kind = 'beads', or a molecule of kind 'atomistic'"
            " (or 'trajectory', with a selection of all heavy atoms)"
        )


def _images_have_one_origin(recipe: Recipe) -> None:
    if recipe.particles is not None and recipe.render != RenderRecipe():
        raise ValueError(
            "particles are images already, with a camera of their own: leave out either particles or render"
        )


def _films_have_no_camera(recipe: Recipe) -> None:
    unknown = isinstance(recipe.simulate.molecule, UnknownRecipe)
    if unknown != (recipe.film is not None):
        raise ValueError(
            "film and simulate.molecule.kind = 'unknown' go together: a movie of a scanning probe is read, and nothing"
            " can be simulated of a molecule whose motions are not known"
        )
    if recipe.film is not None and (recipe.particles is not None or recipe.render != RenderRecipe()):
        raise ValueError("film is a movie already, with a camera of its own: leave out render and particles")


def _map_of_images_needs_poses(recipe: Recipe) -> None:
    stated = recipe.particles.poses if recipe.particles is not None else recipe.render.poses.knowledge
    if recipe.embed.modes_from == "images" and stated == "hidden":
        raise ValueError(
            "embed.modes_from = 'images' makes a map of the images, which needs their poses, known or approximate; here"
            " they are hidden. Write embed.modes_from = 'structure'"
        )


def _maps_are_of_particles(recipe: Recipe) -> None:
    if not isinstance(recipe.simulate.molecule, MapRecipe):
        return
    if recipe.particles is None:
        raise ValueError(
            "simulate.molecule.kind = 'map' needs particles: a map says nothing of motions that could be simulated."
            " Import the particles that it was reconstructed from, or give a structure"
        )
    if recipe.embed.modes_from != "structure":
        raise ValueError(
            f"embed.modes_from = '{recipe.embed.modes_from}' needs a simulation of the molecule, and a map has none."
            " Write embed.modes_from = 'structure': modes are then learned from the images, from an elastic network of"
            " the map on"
        )


_RULES = (
    _replicas_are_left_to_train,
    _modes_suffice_for_components,
    _ensemble_fits_into_training_frames,
    _lag_is_within_a_replica,
    _snr_is_in_range,
    _atoms_scatter_where_atoms_move,
    _images_have_one_origin,
    _maps_are_of_particles,
    _map_of_images_needs_poses,
    _films_have_no_camera,
)


def load_recipe(path: Path) -> tuple[Recipe, str]:
    """A checked recipe and its text. Raises RecipeError, in one message, for everything wrong with it."""
    text = read_text(path)
    return parse_recipe(text, path), text


def read_text(path: Path) -> str:
    """The text of a recipe, unchecked. Raises RecipeError."""
    try:
        return path.read_text(encoding="utf-8-sig")  # editors on Windows begin with a byte order mark
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
    except (ValueError, RecursionError) as error:  # tomllib also lets the errors of int() through
        raise RecipeError(f"The recipe {path} is not valid TOML: {error}.") from None
    try:
        # strict, so that neither true nor "64" counts as a number; as JSON, in which lists may still become tuples
        return Recipe.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        mistakes = [explain(one, Recipe) for one in error.errors()]
        raise RecipeError("\n".join([f"The recipe {path} cannot be used:", *mistakes])) from None

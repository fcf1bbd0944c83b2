"""Models of molecules, ready to be simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import permutations
from pathlib import Path

import numpy as np
import openmm

from tempica.errors import RecipeError, StructureError
from tempica.recipe.dynamics import Driven, Jumps
from tempica.recipe.experiment import Recipe
from tempica.recipe.molecule import (
    ArmsRecipe,
    AtomisticRecipe,
    MapRecipe,
    StructureRecipe,
    TrajectoryRecipe,
    UnknownRecipe,
)
from tempica.recipe.residues import residues
from tempica.recipe.simulate import CollectiveVariableRecipe, SimulateRecipe
from tempica.runs.layout import structure_path
from tempica.simulate.arms import build_arms
from tempica.simulate.atomistic import build_atomistic
from tempica.simulate.coordinates import CollectiveVariable
from tempica.simulate.domains import find_domains
from tempica.simulate.networks import build_bodies, build_system
from tempica.simulate.structures import Molecule, load_molecule, matching


@dataclass(frozen=True)
class Model:
    """A molecule ready to be simulated."""

    whole: Molecule
    body: np.ndarray  # beads, counted among those recorded, on which frames are superposed
    variables: tuple[CollectiveVariable, ...]
    system: openmm.System
    recorded: np.ndarray | None = None  # beads that frames hold; all if none

    @cached_property
    def molecule(self) -> Molecule:
        """The part of it that frames hold."""
        return self.whole if self.recorded is None else self.whole.part(self.recorded)


def build_model(recipe: SimulateRecipe, folder: Path) -> Model:
    """Load, check and build what a recipe describes. Raises StructureError, RecipeError."""
    if isinstance(recipe.molecule, ArmsRecipe):
        whole, bodies, variables = build_arms(recipe.molecule)
        model = Model(whole, bodies[0], variables, build_bodies(whole, bodies, recipe.network))
    elif isinstance(recipe.molecule, AtomisticRecipe):
        model = _atomistic(recipe, recipe.molecule, folder)
    elif isinstance(recipe.molecule, TrajectoryRecipe | MapRecipe | UnknownRecipe):
        raise TypeError("a foreign trajectory or a map is read, not simulated")
    else:
        model = _network(recipe, recipe.molecule, folder)
    by_name = {variable.name: variable for variable in model.variables}
    for entry in settled(recipe, model).dynamics:
        variable = by_name[entry.collective_variable]
        if isinstance(entry, Driven):
            model.system.addForce(variable.restraint(entry.stiffness))
        else:
            model.system.addForce(variable.potential(entry))
    return model


def settled(recipe: SimulateRecipe, model: Model) -> SimulateRecipe:
    """The recipe with means that it leaves out taken from the structure."""
    by_name = {variable.name: variable for variable in model.variables}
    dynamics = []
    for entry in recipe.dynamics:
        if not isinstance(entry, Jumps) and entry.mean is None:
            variable = by_name[entry.collective_variable]
            own = float(variable.to_recipe(variable.measure(model.whole.position)))
            entry = entry.model_copy(update={"mean": own})
        dynamics.append(entry)
    return recipe.model_copy(update={"dynamics": dynamics})


def _atomistic(recipe: SimulateRecipe, about: AtomisticRecipe, folder: Path) -> Model:
    whole, heavy, system = build_atomistic(about, structure_path(folder, about.structure))
    body = np.arange(len(heavy))
    if about.body is not None:
        body = whole.part(heavy).atoms_of(residues(about.body), "The body")
    return Model(whole, body, declared(recipe, whole), system, heavy)


def declared(recipe: SimulateRecipe, molecule: Molecule) -> tuple[CollectiveVariable, ...]:
    """The collective variables that a recipe declares. Raises StructureError when residues are absent."""
    return tuple(_declared(cv, molecule) for cv in recipe.collective_variables)


def _declared(cv: CollectiveVariableRecipe, molecule: Molecule) -> CollectiveVariable:
    what = f"The collective variable {cv.name}"
    groups = [molecule.atoms_of(numbers, what, names).tolist() for numbers, names in cv.groups]
    for (i, one), (j, other) in permutations(enumerate(map(set, groups)), 2):
        # as the recipe's own rule, which cannot know that 1-10 and A:1-10 are the same
        if one == other or (one < other and cv.kind != "rotation"):
            raise StructureError(
                f"The groups of {cv.name} contradict each other in this structure: the beads of '{cv.residues[i]}' lie"
                f" within '{cv.residues[j]}'. Give groups that move against each other."
            )
    return CollectiveVariable.of(cv.name, groups, cv.kind, molecule.position)


def _network(recipe: SimulateRecipe, about: StructureRecipe, folder: Path) -> Model:
    """A protein's beads and their elastic network."""
    first = load_molecule(structure_path(folder, about.structure))
    second = first
    if about.second_structure is not None:
        path = structure_path(folder, about.second_structure)
        second = matching(first, load_molecule(path), path)
        first = replace(first, notes=(*first.notes, *second.notes))
    names = about.domain_names
    hinges: Sequence[Sequence[np.ndarray]] = ()
    if about.n_domains is not None:
        found = find_domains(first, second, about.n_domains)
        beads, hinges = dict(zip(names, found.beads, strict=True)), found.hinges
    else:
        beads = {name: first.atoms_of(residues(text), f"domain {name}") for name, text in about.domains.items()}
    domain = np.full(len(first.residue), -1)
    for index, name in enumerate(names):
        if (taken := beads[name][domain[beads[name]] >= 0]).size:
            raise StructureError(
                f"Residue {first.residue[taken[0]]} is in domains {names[domain[taken[0]]]} and {name}; they must be"
                " disjoint."
            )
        domain[beads[name]] = index
    forbidden = {frozenset(names.index(name) for name in pair) for pair in recipe.network.no_contacts}
    body = beads[about.body or names[0]] if about.body or about.n_domains else np.arange(len(first.residue))
    if len(body) < 3:
        raise StructureError(f"The body '{about.body}' has {len(body)} beads; a superposition needs 3.")
    variables = declared(recipe, first) or tuple(
        CollectiveVariable.of(name, [group.tolist() for group in groups], "hinge_angle", first.position)
        for name, groups in zip(about.variables, hinges, strict=True)
    )
    return Model(first, body, variables, build_system(first, second, domain, forbidden, recipe.network))


@lru_cache(maxsize=2)
def cached_model(recipe_json: str, folder: str) -> tuple[Recipe, Model]:
    """A model, built once per process."""
    recipe = Recipe.model_validate_json(recipe_json)
    return recipe, build_model(recipe.simulate, Path(folder))


def check_targets(recipe: Recipe, model: Model) -> None:
    """Raise RecipeError when a target reaches values that its variable cannot have."""
    by_name = {variable.name: variable for variable in model.variables}
    for entry in settled(recipe.simulate, model).dynamics:
        variable = by_name[entry.collective_variable]
        (low, high), (least, most) = entry.reach, variable.limits
        unit_name, scale = ("nm", 1.0) if variable.unit == "nm" else ("°", 180 / np.pi)
        if low < scale * least - 1e-9 or high > scale * most + 1e-9:
            about = "".join(
                f", {name} {round(getattr(entry, name), 3)}"
                for name in ("mean", "deviation", "amplitude")
                if hasattr(entry, name)
            )
            raise RecipeError(
                f"The {entry.process} dynamics of {variable.name}{about}, reach {low:.4g} … {high:.4g} {unit_name}"
                f" (three deviations); a {variable.kind} must stay within {scale * least:.4g} …"
                f" {scale * most:.4g} {unit_name}. Change its mean or deviation."
            )

"""What was asked: the recipe and its sections; knows no folder and no store."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempica.recipe.afm import AfmRecipe
    from tempica.recipe.analysis import EmbedRecipe, EvaluateRecipe, MethodRecipe, ReportRecipe, TrainRecipe
    from tempica.recipe.electron import RenderRecipe
    from tempica.recipe.experiment import Recipe, load_recipe, parse_recipe
    from tempica.recipe.molecule import ArmsRecipe, AtomisticRecipe, StructureRecipe, TrajectoryRecipe
    from tempica.recipe.particles import ParticlesRecipe
    from tempica.recipe.simulate import CollectiveVariableRecipe, NetworkRecipe, ObservationRecipe, SimulateRecipe
    from tempica.recipe.xfel import XfelRecipe

__all__ = [
    "AfmRecipe",
    "ArmsRecipe",
    "AtomisticRecipe",
    "CollectiveVariableRecipe",
    "EmbedRecipe",
    "EvaluateRecipe",
    "MethodRecipe",
    "NetworkRecipe",
    "ObservationRecipe",
    "ParticlesRecipe",
    "Recipe",
    "RenderRecipe",
    "ReportRecipe",
    "SimulateRecipe",
    "StructureRecipe",
    "TrainRecipe",
    "TrajectoryRecipe",
    "XfelRecipe",
    "load_recipe",
    "parse_recipe",
]
_HOME = {
    "AfmRecipe": "afm",
    "ArmsRecipe": "molecule",
    "AtomisticRecipe": "molecule",
    "CollectiveVariableRecipe": "simulate",
    "EmbedRecipe": "analysis",
    "EvaluateRecipe": "analysis",
    "MethodRecipe": "analysis",
    "NetworkRecipe": "simulate",
    "ObservationRecipe": "simulate",
    "ParticlesRecipe": "particles",
    "Recipe": "experiment",
    "RenderRecipe": "electron",
    "ReportRecipe": "analysis",
    "SimulateRecipe": "simulate",
    "StructureRecipe": "molecule",
    "TrainRecipe": "analysis",
    "TrajectoryRecipe": "molecule",
    "XfelRecipe": "xfel",
    "load_recipe": "experiment",
    "parse_recipe": "experiment",
}


def __getattr__(name: str) -> Any:
    # imported on first use: modules of one section need not read those of all others
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

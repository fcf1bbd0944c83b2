"""The table of stages: what each reads, what it makes, and for which recipes it cannot be done.

A new stage is a room (`<room>/stage.py` with `run(work)`, called in `pipeline`), a section of the recipe under the
stage's name, a schema of what it makes, and a row here. The command line reads this table for its verbs, so nothing
heavy is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tempica.recipe.experiment import Recipe

# (stage, recipe, device) -> the sentence that says why this stage cannot be done, or None
Rule = Callable[[str, "Recipe", str], str | None]


def _no_made_up_images(stage: str, recipe: Recipe, device: str) -> str | None:
    if recipe.render.kind == "electron":
        return None
    return (
        f"render.kind = '{recipe.render.kind}': {stage} cannot be done, since it makes up images of the electron"
        " microscope to test a run with. tempica audit says whether the sources of this run can be believed."
    )


def _no_start(stage: str, recipe: Recipe, device: str) -> str | None:
    """Motions cannot be learned from what the recipe begins with."""
    kind, start = recipe.render.kind, recipe.embed.modes_from
    why = {
        ("xfel", "images"): "patterns have no phases to make a map of",
        ("afm", "images"): "heights make no map",
    }.get((kind, start))
    return why and (
        f"render.kind = '{kind}' with embed.modes_from = '{start}': {why}. Write modes_from = 'structure' or"
        " 'ensemble'."
    )


def _no_gpu(stage: str, recipe: Recipe, device: str) -> str | None:
    if recipe.render.kind != "xfel" or device != "cuda":
        return None
    return "render.kind = 'xfel': diffraction has no GPU kernel in this version. Use --device cpu."


def has_truth(recipe: Recipe) -> bool:
    """Whether it is known what the molecule did: not where another program's images were given."""
    return recipe.particles is None and recipe.film is None


def _no_structure(stage: str, recipe: Recipe, device: str) -> str | None:
    if recipe.film is None:
        return None
    return (
        f"{stage} cannot be done of a scanning probe's movie: it makes up images of the electron microscope."
        " Its report tells what shuffled frames show."
    )


@dataclass(frozen=True)
class Stage:
    """One row of the table."""

    name: str
    room: str  # the package under tempica/ that does it
    reads: tuple[str, ...]  # kinds of stores that it may open
    makes: tuple[str, ...]  # files in the run folder, in the order in which they are completed
    help: str
    rules: tuple[Rule, ...] = ()

    def refuses(self, recipe: Recipe, device: str = "cpu") -> str | None:
        """Why this stage cannot be done for a recipe on a device; None if it can."""
        sentences = (rule(self.name, recipe, device) for rule in self.rules)
        return next((sentence for sentence in sentences if sentence is not None), None)

    def outputs(self, recipe: Recipe) -> tuple[str, ...]:
        """The files of `makes` that this recipe has.

        There is no trajectory where the images are of another program, and no ensemble where the molecule is a map;
        true poses are stored only where the movie does not tell them.
        """
        if recipe.film is not None and self.name == "simulate":
            return ("structure.zarr",) if recipe.simulate.molecule.structure_files else ()
        if recipe.film is not None and self.name == "render":
            return ("movie.zarr",)
        absent = {"trajectory.zarr"} if recipe.particles is not None else set()
        if recipe.simulate.molecule.kind == "map":
            absent.add("ensemble.zarr")
        if recipe.particles is not None or not recipe.hides_poses:
            absent.add("poses.zarr")
        return tuple(name for name in self.makes if name not in absent)


# The truth is in trajectory.zarr and poses.zarr alone: embed and train must do without it.
STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "simulate",
            room="simulate",
            reads=(),
            makes=("structure.zarr", "ensemble.zarr", "trajectory.zarr"),
            help="Move the molecule: trajectory.zarr, with the truth, ensemble.zarr and structure.zarr.",
        ),
        Stage(
            "render",
            room="render",
            reads=("trajectory", "structure", "ensemble"),
            makes=("poses.zarr", "movie.zarr"),
            help="Image the trajectory: movie.zarr.",
            rules=(_no_gpu,),
        ),
        Stage(
            "embed",
            room="embed",
            reads=("movie", "structure", "ensemble"),
            makes=("latents.zarr",),
            help="Turn images into posteriors of displacement modes: latents.zarr.",
            rules=(_no_start,),
        ),
        Stage(
            "train",
            room="ica",
            reads=("movie", "latents"),
            makes=("sources.zarr",),
            help="Unmix the latents into sources: sources.zarr.",
        ),
        Stage(
            "evaluate",
            room="evaluate",
            reads=("trajectory", "poses", "movie", "structure", "ensemble", "latents", "sources"),
            makes=("scores.json",),
            help="Score the sources against the truth, or without one audit them: scores.json.",
        ),
        Stage(
            "report",
            room="report",
            reads=("trajectory", "poses", "movie", "latents", "sources"),
            makes=("report.html",),
            help="Write report.html.",
        ),
    )
}

CHECK = Stage(
    "check",
    room="embed",
    reads=("movie", "structure", "ensemble", "latents"),
    makes=("checks.json",),
    help="Test a run for bias.",
    rules=(_no_made_up_images, _no_structure),
)
"""No stage of a run, which is complete without it: what is done with one that has been embedded."""

AUDIT = Stage(
    "audit",
    room="audit",
    reads=("movie", "latents", "sources"),
    makes=("audit.json",),
    help="Say whether the sources of a run can be believed.",
)
"""No stage either: what is done with a run that has been trained, without its truth."""

READERS = STAGES | {CHECK.name: CHECK, AUDIT.name: AUDIT}

"""What a run will take: time and disk of each stage, foreseen from the recipe.

Integration is timed on this machine. The other stages go by what they took on another, in seconds of one core that does
nothing else, for the recipe adenylate_kinase (12,800 images of 64 × 64 pixels, 214 beads, hidden poses), and for those
that `tempica new` writes of ubiquitin (4,800 images, 76 beads) and of a trajectory of adenylate kinase (96 images).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempica.ica import methods
from tempica.recipe.experiment import Recipe
from tempica.recipe.molecule import MapRecipe, TrajectoryRecipe
from tempica.runs.stages import STAGES

# core seconds a frame at 64 × 64 pixels and 214 beads
RENDER, EMBED_KNOWN, EMBED_HIDDEN, READ = 6.5e-3, 7e-3, 16e-3, 1e-3
TRAIN_LINEAR, EVALUATE = 2e-4, 26e-3  # the last of held-out frames with a ceiling
EVALUATE_ANY = 12e-3  # of the same frames, however large they are
NETWORK, NETWORK_FRAME = 20.0, 2.2e-3  # s of a network's trainings, and a frame: one after another
START = {"simulate": 2.0, "render": 2.5, "embed": 14.0, "train": 4.0, "evaluate": 6.0, "report": 7.0}  # s, of any run
SCORES_BYTES, REPORT_BYTES = 200_000, 3_000_000
PACKED = 0.9  # of numbers with noise in them, once compressed
PIXEL_BYTES = 0.85  # of levels of grey, once compressed
N_PIXELS, N_BEADS = 64, 214
FACTOR = 2


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes of one stage."""

    seconds: float
    n_bytes: float


def estimate(recipe: Recipe, folder: Path, cores: int) -> dict[str, Estimate]:
    """Of every stage that makes something for this recipe.

    Parameters:
        recipe: a checked recipe.
        folder: that its structure files are relative to.
        cores: that share the work.
    """
    n_beads, step = _molecule(recipe, folder)
    simulate, frames = recipe.simulate, recipe.simulate.n_replicas * recipe.simulate.n_frames
    made = frames + simulate.ensemble_frames
    held_out = recipe.train.held_out_replicas * simulate.n_frames
    n_pixels = getattr(recipe.render, "n_pixels", N_PIXELS)
    size = (n_pixels / N_PIXELS) ** 2 * max(0.3, n_beads / N_BEADS)
    hidden = recipe.hides_poses or (recipe.particles is not None and recipe.particles.poses == "hidden")
    known = methods.chosen(recipe)
    networks = sum(not name.startswith(_LINEAR) for name in known)
    work = {
        "simulate": made * (step * simulate.steps_per_frame if step else READ),
        "render": frames * RENDER * size,
        "embed": frames * (EMBED_HIDDEN if hidden else EMBED_KNOWN) * size,
        "train": frames * TRAIN_LINEAR * (len(known) - networks),
        "evaluate": min(held_out, recipe.evaluate.n_ceiling_frames) * (EVALUATE_ANY + EVALUATE * size),
        "report": 0.0,
    }
    alone = {"train": networks * (NETWORK + NETWORK_FRAME * frames)}  # whatever the cores
    n_modes = recipe.embed.most_modes
    lazy = getattr(recipe.render, "lazy", False)
    bytes_of = {
        "simulate": PACKED * 12 * n_beads * made,
        "render": 200 * frames + (0 if lazy else PIXEL_BYTES * n_pixels**2 * frames),
        "embed": PACKED * 8 * frames * (n_modes + n_modes**2 + 8),
        "train": PACKED * 32 * frames * recipe.train.n_components * (len(known) + 2),
        "evaluate": SCORES_BYTES,
        "report": REPORT_BYTES,
    }
    return {
        stage: Estimate(START[stage] + alone.get(stage, 0.0) + work[stage] / max(1, cores), bytes_of[stage])
        for stage, row in STAGES.items()
        if row.refuses(recipe) is None
    }


_LINEAR = ("tica", "sobi", "fastica", "pca", "nonstationary", "amuse", "sfa")


def _molecule(recipe: Recipe, folder: Path) -> tuple[int, float]:
    """Number of beads that frames hold, and seconds an integration step; 0 where frames are read."""
    from tempica.simulate import engine
    from tempica.simulate.foreign.molecule import build_foreign
    from tempica.simulate.models import build_model

    if isinstance(recipe.simulate.molecule, MapRecipe):
        return recipe.simulate.molecule.n_beads or N_BEADS, 0.0
    if isinstance(recipe.simulate.molecule, TrajectoryRecipe):
        return len(build_foreign(recipe.simulate, folder).molecule.residue), 0.0
    model = build_model(recipe.simulate, folder)
    timed: Any = recipe.model_copy(update={"simulate": recipe.simulate.model_copy(update={"platform": "auto"})})
    name, seconds = engine.choose_platform(timed, model)
    return len(model.molecule.residue), seconds[name]

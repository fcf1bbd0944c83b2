"""Distances between the centroids of declared domains: of structures that embed found, beside those of the truth."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from tempica.evaluate import embedding
from tempica.recipe.experiment import Recipe
from tempica.runs.reading import read


def of_domains(recipe: Recipe, run: Path) -> list[dict[str, Any]]:
    """Rows of `distances` in scores.json, one a pair of domains and split; none where no two domains are declared.

    Structures are those of single frames, mean + Σ_k latent_k shape_k. Errors are means of |estimate − truth|; the null
    is that of an estimate that is the mean of the training truth in every frame.
    """
    domains = getattr(recipe.simulate.molecule, "domains", None) or {}
    trajectory, latents = read(run, "evaluate", "trajectory"), read(run, "evaluate", "latents")
    if latents.sizes["atom"] != trajectory.sizes["atom"] or recipe.embed.modes_from == "images":
        return []
    weight = {name: embedding.beads_of(text, trajectory) for name, text in domains.items()}
    weight = {name: beads / beads.sum() for name, beads in weight.items() if beads.any()}
    if len(weight) < 2:
        return []
    true = {name: np.tensordot(trajectory["position"].values, beads, (2, 0)) for name, beads in weight.items()}
    mean, shape = latents["mean_structure"].values, latents["mode_shape"].values
    found = {
        name: beads @ mean + np.tensordot(latents["latent"].values, np.tensordot(shape, beads, (1, 0)), 1)
        for name, beads in weight.items()
    }
    split = np.array(recipe.splits)
    rows = []
    for one, other in combinations(weight, 2):
        truth, estimate = (np.linalg.norm(centre[one] - centre[other], axis=-1) for centre in (true, found))
        usual = truth[split == "train"].mean()
        for name in ("train", "held_out"):
            t, e = truth[split == name].ravel(), estimate[split == name].ravel()
            moves = t.std() > 0 and e.std() > 0
            rows.append(
                {
                    "split": name,
                    "domains": [one, other],
                    "error_nm": float(np.abs(e - t).mean()),
                    "null_nm": float(np.abs(usual - t).mean()),
                    "correlation": float(np.corrcoef(e, t)[0, 1]) if moves else None,
                }
            )
    return rows

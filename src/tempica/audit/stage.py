"""Audits a run: its latents, with what the movie tells of molecules and labels, beside the sources that it has."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica import seeds
from tempica.audit.auditing import audit
from tempica.audit.results import plain
from tempica.evaluate.metrics import assign, correlation_matrix
from tempica.progress import Progress
from tempica.recipe.experiment import Recipe
from tempica.runs.reading import read
from tempica.series import number_molecules
from tempica.stores import files, schema

if TYPE_CHECKING:
    from tempica.runs.work import Work


def run(work: Work, method: str, n_components: int | None, lag: int) -> None:
    """One task: audit.json."""
    out = work.folder / "audit.json"
    task = partial(audit_run, work.recipe, work.run, work.fingerprint, out, method, n_components, lag)
    work.run_chains("audit", [[("audit", task)]])


def audit_run(
    recipe: Recipe, run: Path, fingerprint: str, out: Path, method: str, n_components: int | None, lag: int
) -> None:
    """Audit the latents of a run, and say how far its methods' sources agree with the audit's."""
    movie, latents, sources = (read(run, "audit", kind) for kind in ("movie", "latents", "sources"))
    about = {
        "name": recipe.name,
        "schema_version": schema.SCHEMA_VERSION,
        "fingerprint": fingerprint,
        "audited": str(sources.attrs["fingerprint"]),
    }
    found = audit_of(recipe, movie, latents, sources, method=method, n_components=n_components, lag=lag)
    files.write_json(out, about | found)


def audit_of(
    recipe: Recipe,
    movie: Any,
    latents: Any,
    sources: Any,
    *,
    method: str = "auto",
    n_components: int | None = None,
    lag: int | None = None,
    nuisances: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """The audit of a run's stores as JSON holds it, with the agreement of each method with the audit's sources."""
    mean, covariance = latents["latent"].values, latents["latent_covariance"].values
    n = mean.shape[-1]
    found = audit(
        mean.reshape(-1, n),
        method=method,
        replicas=None if recipe.frames_per_molecule == 1 else number_molecules(movie["molecule"].values).reshape(-1),
        labels=movie["label"].values.reshape(-1) if recipe.labelled else None,
        covariance=covariance.reshape(-1, n, n),
        nuisances=nuisances,
        n_components=n_components or recipe.train.n_components,
        lag=lag or recipe.train.lag,
        random_state=seeds.integer(recipe.seed, "audit"),
        progress=Progress(),
    )
    return found.as_dict() | {"methods": plain(_agreements(sources, found.sources, found.frames))}


def _agreements(sources: Any, audited: np.ndarray, rows: np.ndarray) -> list[dict[str, Any]]:
    """Mean correlation of each method's sources, unmixed and smoothed, with those of the audit, matched."""
    told = []
    for method, of_method in zip(map(str, sources["estimator"].values), sources["source"].values, strict=True):
        for stage, series in zip(map(str, sources["stage"].values), of_method, strict=True):
            kept = series[..., ~np.isnan(series).all((0, 1))]
            if kept.shape[-1] and audited.shape[1]:
                flat = kept.reshape(-1, kept.shape[-1])[rows]
                matrix = np.abs(correlation_matrix(flat, audited, kind="pearson"))
                order = assign(matrix)
                agreement = float(matrix[order[order >= 0], order >= 0].sum() / audited.shape[1])
                told.append({"method": method, "stage": stage, "agreement": agreement})
    return told

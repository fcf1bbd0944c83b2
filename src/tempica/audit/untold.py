"""Evaluates a run whose truth nobody knows: the audit takes the place of scores."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempica import imaging
from tempica.audit.results import AFTER_STAGE, IDENTIFIABLE, NOT, NOTHING, SUBSPACE
from tempica.audit.stage import audit_of
from tempica.errors import DataError
from tempica.recipe.experiment import Recipe
from tempica.runs import notices
from tempica.runs.reading import read
from tempica.stores import files
from tempica.stores.scores import SCORES_VERSION

if TYPE_CHECKING:
    import xarray

    from tempica.runs.work import Work

WHY = "what the molecule did is not known"
GRADES = {
    IDENTIFIABLE: "identifiable",
    AFTER_STAGE: "identifiable",
    SUBSPACE: "not identifiable",
    NOT: "not identifiable",
    NOTHING: "nothing moves",
}


def run(work: Work) -> None:
    """One task: scores.json, without scores."""
    out = work.folder / "scores.json"
    work.run_chains("audit", [[("untold", partial(write_untold, work.recipe, work.run, work.fingerprint, out))]])


def write_untold(recipe: Recipe, run: Path, fingerprint: str, out: Path) -> None:
    """The audit of a run's latents as its verdict, with its nuisances, and what its methods say of themselves.

    Latents that cannot be audited have a sentence that says why, and no grade.
    """
    movie, latents, sources = (read(run, "evaluate", kind) for kind in ("movie", "latents", "sources"))
    found: dict[str, Any] | None
    try:
        found = audit_of(recipe, movie, latents, sources, nuisances=nuisances(movie, latents))
    except DataError as reason:  # too few frames, as in most films: the run goes on to its report
        found = None
        whole: dict[str, Any] = {"kind": "", "sentence": f"Not audited: {reason}"}
    else:
        whole = found["verdict"]
    made = {"render": movie, "embed": latents, "train": sources}
    kept = {stage: str(store.attrs["fingerprint"]) for stage, store in made.items()} | {"evaluate": fingerprint}
    verdict: dict[str, Any] = {
        "grade": GRADES.get(whole["kind"]),
        "sentence": f"{whole['sentence']} There is no truth to score against: {WHY}.",
        "methods": [],
    }
    about = {"recipe": recipe.name, "schema_version": SCORES_VERSION, "fingerprint": fingerprint}
    about |= dict.fromkeys(
        ("ceiling_why", "ceiling_temporal_why", "supervised_latents_why", "supervised_images_why"), WHY
    )
    methods = [{"name": name, **words} for name, words in sources.attrs["methods"].items()]
    poses = {
        "source": str(latents.attrs.get("pose_source", "searched")),
        "known": False,
        "superposed_on": "",
        "lost_beyond_deg": 0.0,
    }
    empty: dict[str, Any] = {name: [] for name in ("bands", "latents", "distances", "rows", "matrices")}
    files.write_json(
        out,
        about
        | {"verdict": verdict, "warnings": notices.collect(run, kept), "poses": poses | {"splits": []}}
        | empty
        | {"methods": methods}
        | ({} if found is None else {"audit": found}),
    )


def nuisances(movie: xarray.Dataset, latents: xarray.Dataset) -> dict[str, np.ndarray]:
    """What no source should follow, by name, (frame,) each: defocus, place, turn, direction of view."""
    columns = {}
    if "defocus_u_A" in movie:
        columns["defocus"] = (movie["defocus_u_A"].values + movie["defocus_v_A"].values) / 2
    if "pose_quaternion" in latents:
        rotation = imaging.rotation_matrix(latents["pose_quaternion"].values)
        columns |= {f"view along {axis}": rotation[..., 2, k] for k, axis in enumerate("xyz")}
        columns |= {f"shift along {axis}": latents["pose_shift_A"].values[..., k] for k, axis in enumerate("xy")}
    if "turn" in movie:  # crops of a scanning probe
        columns |= {
            "cosine of the turn": np.cos(movie["turn"].values),
            "sine of the turn": np.sin(movie["turn"].values),
        }
        columns |= {f"place along {axis}": movie["place"].values[..., k] for k, axis in enumerate("xy")}
    flat = {name: values.reshape(-1) for name, values in columns.items()}
    return {name: values for name, values in flat.items() if np.isfinite(values).all() and np.ptp(values) > 0}

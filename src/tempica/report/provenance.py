"""The section on where everything comes from: downloads, citation, fingerprints, recipe."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from tempica.recipe.experiment import Recipe
from tempica.report.recovered import Recovery, Truth
from tempica.report.templating import fill

if TYPE_CHECKING:
    import xarray

PAPER = (
    "D. Klindt, A. Hyvärinen, A. Levy, N. Miolane, F. Poitevin. Towards interpretable Cryo-EM: disentangling latent"
    " spaces of molecular conformations. Front. Mol. Biosci. 2024, doi:10.3389/fmolb.2024.1393564."
)


def section(
    recipe: Recipe,
    recipe_text: str,
    made: Mapping[str, Mapping[str, Any]],
    software: Mapping[str, str],
    downloads: Sequence[tuple[str, str, str]],
    methods: Iterable[Mapping[str, Any]] = (),
) -> Markup:
    """Files, provenance, citation.

    Parameters:
        recipe, recipe_text: the recipe, and as it was written.
        made: attributes of stores, and what scores.json says, by what they are of.
        software: versions by name.
        downloads: name, words for the reader, and data: URI of each file.
        methods: what scores.json says of those that were used, for their sources.
    """
    rows = {"Recipe": recipe.name, "Seed": str(recipe.seed)}
    rows |= {f"Fingerprint of {kind}": str(about.get("fingerprint", "unknown")) for kind, about in made.items()}
    rows |= {f"{name} version": version for name, version in sorted(software.items())}
    cite = [f"tempica {software.get('tempica', '')}: recipe {recipe.name}, seed {recipe.seed}.", PAPER]
    cite += [f"{about['title']}: {about['theorem']}." for about in methods if about["theorem"]]
    return fill("provenance.html", downloads=downloads, citations=cite, rows=rows, recipe_text=recipe_text)


def uri(text: str, kind: str = "text/csv") -> str:
    """A text as a data: URI."""
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode('ascii')}"


def scores_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of scores.json as CSV; an interval becomes two columns."""
    names = [name for name in rows[0] if name != "interval"] if rows else []
    lines = [[*(row[name] for name in names), *row["interval"]] for row in rows]
    return _csv([*names, "interval_low", "interval_high"], lines)


def sources_csv(truth: Sequence[Truth], found: Sequence[Recovery], replica: int, time: np.ndarray) -> str:
    """The traces that are shown, as CSV: time (ps), true variables, recovered ones and half their bands."""
    names, columns = ["time_ps"], [time]
    for true in truth:
        names.append(f"true {true.name} ({true.unit})")
        columns.append(true.value[replica, : len(time)])
    for one in found:
        label = f"{one.method} {one.stage} {one.name}"
        names += [label, f"{label}, 2 standard deviations"]
        columns += [one.value[replica, : len(time)], 2 * one.deviation[replica, : len(time)]]
    lines = [["" if not np.isfinite(x) else f"{x:.6g}" for x in line] for line in np.stack(columns, 1)]
    return _csv(names, lines)


def components_csv(values: np.ndarray, time: np.ndarray) -> str:
    """Components (time, component) as CSV, with the time (ps)."""
    names = ["time_ps", *(f"source {k + 1}" for k in range(values.shape[1]))]
    return _csv(names, [[f"{x:.6g}" for x in line] for line in np.column_stack([time, values])])


def film_csv(movie: xarray.Dataset, values: np.ndarray) -> str:
    """Sources (row, source) of crops as CSV, with the track, the frame and the time (s) of each."""
    about = [movie[name].values.reshape(-1) for name in ("track", "frame", "frame_time")]
    names = ["track", "frame", "time_s", *(f"source {k + 1}" for k in range(values.shape[1]))]
    lines = zip(*about, *values.T, strict=True)
    return _csv(names, [[int(track), int(frame), *(f"{x:.6g}" for x in line)] for track, frame, *line in lines])


def _csv(names: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(lines)
    return out.getvalue()

"""JSON Schemas of the recipe, of every store, of scores.json, checks.json and audit.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tempica.stores.attributes import (
    ATTRIBUTES,
    BEAMLINE,
    HEIGHTS,
    LATENTS_OPTIONAL,
    MOVIE_OPTICS,
    MOVIE_OPTIONAL,
    OF_CROPS,
)
from tempica.stores.audits import AUDITS
from tempica.stores.checks import CHECKS
from tempica.stores.schema import FILES, STORES, version_of
from tempica.stores.scores import SCORES


def all_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schemas by file name: the recipe, scores.json, checks.json, audit.json, and one a store."""
    from tempica.recipe.experiment import Recipe

    recipe = Recipe.model_json_schema() | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {"recipe": recipe, "scores": SCORES, "checks": CHECKS, "audit": AUDITS} | {
        kind: _store_schema(kind) for kind in STORES
    }


def write_schemas(folder: Path) -> list[Path]:
    """Write every JSON Schema into a folder; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, schema in all_schemas().items():
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def _store_schema(kind: str) -> dict[str, Any]:
    variables = {
        name: {
            "description": rule.description,
            "properties": {
                "dims": {"const": list(rule.dims)},
                "dtype": {"enum": [rule.dtype, *rule.other_dtypes]} if rule.other_dtypes else {"const": rule.dtype},
                "units": {"const": rule.units},
            },
            "required": ["dims", "dtype", "units"],
        }
        for name, rule in STORES[kind].items()
    }
    attributes: dict[str, Any] = ATTRIBUTES | {"schema_version": {"const": version_of(kind)}}
    attributes |= _of_camera(kind)
    attributes |= OF_CROPS.get(kind, {})
    if kind in ("trajectory", "ensemble", "structure"):
        attributes["topology"] = {
            "type": "string",
            "description": "JSON in the layout of MDTraj's HDF5 format",
        }
        attributes["platform"] = {"type": "string", "description": "OpenMM's platform that computed it"}
    required = list(attributes)
    if kind == "movie":
        attributes |= MOVIE_OPTIONAL
    if kind == "diffraction":
        attributes |= {name: MOVIE_OPTIONAL[name] for name in ("pose_error_deg", "pose_error_A")}
    if kind == "latents":
        attributes["noise_variance"] = {"type": "number", "unit": "1/angstrom^2"}
        attributes["pose_source"] = {
            "enum": ["stated", "refined", "searched"],
            "description": "where poses are from: the movie; the movie, and the images; the images alone",
        }
        attributes |= LATENTS_OPTIONAL
    if kind in ("ensemble", "structure"):
        attributes["centre_nm"] = {
            "type": "array",
            "items": {"type": "number"},
            "description": "place (nm) in the structure file of the beads' centroid, which is zero here; if there is"
            " a file",
        }
    stored = [name for name in variables if (kind, name) != ("movie", "image")]  # lazy movies have none
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{FILES.get(kind, kind)}.zarr",
        "description": "A zarr version 3 group, opened with xarray.open_zarr(path, consolidated=False).",
        "type": "object",
        "properties": {
            "variables": {"type": "object", "properties": variables, "required": stored},
            "attributes": {"type": "object", "properties": attributes, "required": required},
        },
        "required": ["variables", "attributes"],
    }


def _of_camera(kind: str) -> dict[str, Any]:
    """What the store of a movie says of its camera."""
    attributes: dict[str, Any] = {}
    if kind == "movie":
        attributes["pose"] = {"enum": ["known", "approximate", "hidden"]}
        attributes["noise"] = {"enum": ["none", "white", "coloured", "poisson"]}
        attributes |= {name: {"type": "number", "unit": unit} for name, unit in MOVIE_OPTICS.items()}
    if kind == "diffraction":
        attributes["pose"] = {"enum": ["known", "approximate", "hidden"]}
        attributes["polarisation"] = {"enum": ["x", "y", "none"]}
        attributes |= {name: {"type": "number", "unit": unit} for name, unit in BEAMLINE.items()}
    if kind == "heights":
        attributes["pose"] = {"enum": ["known", "hidden"]}
        attributes["lying"] = {"enum": ["flat", "free"], "description": "how molecules lie, unless faces say it"}
        attributes["faces"] = {
            "type": "string",
            "description": "JSON list of quaternions x y z w that molecules lie in",
        }
        attributes["fast_axis"] = {"enum": ["x", "y"]}
        attributes["tip"] = {"type": "string", "description": "JSON table of a tip's heights in nm; empty for a cone"}
        attributes |= {name: {"type": "number", "unit": unit} for name, unit in HEIGHTS.items()}
    return attributes

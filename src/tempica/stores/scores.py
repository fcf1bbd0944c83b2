"""The schema of scores.json."""

from __future__ import annotations

from typing import Any

from tempica.stores.schema import SCHEMA_VERSION

_NUMBER_OR_NULL = {"type": ["number", "null"]}

_ROW = {
    "method": {"type": "string"},
    "stage": {"enum": ["unmixed", "smoothed"]},
    "metric": {"enum": ["mcc_spearman", "mcc_pearson"]},
    "split": {"enum": ["train", "validation", "held_out"]},
    "value": {
        "type": "number",
        "description": "mean absolute correlation after the assignment fitted on training replicas",
    },
    "null": {"type": "number", "description": "mean score against a truth that the images cannot know"},
    "null_95": {"type": "number", "description": "95th percentile of the same"},
    "interval": {
        "type": "array",
        "items": {"type": "number"},
        "minItems": 2,
        "maxItems": 2,
        "description": "95 %, moving-block bootstrap",
    },
    "ceiling": {**_NUMBER_OR_NULL, "description": "what the Bayes estimate from single frames reaches"},
}

_METHOD = {
    "name": {"type": "string"},
    "title": {"type": "string", "description": "name for readers"},
    "identifies": {"type": "string", "description": "what the method identifies, and when"},
    "theorem": {"type": "string", "description": "who showed it"},
    "baseline": {"type": "boolean", "description": "true: it learns no unmixing"},
    "warnings": {"type": "array", "items": {"type": "string"}, "description": "of the fit"},
    "model": {"type": "string", "description": "rung of its ladder that the estimator chose"},
    "ambiguity": {"type": "string", "description": "what is left unidentified: none, linear, subspace or all"},
    "ambiguity_why": {"type": "string"},
    "second_stage": {"type": "string"},
}

_MATRIX = {
    "method": {"type": "string"},
    "stage": {"enum": ["unmixed", "smoothed"]},
    "split": {"enum": ["train", "validation", "held_out"]},
    "metric": {"enum": ["spearman", "pearson"]},
    "matrix": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "number"}},
        "description": "component × collective variable, signed",
    },
    "collective_variables": {"type": "array", "items": {"type": "string"}},
    "assignment": {
        "type": "array",
        "items": {"type": "integer"},
        "description": "component matched to each collective variable",
    },
}

SCORES: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "scores.json",
    "type": "object",
    "properties": {
        "recipe": {"type": "string", "description": "name of the recipe"},
        "schema_version": {"const": SCHEMA_VERSION},
        "fingerprint": {"type": "string"},
        "methods": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": _METHOD,
                "required": ["name", "title", "identifies", "theorem", "baseline", "warnings"],
            },
        },
        "rows": {"type": "array", "items": {"type": "object", "properties": _ROW, "required": list(_ROW)}},
        "matrices": {
            "type": "array",
            "items": {"type": "object", "properties": _MATRIX, "required": list(_MATRIX)},
        },
    },
    "required": ["recipe", "schema_version", "fingerprint", "methods", "rows", "matrices"],
}

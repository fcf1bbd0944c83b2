"""The schema of scores.json."""

from __future__ import annotations

from typing import Any

SCORES_VERSION = 7  # scores of an earlier one are made again, and nothing before them

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
    "rotation_null": {
        **_NUMBER_OR_NULL,
        "description": "mean score of random rotations of the subspace that the components have in common with the"
        " truth; null where it has no two dimensions",
    },
    "rotation_null_95": {
        **_NUMBER_OR_NULL,
        "description": "95th percentile of the same; a method finds axes only where value exceeds this and null_95",
    },
    "interval": {
        "type": "array",
        "items": {"type": "number"},
        "minItems": 2,
        "maxItems": 2,
        "description": "95 %, from the long-run variance of each frame's influence on the score",
    },
    "r2": {
        "type": "number",
        "description": "mean over collective variables of R2 of the best affine map of all components, fitted on"
        " training replicas",
    },
    "aligned": {"type": "number", "description": "mean absolute correlation after the same map"},
    "ceiling": {**_NUMBER_OR_NULL, "description": "what the Bayes estimate from single frames reaches"},
    "ceiling_temporal": {
        **_NUMBER_OR_NULL,
        "description": "what the Bayes estimate from all frames of a molecule reaches, variables being autoregressions",
    },
    "supervised_latents": {
        **_NUMBER_OR_NULL,
        "description": "what a network reaches on single latents that is told the truth of training replicas",
    },
    "supervised_images": {**_NUMBER_OR_NULL, "description": "the same on single images, all of one view"},
}

_INTERVAL_OR_NULL = {"type": ["array", "null"], "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_QUANTILES = {"type": ["array", "null"], "items": {"type": "number"}, "minItems": 101, "maxItems": 101}
_SPLIT = {"enum": ["all", "held_out"]}

_CALIBRATION = {
    "squared_error": {
        **_NUMBER_OR_NULL,
        "description": "mean of e^T C^-1 e over the number of parameters, of frames whose pose is not lost; 1 where the"
        " posterior means what it says",
    },
    "squared_error_interval": {**_INTERVAL_OR_NULL, "description": "95 %, from blocks of neighbouring frames"},
    "within_95": {**_NUMBER_OR_NULL, "description": "share within the ellipsoid that is to hold 95 %"},
    "level": {**_QUANTILES, "description": "quantiles of the level of the ellipsoid on which a frame lies"},
}

_POSES = {
    "split": _SPLIT,
    "n_frames": {"type": "integer"},
    "lost": {"type": "number", "description": "share of frames whose rotation is wrong by more than lost_beyond_deg"},
    "mirrored": {"type": "number", "description": "share of frames that are lost since they are placed as from behind"},
    "shift_median_A": {"type": "number", "unit": "angstrom"},
    "shift_95_A": {"type": "number", "unit": "angstrom"},
    "structure_A": {
        **_NUMBER_OR_NULL,
        "unit": "angstrom",
        "description": "median over frames of the root mean square distance of the superposed structures",
    },
    "angle_deg": {**_QUANTILES, "description": "quantiles of the error of the rotation, in steps of 1 %"},
    "bound_deg": {**_QUANTILES, "description": "the same at the Cramer-Rao bound of single frames"},
    **_CALIBRATION,
}

_LATENTS = {
    "split": _SPLIT,
    "n_frames": {"type": "integer", "description": "whose pose is not lost"},
    **_CALIBRATION,
    "leak": {**_NUMBER_OR_NULL, "description": "share of the variance of latent errors that the pose explains"},
    "leak_null": {**_NUMBER_OR_NULL, "description": "mean of the same by chance"},
    "leak_null_95": {**_NUMBER_OR_NULL, "description": "95th percentile of the same"},
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
        "schema_version": {"const": SCORES_VERSION},
        "fingerprint": {"type": "string"},
        "ceiling_temporal_why": {"type": ["string", "null"], "description": "why there is no temporal ceiling"},
        **{
            f"supervised_{inputs}_why": {
                "type": ["string", "null"],
                "description": f"why there is no bound on {inputs}",
            }
            for inputs in ("latents", "images")
        },
        "poses": {
            "type": "object",
            "properties": {
                "source": {"enum": ["stated", "refined", "searched"], "description": "where embed had them from"},
                "known": {"type": "boolean", "description": "true: they are the true ones, and no split is listed"},
                "superposed_on": {"type": "string", "description": "beads whose rotation is compared"},
                "lost_beyond_deg": {"type": "number"},
                "splits": {
                    "type": "array",
                    "items": {"type": "object", "properties": _POSES, "required": list(_POSES)},
                },
            },
            "required": ["source", "known", "superposed_on", "lost_beyond_deg", "splits"],
        },
        "latents": {
            "type": "array",
            "items": {"type": "object", "properties": _LATENTS, "required": list(_LATENTS)},
            "description": "empty where structures of embed and of the truth have no beads in common",
        },
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
    "required": [
        "recipe",
        "schema_version",
        "fingerprint",
        "ceiling_temporal_why",
        "supervised_latents_why",
        "supervised_images_why",
        "poses",
        "latents",
        "methods",
        "rows",
        "matrices",
    ],
}

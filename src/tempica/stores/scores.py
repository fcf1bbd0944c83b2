"""The schema of scores.json, and what a row of it says of axes."""

from __future__ import annotations

from typing import Any

SCORES_VERSION = 10  # scores of an earlier one are made again, and nothing before them

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

_DISTANCE = {
    "split": _SPLIT,
    "domains": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
    "error_nm": {"type": "number", "unit": "nm", "description": "mean error of the distance in single frames"},
    "null_nm": {"type": "number", "unit": "nm", "description": "the same of the mean over training replicas"},
    "correlation": {**_NUMBER_OR_NULL, "description": "of estimate and truth; null where one does not vary"},
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
    "fit": {
        "type": "object",
        "description": "how it was fitted: candidates and second_stage_loss (held-out loss of each), validation_loss of"
        " each restart, loss_curve (step, training loss, held-out loss), n_iter (step of the weights), stability"
        " (absolute correlation of each source with that of the next best restart), subspaces (sources that turn"
        " freely); what an estimator does not say is absent",
    },
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

_PAIR = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_GRADES = ["recovered", "not identifiable", "mixed", "at chance", "nothing moves"]
_WHOLE = {
    "enum": [*_GRADES, "partly recovered", "identifiable", None],
    "description": "of all variables together; null where nothing was scored; identifiable where there is no truth, and"
    " the audit says so",
}


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), **more}


_KIND = _object(
    {
        "value": {"type": "number", "description": "absolute correlation of the variable with its component"},
        "interval": {**_PAIR, "description": "95 %, of the value"},
        "null_95": {"type": "number", "description": "95th percentile for an unrelated variable that is as slow"},
        "aligned": {"type": "number", "description": "what the best affine map of all components reaches"},
        "aligned_interval": {**_PAIR, "description": "95 %, of the same"},
    }
)
_SOURCE = _object(
    {
        "variable": {"type": "string"},
        "grade": {"enum": _GRADES},
        "sentence": {"type": "string"},
        "component": {"type": "integer", "description": "matched on training replicas; -1 for none"},
        "moves": {"type": "boolean", "description": "false: the variable is constant"},
        "spearman": _KIND,
        "pearson": _KIND,
        "r2": {"type": "number", "description": "of the best affine map of all components"},
        "rotation_95": {**_NUMBER_OR_NULL, "description": "95th percentile of random rotations, of this variable"},
        "rotation_share": {**_NUMBER_OR_NULL, "description": "share of random rotations that tell it as well"},
        "best_rotation_95": {
            **_NUMBER_OR_NULL,
            "description": "the same of the variable that each rotation tells best, as a share of what the subspace"
            " tells, times what it tells of this one",
        },
        "leaks": {
            "type": "array",
            "items": _object(
                {
                    "variable": {"type": "string"},
                    "value": {
                        "type": "number",
                        "description": "absolute correlation of the component with what of"
                        " this variable does not depend on its own",
                    },
                    "null_95": {"type": "number", "description": "95th percentile for an unrelated one"},
                }
            ),
        },
        "mixed_with": {"type": "array", "items": {"type": "string"}, "description": "leaks beyond chance"},
    }
)
_EFFECT = _object(
    {
        "value": {"type": "number", "description": "difference of the mean held-out Spearman correlation"},
        "interval": {**_PAIR, "description": "95 %, paired by frame"},
        "effect": {"enum": ["gain", "nothing", "harm"], "description": "beyond the interval"},
        "sentence": {"type": "string"},
    }
) | {"type": ["object", "null"]}

_VERDICT = _object(
    {
        "grade": _WHOLE,
        "sentence": {"type": "string"},
        "methods": {
            "type": "array",
            "items": _object(
                {
                    "method": {"type": "string"},
                    "title": {"type": "string"},
                    "stage": {"enum": ["unmixed", "smoothed"], "description": "the last one that it has"},
                    "grade": _WHOLE,
                    "sentence": {"type": "string"},
                    "doubt": {
                        "type": "string",
                        "description": "why the method or the audit says from the data alone that axes cannot be known",
                    },
                    "sources": {"type": "array", "items": _SOURCE},
                    "unmixing": {**_EFFECT, "description": "what it adds to the raw latents"},
                    "smoothing": {**_EFFECT, "description": "what it adds to unmixing"},
                }
            ),
        },
    },
    description="what the numbers say in words; evaluate/verdicts.py has the rules",
)
_BAND = _object(
    {
        "method": {"type": "string"},
        "stage": {"enum": ["unmixed", "smoothed"]},
        "variable": {"type": "string"},
        "factor": {
            "type": "number",
            "description": "by which bands of 2 posterior standard deviations are widened, so that on training and"
            " validation replicas they hold 95.45 % of the true values",
        },
        "coverage": {"type": "number", "description": "share of held-out frames within the widened bands"},
        "coverage_interval": {**_PAIR, "description": "95 %, from blocks of neighbouring frames"},
        "coverage_posterior": {"type": "number", "description": "share within the bands of the posterior alone"},
        "n_frames": {"type": "integer"},
    },
    description="of one variable; evaluate/bands.py has the rule",
)
_WARNINGS = {
    "type": "array",
    "items": _object({"stage": {"type": "string"}, "text": {"type": "string"}}),
    "description": "of all stages, each once",
}

SCORES: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "scores.json",
    "type": "object",
    "properties": {
        "recipe": {"type": "string", "description": "name of the recipe"},
        "schema_version": {"const": SCORES_VERSION},
        "fingerprint": {"type": "string"},
        "ceiling_why": {"type": ["string", "null"], "description": "why there is no single-frame ceiling"},
        "ceiling_temporal_why": {"type": ["string", "null"], "description": "why there is no temporal ceiling"},
        **{
            f"supervised_{inputs}_why": {
                "type": ["string", "null"],
                "description": f"why there is no bound on {inputs}",
            }
            for inputs in ("latents", "images")
        },
        "verdict": _VERDICT,
        "bands": {"type": "array", "items": _BAND},
        "warnings": _WARNINGS,
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
        "distances": {
            "type": "array",
            "description": "between centroids of declared domains; empty where there are not two",
            "items": {"type": "object", "properties": _DISTANCE, "required": list(_DISTANCE)},
        },
        "methods": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": _METHOD,
                "required": ["name", "title", "identifies", "theorem", "baseline", "warnings"],
            },
        },
        "audit": {"type": "object", "description": "in the place of scores where there is no truth; see audit.json"},
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
        "ceiling_why",
        "ceiling_temporal_why",
        "supervised_latents_why",
        "supervised_images_why",
        "verdict",
        "bands",
        "warnings",
        "poses",
        "latents",
        "distances",
        "methods",
        "rows",
        "matrices",
    ],
}


def axes_found(row: dict[str, Any]) -> bool | None:
    """Whether a score exceeds what random rotations of its subspace give, 95 of 100 times; None where none can be."""
    if row["rotation_null_95"] is None:
        return None
    return bool(row["value"] > max(row["null_95"], row["rotation_null_95"]))

"""The schema of audit.json."""

from __future__ import annotations

from typing import Any

from tempica.stores.schema import SCHEMA_VERSION

_TEXTS = {"type": "array", "items": {"type": "string"}}
_NUMBER = {"type": ["number", "null"]}

_TEST = {
    "name": {"type": "string"},
    "title": {"type": "string", "description": "what is true of data that pass"},
    "passed": {"type": ["boolean", "null"], "description": "null where there is nothing to judge"},
    "sentence": {"type": "string", "description": "what was found"},
    "statistic": _NUMBER,
    "null": _NUMBER | {"description": "what chance reaches, as the sentence says"},
    "p": _NUMBER,
    "interval": {"type": ["array", "null"], "items": {"type": "number"}},
    "details": {"type": "object"},
}

_VERDICT = {
    "kind": {
        "enum": [
            "identifiable",
            "identifiable after a linear stage",
            "subspace not separable",
            "not identifiable from these data",
            "nothing moves",
        ]
    },
    "sentence": {"type": "string"},
    "theorem": {"type": "string", "description": "what says so"},
    "failed": _TEXTS | {"description": "names of tests"},
    "mend": {"type": "string", "description": "the experiment that would help; empty where nothing is wrong"},
    "subspace": {"type": "array", "items": {"type": "integer"}, "description": "sources that turn freely"},
}

_PIPELINE = {
    "method": {"type": "string"},
    "parameters": {"type": "object"},
    "stage": {"type": "string", "description": "the linear stage that has fixed the axes"},
}

_METHOD = {
    "method": {"type": "string"},
    "stage": {"type": "string"},
    "agreement": {"type": "number", "description": "mean correlation with the audit's sources, matched"},
}


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), **more}


AUDITS: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "audit.json",
    **_object(
        {
            "name": {"type": "string", "description": "of the recipe"},
            "schema_version": {"const": SCHEMA_VERSION},
            "fingerprint": {"type": "string", "description": "of the run's sources, and of what was asked for"},
            "audited": {"type": "string", "description": "fingerprint of the sources"},
            "verdict": _object(_VERDICT, description="for all sources together"),
            "verdicts": {"type": "array", "items": _object(_VERDICT), "description": "one a source"},
            "confidence": {"type": "number", "description": "estimated mean correlation with the true sources"},
            "tests": {"type": "array", "items": _object(_TEST)},
            "pipeline": _object(_PIPELINE) | {"type": ["object", "null"]},
            "n_frames": {"type": "integer", "description": "that were used"},
            "notes": _TEXTS,
            "methods": {"type": "array", "items": _object(_METHOD)},
        }
    ),
}

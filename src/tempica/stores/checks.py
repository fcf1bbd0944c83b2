"""The schema of checks.json."""

from __future__ import annotations

from typing import Any

from tempica.stores.schema import SCHEMA_VERSION

_FIGURE = {
    "name": {"type": "string"},
    "value": {"type": "number"},
    "error": {"type": ["number", "null"], "description": "standard error, from blocks of neighbouring frames"},
    "unit": {
        "enum": ["nats", "share", "angstrom", "degree", "1"],
        "description": "nats: log-evidence of a frame, a difference between two models",
    },
}

_CHECK = {
    "name": {"type": "string"},
    "title": {"type": "string", "description": "what is true of a sound run"},
    "verdict": {"enum": ["passed", "failed", "not applicable"]},
    "sentence": {"type": "string", "description": "what was found"},
    "figures": {
        "type": "array",
        "items": {"type": "object", "properties": _FIGURE, "required": list(_FIGURE)},
    },
}

CHECKS: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "checks.json",
    "type": "object",
    "properties": {
        "recipe": {"type": "string", "description": "name of the recipe"},
        "schema_version": {"const": SCHEMA_VERSION},
        "fingerprint": {"type": "string", "description": "of the run's embedding, and of what was asked for"},
        "embedded": {"type": "string", "description": "fingerprint of the latents that were tested"},
        "against": {"type": ["string", "null"], "description": "name of the other structure, if one was given"},
        "frames": {
            "type": "object",
            "properties": {
                "held_out": {"type": "integer", "description": "on which evidence is compared"},
                "half": {"type": "integer", "description": "from which models are learned anew"},
            },
            "required": ["held_out", "half"],
        },
        "checks": {"type": "array", "items": {"type": "object", "properties": _CHECK, "required": list(_CHECK)}},
    },
    "required": ["recipe", "schema_version", "fingerprint", "embedded", "against", "frames", "checks"],
}

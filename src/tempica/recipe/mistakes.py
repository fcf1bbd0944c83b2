"""What is wrong with a recipe, in a user's words."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel

from tempica.errors import did_you_mean
from tempica.recipe.section import tag_of, variant_field

_PLAIN = {
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "model_attributes_type": "must be a table",
}  # what pydantic says in words of Python


def explain(error: Any, recipe: type[BaseModel]) -> str:
    """One line of pydantic's `error` in a recipe, in a user's words."""
    if error["type"] == "json_invalid":
        return "  recipe: lists or tables are nested too deeply."
    path, section, here = _walk(error["loc"], recipe)
    where = ".".join(path) or "recipe"
    if error["type"] == "extra_forbidden":
        known = sorted(section.model_fields)
        return f"  {where}: unknown key. Known here: {', '.join(known)}.{did_you_mean(path[-1], known)}"
    if error["type"] == "missing":
        return f"  {where}: is missing and has no default."
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        field = variant_field(_models(here)[0])
        tags = ", ".join(sorted(tag_of(model) for model in _models(here)))
        if not isinstance(error["input"], dict):
            return f"  {where} = {error['input']!r}: must be a table."
        if field not in error["input"]:
            return f"  {where}.{field}: is missing and has no default. Known are {tags}."
        return f"  {where}.{field} = {error['input'][field]!r}: must be one of {tags}."
    message = _PLAIN.get(error["type"], error["msg"].removeprefix("Value error, "))
    given = error["input"]
    shown = "" if isinstance(given, dict | BaseModel | list) else f" = {given!r}"
    return f"  {where}{shown}: {message[:1].lower()}{message[1:]}."


def _walk(location: tuple[int | str, ...], recipe: Any) -> tuple[list[str], Any, Any]:
    """Keys of an error's location, without pydantic's names of variants; the section and type of the last one."""
    path: list[str] = []
    section = here = recipe
    for part in location:
        if isinstance(part, int):
            path.append(str(part))
            continue
        variants = {tag_of(model): model for model in _models(here)}
        if len(variants) > 1 and part in variants:
            here = section = variants[part]
            continue
        section = next(iter(variants.values()), section)
        path.append(part)
        field = section.model_fields.get(part)
        here = field.annotation if field is not None else None
    return path, section, here


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that an annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]

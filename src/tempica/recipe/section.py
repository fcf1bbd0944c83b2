"""The base of all sections of a recipe, and their fields."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field

NAME = r"^[A-Za-z][A-Za-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=60)]
MOST = 100_000_000  # largest count: a larger one is a slip, and would overflow where stores are made
VARIANT_FIELDS = ("kind", "process")  # a field of one of these names tells the variants of a section apart


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, ser_json_inf_nan="constants")


def in_unit(unit: str, description: str, **rule: Any) -> Any:
    """A field whose schema carries its unit."""
    return Field(description=description, json_schema_extra={"unit": unit}, **rule)


def kind_or(default: str) -> Discriminator:
    """Chooses among the tagged variants of a section by their field `kind`, which may be left out."""

    def kind_of(value: Any) -> str:
        kind = value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", default)
        return kind if isinstance(kind, str) else default

    return Discriminator(kind_of)


def variant_field(model: type[BaseModel]) -> str | None:
    """The field that tells a section from its variants; None if it has none."""
    return next((name for name in VARIANT_FIELDS if name in model.model_fields), None)


def tag_of(model: type[BaseModel]) -> str:
    """The value of that field which stands for this section; its class's name if it has no variants."""
    field = variant_field(model)
    return model.__name__ if field is None else str(get_args(model.model_fields[field].annotation)[0])

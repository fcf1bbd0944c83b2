"""What every section of a recipe is made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

NAME = r"^[A-Za-z][A-Za-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=60)]
MOST = 100_000_000  # of any count: what is larger is a slip, and would overflow where stores are made


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, ser_json_inf_nan="constants")


def in_unit(unit: str, description: str, **rule: Any) -> Any:
    """A field whose schema carries its unit."""
    return Field(description=description, json_schema_extra={"unit": unit}, **rule)

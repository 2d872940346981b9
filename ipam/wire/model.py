"""The base of the models of answers, and the types of their fields."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema

Json = dict[str, Any]
Id = Annotated[str, Field(pattern="^[0-9a-f]{24}$")]
TokenId = Annotated[str, Field(pattern="^[0-9A-Za-z]{12}$")]
Path = Annotated[str, Field(pattern="^/")]
Time = AwareDatetime
Count = Annotated[int, Field(ge=0)]


class WireModel(BaseModel):
    """Part of an answer: it has these fields and no others.

    A field with a default may be missing.

    Attributes:
        media_kind: The kind in its media type; empty if it has none of its own.
    """

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    media_kind: ClassVar[str] = ""


def one_of(kind: type[StrEnum]) -> WithJsonSchema:
    """Return the JSON schema of a text that must be a member of *kind*, or null."""
    return WithJsonSchema({"enum": [*kind, None]})

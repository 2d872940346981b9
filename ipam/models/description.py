"""Name, tags and metadata: what users write on every resource, checked, and changed by merge patch (RFC 7396)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ipam.errors import ValidationFailed
from ipam.models import metadata as meta

Json = dict[str, Any]
NAME_MAX = 255
TAGS_MAX = 100
Text = Annotated[str, StringConstraints(max_length=NAME_MAX)]


class Described(Protocol):
    """A frozen dataclass that users have described: a resource, or a request for one."""

    @property
    def name(self) -> str:
        """The name."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags."""

    @property
    def metadata(self) -> meta.Json:
        """Whatever else users keep on it."""


B = TypeVar("B", bound=BaseModel)
D = TypeVar("D", bound=Described)


class Description(BaseModel):
    """The fields that users write on every resource; null means none."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    name: Text | None = None
    """The name."""
    tags: Annotated[list[Text], Field(max_length=TAGS_MAX)] | None = None
    """Words that lists are filtered by."""
    metadata: Any = None
    """Any JSON, at most 64 KiB and 100 levels."""


def described(body: Json) -> Json:
    """Name, tags and metadata in a body that creates a resource.

    Raises:
        ValidationFailed: If it breaks a rule.
    """
    return written(parse(Description, body))


def replaced(document: D, body: Json) -> D:
    """Return *document* with name, tags and metadata of *body*; what it does not name becomes empty.

    Raises:
        ValidationFailed: If it breaks a rule.
    """
    return _with(document, described(body))


def patched(document: D, body: Json) -> D:
    """Return *document* changed by the merge patch *body* (RFC 7396).

    Raises:
        ValidationFailed: If it breaks a rule.
    """
    parse(Description, body)
    value: Json = {"name": document.name, "tags": list(document.tags), "metadata": document.metadata}
    return _with(document, described(merge_patch(value, body)))


def merge_patch(target: Any, patch: Any) -> Any:
    """Return *target* changed by *patch* as RFC 7396 says."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def is_described_alike(one: Described, other: Described) -> bool:
    """Return whether both have the same name, tags and metadata; as JSON, for to Python false is 0."""
    same = one.name == other.name and one.tags == other.tags
    return same and meta.encode(one.metadata) == meta.encode(other.metadata)


def written(parsed: Description) -> Json:
    """Name, tags and metadata as documents keep them."""
    return {"name": parsed.name or "", "tags": tuple(parsed.tags or ()), "metadata": parsed.metadata}


def parse(model: type[B], body: Json) -> B:
    """Return *body* as *model* has it.

    Raises:
        ValidationFailed: With every fault, at its place.
    """
    try:
        parsed = model.model_validate(body)
    except ValidationError as error:
        raise ValidationFailed.of([(_pointer(fault["loc"]), _detail(fault)) for fault in error.errors()]) from None
    meta.encode(body.get("metadata"))
    return parsed


def _with(document: D, fields: Json) -> D:
    changed: D = replace(document, **fields)  # type: ignore[type-var]
    return changed


def _detail(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "is not a field of this resource"
    message: str = fault["msg"]
    return message[:1].lower() + message[1:]


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)

"""Declarations of fields: how each is stored and shown, and who sets it.

A resource is a dataclass. Its fields, and the properties that are shown, have a `Field` in their annotation. What
is stored and shown, what a request may write, and what a tombstone keeps follow from that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from dataclasses import Field as DataclassField
from enum import Enum, StrEnum, auto
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from ipam.models.addresses import from_bytes, from_place, to_bytes, to_place
from ipam.util.rfc3339 import format_time

Bson = dict[str, Any]
Json = dict[str, Any]
Convert = Callable[[Any], Any]


class Access(Enum):
    """Who sets a field that is shown."""

    WRITABLE = auto()  # A user, at any time.
    FIXED = auto()  # The request that creates the resource. A request to change it is refused.
    COMPUTED = auto()  # The service. What a request says of it is ignored: it may have moved since it was read.


class Stored(Enum):
    """When a field is part of the stored document."""

    ALWAYS = auto()
    IF_SET = auto()  # Left out while it has its default.
    APART = auto()  # Read with the document, but written by its store alone.
    NEVER = auto()  # Made of something else that is stored.


@dataclass(frozen=True, slots=True)
class Codec:
    """The conversions of a value, which is never None; None instead of a conversion leaves the value as it is."""

    to_bson: Convert | None = None
    from_bson: Convert | None = None
    to_json: Convert | None = None


PLAIN = Codec()
OBJECT_ID = Codec(to_json=str)
OBJECT_IDS = Codec(list, tuple, lambda ids: [str(id_) for id_ in ids])
TEXT = Codec(to_json=str)
TEXTS = Codec(list, tuple, list)
TIME = Codec(to_json=format_time)
ADDRESS = Codec(to_bytes, from_bytes, str)
PLACE = Codec(to_place, from_place, str)  # Of which ranges of IPv4 and IPv6 are compared.
LARGE_INTEGER = Codec(str, int)  # Of more than the 64 bits of BSON.


def enumeration(kind: type[StrEnum]) -> Codec:
    """Return the codec of the members of *kind*: each is stored and shown as its value."""
    return Codec(lambda member: member.value, kind, lambda member: member.value)


@dataclass(frozen=True, slots=True)
class Field:
    """The declaration of a field or property.

    Attributes:
        access: Who sets it; None if it is not shown.
        codec: How its value is stored and shown.
        stored: When it is part of the stored document.
        key: Its name there; its own name if empty.
        shown_as: Its name in JSON; its own name if empty.
    """

    access: Access | None = None
    codec: Codec = PLAIN
    stored: Stored = Stored.ALWAYS
    key: str = ""
    shown_as: str = ""


@dataclass(frozen=True, slots=True)
class Declarations:
    """The declarations of one type of resource, in the form in which they are used.

    Attributes:
        written: Name, key, conversion and default of each field that is stored with the document. The default of
            one that is always stored equals no value.
        read: Name, key and conversion of each field that is read from it.
        shown: Name, name in JSON and conversion of each field and property that is shown.
        names: The names in JSON by who sets them.
    """

    written: tuple[tuple[str, str, Convert | None, Any], ...]
    read: tuple[tuple[str, str, Convert | None], ...]
    shown: tuple[tuple[str, str, Convert | None], ...]
    names: Mapping[Access, frozenset[str]]


_compiled: dict[type, Declarations] = {}


def declarations(resource: type) -> Declarations:
    """Return the declarations of *resource*: fields, then properties, in their order."""
    if (found := _compiled.get(resource)) is None:
        found = _compiled[resource] = _compile(resource)
    return found


def stored_fields(resource: Any, access: Access | None = None) -> Bson:
    """Return the stored form of the fields of *resource*; of those with this *access*, if it is given."""
    bson: Bson = {}
    known = declarations(type(resource))
    for name, key, convert, default in known.written:
        if access is not None and name not in known.names[access]:
            continue
        value = getattr(resource, name)
        if value != default:
            bson[key] = convert(value) if convert is not None and value is not None else value
    return bson


def read_fields(resource: type, bson: Bson) -> dict[str, Any]:
    """Return the fields of *resource* in its stored form, by name.

    Those that are not in there, as in a list that leaves out what is long, are not returned and have their default.
    """
    read: dict[str, Any] = {}
    for name, key, convert in declarations(resource).read:
        if key in bson:
            value = bson[key]
            read[name] = convert(value) if convert is not None and value is not None else value
    return read


def shown_fields(resource: Any) -> Json:
    """Return the JSON of *resource*."""
    shown: Json = {}
    for name, shown_as, convert in declarations(type(resource)).shown:
        value = getattr(resource, name)
        shown[shown_as] = convert(value) if convert is not None and value is not None else value
    return shown


def stored_keys(resource: type) -> frozenset[str]:
    """Return the names that the fields of *resource* have in its document, but for `_id`."""
    return frozenset(key for _, key, _ in declarations(resource).read) - {"_id"}


def _compile(resource: type) -> Declarations:
    own = {field.name: _default(field) for field in fields(resource)}
    hints = get_type_hints(resource, include_extras=True)
    declared = {name: _field_in(hints[name]) for name in own}
    stored = {name: field for name, field in declared.items() if field.stored is not Stored.NEVER}
    declared |= {name: _field_in(hint) for name, hint in _properties(resource) if get_origin(hint) is Annotated}
    return Declarations(
        written=tuple(
            (
                name,
                field.key or name,
                field.codec.to_bson,
                own[name] if field.stored is Stored.IF_SET else _NO_DEFAULT,
            )
            for name, field in stored.items()
            if field.stored is not Stored.APART
        ),
        read=tuple((name, field.key or name, field.codec.from_bson) for name, field in stored.items()),
        shown=tuple(
            (name, field.shown_as or name, field.codec.to_json)
            for name, field in declared.items()
            if field.access is not None
        ),
        names={
            access: frozenset(field.shown_as or name for name, field in declared.items() if field.access is access)
            for access in Access
        },
    )


# It equals no value of a field.
_NO_DEFAULT = object()


def _default(field: DataclassField[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _properties(resource: type) -> Iterator[tuple[str, Any]]:
    """Yield the name of each property of *resource*, and what its annotation says that it returns."""
    for one in reversed(resource.__mro__):
        for name, member in vars(one).items():
            if isinstance(member, property):
                yield name, get_type_hints(member.fget, include_extras=True).get("return")


def _field_in(hint: Any) -> Field:
    (field,) = (one for one in get_args(hint) if isinstance(one, Field))  # A field without fails at the first use.
    return field

"""The base of all resources, and its conversion to BSON, from BSON and to JSON."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self, TypeVar

from bson import ObjectId
from bson.errors import InvalidId

from ipam.errors import NotFound, Stale
from ipam.models import metadata as meta
from ipam.models.event import Event, outbox_from_bson
from ipam.models.fields import (
    OBJECT_ID,
    TEXTS,
    TIME,
    Access,
    Bson,
    Codec,
    Field,
    Json,
    Stored,
    declarations,
    read_fields,
    shown_fields,
    stored_fields,
    stored_keys,
)
from ipam.util.clock import utc_now

_AS_CREATED = datetime.min.replace(tzinfo=UTC)
OUTBOX = Field(codec=Codec(from_bson=outbox_from_bson), stored=Stored.APART)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The fields of every resource; `outbox` has its events that are not in the log yet.

    Attributes:
        type_name: What a resource of this type is called in paths, events and messages.
        joined: Names of fields that answers show besides: they come from other documents.
        tombstone: Fields that stay in its document, besides `id`, when it is released; all others are removed.
    """

    type_name: ClassVar[str]
    joined: ClassVar[tuple[str, ...]] = ()
    tombstone: ClassVar[tuple[str, ...]] = ()

    id: Annotated[ObjectId, Field(Access.FIXED, OBJECT_ID, key="_id")]
    # The description, which users write: stored together, with its facets, if there is any of it.
    name: Annotated[str, Field(Access.WRITABLE, stored=Stored.APART)] = ""
    tags: Annotated[tuple[str, ...], Field(Access.WRITABLE, TEXTS, Stored.APART)] = ()
    metadata: Annotated[meta.Json, Field(Access.WRITABLE, Codec(from_bson=meta.decode), Stored.APART)] = None
    created_at: Annotated[datetime, Field(Access.COMPUTED, TIME)] = field(default_factory=utc_now)
    updated_at: Annotated[datetime, Field(Access.COMPUTED, TIME)] = _AS_CREATED
    revision: Annotated[int, Field(Access.COMPUTED)] = 1
    outbox: Annotated[tuple[Event, ...], OUTBOX] = ()

    def __post_init__(self) -> None:
        """Set `updated_at` of a new document to `created_at`: the clock is read once."""
        if self.updated_at is _AS_CREATED:
            object.__setattr__(self, "updated_at", self.created_at)

    @property
    def public_id(self) -> str:
        """The id, as paths and events have it."""
        return str(self.id)

    def to_bson(self) -> Bson:
        """Return the stored form of a new document.

        A description that is empty is left out, so that a lease is small and has no entry in the index of facets.
        """
        bson = stored_fields(self)
        if self.name or self.tags or self.metadata is not None:
            description = description_to_bson(self.name, self.tags, self.metadata)
            bson |= {name: value for name, value in description.items() if value or name != "facets"}
        return bson

    @classmethod
    def from_bson(cls, bson: Bson) -> Self:
        """Return the document that was stored."""
        return cls(**read_fields(cls, bson))

    def to_json(self) -> Json:
        """Return the JSON, as answers and events show it."""
        return shown_fields(self)

    @classmethod
    def fixed(cls) -> frozenset[str]:
        """Return the names in the JSON of what the request has said that made it."""
        return declarations(cls).names[Access.FIXED]

    @classmethod
    def computed(cls) -> frozenset[str]:
        """Return the names in the JSON of what no request can say."""
        return declarations(cls).names[Access.COMPUTED] | {*cls.joined}

    @classmethod
    def dropped_keys(cls) -> frozenset[str]:
        """Return the names in the stored form of what does not stay in a tombstone."""
        return (stored_keys(cls) | {"facets"}) - {*cls.tombstone}


D = TypeVar("D", bound=Document)


def description_to_bson(name: str, tags: tuple[str, ...], metadata: meta.Json) -> Bson:
    """Return the stored form of what users write on a resource, with the facets that lists filter by."""
    return {
        "name": name,
        "tags": list(tags),
        "metadata": meta.encode(metadata),
        "facets": meta.facets(name, tags, metadata),
    }


def writable_to_bson(document: Document) -> Bson:
    """Return the stored form of what users can write on *document* at any time."""
    description = description_to_bson(document.name, document.tags, document.metadata)
    return {**description, **stored_fields(document, Access.WRITABLE)}


def succeeded_by(document: D, **changes: Any) -> D:
    """Return *document* with *changes*, of the next revision and not older than before, whatever the clock says."""
    now = max(utc_now(), document.updated_at)
    return replace(document, revision=document.revision + 1, updated_at=now, **changes)


def object_id(text: str, kind: str) -> ObjectId:
    """Return the id that *text* spells.

    Raises:
        NotFound: If it spells none: then there is nothing that has it.
    """
    try:
        return ObjectId(text)
    except InvalidId:
        message = f"There is no {kind} {text!r}: an id is 24 hexadecimal digits."
        raise NotFound(message) from None


def check_revision(kind: str, revision: int, accepted: frozenset[int] | None) -> None:
    """Refuse to go on with a document of another revision.

    Raises:
        Stale: If *revision* is not among *accepted*, None accepting any.
    """
    if accepted is not None and revision not in accepted:
        message = f"The {kind} is at revision {revision} now; read it again, then send If-Match with its ETag."
        raise Stale(message, revision=revision)

"""What all resources have in common, and its conversion to and from BSON."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from bson import ObjectId
from bson.errors import InvalidId

from ipam.errors import NotFound, Stale
from ipam.models import metadata as meta
from ipam.models.event import Event, outbox_of
from ipam.util.clock import utc_now

Bson = dict[str, Any]
_AS_CREATED = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The fields of every resource; `outbox` has its events that are not in the log yet."""

    id: ObjectId
    name: str = ""
    tags: tuple[str, ...] = ()
    metadata: meta.Json = None
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = _AS_CREATED
    revision: int = 1
    outbox: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        """Set `updated_at` of a new document to `created_at`: the clock is read once."""
        if self.updated_at is _AS_CREATED:
            object.__setattr__(self, "updated_at", self.created_at)


D = TypeVar("D", bound=Document)


def description_to_bson(name: str, tags: tuple[str, ...], metadata: meta.Json) -> Bson:
    """Return the stored form of what users write on a resource, with the facets that lists filter by."""
    return {
        "name": name,
        "tags": list(tags),
        "metadata": meta.encode(metadata),
        "facets": meta.facets(name, tags, metadata),
    }


def common_to_bson(document: Document) -> Bson:
    """Return the stored form of the fields of `Document`, but for the id, whose key differs.

    Fields without a value are left out, so that a lease is small and has no entry in the index of facets.
    """
    common: Bson = {
        "created_at": document.created_at,
        "updated_at": document.updated_at,
        "revision": document.revision,
    }
    if document.name or document.tags or document.metadata is not None:
        written = description_to_bson(document.name, document.tags, document.metadata)
        common |= {name: value for name, value in written.items() if value or name != "facets"}
    return common


def succeeded_by(document: D, **changes: Any) -> D:
    """Return *document* with *changes*, of the next revision and not older than before, whatever the clock says."""
    now = max(utc_now(), document.updated_at)
    return replace(document, revision=document.revision + 1, updated_at=now, **changes)


def common_from_bson(bson: Bson) -> dict[str, Any]:
    """Return the fields of `Document` in a stored form, but for the id."""
    return {
        "name": bson.get("name", ""),
        "tags": tuple(bson.get("tags", ())),
        "metadata": meta.decode(bson["metadata"]) if "metadata" in bson else None,
        "created_at": bson["created_at"],
        "updated_at": bson["updated_at"],
        "revision": bson["revision"],
        "outbox": outbox_of(bson),
    }


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

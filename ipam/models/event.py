"""Events, and the outboxes of documents in which they are written with their changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ipam.models.audit_context import AuditContext
from ipam.util.lossless_json import loads

Bson = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact, in the past tense.

    Attributes:
        id: Derived from the resource and its revision: the same fact has the same.
        type: As `ipam.subnet.created`.
        paths: That of the resource, and then those of what it is in.
        revision: Of the resource, after the change.
        time: When it happened; never before an earlier event of the same resource.
        data: JSON as text: the resource after the change.
    """

    id: str
    type: str
    paths: tuple[str, ...]
    revision: int
    time: datetime
    audit_context: AuditContext
    data: str

    def to_bson(self) -> Bson:
        """Return the stored form."""
        return {
            "id": self.id,
            "type": self.type,
            "paths": list(self.paths),
            "revision": self.revision,
            "time": self.time,
            "origin": self.audit_context.to_json(),
            "data": self.data,
        }

    def read(self) -> Any:
        """Return what `data` says."""
        return loads(self.data)

    @classmethod
    def from_bson(cls, bson: Bson) -> Event:
        """Return the event that was stored."""
        rest = {name: value for name, value in bson.items() if name != "origin"}
        audit_context = AuditContext.from_json(bson["origin"])
        return cls(**{**rest, "paths": tuple(bson["paths"]), "audit_context": audit_context})


@dataclass(frozen=True, slots=True)
class Outbox:
    """Events of one document that may not be in `events` yet, oldest first.

    Attributes:
        collection: Where the document is; None when the events stand in none.
        key: Its `_id`.
    """

    events: tuple[Event, ...]
    collection: str | None = None
    key: Any = None


def outbox_from_bson(stored: Iterable[Bson]) -> tuple[Event, ...]:
    """Return the events in the *stored* form of an outbox."""
    return tuple(map(Event.from_bson, stored))

"""Outboxes, and the collection of events that have no sequence yet.

A change and its event are one write: the event is put into the `outbox` of the document that changes. The process
that made the change adds it to the collection `events` right after; when a process dies in between, recovery does.
An event's id says what happened to what, so that adding one twice is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from bson import ObjectId
from pymongo import UpdateOne
from pymongo.database import Database

from ipam.models.event import Event, Outbox, outbox_from_bson
from ipam.storage.bulk_writes import Writes
from ipam.storage.connection import insert_missing, speaks_mongo
from ipam.storage.sizes import fitting
from ipam.storage.time_span import Span

Bson = dict[str, Any]
# Far below the 16 MB that a document may have, with room for one large event on top.
_GROUP_BYTES = 4 * 1024 * 1024
# The collections with an index by which the outboxes of their documents are found. Those of leases are found by
# their marks.
TELLING = ("pools", "subnets", "reservations", "jobs", "tokens")
_RECOVERED_AT_ONCE = 500


def telling(update: Mapping[str, Bson], event: Event) -> Bson:
    """Return the *update* of a document, with *event* put into its outbox."""
    return {
        **update,
        "$set": {**update.get("$set", {}), "outbox_since": event.time},
        "$push": {"outbox": event.to_bson()},
    }


def telling_new(document: Bson, event: Event) -> Bson:
    """Return a new *document*, with *event* in its outbox."""
    return {**document, "outbox": [event.to_bson()], "outbox_since": event.time}


@speaks_mongo
class EventStore:
    """The collection `events`: what happened and has no number yet.

    A document holds events that were added together, in order. Its key begins with a time and a revision, such that
    in the order of keys no event of a resource comes before an earlier one of the same.
    """

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        self._collection = database["events"]

    def addition(self, outboxes: Iterable[Outbox]) -> Writes:
        """Return how the events of *outboxes* are added."""
        groups = [
            _group(outbox, some) for outbox in outboxes for some in grouped(outbox.events, len(outbox.events))
        ]
        return Writes("events", inserts=groups)

    def add(self, outboxes: Iterable[Outbox]) -> None:
        """Add the events of *outboxes*, in one call."""
        insert_missing(self._collection, self.addition(outboxes).inserts)

    def clear(self, outboxes: Iterable[Outbox]) -> None:
        """Empty *outboxes*, whose events were added, unless more has been put into them since."""
        updates: dict[str, list[UpdateOne]] = {}
        for outbox in outboxes:
            if outbox.collection is None or not outbox.events:
                continue
            last = len(outbox.events) - 1
            unchanged = {"outbox": {"$size": last + 1}, f"outbox.{last}.id": outbox.events[last].id}
            emptied = {"$unset": {"outbox": 1, "outbox_since": 1}}
            updates.setdefault(outbox.collection, []).append(UpdateOne({"_id": outbox.key, **unchanged}, emptied))
        for collection, some in updates.items():
            self._database[collection].bulk_write(some, ordered=False)

    def recover(self, recent: Span) -> None:
        """Add and clear events that were put into outboxes before the span *recent*: their processes have died."""
        for collection, side in product(TELLING, recent.sides()):
            found = self._database[collection].find({"outbox_since": side}, {"outbox": 1})
            with found.limit(_RECOVERED_AT_ONCE) as some:
                left, _ = fitting(some)  # What does not fit is there the next time.
            self.add_and_clear(
                [Outbox(outbox_from_bson(bson.get("outbox", ())), collection, bson["_id"]) for bson in left]
            )

    def add_and_clear(self, outboxes: Sequence[Outbox]) -> None:
        """Add the events of *outboxes*, whose processes have died, and empty these."""
        self.add(outboxes)
        self.clear(outboxes)


def grouped(events: Sequence[Event], most: int) -> Iterator[Sequence[Event]]:
    """Yield *events* in order, *most* at a time, fewer where a document would become too large."""
    first = size = 0
    for index, event in enumerate(events):
        if index - first == most or (index > first and size + len(event.data) > _GROUP_BYTES):
            yield events[first:index]
            first, size = index, 0
        size += len(event.data)
    if events:
        yield events[first:]


def _group(outbox: Outbox, events: Sequence[Event]) -> Bson:
    # What stood in an outbox already was added before, or is here: the newest event says where all of them belong.
    # Of several resources none may come too late.
    place = events[-1] if outbox.collection else min(events, key=lambda event: (event.time, event.revision))
    milliseconds = int(place.time.timestamp() * 1000)
    group: Bson = {
        "_id": milliseconds.to_bytes(8, "big") + place.revision.to_bytes(8, "big") + ObjectId().binary,
        "events": [event.to_bson() for event in events],
    }
    if outbox.collection is not None:
        group["outbox"] = {"collection": outbox.collection, "key": outbox.key}
    return group

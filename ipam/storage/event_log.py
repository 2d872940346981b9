"""The audit log: every event once, each with its sequence.

A document of the collection `log` holds up to a hundred events that follow each other; its `_id` is the sequence of
the first. What comes next can only be inserted under the sequence after the last: of two writers one succeeds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from pymongo import ASCENDING
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from ipam.errors import WriteConflict
from ipam.models.cidr_cover import prefixes_of_all
from ipam.models.event import Event, Outbox
from ipam.storage.connection import KEYS_CHUNK, chunks, keys_among, speaks_mongo
from ipam.storage.outbox import grouped
from ipam.storage.sizes import fitting
from ipam.util.clock import utc_now

Bson = dict[str, Any]

# Events in a document, at most; and the sequences that are found by one key.
GROUP = 100
# Hundreds of sequences that are forgotten at once.
_FORGOTTEN_AT_ONCE = 50
# Documents that are read at once where one may be enough.
_READ_AHEAD = 8
_POSITION = "log"


@dataclass(frozen=True, slots=True)
class PendingEvents:
    """A document of the collection `events`: what was added together and has no number yet."""

    key: bytes
    outbox: Outbox


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An event of the log."""

    sequence: int
    event: Event


@dataclass(frozen=True, slots=True)
class LogBucket:
    """A document of the log: what was written together, and when; nothing in it happened later."""

    at: datetime
    entries: tuple[LogEntry, ...]


@dataclass(frozen=True, slots=True)
class LogStart:
    """The beginning of the log.

    Attributes:
        sequence: That of the first event which is kept.
        time: Whatever happened later is kept; None if all of it is.
    """

    sequence: int
    time: datetime | None


@speaks_mongo
class EventLogStore:
    """The collections `log` and `positions`."""

    def __init__(self, database: Database[Any]) -> None:
        self._log = database["log"]
        self._added = database["events"]
        self._positions = database["positions"]

    def added(self, limit: int) -> tuple[list[PendingEvents], bool]:
        """Return the first additions that were not settled, by their keys, and whether there may be more.

        They are *limit* at most, and come to 2 MiB, one at least.
        """
        with self._added.find({}).sort("_id", ASCENDING).limit(limit).batch_size(limit) as found:
            some, is_cut = fitting(found, limit)
        return [_added(bson) for bson in some], is_cut or len(some) == limit

    def waits_since(self) -> datetime | None:
        """Return when the first of the events happened that are not in the log yet; None if all of them are."""
        first, _ = self.added(1)
        return first[0].outbox.events[0].time if first else None

    def known(self, ids: Collection[str]) -> set[str]:
        """Return those of the events called *ids* that are in the log."""
        known: set[str] = set()
        for chunk in chunks(ids, KEYS_CHUNK):
            for bson in self._log.find({"ids": {"$in": chunk}}, {"ids": 1}):
                known.update(bson["ids"])
        return known.intersection(ids)

    def last(self) -> int:
        """Return the sequence of the last event; 0 if there is none."""
        found = self._positions.find_one({"_id": _POSITION})
        hundred = found["hundred"] if found else 0
        last: int = max(hundred * GROUP - 1, 0)
        # A relay that came to the next hundred may have died before it wrote that down.
        while groups := list(self._log.find({"hundreds": hundred}, {"last": 1})):
            last = max(group["last"] for group in groups)
            hundred += 1
            if last + 1 < hundred * GROUP:
                break
        return last

    def append(self, last: int, events: Sequence[Event]) -> int:
        """Put *events* behind the one with the sequence *last*; returns the sequence of the last one then.

        Raises:
            WriteConflict: If something stands there already; then none, or only some, of them were put there.
        """
        for group in grouped(events, GROUP):
            first, last = last + 1, last + len(group)
            try:
                self._log.insert_one(_group(first, last, group))
            except DuplicateKeyError:
                raise WriteConflict(f"Another relay has written event {first} of the log.") from None
        return last

    def settle(self, added: Iterable[PendingEvents], before: int, last: int) -> None:
        """Remove additions whose events are in the log, which ended with *before* and now ends with *last*."""
        for chunk in chunks([one.key for one in added], KEYS_CHUNK):
            self._added.delete_many({"_id": {"$in": chunk}})
        if before // GROUP != last // GROUP:
            hundred = {"$max": {"hundred": last // GROUP}}
            self._positions.update_one({"_id": _POSITION}, hundred, upsert=True)

    def begin(self) -> LogStart:
        """Return where the log begins, after what was removed."""
        found = self._positions.find_one({"_id": _POSITION}) or {}
        if not found.get("kept"):
            return LogStart(1, None)
        groups = self._log.find({"hundreds": found["kept"]}, {"_id": 1})
        # They may be being removed just now.
        first = min((group["_id"] for group in groups), default=found["kept"] * GROUP)
        return LogStart(first, found["kept_since"])

    def forget(self, before: datetime, told: int) -> bool:
        """Remove some of what was written before the time *before*, up to the sequence *told*.

        The hundred that the log has come to stays, so that what comes next is known. Where the log begins is
        written down first: a reader that begins there misses nothing that is kept. Returns whether there may be
        more.
        """
        position = self._positions.find_one({"_id": _POSITION}) or {}
        # The process that wrote the last beginning may have died before everything before it was removed.
        first = max(position.get("kept", 0) - 1, 0)
        for hundred in range(first, min(first + _FORGOTTEN_AT_ONCE, position.get("hundred", 0))):
            groups = self._log.find({"hundreds": hundred}, {"at": 1, "last": 1})
            # What reaches into the next hundred goes with that.
            old = [group for group in groups if group["last"] // GROUP == hundred]
            if any(group["at"] >= before or group["last"] > told for group in old):
                return False
            if old:
                kept = {"kept": hundred + 1, "kept_since": max(group["at"] for group in old)}
                self._positions.update_one({"_id": _POSITION}, {"$max": kept})
                self._log.delete_many({"_id": {"$in": [group["_id"] for group in old]}})
        return bool(first + _FORGOTTEN_AT_ONCE < position.get("hundred", 0))

    def read(self, after: int, subject: str | None = None) -> Iterator[LogEntry]:
        """Yield the events after the sequence *after*, in order, of the path *subject* and the paths below it."""
        for group in self._below(subject, after) if subject else self._all(after):
            for sequence, event in enumerate(group["events"], group["_id"]):
                if sequence > after and (subject is None or subject in event["paths"]):
                    yield LogEntry(sequence, Event.from_bson(event))

    def about(self, prefixes: Iterable[bytes]) -> list[int]:
        """Return the documents, each by its first sequence, that have one of *prefixes*; ascending."""
        return keys_among(self._log, "prefixes", prefixes)

    def document(self, first: int) -> LogBucket:
        """Return the document whose first event has the sequence *first*; one that is gone holds nothing."""
        group = self._log.find_one({"_id": first})
        if group is None:
            return LogBucket(datetime.min.replace(tzinfo=UTC), ())
        events = map(Event.from_bson, group["events"])
        return LogBucket(group["at"], tuple(map(LogEntry, count(first), events)))

    def since(self, time: datetime) -> int:
        """Return a sequence after which all events stand that were written at *time* or later."""
        low, high = 0, self.last() // GROUP
        while low < high:
            middle = (low + high) // 2
            group = self._log.find_one({"hundreds": middle}, {"at": 1})
            if group is None or group["at"] < time:
                low = middle + 1
            else:
                high = middle
        return max(0, (low - 1) * GROUP - 1)

    def _kept(self) -> int:
        found = self._positions.find_one({"_id": _POSITION}, {"kept": 1}) or {}
        return int(found.get("kept", 0))

    def _below(self, subject: str, after: int) -> Iterator[Bson]:
        wanted = {"paths": subject, "_id": {"$gt": after - GROUP}}
        yield from self._log.find(wanted).sort("_id", ASCENDING).batch_size(_READ_AHEAD)

    def _all(self, after: int) -> Iterator[Bson]:
        """By exact keys, which every server finds at once; there are no gaps behind what was forgotten."""
        begin = hundred = max((after + 1) // GROUP, self._kept())
        while found := sorted(self._log.find({"hundreds": hundred}), key=lambda group: int(group["_id"])):
            # What reaches from one hundred into the next is found by both.
            yield from (group for group in found if hundred in (begin, group["_id"] // GROUP))
            hundred += 1
            if found[-1]["last"] + 1 < hundred * GROUP:
                return


def _added(bson: Bson) -> PendingEvents:
    events, origin = tuple(map(Event.from_bson, bson["events"])), bson.get("outbox")
    return PendingEvents(
        bson["_id"], Outbox(events, origin["collection"], origin["key"]) if origin else Outbox(events)
    )


def _group(first: int, last: int, events: Sequence[Event]) -> Bson:
    return {
        "_id": first,
        "last": last,
        "hundreds": sorted({first // GROUP, last // GROUP}),
        "ids": [event.id for event in events],
        "paths": sorted({path for event in events for path in event.paths}),
        "prefixes": prefixes_of_all(events),
        "at": utc_now(),
        "events": [event.to_bson() for event in events],
    }

"""Reading the log: what is in it, and what comes next."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase

from ipam.errors import InvalidParameter, ValidationFailed
from ipam.models.event import Event
from ipam.models.event_factory import TYPES
from ipam.storage.event_log import EventLogStore, LogEntry
from ipam.storage.sizes import PAGE_MAX_BYTES

_PATH = re.compile(r"/(pools|subnets|reservations|leases|jobs)/[0-9a-f]{24}")
# Events that one page looks at, at most: it may end before it is full, and the next one goes on.
_LOOKED_AT = 10_000
# The pause between reads of the log's end: the longest delay of a long poll, and the load on the database.
_PAUSE_S = 0.1


def parse_subject(text: str, pointer: str) -> str:
    """Return the path of a resource that *text* is.

    Raises:
        ValidationFailed: If it is none.
    """
    path = text.lower()  # An id may be written in capitals.
    if not _PATH.fullmatch(path):
        raise ValidationFailed.at(
            pointer, "must be the path of a resource, such as /subnets/65f000000000000000000001"
        )
    return path


def parse_type(text: str, pointer: str) -> str:
    """Return the type of events that *text* is, or all types of a kind, as `ipam.subnet.*`.

    Raises:
        ValidationFailed: If there is no such type: a caller that misspelt it would wait for ever.
    """
    known = {*TYPES, *(f"{one.rpartition('.')[0]}.*" for one in TYPES)}
    if text not in known:
        raise ValidationFailed.at(pointer, f"must be one of {', '.join(sorted(known))}")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Conditions for events of the log.

    Attributes:
        after: Only those with a later sequence.
        subject: The path of a resource: what happened to it, or to something in it.
        type: As `ipam.subnet.created`; `ipam.subnet.*` stands for all that begin so.
        since: Those that happened at this time or later.
        until: Those that happened before this time.
    """

    after: int = 0
    limit: int
    subject: str | None = None
    type: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, event: Event) -> bool:
        """Return whether *event* is wanted, its sequence and subject apart."""
        return (
            (self.type is None or fnmatchcase(event.type, self.type))
            and (self.actor is None or event.audit_context.actor == self.actor)
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time < self.until)
        )


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some of the wanted events, in order.

    Attributes:
        after: The sequence that it came to: what comes later was not looked at.
        ended: Whether the log had no more.
    """

    entries: Sequence[LogEntry]
    after: int
    ended: bool


class LogReader:
    """Reads the log, and lets request threads wait for what comes.

    Args:
        places: How many may wait at once.
        source: What this installation is called in its events.
    """

    def __init__(self, log: EventLogStore, places: int, source: str) -> None:
        self.source = source
        self._log = log
        self._places = threading.BoundedSemaphore(places)
        self._asking = threading.Lock()
        self._asks_again_at = 0.0
        self._known = 0

    def page(self, wanted: EventFilter) -> EventPage:
        """Return the next events that are *wanted*.

        Raises:
            InvalidParameter: If some that may be wanted are not kept any more.
        """
        begins = self._log.begin().sequence if wanted.after else 0
        if wanted.after < begins - 1:
            message = f"after: events before {begins} are not kept any more; go on with after={begins - 1}."
            raise InvalidParameter(message)
        if wanted.since is not None:
            wanted = replace(wanted, after=max(wanted.after, self._log.since(wanted.since)))
        entries: list[LogEntry] = []
        after, size = wanted.after, 0
        for looked_at, entry in enumerate(self._log.read(wanted.after, wanted.subject), 1):
            if wanted.matches(entry.event):
                size += len(entry.event.data)
                if entries and size > PAGE_MAX_BYTES:
                    return EventPage(entries, after, ended=False)
                entries.append(entry)
            after = entry.sequence
            if len(entries) == wanted.limit or looked_at == _LOOKED_AT:
                return EventPage(entries, after, ended=False)
        return EventPage(entries, after, ended=True)

    def wait(self, wanted: EventFilter, seconds: float, given_up: Callable[[], bool]) -> EventPage | None:
        """Return a page as `page` does, after up to *seconds* for its first event; None if too many wait.

        It ends early when the caller has *given_up*.
        """
        if not self._places.acquire(blocking=False):
            return None
        try:
            deadline = time.monotonic() + seconds

            def is_over() -> bool:
                return time.monotonic() >= deadline or given_up()

            while True:
                last = self.last()
                page = self.page(wanted)
                if page.entries or is_over():
                    return page
                wanted = replace(wanted, after=page.after)
                while page.ended and self.last() == last and not is_over():
                    time.sleep(_PAUSE_S)
        finally:
            self._places.release()

    def last(self) -> int:
        """Return the end of the log as it was a moment ago: asked for once, however many wait for it to move."""
        with self._asking:
            if time.monotonic() >= self._asks_again_at:
                self._known = self._log.last()
                self._asks_again_at = time.monotonic() + _PAUSE_S
            return self._known

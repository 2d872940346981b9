"""Giving every event its sequence: from `events`, where they are added by whoever changes something, to the log."""

from __future__ import annotations

import logging
import threading

from ipam.errors import Contended, Transient
from ipam.models.events import Event
from ipam.models.log import LogStore
from ipam.models.stores import Stores

log = logging.getLogger(__name__)
# Additions that are taken at once. A read as short as this is of one moment: where there is what depends on
# something, that is there as well.
_AT_ONCE = 100
# Short enough for those who wait for an event, and next to nothing for the database.
_PAUSE_S = 0.05
_PAUSE_AFTER_FAILURE_S = 1.0


class Relay:
    """Any number may run at once, though one does all the work as well; each step may be done twice."""

    def __init__(self, stores: Stores) -> None:
        self._events = stores.events
        self._log: LogStore = stores.log

    def run(self, stopped: threading.Event) -> None:
        """Go on until *stopped* is set, whatever becomes of the database meanwhile."""
        while not stopped.is_set():
            try:
                pause_s = 0.0 if self.step() else _PAUSE_S
            except Contended:
                pause_s = _PAUSE_S  # Another relay was faster.
            except Transient as error:
                pause_s = _PAUSE_AFTER_FAILURE_S
                log.warning("%s Events wait; trying again in %.0f s.", error.detail, pause_s)
            stopped.wait(pause_s)

    def step(self) -> bool:
        """Move what was added to the log, a limited number; True if there was anything.

        What is in the log already, because it was added twice, is left out. That is looked up after the end of the
        log was read, and what is written is written behind that end: so nobody has put it there meanwhile.

        Raises:
            Contended: If another relay has written to the log meanwhile.
            Transient: If the database is out of reach.
        """
        added = self._log.added(_AT_ONCE)
        if not added:
            return False
        last = self._log.last()
        events: dict[str, Event] = {}
        for one in added:
            for event in one.outbox.events:
                events.setdefault(event.id, event)
        known = self._log.known(events)
        last = self._log.append(last, [event for id_, event in events.items() if id_ not in known])
        self._events.clear(one.outbox for one in added)
        self._log.settle(added, last)
        return True

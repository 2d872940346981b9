"""Giving every event its sequence, and telling the bus.

Events are added to `events` by the process that changes something; from there they go to the log, and from it to
the bus. The two go on beside each other: a bus that is away holds up nothing.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta

from bson import ObjectId

from ipam.errors import Transient, WriteConflict
from ipam.events.publisher import AT_ONCE, Publisher
from ipam.models.event import Event
from ipam.storage.leader_lease import LeaderLease
from ipam.storage.stores import Stores
from ipam.util.clock import utc_now
from ipam.util.heartbeat import Heartbeat

log = logging.getLogger(__name__)
# Additions that are taken at once. A read as short as this is of one moment: where there is what depends on
# something, that is there as well.
_AT_ONCE = 100
# Short enough for subscribers, and long enough for many events to come together: to write one to the log
# costs the database as much as to write a hundred.
_PAUSE_S = 0.2
# A relay that has died is replaced after this time; it is renewed three times as often.
_HOLD_S = 5.0
_STANDBY_PAUSE_S = 1.0
# How often the bus is tried again while it is away.
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 10.0
# How often it is looked for what is older than the log is kept.
_FORGETS_EVERY_S = 600.0


class Relay:
    """Moves events to the log and the bus.

    One relay works at a time, and another takes over within seconds; each step may be repeated by any of them.

    Args:
        publisher: Tells the bus what is in the log; None if there is no bus.
        keep: How long events stay in the log; None for ever.
        heartbeat: Beats while it is at work, or waits for what it needs; None if there is no supervisor.
    """

    def __init__(
        self,
        stores: Stores,
        publisher: Publisher | None = None,
        keep: timedelta | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self._heartbeat = heartbeat
        self._events = stores.events
        self._log = stores.log
        self._leader_lease = stores.leader_lease
        self._publisher = publisher
        self._keep = keep
        self._holder = ObjectId()
        self._news = threading.Event()
        self._last: int | None = None
        self._publishes_by: LeaderLease | None = None

    def run(self, stopped: threading.Event) -> None:
        """Go on until *stopped* is set, whatever becomes of the database and the bus meanwhile."""
        publisher = threading.Thread(target=self._publish_until, args=(stopped,), name="publisher")
        if self._publisher is not None:
            publisher.start()
        try:
            self._write_until(stopped)
        finally:
            stopped.set()
            self._news.set()
            if self._publisher is not None:
                publisher.join()
                self._publisher.close()
        with suppress(Transient):
            self._leader_lease.give_up(self._holder)

    def step(self) -> bool:
        """Move what was added to the log, a limited number; True if there may be more.

        What is in the log already, because it was added twice, is left out. That is looked up after the end of the
        log was known, and what is written is written behind that end: so no other relay has put it there meanwhile.

        Raises:
            WriteConflict: If another relay has written to the log meanwhile.
            Transient: If the database is out of reach.
        """
        added, more = self._log.added(_AT_ONCE)
        if not added:
            return False
        last = self._log.last() if self._last is None else self._last
        events: dict[str, Event] = {}
        for one in added:
            for event in one.outbox.events:
                events.setdefault(event.id, event)
        known = self._log.known(events)
        self._last = None  # It is not known, unless the next line succeeds.
        self._last = self._log.append(last, [event for id_, event in events.items() if id_ not in known])
        self._events.clear(one.outbox for one in added)
        self._log.settle(added, last, self._last)
        self._news.set()
        return more

    def publish(self) -> None:
        """Tell the bus all that is in the log, if this relay is the one at work.

        Once it has the lead it goes on by that, which `run` renews. Were it another's meanwhile, it would tell some
        events once more, all in their order, until it hears of it.

        Raises:
            WriteConflict: If another relay has taken the lead meanwhile.
            Transient: If the bus or the database is out of reach.
        """
        lead, self._publishes_by = self._publishes_by or self._lead(), None
        # Without a beginning, which another relay has prevented, the lead is of no use; the next call begins anew.
        while lead is not None and lead.published is not None and self._publisher is not None:
            before, lead = lead.published, self._publisher.step(lead)
            if (lead.published or 0) - before < AT_ONCE:
                self._publishes_by = lead
                return

    def forget(self) -> bool:
        """Remove from the log some of what is kept long enough and the bus has; True if there may be more.

        Raises:
            Transient: If the database is out of reach.
        """
        if self._keep is None or (lead := self._lead()) is None:
            return False
        told = sys.maxsize if self._publisher is None else lead.published or 0
        return self._log.forget(utc_now() - self._keep, told)

    def _lead(self) -> LeaderLease | None:
        """Return the lead, if this relay can have it; None while another has it."""
        lead = self._leader_lease.take(self._holder, _HOLD_S)
        if lead is not None and lead.published is None and self._publisher is not None:
            self._publisher.begin(lead)
            lead = self._leader_lease.take(self._holder, _HOLD_S)
        return lead

    def _write_until(self, stopped: threading.Event) -> None:
        leads, renewed_at, forgot_at = False, -_HOLD_S, -_FORGETS_EVERY_S
        while not stopped.is_set():
            if self._heartbeat is not None:
                self._heartbeat.beat()
            try:
                if time.monotonic() > renewed_at + _HOLD_S / 3:
                    renewed_at = time.monotonic()
                    leads = self._lead() is not None
                is_busy = leads and self.step()
                if leads and time.monotonic() > forgot_at + _FORGETS_EVERY_S and not self.forget():
                    forgot_at = time.monotonic()
                pause_s = 0.0 if is_busy else _PAUSE_S if leads else _STANDBY_PAUSE_S
            except WriteConflict:
                pause_s = _PAUSE_S
            except Transient as error:
                pause_s = _FIRST_PAUSE_S
                log.warning("%s Events wait; trying again in %.0f s.", error.detail, pause_s)
            stopped.wait(pause_s)

    def _publish_until(self, stopped: threading.Event) -> None:
        pause_s = _FIRST_PAUSE_S
        while not stopped.is_set():
            self._news.clear()
            try:
                self.publish()
                pause_s = _FIRST_PAUSE_S
                self._news.wait(_STANDBY_PAUSE_S)
            except WriteConflict:
                stopped.wait(_STANDBY_PAUSE_S)
            except Transient as error:
                log.warning("%s Events wait; trying again in %.0f s.", error.detail, pause_s)
                stopped.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            except Exception:  # If the thread died, nothing would be published any more.
                log.exception("publishing failed")
                stopped.wait(_LONGEST_PAUSE_S)

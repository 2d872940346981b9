"""Telling the bus what is in the log, in order."""

from __future__ import annotations

from itertools import islice

from ipam.errors import Transient
from ipam.events.buses import Bus, Message
from ipam.events.cloudevents import cloud_event
from ipam.storage.event_log import EventLogStore, LogEntry
from ipam.storage.leader_lease import LeaderLease, LeaderLeaseStore
from ipam.util.lossless_json import dumps

# Events for which it is remembered together that the bus has them; after a failure some of them go out again.
AT_ONCE = 100


class Publisher:
    """Publishes every event at least once: the next relay begins behind what is known to have gone out.

    So an event that goes out for the first time is never later than the next one, whatever dies.

    Args:
        source: What this installation is called in its events.
    """

    def __init__(self, log: EventLogStore, leader_lease: LeaderLeaseStore, bus: Bus, source: str) -> None:
        self._log = log
        self._leader_lease = leader_lease
        self._bus = bus
        self._source = source

    def begin(self, lead: LeaderLease) -> None:
        """See to it that the bus has a beginning; to be called before anything is written to the log.

        A bus that was never told anything hears of what happens from now on: what was before, the log tells.
        """
        self._leader_lease.begin(lead, self._log.last())

    def step(self, lead: LeaderLease) -> LeaderLease:
        """Publish the next events, `AT_ONCE` of them if there are so many; returns how far the bus is then.

        Raises:
            WriteConflict: If another relay has taken the lead meanwhile.
            Transient: If the bus or the database is out of reach.
        """
        if lead.published is None:
            return lead
        published = lead.published
        try:
            for entry in islice(self._log.read(published), AT_ONCE):
                self._bus.publish(self._message(entry))
                published = entry.sequence
        except Transient:
            self._remember(lead, published)
            raise
        return self._remember(lead, published)

    def close(self) -> None:
        """End the connection to the bus."""
        self._bus.close()

    def _remember(self, lead: LeaderLease, published: int) -> LeaderLease:
        return self._leader_lease.remember(lead, published) if published != lead.published else lead

    def _message(self, entry: LogEntry) -> Message:
        event = cloud_event(entry, self._source)
        body = _written(event)
        if len(body) > self._bus.max_bytes:
            # As the CloudEvents extension `dataref` has it: what is too large to be carried is fetched.
            del event["data"]
            event["dataref"] = f"/events?after={entry.sequence - 1}&limit=1"
            body = _written(event)
        return Message(entry.event.id, entry.event.type, body)


def _written(event: dict[str, object]) -> bytes:
    return dumps(event).encode()

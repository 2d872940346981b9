"""The state of the processes that share the database, as far as it can be read there."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ipam.storage.stores import Stores
from ipam.storage.time_span import begun_within
from ipam.util.clock import utc_now
from ipam.util.rfc3339 import format_time

Json = dict[str, Any]
# Less is normal: a relay moves events five times a second, and another takes over within seconds.
_RELAY_LATE_S = 10.0
# Recovery that was not there for so many of its intervals, or so many seconds, is overdue.
_RECOVERY_INTERVALS = 5
_RECOVERY_LATE_S = 30.0
OK, LATE, MISSING, NONE = "ok", "late", "missing", "none"


class Monitor:
    """Looks; changes nothing but the mark that recovery was there."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def recovered(self, interval_s: float) -> None:
        """Note that a worker has carried out recovery, which beat asks for every *interval_s* seconds."""
        self._stores.positions.mark_recovery(interval_s)

    def recovery(self) -> Json:
        """Return when recovery ran last: then beat, the broker and a worker all did their work."""
        at, interval_s = self._stores.positions.recovery()
        if at is None:
            return {"status": MISSING, "detail": "recovery never ran; start ipam beat and ipam worker"}
        shown: Json = {"status": OK, "last_run_at": format_time(at)}
        if at not in begun_within(max(_RECOVERY_LATE_S, _RECOVERY_INTERVALS * interval_s)):
            shown |= {"status": LATE, "detail": "recovery is overdue; check that ipam beat and ipam worker run"}
        return shown

    def relay(self) -> Json:
        """Return whether a relay is at work, and how far what happened is ahead of the audit log."""
        until, _ = self._stores.leader_lease.look()
        shown: Json = {"status": OK, "behind_s": _age_s(self._stores.log.waits_since())}
        if until is None or until not in begun_within(_RELAY_LATE_S):
            shown |= {"status": MISSING, "detail": "no relay is at work: events wait; start ipam relay"}
        elif shown["behind_s"] > _RELAY_LATE_S:
            shown |= {"status": LATE, "detail": "the relay does not keep up"}
        return shown

    def bus(self) -> Json:
        """Return how far the bus is behind the audit log; `none` if no relay was ever told of one."""
        _, published = self._stores.leader_lease.look()
        if published is None:
            return {"status": NONE}
        waiting = next(self._stores.log.read(published), None)
        shown: Json = {
            "status": OK,
            "behind": max(0, self._stores.log.last() - published),
            "behind_s": _age_s(waiting.event.time if waiting else None),
        }
        if shown["behind_s"] > _RELAY_LATE_S:
            detail = "the bus does not get what is in the log; check --bus of ipam relay and that it runs there"
            shown |= {"status": LATE, "detail": detail}
        return shown

    def queue(self) -> Json:
        """Return how many jobs are open, 10,000 meaning that many or more, and the age of the oldest."""
        count, oldest = self._stores.jobs.open()
        return {"status": OK, "open": count, "oldest_s": _age_s(oldest)}


def _age_s(since: datetime | None) -> float:
    return round(max(0.0, (utc_now() - since).total_seconds()), 3) if since else 0.0

"""The spans of time around the present in which what a process has begun is left to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ipam.util.clock import utc_now

Condition = dict[str, Any]
# The clocks of machines that share a database differ by less.
CLOCKS_DIFFER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Span:
    """The time after *first* and before *end*.

    It ends on both sides: a time that is further ahead than any process would have written it is of before a clock
    was set back, and says no more than one that is long past. Nothing goes wrong if a span ends too early: a
    process that goes on with what another has begun takes it from that one first. Spans only say how long to wait.
    """

    first: datetime
    end: datetime

    def __contains__(self, time: datetime) -> bool:
        return self.first < time < self.end

    def outside(self) -> Condition:
        """Return what a field is to meet that has a time outside of the span; one that is missing meets it too."""
        return {"$not": {"$gt": self.first, "$lt": self.end}}

    def sides(self) -> tuple[Condition, Condition]:
        """Return what a field is to meet that has a time before the span, and after: each is found by an index."""
        return {"$lte": self.first}, {"$gte": self.end}


def begun_within(seconds: float) -> Span:
    """Return the span in which the beginning lies of what was begun in the last so many *seconds*."""
    now = utc_now()
    return Span(now - timedelta(seconds=seconds), now + CLOCKS_DIFFER)


def held_for(seconds: float) -> Span:
    """Return the span in which the end lies of what is held for *seconds* and has not lapsed."""
    now = utc_now()
    return Span(now, now + timedelta(seconds=seconds) + CLOCKS_DIFFER)

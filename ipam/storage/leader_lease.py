"""The leader lease of the relay, and how far the bus has been told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from ipam.errors import WriteConflict
from ipam.storage.connection import insert_missing, speaks_mongo
from ipam.storage.time_span import held_for
from ipam.util.clock import utc_now

_KEY = "relay"


@dataclass(frozen=True, slots=True)
class LeaderLease:
    """The leader lease of a relay.

    Attributes:
        fencing_token: Grows whenever another relay takes over; writes with an old one are refused.
        published: The sequence of the last event that the bus has; None if it never had any.
    """

    fencing_token: int
    published: int | None


@speaks_mongo
class LeaderLeaseStore:
    """The document of the leader lease in the collection `positions`."""

    def __init__(self, database: Database[Any]) -> None:
        self._collection = database["positions"]

    def take(self, holder: ObjectId, hold_s: float) -> LeaderLease | None:
        """Have the lead for *hold_s* seconds; None while another has it."""
        now = utc_now()
        held = {"holder": holder, "until": now + timedelta(seconds=hold_s)}
        if not self._collection.update_one({"_id": _KEY, "holder": holder}, {"$set": held}).matched_count:
            insert_missing(self._collection, [{"_id": _KEY, "holder": None, "until": now, "fence": 0}])
            lapsed = {"_id": _KEY, "until": held_for(hold_s).outside()}
            if not self._collection.update_one(lapsed, {"$set": held, "$inc": {"fence": 1}}).modified_count:
                return None
        found = self._collection.find_one({"_id": _KEY, "holder": holder})
        return LeaderLease(found["fence"], found.get("published")) if found else None

    def look(self) -> tuple[datetime | None, int | None]:
        """Return until when a relay has the lead, and what the bus has; None and None before there ever was one."""
        found = self._collection.find_one({"_id": _KEY}) or {}
        return found.get("until"), found.get("published")

    def give_up(self, holder: ObjectId) -> None:
        """Let another have the lead at once."""
        self._collection.update_one({"_id": _KEY, "holder": holder}, {"$set": {"holder": None, "until": utc_now()}})

    def begin(self, lead: LeaderLease, sequence: int) -> None:
        """Remember that the bus is to hear of what comes after *sequence*, unless it has a beginning already."""
        mine = {"_id": _KEY, "fence": lead.fencing_token, "published": None}
        self._collection.update_one(mine, {"$set": {"published": sequence}})

    def remember(self, lead: LeaderLease, sequence: int) -> LeaderLease:
        """Remember that the bus has all events up to *sequence*.

        Raises:
            WriteConflict: If another relay has taken the lead meanwhile.
        """
        mine = {"_id": _KEY, "fence": lead.fencing_token}
        if not self._collection.update_one(mine, {"$set": {"published": sequence}}).matched_count:
            raise WriteConflict("Another relay is at work.")
        return LeaderLease(lead.fencing_token, sequence)

"""The purge of what was kept long enough: tombstones, ended jobs, and answers under idempotency keys.

Each of them has among its `keys` the minute in which it may go, and minutes are gone through one by one. The
database could do so itself (a TTL index); but then the embedded server goes through whole collections every minute,
and serves no other client meanwhile.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from pymongo.database import Database

from ipam.models.search_keys import minute_of
from ipam.storage.connection import KEYS_CHUNK, among, chunks, speaks_mongo

# The collections whose documents go.
EXPIRING = ("pools", "reservations", "jobs", "idempotency", "tokens")
_POSITION = "expiry"


@speaks_mongo
class PurgeStore:
    """Documents of several collections; how far it is stands in `positions`."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        self._positions = database["positions"]

    def remove(self, now: datetime, most_s: float) -> None:
        """Remove what may go before the minute of *now*, or some of it if that takes more than *most_s* seconds.

        Minutes are done when all that may go in them is gone; a process that dies before leaves them to the next.
        """
        this_minute = minute_of(now)
        position = self._positions.find_one({"_id": _POSITION}) or {}
        until = time.monotonic() + most_s
        # Whatever is stored in a new database goes later than now.
        begin = end = position.get("minute", this_minute)
        for minutes in chunks(range(begin, this_minute), KEYS_CHUNK):
            if time.monotonic() >= until:
                break
            for collection in EXPIRING:
                self._database[collection].delete_many({"keys": among(minutes)})
            end = minutes[-1] + 1
        if end > begin or not position:
            self._positions.update_one({"_id": _POSITION}, {"$max": {"minute": end}}, upsert=True)

"""Marks that processes leave in the database for each other."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from pymongo.database import Database

from ipam.storage.connection import insert_missing, speaks_mongo
from ipam.util.clock import utc_now

_RECOVERY, _PROBE, _SECRET = "recovery", "probe", "secret"
_SECRET_BYTES = 32


@speaks_mongo
class PositionStore:
    """Documents of the collection `positions`, where others keep how far they have come."""

    def __init__(self, database: Database[Any]) -> None:
        self._collection = database["positions"]

    def secret(self) -> bytes:
        """Return 32 random bytes that are known only to those with access to the database.

        Raises:
            Transient: If it does not answer.
        """
        if (found := self._collection.find_one({"_id": _SECRET})) is None:
            insert_missing(self._collection, [{"_id": _SECRET, "bytes": secrets.token_bytes(_SECRET_BYTES)}])
            found = self._collection.find_one({"_id": _SECRET}) or {}
        return bytes(found["bytes"])

    def write(self) -> None:
        """Write something, to find out whether the database takes writes.

        Raises:
            Transient: If it does not.
        """
        self._collection.update_one({"_id": _PROBE}, {"$set": {"at": utc_now()}}, upsert=True)

    def mark_recovery(self, interval_s: float) -> None:
        """Keep that recovery ran, and that it is to run every *interval_s* seconds."""
        mark = {"at": utc_now(), "interval_s": interval_s}
        self._collection.update_one({"_id": _RECOVERY}, {"$set": mark}, upsert=True)

    def recovery(self) -> tuple[datetime | None, float]:
        """Return when recovery ran last, None if it never did, and its interval in seconds."""
        found = self._collection.find_one({"_id": _RECOVERY})
        return (found["at"], found["interval_s"]) if found else (None, 0.0)

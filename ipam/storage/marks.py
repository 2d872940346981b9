"""Marks: an index, kept by hand, of the leases on which users wrote.

An index that the database keeps costs each lease something, though hardly any of them is ever written on. Here
only those have an entry that are. It is written before the lease, with what that is about to be found
by, so it may say too much and never too little; readers check the lease as well. What is too much is
tidied away later: see `LeaseStore.recover`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from ipam.errors import WriteConflict
from ipam.storage.connection import among, speaks_mongo
from ipam.storage.query import Query, keys_having
from ipam.storage.time_span import Span
from ipam.util.clock import utc_now

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Mark:
    """The mark of a lease with this *key* that was, or is about to be, written on; *writes* grows each time."""

    key: bytes
    writes: int


@speaks_mongo
class MarkStore:
    """The collection `marks`."""

    def __init__(self, database: Database[Any]) -> None:
        self._collection = database["marks"]

    def put(self, key: bytes, facets: Sequence[str]) -> None:
        """Say that a lease is about to be written on, and will then have *facets*.

        Raises:
            WriteConflict: If another process has put the first mark on it at the same moment.
        """
        change = {
            "$addToSet": {"facets": {"$each": list(facets)}},
            "$set": {"changed_at": utc_now()},
            "$inc": {"writes": 1},
        }
        try:
            self._collection.update_one({"_id": key}, change, upsert=True)
        except DuplicateKeyError:
            raise WriteConflict("Another process writes on the same lease.") from None

    def get(self, key: bytes) -> Mark | None:
        """Return the mark of the lease with this *key*, if it has one."""
        found = self._collection.find_one({"_id": key}, {"writes": 1})
        return Mark(key, found["writes"]) if found else None

    def having(self, query: Query) -> Iterator[bytes]:
        """Yield the keys of leases that may have the facets of *query*, from its cursor on; ascending."""
        yield from keys_having(self._collection, query)

    def untidy(self, recent: Span) -> list[Mark]:
        """Return some marks that were put before the span *recent* and not settled since."""
        found = chain.from_iterable(
            self._collection.find({"changed_at": side}, {"writes": 1}).limit(_AT_ONCE) for side in recent.sides()
        )
        return [Mark(bson["_id"], bson["writes"]) for bson in found]

    def settle(self, mark: Mark, facets: Sequence[str]) -> None:
        """Leave of *mark* what the lease is found by, *facets*, unless it was put again since."""
        same = {"_id": mark.key, "writes": mark.writes}
        if facets:
            self._collection.update_one(same, {"$set": {"facets": list(facets)}, "$unset": {"changed_at": 1}})
        else:
            self._collection.delete_one(same)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Remove those of leases that are gone."""
        self._collection.delete_many({"_id": among(list(keys))})

"""Leases that are held, and the queue of those that were given back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bson import ObjectId
from pymongo import UpdateOne, timeout
from pymongo.database import Database

from ipam.models.addresses import Address, from_bytes
from ipam.models.connection import insert_missing, speaks_mongo
from ipam.models.documents import Bson, Lease, lease_key, slot_key, utc_now
from ipam.models.store import DocumentStore

# Documents a write, so that each stays well within the time that a call may take, on the embedded server too.
_CHUNK = 1000
_UPDATE_CHUNK = 200
# What goes through all leases of a large reservation or subnet may take longer than other calls.
_LONG_S = 120.0

# The fields that only a lease that is held has.
_HELD = dict.fromkeys(
    (
        *("lease", "reservation", "name", "tags", "metadata", "facets", "pool", "ordinal"),
        *("created_at", "updated_at", "revision"),
    ),
    1,
)


def keys_of_subnet(subnet: ObjectId) -> Bson:
    """Condition on `_id` that holds for the leases of *subnet*, for their keys begin with it."""
    return {"$gte": subnet.binary + bytes(16), "$lte": subnet.binary + b"\xff" * 16}


@speaks_mongo
class LeaseStore(DocumentStore[Lease]):
    """The collection `leases`; a document without `reservation` is a place in its subnet's queue."""

    kind = "lease"
    key = "lease"
    visible = {"reservation": {"$exists": True}}

    def __init__(self, database: Database[Any]) -> None:
        super().__init__(database, Lease.from_bson)

    def insert(self, leases: Sequence[Lease]) -> None:
        """Store leases of addresses that were never used; what is there already is left alone."""
        for first in range(0, len(leases), _CHUNK):
            chunk = leases[first : first + _CHUNK]
            insert_missing(self._collection, [lease.to_bson() for lease in chunk])

    def insert_queued(self, subnet: ObjectId, slots: Mapping[Address, int]) -> None:
        """Put addresses that were never held into the queue, each at its position."""
        insert_missing(
            self._collection,
            [
                {
                    "_id": lease_key(subnet, address),
                    "subnet": subnet,
                    "slot": slot_key(subnet, position),
                    "released_at": utc_now(),
                }
                for address, position in slots.items()
            ],
        )

    def queued(self, subnet: ObjectId, positions: Iterable[int]) -> dict[int, Address]:
        """Which of *positions* in the queue hold an address, and which one."""
        wanted = [slot_key(subnet, position) for position in positions]
        found: dict[int, Address] = {}
        for first in range(0, len(wanted), _CHUNK):
            chunk = wanted[first : first + _CHUNK]
            for bson in self._collection.find({"slot": {"$in": chunk}}, {"slot": 1}):
                found[int.from_bytes(bson["slot"][12:], "big")] = from_bytes(bson["_id"][12:])
        return found

    def take_queued(self, leases: Mapping[int, Lease]) -> None:
        """Turn places in the queue, by position, into held leases; those taken before are left alone."""
        self._write(
            UpdateOne(
                {"_id": lease_key(lease.subnet, lease.address), "slot": slot_key(lease.subnet, position)},
                {"$set": _without_id(lease.to_bson()), "$unset": {"slot": 1, "released_at": 1}},
            )
            for position, lease in leases.items()
        )

    def move_queued(self, subnet: ObjectId, moves: Mapping[int, int]) -> None:
        """Move places in the queue from position to position."""
        self._write(
            UpdateOne({"slot": slot_key(subnet, old)}, {"$set": {"slot": slot_key(subnet, new)}})
            for old, new in moves.items()
        )

    def put_back(self, leases: Mapping[int, Lease]) -> None:
        """Turn held leases into places in the queue, by position; those no longer held are left alone."""
        now = utc_now()
        self._write(
            UpdateOne(
                {"_id": lease_key(lease.subnet, lease.address), "reservation": lease.reservation},
                {
                    "$set": {"slot": slot_key(lease.subnet, position), "released_at": now},
                    "$unset": _HELD,
                },
            )
            for position, lease in leases.items()
        )

    def of_reservation(self, reservation: ObjectId, subnet: ObjectId | None = None) -> list[Lease]:
        """The leases that *reservation* holds, of one subnet or all: by subnet, lowest address first."""
        wanted: Bson = {"reservation": reservation}
        if subnet is not None:
            wanted["subnet"] = subnet
        with timeout(_LONG_S):
            found = [Lease.from_bson(bson) for bson in self._collection.find(wanted)]
        return sorted(found, key=lambda lease: lease_key(lease.subnet, lease.address))

    def count_of_reservation(self, reservation: ObjectId) -> int:
        """How many leases *reservation* holds."""
        return self._collection.count_documents({"reservation": reservation})

    def retire(self, subnet: ObjectId) -> None:
        """Take all leases of a deleted subnet from their holders.

        Their documents stay, so that a worker that slept cannot insert them again.
        """
        with timeout(_LONG_S):
            self._collection.update_many({"_id": keys_of_subnet(subnet), **self.visible}, {"$unset": _HELD})

    def forget(self, subnet: ObjectId) -> None:
        """Remove all documents of a subnet that was deleted long ago."""
        with timeout(_LONG_S):
            self._collection.delete_many({"_id": keys_of_subnet(subnet)})

    def _write(self, updates: Iterable[UpdateOne]) -> None:
        operations = list(updates)
        for first in range(0, len(operations), _UPDATE_CHUNK):
            self._collection.bulk_write(operations[first : first + _UPDATE_CHUNK], ordered=False)


def _without_id(bson: Bson) -> Bson:
    return {name: value for name, value in bson.items() if name != "_id"}

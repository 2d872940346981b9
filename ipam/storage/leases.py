"""The store of leases: a document for each address that was ever held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from operator import itemgetter
from typing import Any

from bson import ObjectId
from pymongo import UpdateMany, timeout
from pymongo.database import Database

from ipam.models import event_factory
from ipam.models.address_set import AddressSet
from ipam.models.addresses import Address, from_bytes
from ipam.models.document import succeeded_by
from ipam.models.event import Outbox, outbox_from_bson
from ipam.models.fields import Bson
from ipam.models.lease import Lease
from ipam.models.reservation import Reservation
from ipam.models.reserved_addresses import SubnetAddresses, key_at, lease_key, split_lease_id, stem_of
from ipam.storage.bulk_writes import Writes, sparing
from ipam.storage.connection import KEYS_CHUNK, READ_CHUNK, among, chunks, speaks_mongo
from ipam.storage.document_store import DocumentStore
from ipam.storage.marks import Mark, MarkStore
from ipam.storage.outbox import telling
from ipam.storage.query import Query
from ipam.storage.sizes import PAGE_MAX_BYTES, bytes_of
from ipam.storage.time_span import Span

# Documents a write, so that each stays well within the time that a call may take, on the embedded server too.
_CHUNK = 1000
_UPDATE_CHUNK = 200
# Of addresses that go back, so many; others are served between the updates of one call.
_FREED_AT_ONCE = 256
# So many addresses are given back as fast as can be.
WITHOUT_REST = 1000
# What goes through all leases of a large reservation may take longer than other calls.
_LONG_S = 120.0

# The mark of a lease that is written on often is tidied so often: what that is found by may be 256 KiB each time.
_TIDIED_EVERY = 16
# What only a lease that is held has.
_HELD = dict.fromkeys(sorted(Lease.dropped_keys()), 1)
_FREE = {"reservation": {"$exists": False}}


@speaks_mongo
class LeaseStore(DocumentStore[Lease]):
    """The collection `leases`; a document without `reservation` is of an address that was given back."""

    kind = Lease.type_name
    _key = bytes
    visible = {"reservation": {"$exists": True}}

    def __init__(self, database: Database[Any]) -> None:
        super().__init__(database, Lease.from_bson)
        self._marks = MarkStore(database)
        self._reservations = database["reservations"]

    def get_many(self, ids: Iterable[ObjectId]) -> dict[ObjectId, Lease]:
        """Return those of *ids* that users see, by id."""
        found: dict[ObjectId, Lease] = {}
        for some in chunks(dict.fromkeys(ids), KEYS_CHUNK):
            if keys := self._keys_of(some):
                found.update({lease.id: lease for lease in self._seen_by_keys(keys) if lease.id in some})
        return found

    def describe(
        self, id_: ObjectId, change: Callable[[Lease], Lease], revisions: frozenset[int] | None = None
    ) -> Lease:
        """Update the description as for all resources; now and then, tidy the lease's mark too."""
        lease = super().describe(id_, change, revisions)
        if lease.revision % _TIDIED_EVERY == 0 and (mark := self._marks.get(self._place(lease)["_id"])):
            self._tidy(mark)
        return lease

    def insertion(self, leases: Iterable[Bson]) -> Iterator[Writes]:
        """Yield the inserts of leases whose addresses were never held before; existing documents stay."""
        for chunk in chunks(leases, _CHUNK):
            yield Writes("leases", inserts=chunk)

    def taking(self, leases: Iterable[Bson]) -> Iterator[Writes]:
        """Yield the updates that lease again what was given back; what a later entry has handed out stays."""
        updates: Iterator[tuple[Bson, Bson]] = (
            (
                {"_id": lease["_id"], **_FREE, "entry": {"$lt": lease["entry"]}},
                {"$set": {name: value for name, value in lease.items() if name != "_id"}},
            )
            for lease in leases
        )
        for chunk in chunks(updates, _UPDATE_CHUNK):
            yield Writes("leases", updates=chunk)

    def put_back(self, subnet: ObjectId, held: Mapping[ObjectId, AddressSet]) -> None:
        """Free addresses of reservations; those that a reservation does not hold are left alone.

        If they are more than a caller waits for, others have the database to themselves for most of the time.
        """
        is_large = sum(map(len, held.values())) > WITHOUT_REST
        self._free(
            (
                ({"reservation": reservation}, key)
                for reservation, addresses in held.items()
                for key in _keys(subnet, addresses)
            ),
            sparing if is_large else nullcontext,
        )

    def release(self, subnet: ObjectId, reservation: ObjectId, address: Address) -> None:
        """Free one *address* of a reservation that keeps others; nothing happens if it does not hold it.

        Raises:
            WriteConflict: If the lease was changed meanwhile.
        """
        key = lease_key(subnet, address)
        found = self._collection.find_one({"_id": key})
        if found is None or found.get("reservation") != reservation:
            return
        lease = Lease.from_bson(found)
        self._mark(lease, ())
        event = event_factory.released(succeeded_by(lease))
        freed = telling({"$unset": _HELD}, event)
        unchanged = {**self._place(lease), "reservation": reservation, "revision": lease.revision}
        if not self._collection.update_one(unchanged, freed).modified_count:
            raise self._changed(lease.id)
        self._tell(lease, event)

    def marked(self, query: Query) -> Iterator[bytes]:
        """Yield the keys of leases that may have the facets of *query*, from its cursor on."""
        yield from self._marks.having(query)

    def embedded(self, reservation: Reservation) -> list[Lease] | None:
        """Return all leases of *reservation*, by subnet, lowest address first; None if too much is written on them.

        On those that were just handed out nothing is written.
        """
        leases, size = [], 0
        with timeout(_LONG_S):
            for some in chunks(reservation.lease_keys(), READ_CHUNK):
                for bson in self._by_keys(some, {"reservation": reservation.id}, self._projection_listed):
                    size += bytes_of(bson)
                    if size > PAGE_MAX_BYTES:
                        return None
                    leases.append(Lease.from_bson(bson))
        return leases

    def _seen_by_keys(self, keys: Sequence[bytes]) -> list[Lease]:
        return [Lease.from_bson(bson) for bson in self._by_keys(keys, {}) if self._is_visible(bson)]

    def still_held(self, subnet: ObjectId, given: Mapping[ObjectId, AddressSet]) -> dict[ObjectId, AddressSet]:
        """Of the addresses of *subnet* that reservations were *given* those that each of them holds now.

        What one gave back another may have got since, and both be asked about.
        """
        wanted = [(key, reservation) for reservation, some in given.items() for key in _keys(subnet, some)]
        held: dict[ObjectId, list[Address]] = {reservation: [] for reservation in given}
        for asked in chunks(wanted, READ_CHUNK):
            keys = list(dict.fromkeys(key for key, _ in asked))
            for bson in self._collection.find({"_id": among(keys)}, {"reservation": 1}):
                if (bson["_id"], holder := bson.get("reservation")) in asked:
                    held[holder].append(from_bytes(bson["_id"][12:]))
        return {reservation: AddressSet.of(addresses) for reservation, addresses in held.items()}

    def at(self, address: Address, subnets: Iterable[ObjectId]) -> list[Lease]:
        """Return the leases of *address* that are held, in any of *subnets*."""
        found: list[Lease] = []
        for keys in chunks((lease_key(subnet, address) for subnet in subnets), KEYS_CHUNK):
            found += self._seen_by_keys(keys)
        return found

    def retire(self, subnet: ObjectId, addresses: AddressSet) -> None:
        """Take *addresses* of a deleted subnet from their holders.

        Their documents stay, so that a worker that slept cannot insert them again.
        """
        self._free(({}, key) for key in _keys(subnet, addresses))

    def forget(self, subnet: ObjectId, addresses: AddressSet) -> None:
        """Remove the documents of *addresses* of a subnet that was deleted long ago."""
        for keys in chunks(_keys(subnet, addresses), KEYS_CHUNK):
            self._collection.delete_many({"_id": {"$in": keys}})
            self._marks.forget(keys)

    def recover(self, recent: Span) -> None:
        """Publish the outboxes of leases that were not written on in the span *recent*, and tidy their marks."""
        for mark in self._marks.untidy(recent):
            self._tidy(mark)

    def _mark(self, document: Lease, facets: Sequence[str]) -> None:
        self._marks.put(self._place(document)["_id"], facets)

    def _tidy(self, mark: Mark) -> None:
        """Tell what stands in the outbox of a lease, and leave of its mark what it is found by.

        First the lease is changed: so a process that has read it, put its mark and stalled, cannot write on it when
        the mark is gone.
        """
        self._collection.update_one({"_id": mark.key}, {"$inc": {"tidied": 1}})
        bson = self._collection.find_one({"_id": mark.key}) or {}
        self._events.add_and_clear([Outbox(outbox_from_bson(bson.get("outbox", ())), "leases", mark.key)])
        self._marks.settle(mark, bson.get("facets", ()) if self._is_visible(bson) else ())

    def _is_visible(self, bson: Bson) -> bool:
        return "reservation" in bson

    def _place(self, document: Lease) -> Bson:
        key = lease_key(document.subnet, document.address)
        return {"_id": key, "lease": document.id, "tidied": document.tidied}

    def _seen(self, id_: ObjectId) -> Lease | None:
        return self.get_many([id_]).get(id_)

    def _keys_of(self, ids: Sequence[ObjectId]) -> list[bytes]:
        """Return the keys that leases with these *ids* may have."""
        ranks: dict[bytes, list[int]] = {}
        for stem, rank in map(split_lease_id, ids):
            ranks.setdefault(stem, []).append(rank)
        keys: list[bytes | None] = []
        for bson in self._reservations.find({"keys": among(list(ranks))}, {"holdings": 1}):
            holdings = list(map(SubnetAddresses.from_bson, bson["holdings"]))
            keys += (key_at(rank, holdings) for rank in ranks[stem_of(bson["_id"])])
        return [key for key in keys if key is not None]

    def _free(
        self,
        leases: Iterable[tuple[Bson, bytes]],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Free leases by their keys, each if its condition holds; each write is made within *around*."""
        for some in chunks(leases, _FREED_AT_ONCE):
            updates = [
                UpdateMany({"_id": among(keys), **condition}, {"$unset": _HELD})
                for condition, alike in groupby(some, itemgetter(0))
                for keys in chunks((key for _, key in alike), KEYS_CHUNK)
            ]
            with around():
                self._collection.bulk_write(updates, ordered=False)


def _keys(subnet: ObjectId, addresses: AddressSet) -> Iterator[bytes]:
    return (lease_key(subnet, address) for address in addresses)

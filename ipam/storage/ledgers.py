"""Ledgers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING, UpdateOne
from pymongo.database import Database

from ipam.errors import NotEmpty, WriteConflict
from ipam.models.addresses import count_addresses, to_place
from ipam.models.fields import Bson
from ipam.models.ledger import Grant, Ledger, LedgerState, Release
from ipam.storage.bulk_writes import Writes
from ipam.storage.connection import READ_CHUNK, among, chunks, insert_missing, speaks_mongo
from ipam.storage.pools import PoolStore
from ipam.storage.time_span import Span
from ipam.util.clock import utc_now


@dataclass(frozen=True, slots=True)
class Usage:
    """A pool's number of subnets, their size, and how many of their addresses are used."""

    subnets: int = 0
    size: int = 0
    used: int = 0


@speaks_mongo
class LedgerStore:
    """The collection `ledgers`: one for each subnet, with its id.

    It stays as long as the tombstone of its subnet: so its version never begins again, and no process that slept
    opens it.
    """

    def __init__(self, database: Database[Any]) -> None:
        self._collection = database["ledgers"]
        self._pools = PoolStore(database)

    def insert(self, ledger: Ledger) -> None:
        """Store a new ledger; one that is there stays."""
        insert_missing(self._collection, [ledger.to_bson()])

    def find(self, id_: ObjectId) -> Ledger | None:
        """Return the ledger of a subnet, open or closed; None if it has none."""
        found = self._collection.find_one({"_id": id_})
        return Ledger.from_bson(found) if found else None

    def of_pool(self, pool: ObjectId, states: Collection[LedgerState] = (LedgerState.OPEN,)) -> list[Ledger]:
        """Return the ledgers of the subnets of a pool that are in one of *states*, lowest address first."""
        ledgers = map(Ledger.from_bson, self._of_pools([pool]))
        return sorted((one for one in ledgers if one.state in states), key=lambda one: to_place(one.start))

    def in_order(self, pool: ObjectId | None, first: ObjectId | None) -> Iterator[Ledger]:
        """Yield the ledgers of the subnets of *pool*, None meaning all pools, by id from *first* on.

        They are open or closed, and read some at a time, as the caller goes on.
        """
        if pool is None:
            from_first: Bson = {} if first is None else {"_id": {"$gte": first}}
            with self._collection.find(from_first).sort("_id", ASCENDING) as found:
                yield from map(Ledger.from_bson, found.batch_size(READ_CHUNK))
            return
        ids = sorted(id_ for id_ in self._pools.holders(pool) if first is None or id_ >= first)
        for some in chunks(ids, READ_CHUNK):
            read = map(Ledger.from_bson, self._collection.find({"_id": among(some)}))
            yield from sorted(read, key=lambda ledger: ledger.id)

    def used(self, ids: Iterable[ObjectId]) -> dict[ObjectId, int]:
        """Return how many addresses of each of these subnets are taken; 0 if a subnet has no ledger."""
        counts = dict.fromkeys(ids, 0)
        for some in chunks(counts.copy(), READ_CHUNK):
            counts.update(
                (bson["_id"], bson["used"]) for bson in self._collection.find({"_id": among(some)}, {"used": 1})
            )
        return counts

    def usage(self, pools: Iterable[ObjectId]) -> dict[ObjectId, Usage]:
        """Return what the subnets of each pool come to; those whose ledgers are closed come or go just now."""
        totals = {pool: Usage() for pool in pools}
        for bson in self._of_pools(list(totals), {"pool": 1, "state": 1, "size": 1, "used": 1}):
            if bson["state"] == LedgerState.OPEN.value:
                sum_ = totals[bson["pool"]]
                totals[bson["pool"]] = Usage(
                    sum_.subnets + 1, sum_.size + int(bson["size"]), sum_.used + bson["used"]
                )
        return totals

    def _of_pools(self, pools: Sequence[ObjectId], shown: Bson | None = None) -> Iterator[Bson]:
        """Yield the ledgers of the subnets that hold a range in any of *pools*; in no order."""
        for some in chunks(self._pools.holders(*pools), READ_CHUNK):
            yield from self._collection.find({"_id": among(some)}, shown)

    def write(self, ledger: Ledger) -> Ledger:
        """Replace a ledger by *ledger*, which was made from it, and return that as it is then.

        Raises:
            WriteConflict: If it has changed since it was read; to close it is a change.
        """
        new = ledger.succeeded_by()
        written = self._collection.update_one(
            {"_id": ledger.id, "version": ledger.version}, {"$set": new.changing_to_bson()}
        )
        if not written.modified_count:
            raise WriteConflict(f"The ledger of subnet {ledger.id} was changed meanwhile.")
        return new

    def open(self, ledger: Ledger) -> None:
        """Open *ledger*, which was read closed; nothing happens if it has changed since."""
        change: Bson = {"$set": {"state": LedgerState.OPEN.value}, "$inc": {"version": 1}}
        if not ledger.entries:
            change["$unset"] = {"unfinished": 1}
        self._collection.update_one({"_id": ledger.id, "version": ledger.version}, change)

    def close(self, id_: ObjectId, *, only_empty: bool) -> None:
        """Close the ledger of a subnet, or close it again.

        A worker that has read it before cannot write it any more.

        Raises:
            NotEmpty: If *only_empty* and addresses of it are taken.
            WriteConflict: If there was none to close.
        """
        empty = {"used": 0} if only_empty else {}
        closed = {"state": LedgerState.CLOSED.value, "unfinished": utc_now()}
        # The version moves too, so that this holds though it be opened again.
        written = self._collection.update_one({"_id": id_, **empty}, {"$set": closed, "$inc": {"version": 1}})
        if written.modified_count:
            return
        ledger = self.find(id_)
        if ledger is not None and only_empty and ledger.used:
            reserved = count_addresses(ledger.used)
            message = f"{reserved} reserved in subnet {id_}; release first, or leave ?cascade=false away."
            raise NotEmpty(message)
        raise WriteConflict(f"The ledger of subnet {id_} was changed meanwhile.")

    def retire(self, id_: ObjectId) -> None:
        """Say of a closed ledger that it stays so: nothing hangs on its subnet any more."""
        self._collection.update_one(
            {"_id": id_, "state": LedgerState.CLOSED.value},
            {"$set": {"used": 0, "full": []}, "$unset": {"unfinished": 1}, "$inc": {"version": 1}},
        )

    def forget(self, id_: ObjectId) -> None:
        """Remove the ledger of a subnet that was deleted long ago."""
        self._collection.delete_one({"_id": id_, "state": LedgerState.CLOSED.value})

    def striking_out(self, id_: ObjectId, grants: Iterable[Grant], releases: Collection[Release]) -> Writes:
        """Return how entries are struck out that were carried out; nothing happens to grants struck out before.

        The addresses of *releases* count as free from then on, once: if any of them was struck out before, nothing
        happens to all of them.
        """
        by_batch: dict[ObjectId | None, list[ObjectId]] = {}
        for grant in grants:
            by_batch.setdefault(grant.batch, []).append(grant.job)
        updates: list[tuple[Bson, Bson]] = []
        for batch, jobs in by_batch.items():
            named: Bson = {"batch": batch, "job": {"$in": jobs}}
            updates.append(
                (
                    {"_id": id_, "grants": {"$elemMatch": named}},
                    {"$pull": {"grants": named}, "$inc": {"version": 1}},
                )
            )
        if releases:
            ids = [release.id for release in releases]
            addresses = sum(len(release.addresses) for release in releases)
            there = [{"releases.id": id_of_release} for id_of_release in ids]
            updates.append(
                (
                    {"_id": id_, "$and": there},  # And not $all, which SecantusDB does not find in what is nested.
                    {
                        "$pull": {"releases": {"id": {"$in": ids}}},
                        "$inc": {"used": -addresses, "version": 1},
                    },
                )
            )
        return Writes("ledgers", updates=updates)

    def withdraw_grant(self, id_: ObjectId, grant: Grant) -> None:
        """Strike out a grant that does not count, and count its addresses as free, once."""
        named = {"batch": grant.batch, "job": grant.job}
        self._collection.update_one(
            {"_id": id_, "grants": {"$elemMatch": named}},
            {"$pull": {"grants": named}, "$inc": {"used": -len(grant.addresses), "version": 1}},
        )

    def unfinished(self, recent: Span) -> Iterator[Ledger]:
        """Yield ledgers in which something may go on that was begun, but not in the span *recent*."""
        for side in recent.sides():
            with self._collection.find({"unfinished": side}) as found:
                yield from map(Ledger.from_bson, found.batch_size(READ_CHUNK))

    def rest(self, ledgers: Iterable[Ledger]) -> None:
        """Note that nothing goes on in *ledgers*, open and without entries, unless they have changed since."""
        updates = [
            UpdateOne({"_id": one.id, "version": one.version}, {"$unset": {"unfinished": 1}}) for one in ledgers
        ]
        if updates:
            self._collection.bulk_write(updates, ordered=False)

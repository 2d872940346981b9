"""Pools, and the ranges that keep their subnets apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from ipam.errors import NotEmpty, SubnetOverlap
from ipam.models import event_factory
from ipam.models.addresses import to_place
from ipam.models.audit_context import AuditContext, current_audit_context
from ipam.models.document import check_revision, description_to_bson, succeeded_by
from ipam.models.pool import Pool, PoolState
from ipam.models.search_keys import KEEP_TOMBSTONES, expiry_keys
from ipam.models.subnet import Subnet
from ipam.storage.connection import READ_CHUNK, among, chunks, insert_missing, speaks_mongo
from ipam.storage.document_store import DocumentStore, moved_on
from ipam.storage.outbox import telling, telling_new
from ipam.storage.time_span import Span
from ipam.util.clock import utc_now
from ipam.util.retry import retry_on_conflict


@speaks_mongo
class PoolStore(DocumentStore[Pool]):
    """The collection `pools`."""

    kind = Pool.type_name
    visible = {"state": PoolState.ACTIVE.value}
    unread = ("ranges",)

    def __init__(self, database: Database[Any]) -> None:
        super().__init__(database, Pool.from_bson)

    def insert(self, pool: Pool) -> Pool:
        """Store a new pool, and return it as it is stored; to store it twice changes nothing.

        Raises:
            NotFound: If it was stored before and is deleted.
        """
        insert_missing(self._collection, [telling_new(pool.to_bson(), event_factory.created(pool))])
        stored = self.get(pool.id)
        self._tell(stored)
        return stored

    def refuse(self, pool: Pool) -> Pool | None:
        """Keep *pool* from ever being created; the pool, if the same request has created it before."""
        tombstone = replace(pool, name="", tags=(), metadata=None).to_bson()
        insert_missing(self._collection, [{**tombstone, **_dead()}])
        return self._seen(pool.id)

    def hold_range(self, subnet: Subnet) -> None:
        """Give the range of *subnet* to it, if no other subnet of the pool has any of it.

        One conditional write, so that of two overlapping subnets created at once only one gets through.

        Raises:
            NotFound: If there is no such pool.
            SubnetOverlap: If another subnet is in the way; its id is the fact `subnet`.
            WriteConflict: If the range was in the way and no longer is; try again.
        """
        start, end = map(to_place, subnet.held)
        entry = {"subnet": subnet.id, "start": start, "end": end}
        crossing = {"$elemMatch": {"start": {"$lte": end}, "end": {"$gte": start}}}
        held = self._collection.update_one(
            {"_id": subnet.pool, **self.visible, "ranges": {"$not": crossing}}, {"$push": {"ranges": entry}}
        )
        if held.modified_count:
            return
        pool = self._collection.find_one({"_id": subnet.pool})
        if pool is None or not self._is_visible(pool):
            raise self.missing(subnet.pool)
        others = [held for held in pool["ranges"] if held["start"] <= end and held["end"] >= start]
        if any(other["subnet"] == subnet.id for other in others):
            return
        if not others:
            raise self._changed(subnet.pool)
        other = others[0]["subnet"]
        low, high = subnet.held
        message = f"{low} to {high} overlaps subnet {other} of the same pool; choose another range."
        raise SubnetOverlap(message, subnet=str(other))

    def drop_range(self, pool: ObjectId, subnet: ObjectId) -> None:
        """Take the range of *subnet* back; nothing happens when it has none."""
        self._collection.update_one({"_id": pool}, {"$pull": {"ranges": {"subnet": subnet}}})

    def begin_delete(self, id_: ObjectId, revisions: frozenset[int] | None, *, only_empty: bool) -> None:
        """Hide the pool, so that nothing more is put into it.

        Raises:
            NotFound: If there is no such pool.
            Stale: If it has another revision than the caller accepts.
            NotEmpty: If *only_empty* and it has subnets.
        """

        def attempt() -> None:
            pool = self.get(id_)
            check_revision(self.kind, pool.revision, revisions)
            empty: dict[str, Any] = {"ranges": []} if only_empty else {}
            hidden = succeeded_by(pool)
            fields = {
                "state": PoolState.DELETING.value,
                "deleted_by": current_audit_context().to_json(),
                "unfinished": utc_now(),
            }
            written = self._collection.update_one(
                {"_id": id_, **self.visible, "revision": pool.revision, **empty},
                telling(moved_on(hidden, **fields), event := event_factory.deleted(hidden)),
            )
            if written.modified_count:
                self._tell(pool, event)
                return
            if only_empty and self.holders(id_):
                message = f"The pool {id_} has subnets; delete them first, or leave ?cascade=false away."
                raise NotEmpty(message)
            raise self._changed(id_)

        retry_on_conflict(attempt)

    def holders(self, *ids: ObjectId) -> list[ObjectId]:
        """Return the subnets that hold a range in any of these pools, whatever state they or the pools are in."""
        found = (
            bson
            for some in chunks(ids, READ_CHUNK)
            for bson in self._collection.find({"_id": among(some)}, {"ranges.subnet": 1})
        )
        return [held["subnet"] for bson in found for held in bson["ranges"]]

    def deleted_by(self, id_: ObjectId) -> AuditContext:
        """Return where the deletion of a hidden pool comes from."""
        found = self._collection.find_one({"_id": id_}, {"deleted_by": 1}) or {}
        return AuditContext.from_json(found.get("deleted_by"))

    def finish_delete(self, id_: ObjectId) -> None:
        """Leave only a tombstone of a hidden pool in which no subnet holds a range any more."""
        self._collection.update_one(
            {"_id": id_, "state": PoolState.DELETING.value, "ranges": []},
            {
                "$set": {
                    **description_to_bson("", (), None),
                    **_dead(),
                },
                "$unset": {"unfinished": 1},
            },
        )

    def renew_sweep(self, id_: ObjectId) -> None:
        """Say that a hidden pool is being swept; nothing happens to one that is not hidden."""
        self._collection.update_one(
            {"_id": id_, "state": PoolState.DELETING.value}, {"$set": {"unfinished": utc_now()}}
        )

    def take_over_sweep(self, recent: Span) -> Iterator[ObjectId]:
        """Yield hidden pools that no process has swept in the span *recent*, each to one caller only."""
        yield from (bson["_id"] for bson in self._take_over(recent, {"state": 1, "unfinished": 1}))


def _dead() -> dict[str, Any]:
    return {"state": PoolState.DELETED.value, "keys": expiry_keys(utc_now() + KEEP_TOMBSTONES)}

"""Subnets and their ledgers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING
from pymongo.database import Database

from ipam.errors import NotEmpty, Transient, WriteConflict
from ipam.models import event_factory
from ipam.models.addresses import Address, count_addresses, from_place, to_place
from ipam.models.audit_context import current_audit_context
from ipam.models.document import check_revision, description_to_bson, succeeded_by
from ipam.models.event import Outbox
from ipam.models.fields import Bson
from ipam.models.ledger import Grant, Ledger, Release
from ipam.models.subnet import Subnet, SubnetState
from ipam.storage.bulk_writes import Writes
from ipam.storage.connection import READ_CHUNK, among, chunks, insert_missing, speaks_mongo
from ipam.storage.document_store import DocumentStore, moved_on
from ipam.storage.outbox import telling
from ipam.storage.pools import PoolStore
from ipam.storage.query import Page, Query
from ipam.storage.subnet_index import SubnetIndex
from ipam.storage.time_span import Span
from ipam.util.clock import utc_now
from ipam.util.retry import retry_on_conflict

log = logging.getLogger(__name__)
# When what stands there was begun.
_BEGUN = ("ledger.grants.at", "ledger.releases.at", "outbox_since")
_WITHOUT_METADATA = {"metadata": 0, "facets": 0}


def holding(place: bytes) -> Bson:
    """Return the condition that a subnet has the address at *place* against others."""
    return {"low": {"$lte": place}, "high": {"$gte": place}}


def _place_in(wanted: Bson) -> bytes | None:
    """Return an address that any subnet has which is as *wanted*; None if that says nothing of its range."""
    low = wanted.get("low", wanted.get("start"))
    return low["$lte"] if isinstance(low, dict) else low


@dataclass(frozen=True, slots=True)
class Usage:
    """A pool's number of subnets, their size, and how many of their addresses are used."""

    subnets: int = 0
    size: int = 0
    used: int = 0


@speaks_mongo
class SubnetStore(DocumentStore[Subnet]):
    """The collection `subnets`."""

    kind = Subnet.type_name
    visible = {"state": SubnetState.ACTIVE.value}

    def __init__(self, database: Database[Any]) -> None:
        super().__init__(database, Subnet.from_bson)
        self._pools = PoolStore(database)
        self._index = SubnetIndex(database)

    def insert(self, subnet: Subnet) -> None:
        """Store a new subnet, hidden until it is activated; to store it twice changes nothing.

        Its outbox has the event of its creation already, but is not published before the subnet is shown.
        """
        insert_missing(
            self._collection, [{**subnet.to_bson(), "outbox": [event_factory.created(subnet).to_bson()]}]
        )

    def refuse(self, subnet: Subnet) -> Subnet | None:
        """Keep *subnet* from ever being created; the subnet, if the same request has begun to create it before."""
        tombstone = replace(subnet, name="", tags=(), metadata=None, state=SubnetState.DELETED)
        insert_missing(self._collection, [tombstone.to_bson()])
        found = self.find(subnet.id)
        return found if found and found.state in (SubnetState.CREATING, SubnetState.ACTIVE) else None

    def activate(self, id_: ObjectId) -> Subnet | None:
        """Show a subnet that was being created, and return it; None when it is on its way out already."""
        created = self.find(id_)  # The first insert counts: of a request sent twice, one may have been amended.
        if created is not None and created.state is SubnetState.CREATING:
            self._index.enter(created)
            shown = {"state": SubnetState.ACTIVE.value, "outbox_since": utc_now()}
            self._collection.update_one({"_id": id_, "state": SubnetState.CREATING.value}, {"$set": shown})
        subnet = self._seen(id_)
        if subnet is not None:
            self._tell(subnet)
        return subnet

    def describe(
        self, id_: ObjectId, change: Callable[[Subnet], Subnet], revisions: frozenset[int] | None = None
    ) -> Subnet:
        """Update the description; until this returns, the subnet is also found by the former one."""
        subnet = super().describe(id_, change, revisions)
        try:
            self._index.narrow(subnet)
        except Transient:  # What was wanted is done.
            log.warning("subnet %s is found by what was written on it before, as well", id_)
        return subnet

    def page(self, query: Query) -> Page[Subnet]:
        """Return a page; conditions on range, pool, name, tag or metadata do not read all subnets."""
        wanted = query.by_field
        after = self.after(query)
        if (place := _place_in(wanted)) is not None:
            ids: Iterable[ObjectId] = self._index.around(from_place(place))
        elif query.facets:
            ids = self._index.having(query)
        elif "pool" in wanted:
            ids = sorted(self._pools.holders(wanted["pool"]))
        else:
            return super().page(query)
        return self.page_among(query, (id_ for id_ in ids if after is None or id_ > after))

    def in_order(self, pool: ObjectId | None, first: ObjectId | None) -> Iterator[Subnet]:
        """Yield the subnets of *pool*, None meaning all pools, by id from *first* on, in whatever state they are.

        They are read some at a time, as the caller goes on, and without their metadata.
        """
        if pool is None:
            from_first: Bson = {} if first is None else {"_id": {"$gte": first}}
            with self._collection.find(from_first, _WITHOUT_METADATA).sort("_id", ASCENDING) as found:
                yield from map(Subnet.from_bson, found.batch_size(READ_CHUNK))
            return
        ids = sorted(id_ for id_ in self._pools.holders(pool) if first is None or id_ >= first)
        for some in chunks(ids, READ_CHUNK):
            read = self._collection.find({"_id": among(some)}, _WITHOUT_METADATA)
            yield from sorted(map(Subnet.from_bson, read), key=lambda subnet: subnet.id)

    def find(self, id_: ObjectId) -> Subnet | None:
        """Return the subnet in whatever state, None when it is gone."""
        found = self._collection.find_one({"_id": id_})
        return Subnet.from_bson(found) if found else None

    def of_pool(self, pool: ObjectId, states: Sequence[SubnetState] = (SubnetState.ACTIVE,)) -> list[Subnet]:
        """Return the subnets of a pool, lowest address first."""
        subnets = (Subnet.from_bson(bson) for bson in self._of_pools([pool]))
        return sorted((one for one in subnets if one.state in states), key=lambda one: to_place(one.start))

    def containing(self, address: Address) -> list[Subnet]:
        """Return the subnets, one a pool at most, that hold *address* against others."""
        wanted = {**holding(to_place(address)), **self.visible}
        return [
            Subnet.from_bson(bson)
            for keys in chunks(self._index.around(address), READ_CHUNK)
            for bson in self._by_keys(keys, wanted)
        ]

    def usage(self, pools: Iterable[ObjectId]) -> dict[ObjectId, Usage]:
        """Return what the subnets of each pool come to."""
        totals = {pool: Usage() for pool in pools}
        for bson in self._of_pools(list(totals), {"pool": 1, "state": 1, "size": 1, "ledger.used": 1}):
            if not self._is_visible(bson):
                continue
            sum_ = totals[bson["pool"]]
            totals[bson["pool"]] = Usage(
                sum_.subnets + 1, sum_.size + int(bson["size"]), sum_.used + bson["ledger"]["used"]
            )
        return totals

    def _of_pools(self, pools: Sequence[ObjectId], shown: Bson | None = None) -> Iterator[Bson]:
        """Yield the subnets that hold a range in any of *pools*, whatever state they are in; in no order."""
        for keys in chunks(self._pools.holders(*pools), READ_CHUNK):
            yield from self._collection.find({"_id": among(keys)}, shown)

    def _mark(self, document: Subnet, facets: Sequence[str]) -> None:
        self._index.widen(document.id, document.revision, facets)

    def change_ledger(self, subnet: Subnet, ledger: Ledger) -> Subnet:
        """Replace the ledger that was read with *subnet*, and return the subnet as it is then.

        Raises:
            WriteConflict: If it has changed, or the subnet is not active any more.
        """
        new = replace(ledger, version=subnet.ledger.version + 1)
        written = self._collection.update_one(
            {"_id": subnet.id, "state": subnet.state.value, "ledger.version": subnet.ledger.version},
            {"$set": {"ledger": new.to_bson()}},
        )
        if not written.modified_count:
            raise WriteConflict(f"The ledger of subnet {subnet.id} was changed meanwhile.")
        return replace(subnet, ledger=new)

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
                    {"_id": id_, "ledger.grants": {"$elemMatch": named}},
                    {"$pull": {"ledger.grants": named}, "$inc": {"ledger.version": 1}},
                )
            )
        if releases:
            ids = [release.id for release in releases]
            addresses = sum(len(release.addresses) for release in releases)
            there = [{"ledger.releases.id": id_of_release} for id_of_release in ids]
            updates.append(
                (
                    {"_id": id_, "$and": there},  # And not $all, which SecantusDB does not find in what is nested.
                    {
                        "$pull": {"ledger.releases": {"id": {"$in": ids}}},
                        "$inc": {"ledger.used": -addresses, "ledger.version": 1},
                    },
                )
            )
        return Writes("subnets", updates=updates)

    def withdraw_grant(self, id_: ObjectId, grant: Grant) -> None:
        """Strike out a grant that does not count, and count its addresses as free, once."""
        named = {"batch": grant.batch, "job": grant.job}
        self._collection.update_one(
            {"_id": id_, "ledger.grants": {"$elemMatch": named}},
            {
                "$pull": {"ledger.grants": named},
                "$inc": {"ledger.used": -len(grant.addresses), "ledger.version": 1},
            },
        )

    def begin_delete(self, id_: ObjectId, revisions: frozenset[int] | None, *, only_empty: bool) -> None:
        """Hide the subnet, so that nothing more is taken from it.

        Raises:
            NotFound: If there is no such subnet.
            Stale: If it has another revision than the caller accepts.
            NotEmpty: If *only_empty* and addresses of it are taken.
        """

        def attempt() -> None:
            subnet = self.get(id_)
            check_revision(self.kind, subnet.revision, revisions)
            empty = {"ledger.used": 0} if only_empty else {}
            hidden = succeeded_by(subnet)
            fields = {"state": SubnetState.DELETING.value, "deleted_by": current_audit_context().to_json()}
            # The version moves too: a worker that has read the ledger before cannot take from it any more.
            change = {**moved_on(hidden, **fields), "$inc": {"ledger.version": 1}}
            written = self._collection.update_one(
                {"_id": id_, **self.visible, "revision": subnet.revision, **empty},
                telling(change, event := event_factory.deleted(hidden)),
            )
            if written.modified_count:
                self._tell(subnet, event)
                return
            if only_empty and subnet.ledger.used:
                reserved = count_addresses(subnet.ledger.used)
                message = f"{reserved} reserved in subnet {id_}; release first, or leave ?cascade=false away."
                raise NotEmpty(message)
            raise self._changed(id_)

        retry_on_conflict(attempt)

    def drop_unborn(self, id_: ObjectId) -> None:
        """Mark a subnet that is being created for deletion; neither has an event."""
        self._collection.update_one(
            {"_id": id_, "state": SubnetState.CREATING.value},
            {
                "$set": {"state": SubnetState.DELETING.value, "updated_at": utc_now()},
                "$unset": {"outbox": 1},
                "$inc": {"ledger.version": 1},
            },
        )

    def renew_sweep(self, id_: ObjectId, since: datetime | None = None) -> bool:
        """Say that a hidden subnet is being swept; False if it says already that it is, since another time."""
        wanted: dict[str, Any] = {"_id": id_, "state": SubnetState.DELETING.value}
        if since is not None:
            wanted["updated_at"] = since
        return self._collection.update_one(wanted, {"$set": {"updated_at": utc_now()}}).modified_count > 0

    def finish_delete(self, id_: ObjectId) -> None:
        """Leave only a tombstone of a hidden subnet on which nothing hangs any more."""
        self._collection.update_one(
            {"_id": id_, "state": SubnetState.DELETING.value},
            {
                "$set": {
                    **description_to_bson("", (), None),
                    "state": SubnetState.DELETED.value,
                    "updated_at": utc_now(),
                }
            },
        )
        self._index.leave(id_)

    def forget(self, id_: ObjectId) -> None:
        """Remove the tombstone of a deleted subnet."""
        self._index.leave(id_)
        self._collection.delete_one({"_id": id_, "state": SubnetState.DELETED.value})

    def tell(self, subnet: Subnet) -> None:
        """Publish the outbox of *subnet*, whose process has died."""
        self._events.add_and_clear([Outbox(subnet.outbox, "subnets", subnet.id)])

    def unfinished(self, recent: Span, deleted_before: datetime) -> list[Subnet]:
        """Subnets on which something is not finished, or not told, that was not begun in the span *recent*.

        And the tombstones of those that were deleted before the time *deleted_before*.
        """
        wanted = {
            "$or": [
                {"state": SubnetState.CREATING.value, "created_at": recent.outside()},
                {"state": SubnetState.DELETING.value, "updated_at": recent.outside()},
                {"state": SubnetState.DELETED.value, "updated_at": {"$lt": deleted_before}},
                *({field: side} for field, side in product(_BEGUN, recent.sides())),
            ]
        }
        return [Subnet.from_bson(bson) for bson in self._collection.find(wanted)]

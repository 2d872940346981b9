"""Subnets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from bson import ObjectId
from pymongo.database import Database

from ipam.models import event_factory
from ipam.models.addresses import Address, from_place, to_place
from ipam.models.audit_context import current_audit_context
from ipam.models.cidr_cover import around_in_subnets
from ipam.models.document import description_to_bson, succeeded_by
from ipam.models.fields import Bson
from ipam.models.subnet import Subnet, SubnetState
from ipam.storage.connection import READ_CHUNK, chunks, insert_missing, keys_among, speaks_mongo
from ipam.storage.document_store import DocumentStore, moved_on
from ipam.storage.ledgers import LedgerStore
from ipam.storage.outbox import telling
from ipam.storage.pools import PoolStore
from ipam.storage.query import DecodedSequence, Page, Query
from ipam.storage.time_span import Span
from ipam.util.clock import utc_now

# What a tombstone does not keep: what users wrote, and what it would be found by.
_DROPPED = dict.fromkeys((*description_to_bson("", (), None), "prefixes", "unfinished"), 1)


def holding(place: bytes) -> Bson:
    """Return the condition that a subnet has the address at *place* against others."""
    return {"low": {"$lte": place}, "high": {"$gte": place}}


def _place_in(wanted: Bson) -> bytes | None:
    """Return an address that any subnet has which is as *wanted*; None if that says nothing of its range."""
    low = wanted.get("low", wanted.get("start"))
    return low["$lte"] if isinstance(low, dict) else low


@speaks_mongo
class SubnetStore(DocumentStore[Subnet]):
    """The collection `subnets`; the number of addresses that are taken is added from their ledgers."""

    kind = Subnet.type_name
    visible = {"state": SubnetState.ACTIVE.value}

    def __init__(self, database: Database[Any]) -> None:
        super().__init__(database, Subnet.from_bson)
        self._pools = PoolStore(database)
        self._ledgers = LedgerStore(database)

    def insert(self, subnet: Subnet) -> None:
        """Store a new subnet, hidden until it is activated; to store it twice changes nothing.

        Its outbox has the event of its creation already, but is not published before the subnet is shown.
        """
        outbox = [event_factory.created(subnet).to_bson()]
        insert_missing(self._collection, [{**subnet.to_bson(), "outbox": outbox, "unfinished": subnet.created_at}])

    def refuse(self, subnet: Subnet) -> Subnet | None:
        """Keep *subnet* from ever being created; the subnet, if the same request has begun to create it before."""
        refused = replace(subnet, state=SubnetState.DELETED).to_bson()
        kept = {name: value for name, value in refused.items() if name not in _DROPPED}
        insert_missing(self._collection, [{**kept, "deleted_at": utc_now()}])
        found = self.find(subnet.id)
        return found if found and found.state in (SubnetState.CREATING, SubnetState.ACTIVE) else None

    def activate(self, id_: ObjectId) -> Subnet | None:
        """Show a subnet that was being created, and return it; None when it is on its way out already."""
        self._collection.update_one(
            {"_id": id_, "state": SubnetState.CREATING.value},
            {
                "$set": {"state": SubnetState.ACTIVE.value, "outbox_since": utc_now()},
                "$unset": {"unfinished": 1},
            },
        )
        return self._seen(id_)

    def tell(self, subnet: Subnet) -> None:
        """Publish the creation of *subnet*, which was just shown."""
        self._tell(subnet)

    def is_active(self, id_: ObjectId) -> bool:
        """Return whether users see the subnet."""
        found = self._collection.find_one({"_id": id_}, {"state": 1})
        return found is not None and self._is_visible(found)

    def get_many(self, ids: Iterable[ObjectId]) -> dict[ObjectId, Subnet]:
        """Return those of *ids* that users see, by id."""
        found = self.read_many(ids)
        used = self._ledgers.used(found)
        return {id_: replace(subnet, used=used[id_]) for id_, subnet in found.items()}

    def _seen(self, id_: ObjectId) -> Subnet | None:
        return self.get_many([id_]).get(id_)

    def page(self, query: Query) -> Page[Subnet]:
        """Return a page; conditions on range, pool, name, tag or metadata do not read all subnets."""
        page = self._page_without_used(query)
        used = self._ledgers.used(cast("Sequence[ObjectId]", page.keys))
        return replace(
            page, items=DecodedSequence(page.items, lambda subnet: replace(subnet, used=used[subnet.id]))
        )

    def _page_without_used(self, query: Query) -> Page[Subnet]:
        wanted = query.by_field
        after = self.after(query)
        if (place := _place_in(wanted)) is not None:
            ids: Iterable[ObjectId] = self._around(from_place(place))
        elif query.facets or "pool" not in wanted:
            return super().page(query)
        else:
            ids = sorted(self._pools.holders(wanted["pool"]))
        return self.page_among(query, (id_ for id_ in ids if after is None or id_ > after))

    def find(self, id_: ObjectId) -> Subnet | None:
        """Return the subnet in whatever state, without what is taken of it; None when it is gone."""
        found = self._collection.find_one({"_id": id_})
        return Subnet.from_bson(found) if found else None

    def containing(self, address: Address) -> list[Subnet]:
        """Return the subnets, one a pool at most, that hold *address* against others; `used` is not read."""
        wanted = {**holding(to_place(address)), **self.visible}
        return [
            Subnet.from_bson(bson)
            for keys in chunks(self._around(address), READ_CHUNK)
            for bson in self._by_keys(keys, wanted)
        ]

    def _around(self, address: Address) -> list[ObjectId]:
        """Return the subnets that may hold *address*, in the order of their ids."""
        return keys_among(self._collection, "prefixes", around_in_subnets(address))

    def hide(self, subnet: Subnet) -> None:
        """Hide *subnet*, which was read before its ledger was closed, and tell of its deletion.

        Raises:
            WriteConflict: If it was changed, or a deletion of it stopped, since it was read.
        """
        hidden = succeeded_by(subnet)
        fields = {
            "state": SubnetState.DELETING.value,
            "deleted_by": current_audit_context().to_json(),
            "unfinished": utc_now(),
        }
        written = self._collection.update_one(
            {"_id": subnet.id, **self.visible, "revision": subnet.revision, "fence": subnet.fence},
            telling(moved_on(hidden, **fields), event := event_factory.deleted(hidden)),
        )
        if not written.modified_count:
            raise self._changed(subnet.id)
        self._tell(subnet, event)

    def put_fence(self, id_: ObjectId) -> bool:
        """Keep deletions that were begun from hiding the subnet; return False if it is not shown."""
        return self._collection.update_one({"_id": id_, **self.visible}, {"$inc": {"fence": 1}}).modified_count > 0

    def drop_unborn(self, id_: ObjectId) -> None:
        """Mark a subnet that is being created for deletion; neither has an event."""
        self._collection.update_one(
            {"_id": id_, "state": SubnetState.CREATING.value},
            {
                "$set": {"state": SubnetState.DELETING.value, "updated_at": utc_now()},
                "$unset": {"outbox": 1},
            },
        )

    def renew_sweep(self, id_: ObjectId) -> None:
        """Say that a hidden subnet is being swept."""
        self._collection.update_one(
            {"_id": id_, "state": SubnetState.DELETING.value}, {"$set": {"unfinished": utc_now()}}
        )

    def finish_delete(self, id_: ObjectId) -> None:
        """Leave only a tombstone of a hidden subnet on which nothing hangs any more."""
        now = utc_now()
        self._collection.update_one(
            {"_id": id_, "state": SubnetState.DELETING.value},
            {
                "$set": {"state": SubnetState.DELETED.value, "updated_at": now, "deleted_at": now},
                "$unset": _DROPPED,
            },
        )

    def take_over(self, recent: Span) -> Iterator[Subnet]:
        """Yield subnets whose creation or deletion stopped before the span *recent*, each to one caller only."""
        yield from map(Subnet.from_bson, self._take_over(recent))

    def deleted_before(self, time: datetime) -> list[ObjectId]:
        """Return the subnets of which only tombstones are left, since before *time*."""
        return [bson["_id"] for bson in self._collection.find({"deleted_at": {"$lt": time}}, {"_id": 1})]

    def forget(self, id_: ObjectId) -> None:
        """Remove the tombstone of a deleted subnet."""
        self._collection.delete_one({"_id": id_, "state": SubnetState.DELETED.value})

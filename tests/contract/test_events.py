"""Events from the outboxes of documents to the log, over the wire."""

from dataclasses import replace
from datetime import timedelta

from bson import ObjectId
from pymongo import MongoClient

from ipam.models.documents import Pool, utc_now
from ipam.models.events import Outbox
from ipam.models.stores import Stores


def a_pool(stores: Stores) -> Pool:
    return stores.pools.insert(Pool(id=ObjectId(), name="p"))


def test_an_outbox_is_emptied_only_of_what_was_added(stores):
    """Between reading and emptying it something is put in: all of it stays."""
    pool = a_pool(stores)
    (first,) = stores.pools.get(pool.id).outbox
    changed = stores.pools.describe(pool.id, lambda old: replace(old, name="new"))
    stores.events.clear([Outbox((first,), "pools", pool.id)])
    events = stores.pools.get(pool.id).outbox
    assert [event.id for event in events] == [f"pool-{pool.id}-1", f"pool-{pool.id}-2"]
    stores.events.clear([Outbox(events, "pools", pool.id)])
    assert stores.pools.get(pool.id) == replace(changed, outbox=())


def test_what_stands_in_outboxes_for_long_is_added_to_the_events_and_taken_out(stores, database, database_name):
    pool = a_pool(stores)
    stores.events.recover(utc_now() - timedelta(hours=1))
    assert stores.pools.get(pool.id).outbox
    stores.events.recover(utc_now() + timedelta(seconds=1))
    assert stores.pools.get(pool.id).outbox == ()
    with MongoClient(database) as client:
        added = client[database_name]["events"].find({"events.id": f"pool-{pool.id}-1"})
        assert len(list(added)) == 2  # Once by who made it: an event that is added twice does no harm.

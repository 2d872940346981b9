"""Events from the outboxes of documents to the log, over the wire."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from bson import ObjectId
from pymongo import MongoClient

from ipam.errors import WriteConflict
from ipam.events.relay import Relay
from ipam.models.audit_context import AuditContext
from ipam.models.event import Event, Outbox
from ipam.models.pool import Pool
from ipam.storage.stores import Stores
from ipam.storage.time_span import begun_within
from ipam.util.clock import utc_now
from tests.support.processes import in_processes


@pytest.fixture(scope="module")
def database_name() -> str:
    """A database of these tests' own: a log is one for all that happens."""
    return f"events-{uuid4().hex[:8]}"


@pytest.fixture
def stores(stores: Stores) -> Stores:
    """Those of all contract tests, with nothing left to do from the test before."""
    relay(stores)
    return stores


def a_pool(stores: Stores) -> Pool:
    return stores.pools.insert(Pool(id=ObjectId(), name="p"))


def an_event(path: str = "/pools/p", revision: int = 1) -> Event:
    return Event(
        id=f"{path}-{revision}-{uuid4().hex}",
        type="ipam.pool.updated",
        paths=(path, "/top"),
        revision=revision,
        time=utc_now(),
        audit_context=AuditContext(actor="alice"),
        data='{"n": 1}',
    )


def relay(stores: Stores) -> None:
    """Write to the log what there is to write."""
    while Relay(stores).step():
        pass


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


def test_old_outbox_is_moved_to_the_events(stores, database, database_name):
    pool = a_pool(stores)
    stores.events.recover(begun_within(3600))
    assert stores.pools.get(pool.id).outbox
    stores.events.recover(begun_within(-1))
    assert stores.pools.get(pool.id).outbox == ()
    with MongoClient(database) as client:
        added = client[database_name]["events"].find({"events.id": f"pool-{pool.id}-1"})
        assert len(list(added)) == 2  # Once by who made it: an event that is added twice does no harm.


def test_event_added_more_than_once_is_in_the_log_once(stores):
    first, second = an_event(), an_event()
    last = stores.log.last()
    stores.events.add([Outbox((first,)), Outbox((first, second))])
    relay(stores)
    stores.events.add([Outbox((second, first))])
    relay(stores)
    assert [entry.event for entry in stores.log.read(last)] == [first, second]
    assert [entry.sequence for entry in stores.log.read(last)] == [last + 1, last + 2]


def test_the_log_takes_what_was_added_in_the_order_in_which_it_happened(stores):
    """Whoever told of it later may have been the first to be heard."""
    last, path = stores.log.last(), f"/pools/{ObjectId()}"
    earlier, later = an_event(path, 2), replace(an_event(path, 3), time=utc_now() + timedelta(seconds=1))
    stores.events.add([Outbox((later,))])
    stores.events.add([Outbox((earlier,))])
    relay(stores)
    assert [entry.event for entry in stores.log.read(last)] == [earlier, later]


def test_outbox_is_empty_when_its_events_are_in_the_log(stores):
    pool = a_pool(stores)
    relay(stores)
    assert stores.pools.get(pool.id).outbox == ()
    assert stores.log.added(10) == ([], False)


@pytest.mark.parametrize("subject", [None, "/pools/even", "/top"])
def test_the_log_is_read_from_any_place_without_gap_or_repetition(stores, subject: str | None):
    """Groups of many sizes, on both sides of hundreds."""
    begin = stores.log.last()
    expected = []
    for size in (1, 98, 1, 100, 230, 3, 70):
        events = [an_event("/pools/even" if n % 2 else "/pools/odd") for n in range(size)]
        stores.log.append(stores.log.last(), events)
        expected += [event for event in events if subject is None or subject in event.paths]
    ids = [event.id for event in expected]
    found = [(entry.sequence, entry.event.id) for entry in stores.log.read(begin, subject)]
    assert [id_ for _, id_ in found] == ids
    for index in range(0, len(found), 7):
        after = found[index][0]
        assert [(one.sequence, one.event.id) for one in stores.log.read(after, subject)] == found[index + 1 :]


def test_the_end_of_the_log_is_found_though_nobody_has_written_it_down(stores):
    for size in (250, 1, 49, 100, 3):
        last = stores.log.append(stores.log.last(), [an_event() for _ in range(size)])
        assert stores.log.last() == last


def test_sequence_of_the_log_is_written_once(stores):
    last = stores.log.last()
    stores.log.append(last, [an_event()])
    with pytest.raises(WriteConflict):
        stores.log.append(last, [an_event()])


def test_events_since_a_time_are_found_behind_a_sequence(stores):
    for _ in range(5):
        stores.log.append(stores.log.last(), [an_event() for _ in range(90)])
    now, last = utc_now(), stores.log.last()
    stores.log.append(last, [an_event() for _ in range(150)])
    assert last - 200 <= stores.log.since(now) <= last
    assert stores.log.since(now - timedelta(hours=1)) == 0
    assert stores.log.since(now + timedelta(hours=1)) <= stores.log.last()


def test_event_written_by_many_relays_gets_one_sequence(stores, database, database_name):
    """Four processes tell of the same and of different events, and write to the log, all at once."""
    begin = stores.log.last()
    shared = [uuid4().hex for _ in range(60)]
    code = f"""
from ipam.errors import WriteConflict
from ipam.events.relay import Relay
from ipam.util.clock import utc_now
from ipam.models.event import Event, Outbox
from ipam.models.audit_context import AuditContext
relay = Relay(stores)
for id_ in {shared!r}:
    for own in (id_, ObjectId()):
        fixed = dict(type="t", paths=("/p",), revision=1, audit_context=AuditContext(), data="1")
        stores.events.add([Outbox((Event(id=str(own), time=utc_now(), **fixed),))])
    try:
        relay.step()
    except WriteConflict:
        pass
"""
    in_processes(database, database_name, code)
    relay(stores)
    entries = list(stores.log.read(begin))
    assert [entry.sequence for entry in entries] == list(range(begin + 1, begin + 1 + len(entries)))
    ids = [entry.event.id for entry in entries]
    assert len(ids) == len(set(ids)) == 60 + 4 * 60
    assert set(shared) <= set(ids)

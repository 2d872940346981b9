"""A log that is kept for some time only, over the wire."""

import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

from ipam.errors import InvalidParameter
from ipam.events.log_reader import EventFilter, LogReader
from ipam.events.relay import Relay
from ipam.models.audit_context import AuditContext
from ipam.models.event import Event, Outbox
from ipam.storage.connection import connect
from ipam.storage.stores import Stores
from ipam.util.clock import utc_now
from tests.support.servers import wait_until

ALL = sys.maxsize


@pytest.fixture
def stores(database: str) -> Iterator[Stores]:
    """On a database of each test's own: a log is one for all that happens."""
    made = connect(database, f"forgetting-{uuid4().hex[:8]}", 60)
    yield Stores(made)
    made.client.drop_database(made.name)
    made.client.close()


def an_event() -> Event:
    return Event(
        id=uuid4().hex, type="t", paths=("/p",), revision=1, time=utc_now(), audit_context=AuditContext(), data="{}"
    )


def write(stores: Stores, *sizes: int) -> None:
    for size in sizes:
        last = stores.log.last()
        stores.log.settle([], last, stores.log.append(last, [an_event() for _ in range(size)]))


def sequences(stores: Stores, after: int = 0) -> list[int]:
    return [entry.sequence for entry in stores.log.read(after)]


def later() -> timedelta:
    return utc_now() + timedelta(seconds=1)


def test_log_forgets_old_events_and_keeps_the_rest_without_gap(stores):
    """Groups end on both sides of hundreds; the one that the log has come to stays, however old it is."""
    write(stores, 99, 50, 100, 51, 5)
    assert stores.log.begin().sequence == 1
    assert not stores.log.forget(later(), ALL)
    assert sequences(stores) == list(range(250, 306))
    assert sequences(stores, 260) == list(range(261, 306))
    assert [entry.sequence for entry in stores.log.read(0, "/p")] == sequences(stores)
    assert (stores.log.begin().sequence, stores.log.last()) == (250, 305)
    write(stores, 100)
    assert sequences(stores) == list(range(250, 406))


def test_log_forgets_only_old_events_that_the_bus_has(stores):
    write(stores, 100, 100, 100)
    begin = utc_now()
    stores.log.forget(begin - timedelta(hours=1), ALL)
    assert stores.log.begin().time is None
    stores.log.forget(later(), told=150)
    assert sequences(stores) == list(range(101, 301))
    assert begin - timedelta(hours=1) < stores.log.begin().time <= utc_now()


def test_log_that_a_dead_relay_forgot_in_part_is_forgotten_by_the_next(stores, monkeypatch):
    write(stores, 100, 100, 100, 100)
    with monkeypatch.context() as crash:
        crash.setattr(stores.log, "_log", Dying(stores.log._log))  # noqa: SLF001
        with pytest.raises(KeyboardInterrupt):
            stores.log.forget(later(), ALL)
    assert sequences(stores) == list(range(101, 401))
    stores.log.forget(later(), told=200)
    assert sequences(stores) == list(range(201, 401))
    assert stores.log.document(1).entries == ()


def test_beginning_of_the_log_is_known_while_it_is_forgotten(stores):
    write(stores, 100, 100, 100)
    stores.log.forget(later(), ALL)
    stores.log._log.delete_many({})  # noqa: SLF001  (by somebody who has come further meanwhile)
    assert stores.log.begin().sequence == 300


class Dying:
    """A collection for somebody who dies before he removes anything."""

    def __init__(self, collection) -> None:
        self.find = collection.find

    def delete_many(self, _wanted):
        raise KeyboardInterrupt


def test_a_long_log_is_forgotten_bit_by_bit(stores, monkeypatch):
    monkeypatch.setattr("ipam.storage.event_log._FORGOTTEN_AT_ONCE", 2)
    write(stores, *[100] * 5)
    lengths = []
    while stores.log.forget(later(), ALL):
        lengths.append(len(sequences(stores)))
    assert sorted(set(lengths), reverse=True) == lengths
    assert sequences(stores)[0] > 400


def test_reader_of_forgotten_events_is_told_where_the_log_begins(stores):
    write(stores, 100, 100, 100)
    stores.log.forget(later(), told=200)
    following = LogReader(stores.log, 1, "/ipam")
    with pytest.raises(InvalidParameter, match="events before 201 are not kept any more; go on with after=200"):
        following.page(EventFilter(after=199, limit=10))
    for after in (0, 200):
        assert following.page(EventFilter(after=after, limit=10)).entries[0].sequence == 201
    assert following.page(EventFilter(limit=10, since=utc_now() - timedelta(hours=1))).entries[0].sequence == 201


def test_the_relay_forgets_what_was_kept_long_enough(stores):
    write(stores, 100, 100)
    for keep, first in ((None, 1), (timedelta(days=1), 1), (timedelta(0), 101)):
        relay = Relay(stores, keep=keep)
        stores.events.add([Outbox((an_event(),))])
        while relay.step():
            pass
        stopped = threading.Event()
        running = threading.Thread(target=relay.run, args=(stopped,))
        running.start()
        wait_until(lambda first=first: sequences(stores)[0] == first, 30, f"the log to begin with {first}")
        stopped.set()
        running.join()

"""Telling a bus what is in the log; without a server, for logic only."""

import json
import threading
from collections.abc import Callable

import pytest
from bson import ObjectId

from ipam.errors import Transient, WriteConflict
from ipam.events.buses import Message
from ipam.events.publisher import Publisher
from ipam.events.relay import Relay
from ipam.models.audit_context import AuditContext
from ipam.models.event import Event, Outbox
from ipam.storage.stores import Stores
from ipam.util.clock import utc_now
from tests.support.servers import wait_until


class Wire:
    """A bus that remembers what it was told; *fails* says of which messages it takes none."""

    def __init__(self) -> None:
        self.told: list[dict] = []
        self.fails: Callable[[int], bool] = lambda _: False
        self.max_bytes = 1000
        self.closed = False

    def publish(self, message: Message) -> None:
        event = json.loads(message.body)
        if self.fails(int(event["sequence"])):
            raise Transient("The bus took no event.")
        self.told.append(event)

    def close(self) -> None:
        self.closed = True

    @property
    def sequences(self) -> list[int]:
        return [int(event["sequence"]) for event in self.told]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def publishing(stores: Stores, wire: Wire) -> Publisher:
    return Publisher(stores.log, stores.leader_lease, wire, "/ipam")


def write(stores: Stores, count: int, data: str = "{}") -> None:
    last = stores.log.last()
    events = [
        Event(
            id=f"{last}-{n}",
            type="t",
            paths=("/p",),
            revision=1,
            time=utc_now(),
            audit_context=AuditContext(),
            data=data,
        )
        for n in range(count)
    ]
    stores.log.append(last, events)


def test_a_bus_that_was_never_told_anything_hears_what_happens_from_now_on(stores, publishing, wire):
    write(stores, 3)
    relay = Relay(stores, publishing)
    relay.publish()
    write(stores, 250)
    relay.publish()
    assert wire.sequences == list(range(4, 254))


def test_publisher_goes_on_after_a_failure_with_what_was_not_taken(stores, publishing, wire):
    relay = Relay(stores, publishing)
    relay.publish()
    write(stores, 5)
    wire.fails = lambda sequence: sequence == 4
    with pytest.raises(Transient):
        relay.publish()
    wire.fails = lambda _: False
    relay.publish()
    assert wire.sequences == [1, 2, 3, 4, 5]


def test_leader_lease_goes_to_another_relay_when_its_holder_gives_up_or_is_silent(stores, publishing, wire):
    first, second, third = Relay(stores, publishing), Relay(stores, publishing), ObjectId()
    first.publish()
    write(stores, 1)
    second.publish()
    assert wire.sequences == []
    stopped = threading.Event()
    stopped.set()
    first.run(stopped)  # It stops at once, and gives up.
    second.publish()
    assert wire.sequences == [1]
    assert stores.leader_lease.take(third, 5) is None
    lapsed = stores.leader_lease.take(second._holder, -1)  # noqa: SLF001 (as if it had been silent for long)
    taken = stores.leader_lease.take(third, 5)
    assert (lapsed.published, taken.published, taken.fencing_token) == (1, 1, lapsed.fencing_token + 1)


def test_a_relay_that_lost_the_lead_without_knowing_tells_in_order_until_it_hears_of_it(stores, publishing, wire):
    """What it tells, the one at work tells too."""
    silent, at_work = Relay(stores, publishing), ObjectId()
    silent.publish()
    stores.leader_lease.take(silent._holder, -1)  # noqa: SLF001 (as if it had been silent for long)
    stores.leader_lease.take(at_work, 60)
    write(stores, 3)
    with pytest.raises(WriteConflict):
        silent.publish()
    write(stores, 2)
    silent.publish()
    assert wire.sequences == [1, 2, 3]
    assert stores.leader_lease.take(at_work, 60).published == 0


def test_relay_that_has_lost_the_lead_cannot_say_how_far_the_bus_is(stores, publishing):
    publishing.begin(stores.leader_lease.take(ObjectId(), -1))
    first = stores.leader_lease.take(ObjectId(), -1)
    second = stores.leader_lease.take(ObjectId(), 5)
    write(stores, 1)
    with pytest.raises(WriteConflict):
        publishing.step(first)
    assert publishing.step(second).published == 1


def test_the_bus_hears_of_the_first_thing_that_a_relay_writes(stores, publishing, wire):
    """Whichever of its two threads comes first."""
    relay = Relay(stores, publishing)
    relay._lead()  # noqa: SLF001 (as the thread that writes does before its first step)
    write(stores, 1)
    relay.publish()
    assert wire.sequences == [1]


def test_a_bus_has_one_beginning(stores, publishing):
    holder = ObjectId()
    lead = stores.leader_lease.take(holder, 5)
    publishing.begin(lead)
    write(stores, 3)
    publishing.begin(lead)
    assert stores.leader_lease.take(holder, 5).published == 0


def test_relay_whose_beginning_another_relay_has_prevented_publishes_all_the_same(
    stores, publishing, wire, monkeypatch
):
    """The other one takes the lead before the first beginning is stored, and dies: the simulation's seed 15867."""
    relay, begin = Relay(stores, publishing), publishing.begin

    def begin_late(lead) -> None:
        monkeypatch.setattr(publishing, "begin", begin)
        stores.leader_lease.give_up(relay._holder)  # noqa: SLF001
        stores.leader_lease.take(ObjectId(), -1.0)
        begin(lead)

    monkeypatch.setattr(publishing, "begin", begin_late)
    relay.publish()
    relay.publish()
    write(stores, 3)
    relay.publish()
    assert wire.sequences == [1, 2, 3]


def test_event_too_large_for_the_bus_says_where_it_is(stores, publishing, wire):
    relay = Relay(stores, publishing)
    relay.publish()
    write(stores, 1, json.dumps({"addresses": ["10.0.0.1"] * 200}))
    relay.publish()
    (event,) = wire.told
    assert "data" not in event
    assert event["dataref"] == "/events?after=0&limit=1"


def test_a_bus_that_is_away_does_not_hold_up_the_log(stores, publishing, wire):
    """The bus takes nothing, and takes its time over it."""
    refused = threading.Event()

    def fail(_: int) -> bool:
        return refused.wait(30)

    relay, stopped = Relay(stores, publishing), threading.Event()
    relay.publish()
    write(stores, 1)
    wire.fails = fail
    running = threading.Thread(target=relay.run, args=(stopped,))
    running.start()
    stores.events.add([Outbox((Event(
        id="later", type="t", paths=("/p",), revision=1, time=utc_now(), audit_context=AuditContext(), data="{}"
    ),))])  # fmt: skip
    wait_until(lambda: stores.log.last() == 2, 20, "the log to have it")
    assert wire.told == []
    stopped.set()
    refused.set()
    running.join(30)
    assert wire.closed

"""What is told of each change; without a server, for logic only."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import mongomock
import pytest
from bson import ObjectId

from ipam.allocation.provisioning import SubnetSpec
from ipam.errors import Transient
from ipam.models import document
from ipam.models.audit_context import AuditContext, use_audit_context
from ipam.models.event import Event
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.models.subnet import Subnet, SubnetState
from ipam.storage.outbox import EventStore
from ipam.util.clock import utc_now
from ipam.wiring import Services
from tests.support.stored import leases_of

ALICE = AuditContext(actor="alice", request_id="r-1", traceparent=f"00-{'1' * 32}-{'2' * 16}-01")


@pytest.fixture
def subnet(services: Services) -> Subnet:
    pool = services.provisioner.create_pool(Pool(id=ObjectId(), name="p"))
    draft = SubnetSpec(start=ip_address("10.0.0.0"), end=ip_address("10.0.0.9"))
    return services.provisioner.create_subnet(ObjectId(), pool.id, draft)


Told = Callable[..., list[Event]]


@pytest.fixture
def told(plain: mongomock.Database) -> Told:
    """The events of some types, in order."""

    def events(*types: str) -> list[Event]:
        groups = plain["events"].find({}).sort("_id", 1)
        events = [Event.from_bson(event) for group in groups for event in group["events"]]
        return [event for event in events if event.type.removeprefix("ipam.") in types]

    return events


def reserve(services: Services, subnet: Subnet, **wanted) -> ObjectId:
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest(**wanted))
    services.job_runner.run(subnet.id)
    return job.reservation


def lease_of(services: Services, reservation: ObjectId):
    return leases_of(services.stores, reservation)[0]


def test_event_of_a_subnet_has_its_paths_and_its_json(services, told, subnet):
    (of_subnet,) = told("subnet.created")
    assert [event.paths for event in told("pool.created")] == [(f"/pools/{subnet.pool}",)]
    assert of_subnet.id == f"subnet-{subnet.id}-1"
    assert of_subnet.paths == (f"/subnets/{subnet.id}", f"/pools/{subnet.pool}")
    data = json.loads(of_subnet.data)
    assert (data["start"], data["end"], data["size"], data["used"]) == ("10.0.0.0", "10.0.0.9", 10, 0)


def test_event_of_a_reservation_has_its_addresses(services, told, subnet):
    reservation = reserve(services, subnet, name="r", addresses=("10.0.0.1", "10.0.0.5", "10.0.0.6"), count=3)
    (event,) = told("reservation.created")
    assert event.paths == (f"/reservations/{reservation}", f"/subnets/{subnet.id}", f"/pools/{subnet.pool}")
    data = json.loads(event.data)
    assert data["addresses"] == ["10.0.0.1", "10.0.0.5-10.0.0.6"]
    assert (data["name"], data["count"], data["state"]) == ("r", 3, "active")
    assert event.time == services.stores.reservations.get(reservation).created_at


def test_event_of_an_update_has_what_was_changed(services, told, subnet):
    def change(old):
        return replace(old, name="new", metadata={"on": False})

    services.stores.subnets.describe(subnet.id, lambda old: replace(old, metadata={"on": 0}))
    services.stores.subnets.describe(subnet.id, change)
    *_, event = told("subnet.updated")
    assert event.revision == 3
    data = json.loads(event.data)
    assert data["before"] == {"name": "", "metadata": {"on": 0}}
    assert (data["name"], data["metadata"]) == ("new", {"on": False})


def test_update_that_changes_nothing_has_no_event(services, told, subnet):
    services.stores.subnets.describe(subnet.id, lambda old: old)
    assert told("subnet.updated") == []


def test_released_lease_has_an_event_and_so_has_its_reservation(services, told, subnet):
    reservation = reserve(services, subnet, count=2)
    lease = lease_of(services, reservation)
    services.releaser.release_lease(lease.id)
    (released,), (updated,) = told("lease.released"), told("reservation.updated")
    assert released.id == f"lease-{lease.id}-2"
    assert released.paths[0] == f"/leases/{lease.id}"
    assert json.loads(released.data)["address"] == str(lease.address)
    assert updated.id == f"reservation-{reservation}-2"
    assert json.loads(updated.data)["before"] == {"count": 2}


def test_a_refused_request_is_told_with_its_reason(services, told, subnet):
    reserve(services, subnet, count=11)
    (event,) = told("reservation.failed")
    data = json.loads(event.data)
    assert event.paths == (f"/jobs/{data['id']}", f"/subnets/{subnet.id}", f"/pools/{subnet.pool}")
    assert data["state"] == "failed"
    assert (data["error"]["type"], data["error"]["asked"], data["error"]["free"]) == ("/problems/exhausted", 11, 10)


def test_a_cancelled_request_is_told(services, told, subnet):
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    with use_audit_context(ALICE):
        services.job_queue.cancel(job.id)
    (event,) = told("reservation.failed")
    assert event.audit_context == ALICE
    assert json.loads(event.data)["state"] == "cancelled"


def test_events_of_a_deleted_pool_have_the_actor_of_its_deletion(services, told, subnet):
    reservation = reserve(services, subnet)
    with use_audit_context(ALICE):
        services.cascade_deleter.delete_pool(subnet.pool)
    events = told("pool.deleted", "subnet.deleted", "reservation.deleted")
    assert sorted(event.paths[0] for event in events) == [
        f"/pools/{subnet.pool}",
        f"/reservations/{reservation}",
        f"/subnets/{subnet.id}",
    ]
    assert {event.audit_context for event in events} == {ALICE}


def test_events_of_recovered_work_have_the_actor_of_the_request(services, told, subnet, monkeypatch):
    """A worker carries out the request, recovery the deletion: the origin is that of the request each time."""
    with use_audit_context(ALICE):
        job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest(count=2))
    services.job_runner.run(subnet.id)
    (created,) = told("reservation.created")
    assert created.audit_context == ALICE
    with monkeypatch.context() as crash, use_audit_context(ALICE):
        crash.setattr(type(services.cascade_deleter), "sweep_subnet", lambda *_: None)
        services.cascade_deleter.delete_subnet(subnet.id)
    services.cascade_deleter.sweep_subnet(subnet.id)
    (event,) = told("reservation.deleted")
    assert event.audit_context == ALICE
    assert event.paths[0] == f"/reservations/{job.reservation}"
    assert json.loads(event.data)["addresses"] == json.loads(created.data)["addresses"] == ["10.0.0.0-10.0.0.1"]


@pytest.mark.parametrize("kind", ["pool", "subnet"])
def test_a_change_is_told_later_when_the_database_goes_away_after_it(services, told, subnet, monkeypatch, kind):
    store, id_ = {"pool": (services.stores.pools, subnet.pool), "subnet": (services.stores.subnets, subnet.id)}[
        kind
    ]

    def fail(*_):
        raise Transient("The database did not answer.")

    with monkeypatch.context() as outage:
        outage.setattr(EventStore, "add", fail)
        changed = store.describe(id_, lambda old: replace(old, name="new"))
    assert changed.name == "new"
    assert told(f"{kind}.updated") == []
    monkeypatch.setattr(services.recovery, "claim_timeout_s", -1)
    services.recovery.run()
    assert len(told(f"{kind}.updated")) == 1
    assert store.get(id_).outbox == ()


def test_a_tombstone_of_which_nobody_was_told_stays_as_long_as_any(services, told, subnet, monkeypatch):
    with monkeypatch.context() as outage:
        outage.setattr(EventStore, "add", lambda *_: None)
        services.cascade_deleter.delete_subnet(subnet.id)
    monkeypatch.setattr(services.recovery, "claim_timeout_s", -1)
    services.recovery.run()
    assert len(told("subnet.deleted")) == 1
    assert services.stores.subnets.find(subnet.id).state is SubnetState.DELETED


def test_outbox_of_a_dead_process_is_published_before_what_comes_after(services, told, subnet, monkeypatch):
    with monkeypatch.context() as outage:
        outage.setattr(EventStore, "add", lambda *_: None)
        services.stores.subnets.describe(subnet.id, lambda old: replace(old, name="b"))
    services.stores.subnets.describe(subnet.id, lambda old: replace(old, name="c"))
    assert [json.loads(event.data)["name"] for event in told("subnet.updated")] == ["b", "c"]


def test_time_never_goes_back_on_a_resource(services, told, subnet, monkeypatch):
    """The second change is made by a machine whose clock is an hour behind."""
    services.stores.subnets.describe(subnet.id, lambda old: replace(old, name="b"))
    now = utc_now() - timedelta(hours=1)
    monkeypatch.setattr(document, "utc_now", lambda: now)
    services.stores.subnets.describe(subnet.id, lambda old: replace(old, name="c"))
    *_, first, second = told("subnet.updated")
    assert [json.loads(event.data)["name"] for event in (first, second)] == ["b", "c"]
    assert first.time <= second.time


def test_an_outbox_that_nobody_empties_does_not_grow_for_ever(services, told, subnet):
    for n in range(50):
        services.stores.subnets.describe(subnet.id, lambda old, n=n: replace(old, name=str(n)))
    assert len(services.stores.subnets.get(subnet.id).outbox) <= 17
    names = [json.loads(event.data)["name"] for event in told("subnet.updated")]
    assert sorted(set(names), key=int) == [str(n) for n in range(50)]


def test_new_document_was_updated_when_it_was_created():
    """Else now and then a millisecond later, which is how long it takes to ask the clock twice."""
    made = (Pool(id=ObjectId()) for _ in range(20_000))
    assert [pool for pool in made if pool.created_at != pool.updated_at] == []

"""Who held an address at a time; without a server, for logic only."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from random import Random

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from ipam.allocation.provisioning import SubnetSpec
from ipam.errors import InvalidParameter, SubnetOverlap
from ipam.events.relay import Relay
from ipam.models import cidr_cover
from ipam.models.audit_context import AuditContext
from ipam.models.cidr_cover import around_in_pool, around_in_subnets, prefixes_of_all
from ipam.models.event import Event
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.models.subnet import Subnet
from ipam.storage import event_log
from ipam.util.clock import utc_now
from ipam.wiring import Services
from tests.support.stored import leases_of

ADDRESSES = [ip_address("10.0.0.1"), ip_address("10.0.0.3"), ip_address("10.0.0.6"), ip_address("10.1.0.0")]
POOL = ObjectId()


class History:
    """Does things at random, and remembers who held which address after each."""

    def __init__(self, services: Services, seed: int) -> None:
        self.services = services
        self.random = Random(seed)
        self.pools = [services.provisioner.create_pool(Pool(id=ObjectId())) for _ in range(2)]
        self.subnets: list[Subnet] = []
        self.reservations: list[ObjectId] = []
        self.seen = []

    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.random.choice([self.create, self.reserve, self.reserve, self.release, self.release, self.rename])()
            if self.random.random() < 0.1:
                self.delete()
            self.look()

    def look(self) -> None:
        while Relay(self.services.stores).step():
            pass
        time = utc_now()
        self.seen += [(time, address, self.services.address_history.current(address)) for address in ADDRESSES]
        while utc_now() == time:  # What comes next is later.
            pass

    def create(self) -> None:
        start = ip_address(self.random.choice(["10.0.0.0", "10.0.0.4"]))
        pool = self.random.choice(self.pools)
        with suppress(SubnetOverlap):
            draft = SubnetSpec(start=start, end=start + 3)
            self.subnets.append(self.services.provisioner.create_subnet(ObjectId(), pool.id, draft))

    def reserve(self) -> None:
        if self.subnets:
            subnet = self.random.choice(self.subnets)
            wish = ReservationRequest(count=self.random.randint(1, 6), name=f"n{self.random.randrange(100)}")
            job = self.services.job_queue.accept(ObjectId(), self.services.stores.pools.get(subnet.pool), wish)
            self.services.job_runner.run(subnet.pool)
            if self.services.stores.reservations.get_many([job.reservation]):
                self.reservations.append(job.reservation)

    def release(self) -> None:
        living = list(self.services.stores.reservations.get_many(self.reservations))
        if living:
            one = self.random.choice(living)
            leases = leases_of(self.services.stores, one)
            if leases and self.random.random() < 0.5:
                self.services.releaser.release_lease(self.random.choice(leases).id)
            else:
                self.services.releaser.release_reservation(one)

    def rename(self) -> None:
        living = list(self.services.stores.reservations.get_many(self.reservations))
        if living:
            one, name = self.random.choice(living), f"n{self.random.randrange(100)}"
            self.services.stores.reservations.describe(one, lambda old: replace(old, name=name))

    def delete(self) -> None:
        if self.subnets:
            subnet = self.subnets.pop(self.random.randrange(len(self.subnets)))
            self.services.cascade_deleter.delete_subnet(subnet.id)


@pytest.mark.parametrize("seed", range(6))
def test_address_history_is_what_was_seen_at_each_moment(services, monkeypatch, seed):
    """Also where many events lie between, and an address comes back again and again."""
    monkeypatch.setattr(event_log, "GROUP", 3)
    history = History(services, seed)
    history.go_on(40)
    assert any(holder.reservation for *_, seen in history.seen for holder in seen)
    for time, address, seen in history.seen:
        then = services.address_history.as_of(address, time)
        assert [replace(one, lease=None) for one in then] == [replace(one, lease=None) for one in seen]
        leases = zip([one.lease for one in then], [one.lease for one in seen], strict=True)
        assert all(lease in (None, right) for lease, right in leases)


def test_address_history_of_a_deleted_subnet_ends_with_it(services):
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    start = ip_address("10.0.0.0")
    lower, upper = (SubnetSpec(start=start + first, end=start + first + 3) for first in (0, 4))
    subnet = services.provisioner.create_subnet(ObjectId(), pool.id, lower)
    services.provisioner.create_subnet(ObjectId(), pool.id, upper)
    services.job_queue.accept(ObjectId(), pool, ReservationRequest(count=8, name="both"))
    services.job_runner.run(pool.id)
    services.cascade_deleter.delete_subnet(subnet.id)
    successor = services.provisioner.create_subnet(ObjectId(), pool.id, lower)
    while Relay(services.stores).step():
        pass
    (holder,) = services.address_history.as_of(start, utc_now())
    assert (holder.subnet, holder.reservation) == (str(successor.id), None)
    (holder,) = services.address_history.as_of(start + 4, utc_now())
    assert holder.name == "both"


def test_address_history_before_the_log_is_what_is_known_since(services, monkeypatch):
    monkeypatch.setattr(event_log, "GROUP", 2)
    history = History(services, 0)
    history.look()
    before = utc_now()
    history.create()
    (subnet,) = history.subnets
    wish = ReservationRequest(count=2, name="old")
    job = services.job_queue.accept(ObjectId(), subnet, wish)
    services.job_runner.run(subnet.id)
    history.look()
    first, second = leases_of(services.stores, job.reservation)
    services.stores.pools.describe(subnet.pool, lambda old: replace(old, name="since then"))
    history.look()
    *_, (time, *_) = history.seen
    for name in ("a", "b", "c"):
        services.stores.pools.describe(subnet.pool, lambda old, name=name: replace(old, name=name))
    history.look()
    services.stores.log.forget(time + timedelta(milliseconds=1), told=1_000_000)
    kept = [entry.event.type for entry in services.stores.log.read(0)]
    assert "ipam.reservation.created" not in kept
    services.releaser.release_lease(first.id)
    services.stores.reservations.describe(job.reservation, lambda old: replace(old, name="new"))
    history.look()
    returned = utc_now()
    for lease in (first, second):
        (holder,) = services.address_history.as_of(lease.address, time)
        assert (holder.lease, holder.reservation, holder.name) == (str(lease.id), str(job.reservation), "old")
    services.cascade_deleter.delete_subnet(subnet.id)
    history.look()
    (holder,) = services.address_history.as_of(first.address, time)
    assert (holder.subnet, holder.name) == (str(subnet.id), "old")
    (holder,) = services.address_history.as_of(first.address, returned)
    assert (holder.subnet, holder.reservation) == (str(subnet.id), None)
    with pytest.raises(InvalidParameter, match=r"at: the audit log is kept since 20.*Z only"):
        services.address_history.as_of(first.address, before)


def an_event(type_: str, data: str) -> Event:
    paths = ("/x", f"/pools/{POOL}")
    return Event(
        id="x", type=type_, paths=paths, revision=1, time=utc_now(), audit_context=AuditContext(), data=data
    )


def reserved(*addresses: str) -> Event:
    quoted = ", ".join(f'"{address}"' for address in addresses)
    return an_event("ipam.reservation.created", f'{{"addresses": [{quoted}]}}')


@given(
    runs=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 300)), min_size=1, max_size=8),
    which=st.integers(0, 7),
    offset=st.integers(0, 300),
    most=st.sampled_from([1, 3, 256]),
)
def test_an_address_finds_the_events_that_name_it(runs, which, offset, most):
    ends = [(first, min(first + length, 2**32 - 1)) for first, length in runs]
    event = reserved(*(f"{ip_address(first)}-{ip_address(last)}" for first, last in ends))
    first, last = ends[which % len(ends)]
    inside = ip_address(min(first + offset, last))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cidr_cover, "_MOST", most)
        found = prefixes_of_all([event])
    assert len(found) <= most
    assert set(found) & set(around_in_pool(POOL, inside))
    assert not set(found) & set(around_in_pool(ObjectId(), inside))
    assert not set(found) & set(around_in_subnets(inside))


def test_an_address_finds_only_what_is_near_it():
    found = set(prefixes_of_all([reserved("10.0.0.4-10.0.0.7", "2001:db8::8-2001:db8::f")]))
    near = ["10.0.0.4", "10.0.0.7", "2001:db8::8", "2001:db8::f"]
    far = ["10.0.0.3", "10.0.0.8", "2001:db8::7", "2001:db8::10"]
    assert all(found & set(around_in_pool(POOL, ip_address(address))) for address in near)
    assert not any(found & set(around_in_pool(POOL, ip_address(address))) for address in far)


def test_a_subnet_is_found_by_every_address_that_it_holds_or_held():
    was = '"before": {"cidr": null, "start": "10.0.0.9", "end": "10.0.0.9"}'
    now = '"cidr": "10.0.0.0/30", "start": "10.0.0.1", "end": "10.0.0.2"'
    found = set(prefixes_of_all([an_event("ipam.subnet.updated", f"{{{now}, {was}}}")]))
    held = [*ip_network("10.0.0.0/30"), ip_address("10.0.0.9")]
    assert all(found & set(around_in_subnets(address)) for address in held)
    assert not found & set(around_in_subnets(ip_address("10.0.0.8")))

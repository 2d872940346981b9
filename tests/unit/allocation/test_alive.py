"""What is being worked on is left alone, however long it takes; what has stopped is taken up."""

from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address

import pytest
from bson import ObjectId

from ipam.allocation import cascade_delete, release, roll_forward
from ipam.allocation.provisioning import SubnetSpec
from ipam.allocation.subnet_closing import hide_subnet
from ipam.models.job import JobState
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.models.subnet import SubnetState
from ipam.storage import leases
from ipam.storage.time_span import CLOCKS_DIFFER, Span, begun_within
from ipam.util.clock import utc_now
from ipam.wiring import Services
from tests.support.steps import addresses, hours_pass, make_subnet, reserve, used


class Slowly:
    """Takes a step, which lasts for hours, and before the next one lets recovery look around."""

    def __init__(self, services: Services, step: Callable[..., object]) -> None:
        self._services = services
        self._step = step
        self._recovering = False
        self.taken = 0
        self.taken_by_recovery = 0

    def __call__(self, *arguments: object) -> object:
        if self._recovering:
            self.taken_by_recovery += 1
            return True
        if self.taken:
            self._recovering = True
            self._services.recovery.run()
            self._recovering = False
        self.taken += 1
        outcome = self._step(*arguments)
        hours_pass(self._services)
        return outcome


@pytest.fixture
def slowly(services, monkeypatch):
    """Makes a method of a store slow, and everything large consist of 10 addresses."""
    for module, name in (
        (roll_forward, "HANDED_OUT_AT_ONCE"),
        (leases, "_CHUNK"),
        (leases, "_UPDATE_CHUNK"),
        (release, "RELEASED_AT_ONCE"),
        (cascade_delete, "RELEASED_AT_ONCE"),
    ):
        monkeypatch.setattr(module, name, 10)

    def make(name: str, store: str = "leases") -> Slowly:
        owner = getattr(services.stores, store)
        slow = Slowly(services, getattr(owner, name))
        monkeypatch.setattr(owner, name, slow)
        return slow

    return make


def test_handing_out_renews_the_claim(services, slowly):
    subnet = make_subnet(services, 40)
    write = slowly("write", "writer")
    job = reserve(services, subnet, 40)
    assert (write.taken, write.taken_by_recovery) == (5, 0)  # The leases, and what comes after them.
    assert job.state is JobState.SUCCEEDED
    assert len(addresses(services, job)) == used(services, subnet) == 40


def test_handing_out_again_what_was_given_back_renews_it_too(services, slowly):
    subnet = make_subnet(services, 40)
    services.releaser.release_reservation(reserve(services, subnet, 40).reservation)
    write = slowly("write", "writer")
    job = reserve(services, subnet, 40)
    assert (write.taken, write.taken_by_recovery) == (5, 0)
    assert len(addresses(services, job)) == used(services, subnet) == 40


def test_giving_back_renews_the_release(services, slowly):
    subnet = make_subnet(services, 35)
    job = reserve(services, subnet, 35)
    put_back = slowly("put_back")
    services.releaser.release_reservation(job.reservation)
    assert (put_back.taken, put_back.taken_by_recovery) == (4, 0)
    assert used(services, subnet) == 0


def test_giving_back_to_several_subnets_renews_the_release_at_each(services, slowly):
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    for first in (1, 11, 21):
        start = ip_address(f"10.0.0.{first}")
        services.provisioner.create_subnet(ObjectId(), pool.id, SubnetSpec(start=start, end=start + 4))
    job = services.job_queue.accept(ObjectId(), pool, ReservationRequest(count=15))
    services.job_runner.run(pool.id)
    put_back = slowly("put_back")
    services.releaser.release_reservation(job.reservation)
    assert (put_back.taken, put_back.taken_by_recovery) == (3, 0)
    assert services.stores.ledgers.usage([pool.id])[pool.id].used == 0


@pytest.mark.parametrize("kind", ["subnet", "pool"])
def test_deleting_renews_the_sweep(services, slowly, kind):
    subnet = make_subnet(services, 35)
    reserve(services, subnet, 35)
    retire = slowly("retire")
    if kind == "subnet":
        services.cascade_deleter.delete_subnet(subnet.id)
    else:
        services.cascade_deleter.delete_pool(subnet.pool)
    assert (retire.taken, retire.taken_by_recovery) == (4, 0)
    assert services.stores.subnets.find(subnet.id).state is SubnetState.DELETED


def test_a_sweep_that_stopped_is_taken_up_by_one_recovery_alone(services, monkeypatch):
    subnet = make_subnet(services)
    reserve(services, subnet)
    hide_subnet(services.stores, subnet.id, None, only_empty=False)
    hours_pass(services)
    first, second = (services.stores.subnets.take_over(begun_within(1)) for _ in range(2))
    assert [one.id for one in [*first, *second]] == [subnet.id]


def test_recovery_ends_in_a_ledger_only_what_was_begun_before(services, monkeypatch):
    subnet = make_subnet(services)
    job = reserve(services, subnet)
    lost = services.job_queue.accept(ObjectId(), services.stores.pools.get(subnet.pool), ReservationRequest())
    with monkeypatch.context() as crash:
        crash.setattr(services.stores.jobs, "decide", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        crash.setattr(services.stores.leases, "put_back", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        for die in (
            lambda: services.job_runner.run(subnet.pool),
            lambda: services.releaser.release_reservation(job.reservation),
        ):
            with pytest.raises(KeyboardInterrupt):
                die()
    services.stores.jobs.disown([lost.id])
    busy = services.stores.ledgers.find(subnet.id)
    roll_forward = services.job_runner.roll_forward
    begun = min(entry.at for entry in busy.entries)
    assert not roll_forward.settle(busy, Span(begun - timedelta(seconds=1), utc_now() + CLOCKS_DIFFER))
    assert services.stores.ledgers.find(subnet.id) == busy
    assert roll_forward.settle(busy, begun_within(-1))
    assert services.stores.ledgers.find(subnet.id).entries == ()


def test_recovery_looks_at_a_ledger_only_until_it_is_at_rest(services):
    busy, idle = make_subnet(services), make_subnet(services)
    job = reserve(services, busy)
    assert looked_at(services) == []  # It was begun just now.
    hours_pass(services)
    assert looked_at(services) == [busy.id]
    services.recovery.run()
    assert looked_at(services) == []
    services.releaser.release_reservation(job.reservation)
    hours_pass(services)
    (read,) = services.stores.ledgers.unfinished(begun_within(1))
    reserve(services, busy)  # While recovery has read it as it was before.
    services.stores.ledgers.rest([read])
    hours_pass(services)
    assert looked_at(services) == [busy.id]
    assert idle.id not in looked_at(services)


def looked_at(services: Services) -> list[ObjectId]:
    return [ledger.id for ledger in services.stores.ledgers.unfinished(begun_within(1))]


def test_large_reservation_goes_back_in_batches_and_others_get_their_turn(services, monkeypatch):
    monkeypatch.setattr(release, "RELEASED_AT_ONCE", 10)
    subnet = make_subnet(services, 35)
    job = reserve(services, subnet, 35)
    renew, between = services.stores.reservations.renew_release, []

    def reserve_between(id_):
        renew(id_)
        between.append(len(addresses(services, reserve(services, subnet, 10))))

    monkeypatch.setattr(services.stores.reservations, "renew_release", reserve_between)
    services.releaser.release_reservation(job.reservation)
    assert between == [10, 10, 10]
    assert used(services, subnet) == 30


def test_a_release_that_goes_on_is_not_taken_over_and_one_that_stopped_is(services, monkeypatch):
    subnet = make_subnet(services)
    job = reserve(services, subnet, 4)
    reservations = services.stores.reservations
    with monkeypatch.context() as crash:
        crash.setattr(services.stores.leases, "put_back", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            services.releaser.release_reservation(job.reservation)
    begun = utc_now() + timedelta(milliseconds=1)
    sleep_until(begun)
    reservations.renew_release(job.reservation)
    assert list(reservations.take_over_release(Span(begun, begun + CLOCKS_DIFFER))) == []
    services.recovery.claim_timeout_s = -2
    services.recovery.run()
    assert used(services, subnet) == 0


def sleep_until(moment):
    while utc_now() <= moment:
        pass

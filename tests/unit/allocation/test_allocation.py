"""The ledger and the jobs, step by step; each crash is a step that is left out."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest
from bson import ObjectId

from ipam.allocation.provisioning import SubnetSpec
from ipam.allocation.selection import select_addresses
from ipam.allocation.subnet_closing import hide_subnet
from ipam.errors import (
    NotEmpty,
    NotFound,
    NotQueued,
    RetriesExhausted,
    Stale,
    SubnetOverlap,
    Transient,
    WriteConflict,
)
from ipam.models.job import JobState
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.models.subnet import SubnetState
from tests.support.steps import (
    addresses,
    before_each_write,
    die_before_writing_to,
    let_claims_run_out,
    make_subnet,
    reserve,
    used,
)
from tests.support.stored import leases_of


def test_a_request_is_a_job_before_it_is_anything_else(services, dispatcher):
    subnet = make_subnet(services)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    assert services.stores.jobs.get(job.id).state is JobState.QUEUED
    assert dispatcher.dispatched == [subnet.id]


def test_a_new_request_is_carried_out_without_a_claim(services):
    job = reserve(services, make_subnet(services))
    assert (job.state, job.claim, job.attempts) == (JobState.SUCCEEDED, None, 1)
    assert job.created_at <= job.started_at <= job.finished_at


def test_job_that_is_not_new_any_more_is_claimed(services):
    subnet = make_subnet(services)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    let_claims_run_out(services)
    services.job_runner.run(subnet.id)
    job = services.stores.jobs.get(job.id)
    assert (job.state, job.claim is None, job.attempts) == (JobState.SUCCEEDED, False, 1)


def test_a_job_that_is_cancelled_while_a_worker_is_about_to_grant_it_addresses_gets_none(services, monkeypatch):
    subnet = make_subnet(services)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    before_its_grant(services, monkeypatch, lambda: services.job_queue.cancel(job.id))
    services.job_runner.run(subnet.id)
    assert services.stores.jobs.get(job.id).state is JobState.CANCELLED
    assert used(services, subnet) == 0


def test_a_job_that_has_its_addresses_is_not_cancelled(services, monkeypatch):
    subnet = make_subnet(services)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    with monkeypatch.context() as crash:
        die_before_writing_to(services, crash, "leases")
        with pytest.raises(KeyboardInterrupt):
            services.job_runner.run(subnet.id)
    with pytest.raises(NotQueued):
        services.job_queue.cancel(job.id)
    let_claims_run_out(services)
    services.job_runner.run(subnet.id)
    assert services.stores.jobs.get(job.id).state is JobState.SUCCEEDED


def test_requests_of_one_batch_are_each_granted_or_refused_alone(services, dispatcher):
    subnet = make_subnet(services, 4)
    jobs = [services.job_queue.accept(ObjectId(), subnet, ReservationRequest(count=count)) for count in (2, 3, 2)]
    services.job_runner.run(subnet.id)
    states = [services.stores.jobs.get(job.id).state for job in jobs]
    assert states == [JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED]
    assert used(services, subnet) == 4
    assert services.stores.ledgers.find(subnet.id).grants == ()
    assert sorted(dispatcher.announced) == [job.id for job in jobs]


def test_a_worker_that_died_before_its_decision_leaves_nothing_taken(services, monkeypatch):
    subnet = make_subnet(services, 1)
    job = services.job_queue.accept(ObjectId(), services.stores.pools.get(subnet.pool), ReservationRequest())
    with monkeypatch.context() as crash:
        crash.setattr(services.stores.jobs, "decide", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            services.job_runner.run(subnet.pool)
    assert len(services.stores.ledgers.find(subnet.id).grants) == 1
    services.stores.jobs.disown([job.id])  # As if its claim had run out.
    services.job_runner.run(subnet.pool)
    assert services.stores.jobs.get(job.id).state is JobState.SUCCEEDED
    assert used(services, subnet) == 1
    assert services.stores.ledgers.find(subnet.id).grants == ()


@pytest.mark.parametrize("collection", ["leases", "events", "reservations", "jobs", "blocks", "ledgers"])
def test_a_job_that_has_its_addresses_is_finished_by_the_next_worker(services, dispatcher, monkeypatch, collection):
    subnet = make_subnet(services)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest(count=3))
    with monkeypatch.context() as crash:
        die_before_writing_to(services, crash, collection)
        with pytest.raises(KeyboardInterrupt):
            services.job_runner.run(subnet.id)
    services.job_runner.run(subnet.id)  # Somebody else leaves it to whoever has just granted it.
    assert len(services.stores.ledgers.find(subnet.id).grants) == 1
    let_claims_run_out(services)
    services.job_runner.run(subnet.id)
    services.job_runner.roll_forward.settle(services.stores.ledgers.find(subnet.id))
    assert services.stores.jobs.get(job.id).state is JobState.SUCCEEDED
    assert addresses(services, job) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert used(services, subnet) == 3
    assert services.stores.ledgers.find(subnet.id).grants == ()
    assert dispatcher.announced == (
        [] if collection in {"blocks", "ledgers"} else [job.id]
    )  # Written after its end.


def test_a_worker_that_wakes_up_late_cannot_bring_a_reservation_back(services, monkeypatch):
    """It was granted, then slept; another finished its job and the user gave the addresses back."""
    subnet = make_subnet(services, 2)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    roll_forward = services.job_runner.roll_forward
    slept = []
    with monkeypatch.context() as sleep:
        sleep.setattr(roll_forward, "finish", lambda *args: slept.append(args) or {})
        services.job_runner.run(subnet.id)
    let_claims_run_out(services)
    roll_forward.settle(services.stores.ledgers.find(subnet.id))
    services.releaser.release_reservation(job.reservation)
    next_holder = [reserve(services, subnet), reserve(services, subnet)]
    roll_forward.finish(*slept[0])
    with pytest.raises(NotFound):
        services.stores.reservations.get(job.reservation)
    assert leases_of(services.stores, job.reservation) == []
    assert sorted(addresses(services, next_holder[0]) + addresses(services, next_holder[1])) == [
        "10.0.0.1",
        "10.0.0.2",
    ]
    assert used(services, subnet) == 2


def before_its_grant(services, monkeypatch, work):
    """Have *work* done when the next worker has planned and is about to write the ledger."""
    change = services.stores.ledgers.write

    def sleep(*args):
        monkeypatch.setattr(services.stores.ledgers, "write", change)
        let_claims_run_out(services)
        work()
        return change(*args)

    monkeypatch.setattr(services.stores.ledgers, "write", sleep)


def test_a_job_that_another_has_carried_out_meanwhile_gets_nothing_more(services, monkeypatch):
    subnet = make_subnet(services)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    before_its_grant(services, monkeypatch, lambda: services.job_runner.run(subnet.id))
    services.job_runner.run(subnet.id)
    assert addresses(services, job) == ["10.0.0.1"]
    assert used(services, subnet) == 1


def test_a_job_that_another_has_given_up_meanwhile_gets_nothing(services, monkeypatch):
    subnet = make_subnet(services)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    for _ in range(9):
        services.stores.jobs.claim(services.stores.jobs.waiting(subnet.id, 1, 60.0)[0], -1.0)
    before_its_grant(services, monkeypatch, lambda: services.job_runner.run(subnet.id))
    services.job_runner.run(subnet.id)
    assert services.stores.jobs.get(job.id).error["slug"] == "given-up"
    assert used(services, subnet) == 0


@pytest.mark.parametrize("failures", [0, 9])
def test_a_job_gets_one_grant_though_two_were_about_to_make_it(services, monkeypatch, failures):
    """The one that has lost its claim is quicker; with nine failures the other one is about to give the job up."""
    subnet = make_subnet(services)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    for _ in range(failures):
        services.stores.jobs.claim(services.stores.jobs.waiting(subnet.id, 1, 60.0)[0], -1.0)
    ledgers, change, late = services.stores.ledgers, services.stores.ledgers.write, []

    def change_of_the_late_one(ledger):
        monkeypatch.setattr(ledgers, "write", change_of_the_other)
        late.append(ledger)
        let_claims_run_out(services)
        services.job_runner.run(subnet.id)
        return late.pop()

    def change_of_the_other(ledger):
        monkeypatch.setattr(ledgers, "write", change)
        late.append(change(late.pop(0)))
        return change(ledger)

    monkeypatch.setattr(ledgers, "write", change_of_the_late_one)
    services.job_runner.run(subnet.id)
    assert addresses(services, job) == ["10.0.0.1"]
    assert used(services, subnet) == 1
    assert services.stores.jobs.get(job.id).state is JobState.SUCCEEDED


def test_a_claim_that_ran_out_decides_nothing(services):
    subnet = make_subnet(services)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    first, _ = services.stores.jobs.claim(services.stores.jobs.waiting(subnet.id, 10, 60.0)[0], 0.0)
    services.stores.jobs.disown([job.id])
    second, claimed = services.stores.jobs.claim(services.stores.jobs.waiting(subnet.id, 10, 60.0)[0], 30.0)
    assert [one.id for one in claimed] == [job.id]
    assert services.stores.jobs.decide([job.id], first) == set()
    error = RetriesExhausted("It was tried in vain.").to_record()
    services.stores.jobs.fail([(job, error)], first)
    assert services.stores.jobs.decide([job.id], second) == {job.id}
    services.stores.jobs.fail([(job, error)], second)
    assert services.stores.jobs.get(job.id).state is JobState.RUNNING


def test_a_release_that_died_half_way_is_finished_and_counted_once(services, monkeypatch):
    subnet = make_subnet(services, 3)
    job = reserve(services, subnet, 3)
    with monkeypatch.context() as crash:
        die_before_writing_to(services, crash, "ledgers")
        with pytest.raises(KeyboardInterrupt):
            services.releaser.release_reservation(job.reservation)
    assert used(services, subnet) == 3
    again = reserve(services, subnet, 3)  # It finds the addresses on their way and brings them home first.
    assert again.state is JobState.SUCCEEDED
    assert used(services, subnet) == 3
    assert len(addresses(services, again)) == 3


def test_a_caller_with_an_old_revision_is_told_at_once_and_not_after_retries(services, monkeypatch):
    subnet = make_subnet(services)
    job = reserve(services, subnet)
    lease = leases_of(services.stores, job.reservation)[0]
    find, calls = services.stores.ledgers.find, []
    monkeypatch.setattr(services.stores.ledgers, "find", lambda id_: calls.append(id_) or find(id_))
    with pytest.raises(Stale):
        services.releaser.release_lease(lease.id, frozenset([7]))
    assert len(calls) == 1
    with pytest.raises(Stale):
        services.releaser.release_reservation(job.reservation, frozenset([7]))
    assert used(services, subnet) == 1


def test_addresses_released_one_by_one_are_handed_out_again(services):
    subnet = make_subnet(services, 40)
    job = reserve(services, subnet, 40)
    leases = leases_of(services.stores, job.reservation)
    for lease in leases[1:39]:
        services.releaser.release_lease(lease.id)
    services.releaser.release_reservation(job.reservation)
    assert used(services, subnet) == 0
    assert len(addresses(services, reserve(services, subnet, 39))) == 39
    assert len(addresses(services, reserve(services, subnet, 1))) == 1
    assert reserve(services, subnet).state is JobState.FAILED


def test_an_address_is_reused_as_late_as_the_size_of_its_subnet_allows(services):
    subnet = make_subnet(services, 4)
    first = reserve(services, subnet)
    services.releaser.release_reservation(first.reservation)
    given = [addresses(services, reserve(services, subnet))[0] for _ in range(4)]
    assert given == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.1"]


def test_a_creation_that_died_half_way_is_finished_by_recovery(services, monkeypatch):
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    id_, draft = ObjectId(), SubnetSpec(start=ip_address("10.0.0.1"), end=ip_address("10.0.0.9"))
    with monkeypatch.context() as crash:
        crash.setattr(services.stores.subnets, "activate", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            services.provisioner.create_subnet(id_, pool.id, draft)
    with pytest.raises(NotFound):
        services.stores.subnets.get(id_)
    recovery = services.recovery
    recovery.claim_timeout_s = -1
    recovery.run()
    assert services.stores.subnets.get(id_).size == 9
    assert services.provisioner.create_subnet(id_, pool.id, draft).size == 9
    with pytest.raises(SubnetOverlap):
        services.provisioner.create_subnet(ObjectId(), pool.id, draft)


def test_a_creation_that_slept_while_recovery_finished_it_is_answered_as_created(services, monkeypatch):
    first = make_subnet(services)
    hold, id_ = services.stores.pools.hold_range, ObjectId()
    services.recovery.claim_timeout_s = -1

    def sleep_over_what_is_in_the_way(subnet):
        monkeypatch.setattr(services.stores.pools, "hold_range", hold)
        try:
            hold(subnet)
        finally:
            services.cascade_deleter.delete_subnet(first.id)
            services.recovery.run()

    monkeypatch.setattr(services.stores.pools, "hold_range", sleep_over_what_is_in_the_way)
    monkeypatch.setattr(services.cascade_deleter, "drop_if_deleted", lambda *_: False)  # It has looked before.
    made = services.provisioner.create_subnet(id_, first.pool, SubnetSpec(start=first.start, end=first.end))
    assert (made.id, made.state) == (id_, SubnetState.ACTIVE)


def test_a_creation_that_slept_until_its_subnet_was_deleted_gives_up_the_range_after_the_leases(
    services, monkeypatch
):
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    activate, jobs, id_ = services.stores.subnets.activate, [], ObjectId()

    def sleep(subnet):
        monkeypatch.setattr(services.stores.subnets, "activate", activate)
        jobs.append(reserve(services, activate(subnet)))
        hide_subnet(services.stores, subnet, None, only_empty=False)  # And the process died.
        return activate(subnet)

    monkeypatch.setattr(services.stores.subnets, "activate", sleep)
    start = ip_address("10.0.0.1")
    with pytest.raises(NotFound):
        services.provisioner.create_subnet(id_, pool.id, SubnetSpec(start=start, end=start))
    assert addresses(services, jobs[0]) == list(services.stores.pools.holders(pool.id)) == []


def test_a_pool_job_that_loses_a_race_for_its_second_subnet_holds_nothing_in_the_first(services, monkeypatch):
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    for first in (1, 11):
        start = ip_address(f"10.0.0.{first}")
        services.provisioner.create_subnet(ObjectId(), pool.id, SubnetSpec(start=start, end=start + 1))
    change, calls = services.stores.ledgers.write, []

    def lose_the_second(ledger):
        calls.append(ledger.id)
        if len(calls) == 2:
            raise WriteConflict("lost")
        return change(ledger)

    monkeypatch.setattr(services.stores.ledgers, "write", lose_the_second)
    job = services.job_queue.accept(ObjectId(), pool, ReservationRequest(count=4))
    services.job_runner.run(pool.id)
    assert len(calls) > 2
    assert services.stores.jobs.get(job.id).state is JobState.SUCCEEDED
    assert len(addresses(services, job)) == 4
    assert services.stores.ledgers.usage([pool.id])[pool.id].used == 4


def test_a_job_that_makes_every_worker_fail_holds_up_no_other_and_ends(services, monkeypatch):
    subnet = make_subnet(services)
    poison = services.job_queue.accept(ObjectId(), subnet, ReservationRequest(name="poison"))
    healthy = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())

    def fail_on_poison(request, plans):
        if request.name == "poison":
            raise ZeroDivisionError
        return select_addresses(request, plans)

    monkeypatch.setattr("ipam.allocation.granting.select_addresses", fail_on_poison)
    for _ in range(10):
        services.job_runner.run(subnet.id)
        let_claims_run_out(services)
    services.job_runner.run(subnet.id)
    assert services.stores.jobs.get(healthy.id).state is JobState.SUCCEEDED
    assert services.stores.jobs.get(poison.id).state is JobState.FAILED
    assert services.stores.jobs.get(poison.id).error["slug"] == "given-up"
    assert used(services, subnet) == 1


@pytest.fixture
def poisoned(services, monkeypatch):
    """A subnet with a job that has its addresses and whose reservation cannot be stored; and the job."""
    subnet = make_subnet(services)
    poison = services.job_queue.accept(ObjectId(), subnet, ReservationRequest(name="poison"))

    def fail_on_poison(step):
        if step.collection == "reservations" and "poison" in [one.get("name") for one in step.inserts]:
            raise ZeroDivisionError

    before_each_write(services, monkeypatch, fail_on_poison)
    services.job_runner.run(subnet.id)
    assert services.stores.ledgers.find(subnet.id).granted == {poison.id}
    return subnet, poison


def test_a_job_with_addresses_that_cannot_be_finished_holds_up_no_other_and_ends(services, poisoned):
    subnet, poison = poisoned
    for _ in range(10):
        let_claims_run_out(services)
        assert reserve(services, subnet, 4).state is JobState.FAILED  # Three are free, and that is what it is told.
    services.job_runner.run(subnet.id)
    assert services.stores.jobs.get(poison.id).error["slug"] == "given-up"
    services.recovery.claim_timeout_s = -1
    services.recovery.run()
    assert used(services, subnet) == 0
    assert reserve(services, subnet, 4).state is JobState.SUCCEEDED


def test_reservation_keeps_its_addresses_though_a_job_of_its_batch_is_given_up(services, monkeypatch):
    subnet = make_subnet(services)
    poison, healthy = (
        services.job_queue.accept(ObjectId(), subnet, ReservationRequest(name=name))
        for name in ("poison", "healthy")
    )
    roll_forward = services.job_runner.roll_forward
    with monkeypatch.context() as crash:
        die_before_writing_to(services, crash, "reservations")
        with pytest.raises(KeyboardInterrupt):
            services.job_runner.run(subnet.id)
    roll_forward.abandon(services.stores.jobs.get(poison.id), RetriesExhausted("It cannot be finished."))
    let_claims_run_out(services)
    services.job_runner.run(subnet.id)
    assert services.stores.jobs.get(healthy.id).state is JobState.SUCCEEDED
    assert services.stores.reservations.get(healthy.reservation).count == 1
    assert addresses(services, healthy) == ["10.0.0.2"]


def test_a_subnet_can_be_deleted_whatever_cannot_be_finished_in_it(services, poisoned):
    subnet, poison = poisoned
    services.cascade_deleter.delete_subnet(subnet.id)
    assert services.stores.subnets.find(subnet.id).state is SubnetState.DELETED
    assert services.stores.jobs.get(poison.id).error["slug"] == "given-up"


def test_a_job_that_was_given_back_often_is_not_given_up(services, monkeypatch):
    """A database that is away is nobody's fault: only claims that ran out count against a job."""
    subnet = make_subnet(services)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    let_claims_run_out(services)
    with monkeypatch.context() as away:
        away.setattr(services.job_runner, "_carry_out_batch", lambda *_: (_ for _ in ()).throw(Transient("away")))
        for _ in range(15):
            with pytest.raises(Transient):
                services.job_runner.run(subnet.id)
    services.job_runner.run(subnet.id)
    stored = services.stores.jobs.get(job.id)
    assert (stored.state, stored.attempts, stored.failures) == (JobState.SUCCEEDED, 16, 0)


def test_deletion_without_cascade_of_what_is_not_empty_is_refused(services):
    subnet = make_subnet(services)
    reserve(services, subnet)
    with pytest.raises(NotEmpty):
        services.cascade_deleter.delete_subnet(subnet.id, cascade=False)
    with pytest.raises(NotEmpty):
        services.cascade_deleter.delete_pool(subnet.pool, cascade=False)
    services.cascade_deleter.delete_pool(subnet.pool)
    assert services.stores.subnets.find(subnet.id).state is SubnetState.DELETED
    with pytest.raises(NotFound):
        services.stores.pools.get(subnet.pool)


def test_tombstone_is_kept_for_seven_days(services):
    """Until nobody can still be at work on it; a creation that is repeated meets the tombstone."""
    subnet = make_subnet(services)
    reserve(services, subnet)
    services.cascade_deleter.delete_subnet(subnet.id)
    draft = SubnetSpec(start=subnet.start, end=subnet.end)
    with pytest.raises(NotFound):
        services.provisioner.create_subnet(subnet.id, subnet.pool, draft)
    assert services.provisioner.create_subnet(ObjectId(), subnet.pool, draft).size == 4
    services.recovery.run()
    tombstone = services.stores.subnets.find(subnet.id)
    assert tombstone is not None
    services.stores.subnets._collection.update_one(  # noqa: SLF001
        {"_id": subnet.id}, {"$set": {"deleted_at": tombstone.updated_at - timedelta(days=7, seconds=1)}}
    )
    services.recovery.run()
    assert services.stores.subnets.find(subnet.id) is None
    assert services.stores.leases._collection.count_documents({"subnet": subnet.id}) == 0  # noqa: SLF001


def test_range_left_by_a_late_creation_does_not_keep_its_pool_from_deletion(services):
    subnet = make_subnet(services)
    services.cascade_deleter.delete_subnet(subnet.id)
    services.stores.pools.hold_range(subnet)  # By a creation that slept until now, and died right after.
    services.cascade_deleter.delete_pool(subnet.pool, cascade=False)
    with pytest.raises(NotFound):
        services.stores.pools.get(subnet.pool)


def test_a_deleted_pool_does_not_come_back_when_its_creation_is_repeated(services):
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    services.cascade_deleter.delete_pool(pool.id)
    with pytest.raises(NotFound):
        services.provisioner.create_pool(pool)


def test_a_job_keeps_every_field_when_stored(services):
    subnet = make_subnet(services)
    request = ReservationRequest(name="n", tags=("t",), metadata={"$a.b": 2**70})
    job = services.job_queue.accept(ObjectId(), subnet, request)
    stored = services.stores.jobs.get(job.id)
    assert replace(stored, created_at=job.created_at) == job


def test_address_in_a_release_entry_is_not_handed_out(services, monkeypatch):
    """Its block says that it is free already, but whoever finishes the release will say so once more."""
    subnet = make_subnet(services, 2)
    first, second = reserve(services, subnet), reserve(services, subnet)
    services.releaser.release_reservation(second.reservation)
    with monkeypatch.context() as crash:
        die_before_writing_to(services, crash, "ledgers")
        with pytest.raises(KeyboardInterrupt):
            services.releaser.release_reservation(first.reservation)
    third = reserve(services, subnet)
    services.recovery.claim_timeout_s = -1
    services.recovery.run()
    assert addresses(services, third) == ["10.0.0.2"]
    assert used(services, subnet) == 1
    assert addresses(services, reserve(services, subnet)) == ["10.0.0.1"]
    assert reserve(services, subnet).state is JobState.FAILED

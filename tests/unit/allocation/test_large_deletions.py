"""What has many addresses is deleted by a job, in parts; without a server, for logic only."""

from datetime import timedelta
from ipaddress import ip_address

import pytest
from bson import ObjectId

from ipam.allocation import cascade_delete
from ipam.allocation.provisioning import SubnetSpec
from ipam.allocation.subnet_closing import hide_subnet
from ipam.errors import NotFound, NotQueued
from ipam.models.audit_context import AuditContext, use_audit_context
from ipam.models.job import Job, JobKind, JobState
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.models.subnet import SubnetState
from ipam.util.clock import utc_now
from tests.support.steps import addresses, let_claims_run_out, make_subnet, reserve

ALICE = AuditContext(actor="alice", request_id="r")


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch):
    monkeypatch.setattr(cascade_delete, "DELETED_WITHOUT_JOB", 4)
    monkeypatch.setattr(cascade_delete, "RELEASED_AT_ONCE", 3)
    monkeypatch.setattr(cascade_delete, "_RECOUNTED_AT_ONCE", 2)
    monkeypatch.setattr(cascade_delete, "_STEPS_AT_ONCE", 2)
    monkeypatch.setattr(cascade_delete, "_SUBNET_WEIGHS", 1)


def chunks_of(services, job: Job) -> list[int]:
    """Carry *job* out, part by part: how far it said that it had come after each."""
    done = []
    while not services.stores.jobs.get(job.id).state.terminal:
        services.job_runner.run(job.target)
        done.append(services.stores.jobs.get(job.id).to_json()["progress"]["done"])
    return done


def is_gone(services, subnet) -> bool:
    held = services.stores.leases._collection.count_documents({"reservation": {"$exists": True}})  # noqa: SLF001
    is_out = subnet.id not in services.stores.pools.holders(subnet.pool)
    return services.stores.subnets.find(subnet.id).state is SubnetState.DELETED and is_out and not held


def hours_ago(services) -> None:
    """What was begun was begun long ago."""
    for store in (services.stores.jobs, services.stores.subnets, services.stores.pools):
        for name in ("created_at", "updated_at", "unfinished"):
            long_ago = {"$set": {name: utc_now() - timedelta(hours=1)}}
            store._collection.update_many({name: {"$exists": True}}, long_ago)  # noqa: SLF001


def test_deletion_of_few_addresses_needs_no_job(services):
    subnet = make_subnet(services, 20)
    reserve(services, subnet, 4)
    assert services.cascade_deleter.delete_subnet(subnet.id) is None
    assert is_gone(services, subnet)


def test_deletion_job_takes_addresses_back_in_parts(services, dispatcher):
    subnet = make_subnet(services, 20)
    held = [reserve(services, subnet, 2) for _ in range(4)]
    with use_audit_context(ALICE):
        job = services.cascade_deleter.delete_subnet(subnet.id)
    assert (job.kind, job.target, job.pool, job.subnet) == (JobKind.DELETION, subnet.id, subnet.pool, subnet.id)
    assert (job.audit_context, job.to_json()["reservation"]) == (ALICE, None)
    with pytest.raises(NotFound):
        services.stores.subnets.get(subnet.id)  # From the first moment on.
    # Three, three and two addresses; with the last of these the first two reservations, then the others.
    assert chunks_of(services, job) == [3, 6, 8, 8]
    assert is_gone(services, subnet)
    assert services.stores.reservations.get_many(one.reservation for one in held) == {}
    assert services.stores.jobs.get(job.id).to_json()["reservation"] is None
    assert dispatcher.announced[-1] == job.id


def test_a_pool_goes_subnet_by_subnet(services):
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    subnets = []
    for first in (1, 11, 21):
        start = ip_address(f"10.0.0.{first}")
        draft = SubnetSpec(start=start, end=start + 3)
        subnets.append(services.provisioner.create_subnet(ObjectId(), pool.id, draft))
    services.job_queue.accept(ObjectId(), pool, ReservationRequest(count=12))
    services.job_runner.run(pool.id)
    job = services.cascade_deleter.delete_pool(pool.id)
    assert (job.kind, job.target, job.pool, job.subnet) == (JobKind.DELETION, pool.id, pool.id, None)
    assert chunks_of(services, job)[-1] == 12
    assert all(is_gone(services, subnet) for subnet in subnets)
    assert services.stores.pools._collection.find_one({"_id": pool.id})["state"] == "deleted"  # noqa: SLF001


def test_a_reservation_that_spans_subnets_keeps_what_it_has_in_others(services):
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    first, second = (
        services.provisioner.create_subnet(ObjectId(), pool.id, SubnetSpec(start=start, end=start + 4))
        for start in map(ip_address, ("10.0.0.1", "10.0.1.1"))
    )
    made = services.job_queue.accept(ObjectId(), pool, ReservationRequest(count=10))
    services.job_runner.run(pool.id)
    chunks_of(services, services.cascade_deleter.delete_subnet(first.id))
    kept = services.stores.reservations.get(made.reservation)
    assert (kept.count, kept.subnets) == (5, (second.id,))
    assert addresses(services, made) == [f"10.0.1.{n}" for n in range(1, 6)]


def test_request_to_a_subnet_that_is_being_deleted_is_not_found(services):
    subnet = make_subnet(services, 20)
    reserve(services, subnet, 8)
    late = services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    job = services.cascade_deleter.delete_subnet(subnet.id)
    services.job_runner.run(subnet.id)
    assert services.stores.jobs.get(late.id).error["slug"] == "not-found"
    assert not services.stores.jobs.get(job.id).state.terminal
    chunks_of(services, job)
    assert is_gone(services, subnet)


def test_deletion_job_of_a_dead_worker_is_finished_by_another(services, dispatcher, monkeypatch):
    subnet = make_subnet(services, 20)
    reserve(services, subnet, 8)
    job = services.cascade_deleter.delete_subnet(subnet.id)
    services.job_runner.run(job.target)
    with monkeypatch.context() as crash:
        crash.setattr(services.stores.writer, "write", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            services.job_runner.run(job.target)
    let_claims_run_out(services)
    dispatcher.dispatched.clear()
    hours_ago(services)
    services.recovery.run()
    assert subnet.id in dispatcher.dispatched
    chunks_of(services, job)
    assert is_gone(services, subnet)


@pytest.mark.parametrize("kind", ["subnet", "pool"])
def test_a_deletion_whose_web_process_died_before_there_was_a_job_gets_one(services, kind):
    subnet = make_subnet(services, 20)
    reserve(services, subnet, 8)
    id_ = subnet.id if kind == "subnet" else subnet.pool
    with use_audit_context(ALICE):
        if kind == "subnet":
            hide_subnet(services.stores, id_, None, only_empty=False)
        else:
            services.stores.pools.begin_delete(id_, None, only_empty=False)
    hours_ago(services)
    services.recovery.run()
    job = services.stores.jobs.get(id_)
    assert (job.kind, job.audit_context) == (JobKind.DELETION, ALICE)
    chunks_of(services, job)
    assert is_gone(services, subnet)


def test_deletion_by_two_processes_takes_nothing_back_twice_and_leaves_nothing(services, monkeypatch):
    subnet = make_subnet(services, 20)
    reserve(services, subnet, 8)
    job = services.cascade_deleter.delete_subnet(subnet.id)
    write = services.stores.writer.write

    def while_another_sweeps(steps) -> bool:
        monkeypatch.setattr(services.stores.writer, "write", write)
        services.cascade_deleter.sweep_subnet(subnet.id)
        return write(steps)

    monkeypatch.setattr(services.stores.writer, "write", while_another_sweeps)
    chunks_of(services, job)
    assert is_gone(services, subnet)
    assert services.stores.jobs.get(job.id).state is JobState.SUCCEEDED


def test_deletion_job_cannot_be_cancelled(services):
    subnet = make_subnet(services, 20)
    reserve(services, subnet, 8)
    job = services.cascade_deleter.delete_subnet(subnet.id)
    with pytest.raises(NotQueued, match="is a deletion, which begins at once and cannot be undone"):
        services.job_queue.cancel(job.id)

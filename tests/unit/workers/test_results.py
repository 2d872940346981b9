"""How the ends of jobs are told, and of which only that they came; without a server, for logic only."""

from ipaddress import ip_address

import pytest
from bson import ObjectId

from ipam.allocation import roll_forward
from ipam.allocation.job_results import result_of
from ipam.allocation.provisioning import SubnetSpec
from ipam.models.job import Job, JobKind
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.storage.time_span import begun_within
from ipam.wiring import Services
from ipam.workers.result_codec import ResultCodec
from tests.support.steps import addresses, make_subnet
from tests.support.stored import leases_of


def through_a_message(ends):
    codec = ResultCodec(lambda: b"of a test")
    return codec.read(codec.write(ends).encode())


@pytest.fixture
def told(dispatcher, monkeypatch) -> dict[ObjectId, Job | None]:
    """All ends that are announced."""
    ends: dict[ObjectId, Job | None] = {}
    monkeypatch.setattr(dispatcher, "publish_results", ends.update)
    return ends


def ask(services: Services, **wanted) -> Job:
    subnet = make_subnet(services, 5000)
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest(**wanted))
    services.job_runner.run(subnet.id)
    return job


def test_an_end_is_told_with_what_the_job_has_come_to(services, told):
    job = ask(services, count=3)
    assert result_of(services.stores.jobs.get(job.id)) is None  # Which is not stored with it.
    reservation, leases = result_of(told[job.id])
    assert reservation == services.stores.reservations.get(job.reservation)
    assert [lease["address"] for lease in leases] == addresses(services, job)
    assert through_a_message(told) == told


def test_leases_of_several_subnets_are_told_with_the_ids_that_they_are_found_by(services, told):
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    for first in ("10.0.255.254", "10.0.9.1"):
        start = ip_address(first)
        services.provisioner.create_subnet(ObjectId(), pool.id, SubnetSpec(start=start, end=start + 2))
    job = services.job_queue.accept(ObjectId(), pool, ReservationRequest(count=5))
    services.job_runner.run(pool.id)
    _, leases = result_of(told[job.id])
    assert len({lease["subnet"] for lease in leases}) == 2
    ids = [ObjectId(lease["id"]) for lease in leases]
    assert [lease.to_json() for lease in leases_of(services.stores, job.reservation)] == leases
    assert [services.stores.leases.get(id_).to_json() for id_ in ids] == leases
    services.releaser.release_lease(ids[1])
    assert set(services.stores.leases.get_many(ids)) == {*ids} - {ids[1]}


def test_announcement_of_a_large_job_has_only_its_id(services, told):
    wordy, large = ask(services, metadata="x" * 20_000), ask(services, count=4097)
    assert through_a_message({wordy.id: told[wordy.id]}) == {wordy.id: None}
    assert result_of(told[large.id]) is None


def test_announcement_of_a_slow_job_has_only_its_id(services, told, monkeypatch):
    """Somebody else may have ended it otherwise meanwhile."""
    monkeypatch.setattr(roll_forward, "begun_within", lambda seconds: begun_within(seconds - 3600))
    job = ask(services)
    assert told == {job.id: None}


def test_jobs_that_are_accepted_together_wake_workers_once_for_each_target(services, dispatcher):
    one, other = make_subnet(services), make_subnet(services)
    jobs = [
        Job(
            id=ObjectId(),
            kind=JobKind.RESERVATION,
            target=subnet.id,
            pool=subnet.pool,
            subnet=subnet.id,
            request=ReservationRequest().to_json(),
            reservation=ObjectId(),
        )
        for subnet in (one, other, one, one)
    ]
    assert services.job_queue._store_some(jobs) == jobs  # noqa: SLF001
    assert dispatcher.dispatched == [one.id, other.id]
    assert [len(services.stores.jobs.waiting(subnet.id, 9, 60.0)[0]) for subnet in (one, other)] == [3, 1]

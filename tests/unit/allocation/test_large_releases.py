"""Many addresses go back by a job, in parts; without a server, for logic only."""

from ipaddress import ip_address

import pytest
from bson import ObjectId

from ipam.allocation import release, roll_forward
from ipam.allocation.job_runner import SingleProcess
from ipam.allocation.provisioning import SubnetSpec
from ipam.errors import NotQueued
from ipam.models.job import JobKind, JobState
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.storage import leases
from tests.support.steps import before_each_write, let_claims_run_out, make_subnet, reserve, used
from tests.support.stored import begin_release


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch):
    monkeypatch.setattr(release, "RELEASED_WITHOUT_JOB", 4)
    monkeypatch.setattr(release, "RELEASED_AT_ONCE", 3)


def progress(services, job) -> tuple[int, int]:
    shown = services.stores.jobs.get(job).to_json()["progress"]
    return shown["done"], shown["total"]


def test_release_of_few_addresses_needs_no_job(services):
    subnet = make_subnet(services)
    assert services.releaser.release_reservation(reserve(services, subnet, 4).reservation) is None
    assert used(services, subnet) == 0


def test_release_job_goes_on_in_parts_and_others_get_their_turn_between(services, dispatcher):
    subnet = make_subnet(services, 20)
    reservation = reserve(services, subnet, 8).reservation
    job = services.releaser.release_reservation(reservation)
    assert (job.kind, job.target, job.state, job.pool) == (
        JobKind.RELEASE,
        reservation,
        JobState.QUEUED,
        subnet.pool,
    )
    assert (used(services, subnet), progress(services, job.id)) == (8, (0, 8))
    seen = []
    while not services.stores.jobs.get(job.id).state.terminal:
        assert dispatcher.dispatched.pop() == reservation  # Sent anew after each part.
        services.job_runner.run(reservation)
        seen.append((used(services, subnet), progress(services, job.id)))
    assert seen == [(5, (3, 8)), (2, (6, 8)), (0, (8, 8))]
    ended = services.stores.jobs.get(job.id)
    assert (ended.state, ended.attempts) == (JobState.SUCCEEDED, 1)
    assert dispatcher.announced[1:] == [job.id]  # Behind the reservation's; its parts are no end.
    assert dispatcher.dispatched[-1] != reservation


def test_a_part_lets_go_of_its_turn_before_the_next_one_is_asked_for(services, dispatcher):
    """Who heard of it before that could only leave it to this process, which would go on and on."""
    subnet = make_subnet(services, 20)
    reservation = reserve(services, subnet, 8).reservation
    services.releaser.release_reservation(reservation)
    asked_in_turn: list[int] = []

    class Watched(SingleProcess):
        def take(self, _target, work):
            asked = len(dispatcher.dispatched)
            outcome = work()
            asked_in_turn.append(len(dispatcher.dispatched) - asked)
            return outcome

    before = len(dispatcher.dispatched)
    services.job_runner.run(reservation, Watched())
    assert (asked_in_turn, dispatcher.dispatched[before:]) == ([0], [reservation])


def test_release_job_gives_back_to_each_of_several_subnets(services):
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    for first in (1, 11, 21, 31):
        start = ip_address(f"10.0.0.{first}")
        services.provisioner.create_subnet(ObjectId(), pool.id, SubnetSpec(start=start, end=start + 3))
    made = services.job_queue.accept(ObjectId(), pool, ReservationRequest(count=16))
    services.job_runner.run(pool.id)
    job = services.releaser.release_reservation(made.reservation)
    parts = 0
    while not services.stores.jobs.get(job.id).state.terminal:
        services.job_runner.run(job.target)
        parts += 1
    assert services.stores.ledgers.usage([pool.id])[pool.id].used == 0
    assert parts > 4


def test_release_job_is_carried_out_by_one_worker_at_a_time(services, monkeypatch):
    subnet = make_subnet(services, 20)
    job = services.releaser.release_reservation(reserve(services, subnet, 8).reservation)
    put_back, nested = services.stores.leases.put_back, []

    def while_another_comes(*arguments) -> None:
        nested.append(used(services, subnet))
        services.job_runner.run(job.target)
        assert used(services, subnet) == nested[-1]
        put_back(*arguments)

    monkeypatch.setattr(services.stores.leases, "put_back", while_another_comes)
    services.job_runner.run(job.target)
    assert nested == [8]
    assert used(services, subnet) == 5


def test_release_job_of_a_dead_worker_goes_on_where_it_was(services, dispatcher, monkeypatch):
    subnet = make_subnet(services, 20)
    job = services.releaser.release_reservation(reserve(services, subnet, 8).reservation)
    services.job_runner.run(job.target)
    with monkeypatch.context() as crash:
        crash.setattr(services.stores.leases, "put_back", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            services.job_runner.run(job.target)
    let_claims_run_out(services)
    dispatcher.dispatched.clear()
    services.stores.jobs._collection.update_many({}, {"$set": {"created_at": job.created_at.replace(year=2020)}})  # noqa: SLF001
    services.recovery.run()
    while dispatcher.dispatched:
        services.job_runner.run(dispatcher.dispatched.pop())
    assert services.stores.jobs.get(job.id).state is JobState.SUCCEEDED
    assert used(services, subnet) == 0


def test_a_release_whose_web_process_died_before_there_was_a_job_gets_one(services):
    subnet = make_subnet(services, 20)
    reservation = begin_release(services.stores, reserve(services, subnet, 8).reservation)
    services.stores.reservations._collection.update_one(  # noqa: SLF001
        {"_id": reservation.id}, {"$set": {"unfinished": reservation.created_at.replace(year=2020)}}
    )
    services.recovery.run()
    assert services.stores.jobs.get(reservation.id).kind is JobKind.RELEASE
    while not services.stores.jobs.get(reservation.id).state.terminal:
        services.job_runner.run(reservation.id)
    assert used(services, subnet) == 0


def test_release_job_cannot_be_cancelled(services):
    job = services.releaser.release_reservation(reserve(services, make_subnet(services, 20), 8).reservation)
    with pytest.raises(NotQueued, match="begins at once and cannot be undone"):
        services.job_queue.cancel(job.id)


def test_a_large_reservation_shows_how_far_it_has_come(services, monkeypatch):
    monkeypatch.setattr(roll_forward, "HANDED_OUT_AT_ONCE", 10)
    monkeypatch.setattr(leases, "_CHUNK", 10)
    subnet, seen = make_subnet(services, 35), []
    job = services.job_queue.accept(ObjectId(), subnet, ReservationRequest(count=35))
    before_each_write(services, monkeypatch, lambda _: seen.append(progress(services, job.id)))
    services.job_runner.run(subnet.id)
    # Before each lot of leases; then before the event, the reservation, the job's end, the block and the ledger.
    assert seen == [(0, 35), (10, 35), (20, 35), *[(30, 35)] * 4, *[(35, 35)] * 2]
    assert progress(services, job.id) == (35, 35)

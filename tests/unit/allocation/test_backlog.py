"""How much may be asked for at once, and that large jobs leave turns to others."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from bson import ObjectId

from ipam.allocation import backlog
from ipam.allocation.job_runner import BATCH_JOBS, TURN_BATCHES, NextRun
from ipam.errors import Transient, ValidationFailed
from ipam.models.job import JobState
from ipam.models.reservation_request import ReservationRequest
from ipam.models.subnet import Subnet
from ipam.wiring import Services
from tests.support.steps import carry_out, make_subnet


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """1000 addresses of a target, 2000 of all; a request for up to 100 is not counted."""
    for name, value in {"UNCOUNTED_MAX": 100, "TARGET_MAX": 1000, "TOTAL_MAX": 2000}.items():
        monkeypatch.setattr(backlog, name, value)


def ask(services: Services, owner: Subnet, *counts: int, ids: tuple[ObjectId, ...] = ()) -> list[ObjectId]:
    """Ask for so many addresses, in a list if it is more than one request; returns the ids of the jobs."""
    ids = ids or tuple(ObjectId() for _ in counts)
    wanted = {id_: ReservationRequest(count=count) for id_, count in zip(ids, counts, strict=True)}
    if len(counts) == 1:
        return [services.job_queue.accept(ids[0], owner, wanted[ids[0]]).id]
    return [job.id for job in services.job_queue.accept_all(owner, wanted)]


def test_backlog_of_a_target_is_bounded(services):
    subnet, other = make_subnet(services, 5000), make_subnet(services, 5000)
    ids = ask(services, subnet, 600)
    with pytest.raises(Transient, match="Too many addresses are asked for"):
        ask(services, subnet, 401)
    ask(services, subnet, 600, ids=(ids[0],))  # The same request again.
    ask(services, subnet, 100)  # Few are not counted.
    ask(services, other, 401)
    ask(services, subnet, 400)
    carry_out(services, subnet.id)
    ask(services, subnet, 1000)


def test_backlog_accepts_again_what_it_accepted_before(services):
    subnet = make_subnet(services, 5000)
    first = ask(services, subnet, 600)
    carry_out(services, subnet.id)
    ask(services, subnet, 1000)
    assert ask(services, subnet, 600, ids=tuple(first)) == first
    listed = ask(services, make_subnet(services, 5000), 300, 400)
    with pytest.raises(Transient):
        ask(services, subnet, 300, 400, ids=(listed[0], ObjectId()))


def test_backlog_of_all_targets_is_bounded(services):
    for _ in range(2):
        ask(services, make_subnet(services, 5000), 1000)
    with pytest.raises(Transient, match="Too many addresses are asked for"):
        ask(services, make_subnet(services, 5000), 101)


def test_a_list_counts_as_its_sum_and_each_of_its_requests_as_some(services):
    subnet = make_subnet(services, 5000)
    with pytest.raises(ValidationFailed, match="asks for 1001 addresses; a list may ask for 1000 at most"):
        ask(services, subnet, 500, 501)
    with pytest.raises(ValidationFailed, match="asks for 1024 addresses"):
        ask(services, subnet, *(7,) * 16)
    ask(services, subnet, *(7,) * 15)
    with pytest.raises(Transient):
        ask(services, subnet, 101)
    assert services.stores.jobs.waiting(subnet.id, 100, 60.0)[1] is False


@dataclass
class Watched:
    """Turns of a process beside which others are."""

    is_free: bool = True
    large: int = 0
    pauses: list[float | None] = field(default_factory=list)

    def take(self, _target: ObjectId, work: Callable[[], float | None]) -> float | None:
        self.pauses.append(work())
        return self.pauses[-1]

    def take_large(self, work: Callable[[], NextRun]) -> NextRun:
        self.large += 1
        return work() if self.is_free else NextRun.MUCH_LATER


def test_a_turn_ends_after_a_large_job_and_what_is_left_comes_behind_others(services, dispatcher, monkeypatch):
    monkeypatch.setattr("ipam.allocation.job_runner.BATCH_ADDRESSES", 50)
    subnet, turns = make_subnet(services, 5000), Watched()
    ids = ask(services, subnet, 30, 51, 60, 20)
    dispatcher.dispatched.clear()
    ended = []
    for _ in ids:
        services.job_runner.run(subnet.id, turns)
        ended.append(sum(services.stores.jobs.get(id_).state is JobState.SUCCEEDED for id_ in ids))
    assert (ended, turns.large) == ([3, 4, 4, 4], 2)
    assert turns.pauses == [0.0, None, None, None]
    assert dispatcher.dispatched == [subnet.id]


def test_a_large_job_waits_until_a_process_may_do_it(services, dispatcher, monkeypatch):
    monkeypatch.setattr("ipam.allocation.job_runner.BATCH_ADDRESSES", 50)
    subnet, turns = make_subnet(services, 5000), Watched(is_free=False)
    (id_,) = ask(services, subnet, 51)
    services.job_runner.run(subnet.id, turns)
    assert (services.stores.jobs.get(id_).state, turns.pauses) == (JobState.QUEUED, [1.0])
    assert services.stores.jobs.get(id_).attempts == 0
    turns.is_free = True
    services.job_runner.run(subnet.id, turns)
    assert (services.stores.jobs.get(id_).state, turns.pauses) == (JobState.SUCCEEDED, [1.0, None])


def test_a_turn_ends_after_some_batches(services, monkeypatch):
    monkeypatch.setattr(backlog, "UNCOUNTED_MAX", 10_000)
    subnet, turns = make_subnet(services, 5000), Watched()
    ask(services, subnet, *(1,) * (BATCH_JOBS * TURN_BATCHES + 1))
    for _ in range(2):
        services.job_runner.run(subnet.id, turns)
    assert turns.pauses == [0.0, None]
    assert services.stores.ledgers.find(subnet.id).used == BATCH_JOBS * TURN_BATCHES + 1

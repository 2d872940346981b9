"""Waiting for jobs; without a server, for logic only."""

import itertools
import threading
from types import SimpleNamespace

import pytest
from bson import ObjectId

from ipam.allocation import waiting
from ipam.allocation.waiting import Waiting

FOR_EVER_S = 3600


class Jobs:
    """Ends a job when it is told to."""

    def __init__(self) -> None:
        self.done: set[ObjectId] = set()
        self.watched: set[ObjectId] = set()

    def ended(self, wanted: list[ObjectId]) -> list[SimpleNamespace]:
        self.watched.update(wanted)
        return [SimpleNamespace(id=job) for job in wanted if job in self.done]


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


def in_thread(call) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_who_waits_hears_of_the_end(jobs):
    places, job = Waiting(jobs, 1), ObjectId()
    heard = []
    waiter = in_thread(lambda: heard.append(places.wait(job, FOR_EVER_S, lambda: False)))
    jobs.done.add(job)
    waiter.join(20)
    assert [one.id for one in heard] == [job]


def test_who_gives_up_gives_his_place_back(jobs):
    """A caller who has hung up is not waited for, and another one gets his place."""
    places, job, later = Waiting(jobs, 1), ObjectId(), ObjectId()
    places.wait(job, FOR_EVER_S, lambda: True)
    waiter = in_thread(lambda: places.wait(later, FOR_EVER_S, lambda: False))
    jobs.done.add(later)
    waiter.join(20)
    assert later in jobs.watched


def test_after_an_outage_those_who_wait_hear_of_it_soon(jobs, monkeypatch):
    """However long the database let the query wait that it did not answer."""
    clock, pauses = itertools.count(step=10), []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        jobs.done |= jobs.watched

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=pause))
    waiter = in_thread(lambda: Waiting(jobs, 1).wait(ObjectId(), 10**9, lambda: False))
    waiter.join(20)
    assert pauses
    assert max(pauses) <= 0.5


def test_one_job_keeps_few_waiting(jobs, monkeypatch):
    monkeypatch.setattr(waiting, "_WAITERS_OF_A_JOB", 2)
    places, job = Waiting(jobs, 10), ObjectId()
    waiters = [in_thread(lambda: places.wait(job, FOR_EVER_S, lambda: False)) for _ in range(2)]
    while len(places._waited.get(job, ())) < 2:  # noqa: SLF001
        pass
    places.wait(job, FOR_EVER_S, lambda: False)  # Returns at once.
    assert not jobs.done
    jobs.done.add(job)
    for waiter in waiters:
        waiter.join(20)

"""Waiting for jobs; without a server, for logic only."""

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from bson import ObjectId

from ipam.allocation import job_waiter
from ipam.allocation.job_waiter import JobWaiter
from ipam.models.job import Job
from tests.support.servers import wait_until

FOR_EVER_S = 3600


class Jobs:
    """Ends a job when it is told to."""

    def __init__(self) -> None:
        self.done: set[ObjectId] = set()
        self.watched: set[ObjectId] = set()
        self.looks: list[set[ObjectId]] = []

    def ended(self, wanted: list[ObjectId]) -> list[SimpleNamespace]:
        self.watched.update(wanted)
        self.looks.append(set(wanted))
        return [SimpleNamespace(id=job) for job in wanted if job in self.done]


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


def ended() -> SimpleNamespace:
    return SimpleNamespace(id=ObjectId())


def end_of(job: ObjectId, places: JobWaiter, given_up: Callable[[], bool] = lambda: False) -> Job | None:
    return places.wait([job], FOR_EVER_S, given_up, are_new=True).get(job)


def in_thread(call) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_job_waiter_hears_of_the_end(jobs):
    places, job = JobWaiter(jobs, 1), ObjectId()
    heard = []
    waiter = in_thread(lambda: heard.append(end_of(job, places)))
    jobs.done.add(job)
    waiter.join(20)
    assert [one.id for one in heard] == [job]


def test_job_waiter_that_gives_up_gives_its_place_back(jobs):
    """A caller who has hung up is not waited for, and another one gets his place."""
    places, job, later = JobWaiter(jobs, 1), ObjectId(), ObjectId()
    end_of(job, places, lambda: True)
    waiter = in_thread(lambda: end_of(later, places))
    jobs.done.add(later)
    waiter.join(20)
    assert later in jobs.watched


def test_job_waiters_hear_of_the_end_soon_after_an_outage(jobs, monkeypatch):
    """However long the database let the query wait that it did not answer."""
    job, away_s = ObjectId(), [0]
    answered = jobs.ended

    def let_the_first_wait(wanted: list[ObjectId]) -> list[SimpleNamespace]:
        found = answered(wanted)
        if not away_s[0]:
            away_s[0] = 600
            jobs.done.add(job)
        return found

    monkeypatch.setattr(jobs, "ended", let_the_first_wait)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + away_s[0])
    monkeypatch.setattr(job_waiter, "time", clock)
    waiter = in_thread(lambda: end_of(job, JobWaiter(jobs, 1)))
    waiter.join(20)
    assert not waiter.is_alive()


def test_job_has_few_waiters(jobs, monkeypatch):
    monkeypatch.setattr(job_waiter, "_WAITERS_OF_A_JOB", 2)
    places, job = JobWaiter(jobs, 10), ObjectId()
    waiters = [in_thread(lambda: end_of(job, places)) for _ in range(2)]
    while len(places._waited.get(job, ())) < 2:  # noqa: SLF001
        pass
    end_of(job, places)  # Returns at once.
    assert not jobs.done
    jobs.done.add(job)
    for waiter in waiters:
        waiter.join(20)


@pytest.fixture
def announced(jobs, monkeypatch) -> JobWaiter:
    """Whose ends are announced, and who never looks by himself after he was told so."""
    monkeypatch.setattr(job_waiter, "_LOOKS_ANYWAY_AFTER_S", FOR_EVER_S)
    places, first = JobWaiter(jobs, 10), ended()
    places.set_push_available(True)
    places.on_results({first.id: first})
    end_of(first.id, places)  # From now on he watches.
    return places


def test_job_waiter_reads_only_announced_jobs_while_there_are_announcements(jobs, announced):
    first, second, other = ObjectId(), ObjectId(), ObjectId()
    waiters = [in_thread(lambda job=job: end_of(job, announced)) for job in (first, second)]
    wait_until(lambda: len(announced._waited) == 2, 20, "both wait")  # noqa: SLF001
    del jobs.looks[:]
    for job, waiter in zip((first, second), waiters, strict=True):
        jobs.done.add(job)
        announced.on_results({other: None, job: None})
        waiter.join(20)
    assert jobs.looks == [{first}, {second}]


def test_an_end_that_was_announced_a_moment_before_is_not_missed(jobs, announced):
    job = ObjectId()
    jobs.done.add(job)
    announced.on_results({job: None})
    assert end_of(job, announced).id == job


@pytest.mark.parametrize("comes", ["before", "while"])
def test_an_end_that_is_told_is_not_looked_at(jobs, announced, comes):
    """Whether it comes before somebody waits for it, or while two do."""
    job, other = ended(), ended()
    del jobs.looks[:]
    if comes == "before":
        announced.on_results({job.id: job, other.id: other})
        assert end_of(job.id, announced) is job
    else:
        heard: list[Job | None] = []
        waiters = [in_thread(lambda: heard.append(end_of(job.id, announced))) for _ in range(2)]
        wait_until(lambda: len(announced._waited.get(job.id, ())) == 2, 20, "both wait")  # noqa: SLF001
        announced.on_results({job.id: job, other.id: other})
        for waiter in waiters:
            waiter.join(20)
        assert heard == [job, job]
    assert (jobs.looks, list(announced._announced)) == ([], [other.id])  # noqa: SLF001


def test_job_waiter_remembers_only_the_last_announcements(announced, monkeypatch):
    monkeypatch.setattr(job_waiter, "_REMEMBERED", 3)
    ends = [ObjectId() for _ in range(5)]
    announced.on_results(dict.fromkeys(ends[:2]))
    announced.on_results(dict.fromkeys(ends[2:]))
    assert list(announced._announced) == ends[2:]  # noqa: SLF001


def test_an_end_that_was_not_announced_is_found_all_the_same(jobs, announced, monkeypatch):
    """Its message was lost; also while others are announced without a pause."""
    monkeypatch.setattr(job_waiter, "_LOOKS_ANYWAY_AFTER_S", 0.01)
    announced.set_push_available(True)
    lost, busy, stop = ObjectId(), ObjectId(), threading.Event()

    def announce_without_a_pause() -> None:
        while not stop.is_set():
            announced.on_results({busy: None})

    others = [in_thread(lambda: end_of(busy, announced, stop.is_set)), in_thread(announce_without_a_pause)]
    jobs.done.add(lost)
    assert end_of(lost, announced).id == lost
    stop.set()
    for thread in others:
        thread.join(20)


def test_when_the_announcing_ends_he_looks_by_himself(jobs, announced):
    job = ObjectId()
    waiter = in_thread(lambda: end_of(job, announced))
    jobs.done.add(job)
    announced.set_push_available(False)
    waiter.join(20)
    assert not waiter.is_alive()


@pytest.mark.parametrize("comes", ["before", "while"])
def test_job_waiter_of_several_goes_on_when_all_have_ended(jobs, announced, comes):
    """Some of which are told, and some to be looked at."""
    told, looked_at = [ended() for _ in range(3)], [ObjectId() for _ in range(3)]
    wanted = [*(job.id for job in told), *looked_at]
    heard: list[dict[ObjectId, Job]] = []
    if comes == "before":
        jobs.done.update(looked_at)
        announced.on_results({**{job.id: job for job in told}, **dict.fromkeys(looked_at)})
    waiter = in_thread(lambda: heard.append(announced.wait(wanted, FOR_EVER_S, lambda: False, are_new=True)))
    if comes == "while":
        wait_until(lambda: len(announced._waited) == 6, 20, "all are waited for")  # noqa: SLF001
        announced.on_results({job.id: job for job in told[1:]})
        announced.on_results({told[0].id: told[0]})
        assert not heard
        jobs.done.update(looked_at)
        announced.on_results(dict.fromkeys(looked_at))
    waiter.join(20)
    assert heard[0].keys() == set(wanted)
    assert [heard[0][job.id] for job in told] == told
    assert not announced._waited  # noqa: SLF001


def test_job_that_is_not_new_is_read_at_once(jobs, announced):
    """That it has ended may have been told to somebody else."""
    first, second, going_on = ended(), ObjectId(), ObjectId()
    announced.on_results({first.id: first})
    jobs.done.add(second)
    del jobs.looks[:]
    heard = announced.wait([first.id, second, going_on], 0.1, lambda: False)
    assert heard.keys() == {first.id, second}
    assert jobs.looks == [{second, going_on}]


def test_job_waiter_that_gives_up_has_those_that_have_ended(announced):
    first, other = ended(), ObjectId()
    announced.on_results({first.id: first})
    assert announced.wait([other, first.id], FOR_EVER_S, lambda: True) == {first.id: first}
    assert not announced._waited  # noqa: SLF001


def test_a_job_that_enough_others_wait_for_holds_nobody_up(announced, monkeypatch):
    monkeypatch.setattr(job_waiter, "_WAITERS_OF_A_JOB", 1)
    busy, other, stop = ObjectId(), ended(), threading.Event()
    first = in_thread(lambda: end_of(busy, announced, stop.is_set))
    wait_until(lambda: busy in announced._waited, 20, "one waits")  # noqa: SLF001
    announced.on_results({other.id: other})
    assert announced.wait([busy, other.id], FOR_EVER_S, lambda: False) == {other.id: other}
    assert busy in announced._waited  # noqa: SLF001
    stop.set()
    first.join(20)

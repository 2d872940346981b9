"""Waiting for jobs to end: one thread a process asks for all of them in one query."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future

from bson import ObjectId

from ipam.allocation.dispatcher import JobResults
from ipam.errors import Transient
from ipam.models.job import Job
from ipam.storage.jobs import JobStore

log = logging.getLogger(__name__)

# While results are published, waiters read the database only for what was not published, its worker having died
# before that: for what they have waited longer than this, and as often as this.
_LOOKS_ANYWAY_AFTER_S = 2.0
# Results that are remembered, for waiters that begin a moment after them.
_REMEMBERED = 2048
# So many jobs at once, of which lists may have thousands.
_LOOKS_ANYWAY_AT = 256
# While they are not, the pause after a query that found nothing: short enough not to be felt, and at least three
# times what the query took, so that watching never costs the database more than a quarter of one connection's time.
_PAUSE_S = 0.004
_PAUSE_FACTOR = 3.0
# However long a database that is away lets a query wait, waiters learn of its return soon.
_LONGEST_PAUSE_S = 0.5
# How often a waiter checks that its caller is still there.
_LOOKS_UP_AFTER_S = 0.5
# Waiters of one job beyond this number are not registered: calls that follow each other so closely need no push.
_WAITERS_OF_A_JOB = 8


class JobWaiter:
    """Lets request threads wait for the end of jobs.

    Args:
        places: How many may wait at once; others do not wait, so that threads are left for other requests.
    """

    def __init__(self, jobs: JobStore, places: int) -> None:
        self._jobs = jobs
        self._places = threading.BoundedSemaphore(places)
        self._changed = threading.Condition()
        self._waited: dict[ObjectId, list[Future[Job]]] = {}
        # Results that no waiter waited for, in the order in which they were published.
        self._announced: dict[ObjectId, Job | None] = {}
        self._to_look_at: set[ObjectId] = set()
        self._is_announced = False
        self._looks_at = 0.0
        self._waited_long: list[ObjectId] = []  # Waiters waited for these already at the last look.
        self._thread: threading.Thread | None = None

    def on_results(self, ends: JobResults) -> None:
        """Give waiters their results; where a result is not in the message, have them read it at once."""
        with self._changed:
            for id_, job in ends.items():
                if job is None and id_ in self._waited:
                    self._look_at(id_)
                elif job is None or not self._end(job):
                    self._announced[id_] = job
            for _ in range(len(self._announced) - _REMEMBERED):
                del self._announced[next(iter(self._announced))]

    def set_push_available(self, is_announced: bool) -> None:  # noqa: FBT001 (a callback)
        """From now on, ends are announced, or they are not."""
        with self._changed:
            self._is_announced = is_announced
            self._looks_at, self._waited_long = 0.0, list(self._waited)
            self._changed.notify()

    def wait(
        self, jobs: Collection[ObjectId], timeout_s: float, given_up: Callable[[], bool], *, are_new: bool = False
    ) -> dict[ObjectId, Job]:
        """Return those of *jobs* that have ended, when all have, the timeout is over, or the caller has *given_up*.

        None at once when all places are taken. A job that enough others wait for is not waited for. Unless they
        *are_new*, they are read first: their results may have been published before.
        """
        if timeout_s <= 0 or not self._places.acquire(blocking=False):
            return {}
        deadline = time.monotonic() + timeout_s
        ends: dict[ObjectId, Future[Job]] = {job: Future() for job in jobs}
        try:
            going_on = self._join(ends, are_new=are_new)
            while going_on:
                pause_s = min(_LOOKS_UP_AFTER_S, max(0.0, deadline - time.monotonic()))
                _, going_on = futures.wait(going_on, pause_s)
                if going_on and (given_up() or time.monotonic() >= deadline):
                    break
            return {job: ended.result() for job, ended in ends.items() if ended.done()}
        finally:
            self._leave(ends)
            self._places.release()

    def _join(self, ends: Mapping[ObjectId, Future[Job]], *, are_new: bool) -> set[Future[Job]]:
        """Register a waiter for each job, unless it has many; return those of *ends* that are to come."""
        joined: set[Future[Job]] = set()
        with self._changed:
            for job, ended in ends.items():
                waiters = self._waited.setdefault(job, [])
                if len(waiters) >= _WAITERS_OF_A_JOB:
                    continue
                waiters.append(ended)
                joined.add(ended)
                if (job_ended := self._announced.get(job)) is not None:
                    self._end(job_ended)
                elif job in self._announced or not are_new:
                    self._look_at(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="job-watcher", daemon=True)
                self._thread.start()
            if not self._is_announced:  # Else the thread looks by itself, and need not be woken for each request.
                self._changed.notify()
        return joined

    def _leave(self, ends: Mapping[ObjectId, Future[Job]]) -> None:
        with self._changed:
            for job, ended in ends.items():
                waiters = self._waited.get(job, [])
                if ended in waiters:
                    waiters.remove(ended)
                if not waiters:
                    self._waited.pop(job, None)

    def _look_at(self, job: ObjectId) -> None:
        self._announced.pop(job, None)
        self._to_look_at.add(job)
        self._changed.notify()

    def _end(self, job: Job) -> bool:
        """Wake the waiters of *job*, which has ended; return False if there are none."""
        waiters = self._waited.pop(job.id, [])
        for ended in waiters:
            ended.set_result(job)
        self._announced.pop(job.id, None)
        return bool(waiters)

    def _ended(self, wanted: list[ObjectId]) -> Sequence[Job]:
        """Return those of *wanted* that have ended; none if they cannot be read, for the wait has its own limit."""
        try:
            return self._jobs.ended(wanted)
        except Transient:
            return ()
        except Exception:
            log.exception("watching jobs failed")  # If the thread died, no waiter would ever be woken again.
            return ()

    def _wanted(self) -> list[ObjectId]:
        """Return those jobs that are to be looked at, and are waited for still."""
        with self._changed:
            while True:
                wanted = [job for job in (*self._to_look_at, *self._overdue()) if job in self._waited]
                self._to_look_at.clear()
                if wanted:
                    return wanted
                is_awake = self._waited or self._is_announced
                self._changed.wait(self._looks_at - time.monotonic() if is_awake else None)

    def _overdue(self) -> Sequence[ObjectId]:
        """When it is time to look anyway: all that is waited for, or if ends are announced, what is so for long."""
        if time.monotonic() < self._looks_at:
            return ()
        if not self._is_announced:
            return list(self._waited)
        overdue = [job for job in self._waited_long if job in self._waited]
        self._looks_at, self._waited_long = time.monotonic() + _LOOKS_ANYWAY_AFTER_S, list(self._waited)
        return overdue[:_LOOKS_ANYWAY_AT]

    def _watch(self) -> None:
        while True:
            wanted = self._wanted()
            began = time.monotonic()
            found = self._ended(wanted)
            ended_at = time.monotonic()
            with self._changed:
                for job in found:
                    self._end(job)
                if not found and not self._is_announced:
                    pause_s = max(_PAUSE_S, _PAUSE_FACTOR * (ended_at - began))
                    self._looks_at = ended_at + min(pause_s, _LONGEST_PAUSE_S)
